"""The report in headless Chromium: no console errors, tables sort, nothing overflows on a phone, dark is dark, it
prints.

No driver: a probe is added to a copy of the page, within what its content security policy lets run, and tells what it
saw to a page around it, which Chromium dumps. A frame in that page is the phone: Chromium's own windows are never as
narrow.
"""

import json
import re
import shutil
import subprocess
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html import escape, unescape

import pytest

from fedistill.report.html.compare import page as page_of_several
from fedistill.report.html.page import page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

PROBE = """
addEventListener("load", () => {
  const found = {};
  const wide = document.scrollingElement;
  found.width = [innerWidth, wide.scrollWidth];
  found.outside = [...document.querySelectorAll("body *")]
    .filter((each) => !each.closest(".wide, pre, svg") && each.getBoundingClientRect().right > innerWidth + 1)
    .map((each) => each.outerHTML.slice(0, 80));
  found.letters = Math.min(...[...document.querySelectorAll("svg.plot text")]
    .map((each) => parseFloat(getComputedStyle(each).fontSize) * each.getScreenCTM().a));
  found.paper = getComputedStyle(document.body).backgroundColor;
  const text = document.querySelector("svg.plot text");
  found.ink = text && getComputedStyle(text).fill;
  const table = document.querySelector("#quality-table, #real-table");
  const read = () => [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
  const heads = [...table.tHead.rows[0].cells];
  found.heads = heads.map((each) => each.textContent.trim());
  found.made = read();
  const head = heads[found.heads.indexOf("AUC")], button = head.querySelector("button");
  button.focus();
  found.focused = document.activeElement === button;
  found.sorted = [];
  for (let i = 0; i < 3; i++) {
    button.click();
    found.sorted.push([head.getAttribute("aria-sort"), read()]);
  }
  heads[0].querySelector("button").click();
  found.words = [heads[0].getAttribute("aria-sort"), head.getAttribute("aria-sort"), read()];
  found.columns = [...table.tBodies[0].rows].map((row) => getComputedStyle(row.cells[0]).position);
  parent.postMessage(JSON.stringify(found), "*");
});
"""


def chromium(folder, *arguments):
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += ["--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=180, check=True)


def said(done):
    """What the console was told."""
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def seen(folder, html, *, width, dark=False):
    """What the probe saw of a page in a frame so wide, and what the console was told."""
    digest = b64encode(sha256(PROBE.encode()).digest()).decode()
    assert html.count("script-src &#39;") == 1
    copy = html.replace("script-src &#39;", f"script-src 'sha256-{digest}' &#39;").replace(
        "</body>", f"<script>{PROBE}</script>"
    )
    (folder / "copy.html").write_text(copy)
    (folder / "around.html").write_text(
        "<!doctype html><title>around</title><script>addEventListener('message', (event) => {"
        "document.getElementById('said').textContent = event.data; });</script><pre id='said'></pre>"
        f"<iframe src='{escape((folder / 'copy.html').as_uri())}' style='border:0;width:{width}px;height:2000px'>"
    )
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    done = chromium(folder, scheme, "--dump-dom", (folder / "around.html").as_uri())
    [text] = re.findall(r"<pre id=.said.>(.*?)</pre>", done.stdout, re.DOTALL)
    assert text, done.stderr[-2000:]
    return json.loads(unescape(text)), said(done)


@pytest.fixture(scope="module")
def pages(hostile, recorded, made, tmp_path_factory):
    """The page of one run, and of two."""
    again = tmp_path_factory.mktemp("again") / ("a run of a long name" * 3)
    shutil.copytree(hostile, again, ignore=shutil.ignore_patterns("work"))
    long = recorded.by_site.assign(why="brokenwordsbrokenwordsbrokenwords" * 6, status="failed")
    return {
        "one": made,
        "failed": page(replace(recorded, by_site=long)),
        "two": page_of_several([hostile, again]),
    }


@pytest.fixture(scope="module")
def phone(pages, tmp_path_factory):
    return {name: seen(tmp_path_factory.mktemp("phone"), html, width=360) for name, html in pages.items()}


@pytest.mark.parametrize("name", ["one", "failed", "two"])
def test_nothing_is_wrong_and_nothing_overflows_on_a_phone(phone, name):
    found, console = phone[name]
    assert console == []
    assert found["width"] == [360, 360] and found["outside"] == []
    assert found["letters"] > 9.5, "words in figures, in pixels"
    assert set(found["columns"]) == {"sticky"}, "the first column stays"


@pytest.mark.parametrize("name", ["one", "two"])
def test_tables_sort(phone, name):
    found, _ = phone[name]
    column = found["heads"].index("AUC")

    def values(rows):
        return [float(row[column].split()[0]) for row in rows]

    (down, falling), (up, rising), (none, again) = found["sorted"]
    assert (down, up, none) == ("descending", "ascending", "none") and found["focused"]
    assert values(falling) == sorted(values(found["made"]), reverse=True)
    assert values(rising) == sorted(values(found["made"]))
    assert again == found["made"] and values(again) != values(rising)
    assert sorted(map(str, falling)) == sorted(map(str, found["made"])), "rows stay whole"
    order, before, rows = found["words"]
    assert (order, before) == ("ascending", "none")
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), key=str.casefold)


def test_dark_is_dark_and_light_is_light(pages, phone, tmp_path):
    def brightness(colour):
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    light = phone["one"][0]
    dark, console = seen(tmp_path, pages["one"], width=1200, dark=True)
    assert console == [] and dark["outside"] == []
    assert brightness(light["paper"]) > 240 and brightness(light["ink"]) < 110
    assert brightness(dark["paper"]) < 40 and brightness(dark["ink"]) > 150


def test_it_prints(pages, tmp_path):
    (tmp_path / "page.html").write_text(pages["one"])
    target = tmp_path / "page.pdf"
    done = chromium(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={target}", (tmp_path / "page.html").as_uri())
    assert said(done) == []
    assert target.read_bytes().startswith(b"%PDF") and target.stat().st_size > 20_000


def test_a_page_with_an_error_would_be_noticed(pages, tmp_path):
    broken = pages["one"].replace(
        "</body>", "<script>nothing.here()</script><img src='https://example.org/x.png'></body>"
    )
    (tmp_path / "page.html").write_text(broken)
    told = said(chromium(tmp_path, "--dump-dom", (tmp_path / "page.html").as_uri()))
    assert len(told) >= 2 and all("Content Security Policy" in line for line in told[:2])
