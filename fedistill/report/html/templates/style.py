"""The style of a page: for phones first, light and dark and paper, colours that the colour-blind can tell apart."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fdfdfb; --card: #f3f4f0; --ink: #1a1e22; --muted: #565e66; --rule: #d5d8d3; --accent: #0b606c;
  --s0: #2933b0; --s1: #903200; --s2: #0a854e; --s3: #d667b4; --s4: #a18100; --s5: #2391ef; --s6: #2f4181;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif;
  --serif: Charter, "Bitstream Charter", "Sitka Text", Cambria, "Noto Serif", Georgia, serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --card: #1d2125; --ink: #e9ebed; --muted: #a4acb3; --rule: #363c42; --accent: #6cc7d2;
    --s0: #5a8eec; --s1: #ff8953; --s2: #27d497; --s3: #ce60b6; --s4: #eddd57; --s5: #a6ddfd; --s6: #90bbff;
  }
}
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth }
body {
  margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 78rem;
  background: var(--paper); color: var(--ink); font: 1rem/1.55 var(--sans); overflow-wrap: anywhere;
}
h1, h2, h3 { font-family: var(--serif); line-height: 1.2; font-weight: 600; text-wrap: balance }
h1 { font-size: clamp(1.9rem, 6vw, 3rem); margin: .1em 0 .3em; letter-spacing: -.01em }
h2 { font-size: clamp(1.35rem, 4vw, 1.8rem); margin: 0 0 .6rem }
h3 { font-size: 1.1rem; margin: 1.6rem 0 .4rem }
p, ul.plain, dl.facts { max-width: 44rem }
p { margin: .5rem 0 }
a { color: var(--accent); text-underline-offset: .15em }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .85em }
pre { overflow-x: auto; overflow-wrap: normal; padding: .8rem 1rem; background: var(--card); border-radius: .4rem }
section { padding: 2rem 0 .5rem; border-top: 1px solid var(--rule); margin-top: 2rem; scroll-margin-top: .5rem }
.eyebrow { margin: 0; color: var(--accent); font-size: .82rem; font-weight: 600; letter-spacing: .06em;
  text-transform: uppercase }
.lede { font-family: var(--serif); font-size: 1.2rem; line-height: 1.4 }
.note { color: var(--muted); font-size: .9rem }
.banner {
  margin: 0 0 1.5rem; padding: .7rem 1rem; border: 2px solid var(--ink); border-radius: .4rem; font-weight: 600;
  background: repeating-linear-gradient(-45deg, transparent 0 .8rem, var(--card) .8rem 1.6rem); max-width: none;
}
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; list-style: none; margin: 1.2rem 0 0; padding: 0;
  font-size: .92rem }
dl.facts { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .25rem 1.2rem; margin: .8rem 0 }
dl.facts dt { color: var(--muted) } dl.facts dd { margin: 0; font-variant-numeric: tabular-nums; min-width: 0 }
.answer { margin: 1rem 0; padding: .1rem 0 .1rem 1rem; border-left: .25rem solid var(--accent); max-width: 52rem }
.answer p { font-family: var(--serif); font-size: clamp(1.1rem, 3vw, 1.3rem); line-height: 1.45; max-width: none;
  margin: .3rem 0 }
.answer p.verdict { font: 600 .85rem/1.3 var(--sans); letter-spacing: .02em; color: var(--accent); margin-top: .1rem }
.beside { display: grid; gap: 0 3rem; grid-template-columns: minmax(0, 1fr) }
@media (min-width: 64rem) { .beside { grid-template-columns: minmax(0, 1.7fr) minmax(0, 1fr); align-items: start } }
ul.plain { padding-left: 1.1rem; margin: .6rem 0 } ul.plain li { margin: .3rem 0 }
.failed { border-left: .25rem solid var(--s1); padding-left: .8rem; max-width: 52rem }
figure { margin: 1.2rem 0; break-inside: avoid }
figcaption { color: var(--muted); font-size: .9rem; max-width: 44rem; margin-bottom: .5rem }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 1rem 2rem }
.panels > div { max-width: 27rem; min-width: 0; break-inside: avoid }
.panels h4 { margin: 0 0 .2rem; font: 600 .92rem/1.3 var(--sans) }
svg.plot { display: block; width: 100%; height: auto; overflow: visible }
svg.plot text { font-family: var(--sans); fill: var(--ink) }
.legend { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; list-style: none; padding: 0; margin: 0 0 .7rem;
  font-size: .9rem }
.legend li { display: inline-flex; align-items: center; gap: .35rem }
svg.key { width: .95rem; height: .95rem; flex: none; overflow: visible }
.wide { overflow-x: auto; width: fit-content; max-width: 100%; margin: .8rem 0; border: 1px solid var(--rule);
  border-radius: .4rem }
.wide:focus-visible, button:focus-visible, a:focus-visible, summary:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px }
table { border-collapse: separate; border-spacing: 0; font-size: .88rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal }
.caption { color: var(--muted); font-size: .9rem; margin: 1rem 0 -.4rem }
tr:first-child > * { border-top: 0 } tbody tr:first-child > * { border-top: 1px solid var(--rule) }
th, td { padding: .34rem .7rem; text-align: right; white-space: nowrap; border-top: 1px solid var(--rule) }
thead th { vertical-align: bottom; font-weight: 600; background: var(--card); white-space: normal; line-height: 1.25 }
th.word, td.word, tbody th, tfoot th { text-align: left }
tbody th, tfoot th { font-weight: 600; position: sticky; left: 0; background: var(--paper); z-index: 1;
  border-right: 1px solid var(--rule) }
tbody th span, tfoot th span { display: block; width: max-content; max-width: 13rem; white-space: normal;
  overflow-wrap: anywhere }
tfoot td, tfoot th { color: var(--muted); font-weight: 400 }
thead th:first-child { position: sticky; left: 0; z-index: 2; border-right: 1px solid var(--rule) }
td.shaded { background: color-mix(in srgb, var(--accent) var(--shade), transparent); print-color-adjust: exact;
  -webkit-print-color-adjust: exact }
th button { all: unset; cursor: pointer; display: inline-flex; gap: .3rem; align-items: baseline }
th button::after { content: "↕"; color: var(--muted); font-weight: 400; opacity: .7 }
th[aria-sort="ascending"] button::after { content: "↑"; color: var(--accent); opacity: 1 }
th[aria-sort="descending"] button::after { content: "↓"; color: var(--accent); opacity: 1 }
.grids { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(clamp(9.4rem, 20vw, 15rem), 1fr)) }
.grids figure { margin: 0; min-width: 0; justify-self: start } .grids figcaption { margin: .25rem 0 0 }
.grids img { display: block; max-width: 100%; height: auto; image-rendering: pixelated; background: #fff;
  border-radius: .2rem }
.real { border: 2px dashed var(--s1); padding: .3rem; border-radius: .3rem }
details { margin: .8rem 0 } summary { cursor: pointer; font-weight: 600 }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--rule); color: var(--muted); font-size: .9rem }
@media (max-width: 40rem) { th, td { padding: .34rem .5rem } tbody th span, tfoot th span { max-width: 8rem } }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto } }
@media print {
  :root {
    color-scheme: light;
    --paper: #fff; --card: #f3f3f0; --ink: #000; --muted: #444; --rule: #bbb; --accent: #0b606c;
    --s0: #2933b0; --s1: #903200; --s2: #0a854e; --s3: #d667b4; --s4: #a18100; --s5: #2391ef; --s6: #2f4181;
  }
  @page { size: A4; margin: 16mm 14mm }
  body { font-size: 10pt; padding: 0; max-width: none }
  nav, th button::after { display: none }
  .wide { overflow: visible; border: 0 }
  table { font-size: 7.5pt } th, td { white-space: normal; padding: .15rem .3rem; position: static !important }
  .panels { grid-template-columns: repeat(3, 1fr); gap: .5rem 1rem }
  tr, .answer, h2, h3, h4 { break-inside: avoid } h2, h3, h4 { break-after: avoid }
  pre { white-space: pre-wrap }
}
"""
