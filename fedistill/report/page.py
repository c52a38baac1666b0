"""report.html: one self-contained page on a run, and comparison.png. No network, no script."""

import base64
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, select_autoescape

from fedistill.errors import RunFolderError
from fedistill.files import write_atomic
from fedistill.report.communication import draw_communication
from fedistill.report.figure import draw_comparison
from fedistill.report.sweep import draw_sweep
from fedistill.report.table import (
    differing,
    first_point,
    interval_of,
    lines_of,
    metric_of,
    size_of,
    swept,
    what_sites_add,
    whole_pools,
    word,
)
from fedistill.study import Finished

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ name }}: FeDistill</title>
<style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
figure { margin: 1.5rem 0 } figure.light { background: #fff; padding: .5rem } img { max-width: 100%; height: auto }
.grids { display: flex; flex-wrap: wrap; gap: 1rem } .grids img { image-rendering: pixelated }
.missing { border-left: .3rem solid #c60; padding-left: .8rem }
</style></head><body>
<h1>{{ name }}</h1>
<p>What do these hospitals lose if each shares a few synthetic images per class instead of its data?
Official test split of {{ dataset }}; values in %, mean over networks, ± standard deviation between networks of one
seed, in parentheses between seeds; intervals are 95 %, paired, over seeds, networks and test images.</p>
{% for line in missing %}<p class="missing">{{ line }}</p>{% endfor %}
<div class="wide"><table><thead><tr>{% for head in heads %}<th scope="col">{{ head }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% for line in adds %}<p>{{ line }}</p>{% endfor %}
{% if sweep %}<figure class="light"><img src="data:image/png;base64,{{ sweep }}"
alt="AUC and accuracy of every scheme at every point of the sweep; the numbers are in the table above"></figure>
<p>The figures below, and the images, are of the sweep's first point: {{ point }}.</p>{% endif %}
<figure class="light"><img src="data:image/png;base64,{{ figure }}" alt="{{ alt }}"></figure>
<h2>Quality against bytes</h2>
<p>Bytes of the encoded messages that crossed the sites' boundaries for one global network, both ways; logarithmic.</p>
<figure class="light"><img src="data:image/png;base64,{{ communication }}"
alt="AUC and accuracy of every scheme against the bytes it takes; the numbers are in the table above"></figure>
<h2>What left the sites</h2>
<p>Synthetic images of the first repeat, a row a class. Real images are not shown; but a method that starts from real
images (<code>start = "real"</code>, the default of mtt) can leave them recognisable.</p>
<div class="grids">{% for grid in grids %}<figure><img src="data:image/png;base64,{{ grid.data }}"
width="{{ grid.width }}" alt="synthetic images of {{ grid.name }}">
<figcaption>{{ grid.name }}</figcaption></figure>{% endfor %}</div>
<h2>Settings</h2><details><summary>simulation.toml, with everything resolved</summary><pre>{{ plan }}</pre></details>
</body></html>
"""


def write_report(finished: Finished) -> Path:
    """Write report.html and comparison.png into the run folder."""
    return rebuild(finished.root)


def rebuild(folder: Path) -> Path:
    """The report of what a run folder holds.

    Raises:
        RunFolderError: it is no finished run.
    """
    folder = folder.resolve()
    try:
        compared = pd.read_csv(folder / "comparison.csv")
        by_site = pd.read_csv(folder / "sites.csv")
        rows = pd.read_csv(folder / "results.csv")
        plan = (folder / "simulation.toml").read_text(encoding="utf-8")
    except OSError as error:
        raise RunFolderError(
            f"{folder} holds no finished run.", found=error, mend="run the simulation to its end first"
        ) from error
    dataset, point, first = str(rows["dataset"].iloc[0]), "", first_point(compared)
    if swept(compared):
        draw_sweep(compared, dataset, folder / "sweep.png")
        point = ", ".join(f"{name} {word(first[name].iloc[-1])}" for name in swept(compared))
    draw_comparison(first, dataset, folder / "comparison.png")
    draw_communication(whole_pools(first), dataset, folder / "communication.png")
    heads, lines = _table(compared)
    failed = by_site[by_site["status"] != "shared"].drop_duplicates(["site", "scheme", "seed"])
    page = Environment(autoescape=select_autoescape(default=True, default_for_string=True)).from_string(_PAGE)
    html = page.render(
        name=rows["simulation"].iloc[0],
        dataset=rows["dataset"].iloc[0],
        heads=heads,
        rows=lines,
        missing=[f"{r.site} gave no {r.scheme} (seed {r.seed}): {r.why}" for r in failed.itertuples()],
        sweep=_encoded(folder / "sweep.png") if point else "",
        point=point,
        figure=_encoded(folder / "comparison.png"),
        communication=_encoded(folder / "communication.png"),
        adds=what_sites_add(compared),
        alt="AUC of every scheme and budget with its spread; the numbers are in the table above",
        grids=[
            {"name": p.stem, "data": _encoded(p), "width": 2 * _width(p)}
            for p in sorted((folder / "grids").glob("*.png"))
        ],
        plan=plan,
    )
    path = folder / "report.html"
    write_atomic(path, html)
    return path


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _width(png: Path) -> int:
    """Pixels, from the file's header."""
    return int.from_bytes(png.read_bytes()[16:20], "big")


def _table(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    several = differing(frame)
    heads = ["scheme", *several, "ipc", "rounds", "AUC", "balanced acc.", "accuracy", "F1", "AUC less random's"]
    heads += [
        "accuracy less random's",
        "images",
        "from sites",
        "to sites",
        "at sites: AUC",
        "worst",
        "gain",
        "sites' work",
    ]
    lines = []
    for line in lines_of(whole_pools(frame)):
        cells = [line["scheme"], *[word(line[c]) for c in several], word(line["ipc"]), word(line["rounds"])]
        cells += [metric_of(line, metric) for metric in ("auc", "balanced_accuracy", "accuracy", "f1_macro")]
        cells += [interval_of(line, metric) for metric in ("auc", "accuracy")]
        cells.append("" if pd.isna(line["images_shared"]) else f"{line['images_shared']:,.0f}")
        cells += [size_of(line["bytes_shared"]), size_of(line["bytes_down"])]
        cells += [
            _points(line, "site_auc", ".1f"),
            _points(line, "site_auc_worst", ".1f"),
            _points(line, "site_gain", "+.1f"),
        ]
        seconds = line.get("distill_seconds")
        cells.append("" if pd.isna(seconds) else f"{seconds:,.0f} s")
        lines.append(cells)
    return heads, lines


def _points(line: dict[str, Any], column: str, form: str) -> str:
    value = line.get(column, float("nan"))
    return "" if pd.isna(value) else format(100 * value, form)
