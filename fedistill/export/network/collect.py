"""``fedistill train``: the networks of one line of a run's table, with their card, as a model file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fedistill import __version__
from fedistill.config import load_plan
from fedistill.config.scheme import scheme_named
from fedistill.core.store import Store
from fedistill.errors import DataError, RunFolderError, nearest
from fedistill.export.attackers import findings
from fedistill.export.network.model_file import Architecture, ModelFile
from fedistill.importing.preprocessing import Preprocessing
from fedistill.study.folder.networks import NetworkRow, PointNetworks, read_networks
from fedistill.study.folder.tables_on_disk import read_typed_table
from fedistill.training.metrics import METRICS

KEYS = ("partition", "scheme", "ipc", "rounds", "recipe", "model", "left_out")
"""Columns that name a line of comparison.csv."""


@dataclass(frozen=True)
class Line:
    """Which networks of a run.

    Args:
        scheme: by which sites shared.
        ipc, rounds: the budget; may be left out where the scheme has one.
        seed: the repeat.
        network: its number in results.csv; None for all, whose predictions are averaged.
        site: of schemes whose sites have networks of their own.
        model, recipe: default the run's first.
        partition: the redraw of who holds what.
        left_out: site without which the pool was made.
        point: number of a sweep's point.
    """

    scheme: str
    ipc: int | None = None
    rounds: int | None = None
    seed: int = 0
    network: int | None = None
    site: str | None = None
    model: str | None = None
    recipe: str | None = None
    partition: int = 0
    left_out: str = ""
    point: int = 0


def collect_networks(folder: Path, line: Line, *, cache: Path | None = None) -> ModelFile:
    """Return the networks of a line of a run's table.

    Args:
        folder: of a finished run.
        line: which.
        cache: the store that the run shared with others, if it did.

    Raises:
        RunFolderError: the folder is no finished run, or its networks are gone.
        DataError: the run has no such line, or several.
    """
    points = read_networks(folder)
    if not 0 <= line.point < len(points):
        raise DataError("There is no such point.", expected=f"0 to {len(points) - 1}", found=line.point)
    point = points[line.point]
    rows = _chosen(point, line)
    store = Store(cache or folder / "work")
    first = rows[0]
    built = Architecture(first.model, point.width, point.channels, point.size, len(point.class_names))
    names = built.build().names
    groups = []
    for row in rows:
        group = []
        for key in row.keys:
            stored = store.get("network", key)
            if stored is None:
                raise RunFolderError(
                    f"The networks of {folder} are not in {store.root} any more.",
                    expected=str(store.path("network", key)),
                    found="no such file, or a damaged one",
                    mend="run the simulation again in this folder, or name its --cache",
                )
            group.append(tuple(stored[0][name] for name in names))
        groups.append(tuple(group))
    how = None if point.preprocessing is None else Preprocessing.from_json(point.preprocessing)
    card = _card(folder, point, rows, line.point)
    return ModelFile(built, tuple(groups), point.class_names, point.multilabel, how, card)


def _chosen(point: PointNetworks, line: Line) -> list[NetworkRow]:
    """Return the rows of one line; what is left out is the only one there is, or the first."""
    rows = list(point.rows)
    known = list(dict.fromkeys(row.scheme for row in rows))
    rows = [row for row in rows if row.scheme == line.scheme]
    if not rows:
        raise DataError(f"The run has no scheme {line.scheme!r}.", mend=nearest(line.scheme, known))
    rows = _one(rows, "model", line.model, first=True)
    rows = _one(rows, "recipe", line.recipe, first=True)
    for name in ("ipc", "rounds"):
        rows = _one(rows, name, getattr(line, name), first=False)
    for name in ("partition", "seed", "left_out"):
        rows = _one(rows, name, getattr(line, name), first=False)
    rows = _one(rows, "site", line.site, first=False)
    return rows if line.network is None else _one(rows, "network", line.network, first=False)


def _one(rows: list[NetworkRow], name: str, value: Any, *, first: bool) -> list[NetworkRow]:
    """Return the rows with a value; of several and none asked for, the first's, or an error."""
    values = list(dict.fromkeys(getattr(row, name) for row in rows))
    option = f"--{name.replace('_', '-')}"
    if value is None and (first or len(values) == 1):
        value = values[0]
    if value not in values:
        shown = ", ".join("none" if each in (None, "") else str(each) for each in values[:20])
        raise DataError(
            f"{rows[0].scheme!r} has several: choose one." if value is None else "There is no such line.",
            expected=f"{option} {shown}",
            found=f"no {option}" if value is None else f"{option} {value}",
        )
    return [row for row in rows if getattr(row, name) == value]


def _card(folder: Path, point: PointNetworks, rows: Sequence[NetworkRow], number: int) -> dict[str, Any]:
    """Return scheme, guarantee, test figures with intervals, and limits."""
    plan = load_plan(str(folder / "simulation.toml"))
    simulation, first = plan.points[number].simulation, rows[0]
    scheme = scheme_named(first.scheme)
    guarantee = scheme.guarantee(simulation, first.ipc, first.rounds)
    compared = _line(_point(read_typed_table(folder / "comparison.csv"), plan, number), first)
    results = _line(_point(read_typed_table(folder / "results.csv"), plan, number), first)
    results = results[(results["seed"] == first.seed) & results["network"].isin([row.network for row in rows])]
    if first.site:
        results = results[results["site"] == first.site]
    figures: dict[str, Any] = {}
    for metric in METRICS:
        figures[metric] = {"of these networks": [_number(value) for value in results[metric]]}
        if len(compared):
            line = compared.iloc[0]
            figures[metric] |= {"mean of the line": _number(line[metric])}
            if f"{metric}_low" in line:
                interval = [_number(line[f"{metric}_low"]), _number(line[f"{metric}_high"])]
                figures[metric] |= {"95 % interval of the mean": interval}
    return {
        "what": f"{len(rows)} network{'s' * (len(rows) > 1)}, {first.model} of width {point.width}, for "
        f"{point.channels} x {point.size} x {point.size} images of {len(point.class_names)} classes",
        "run": plan.name,
        **{name: getattr(first, name) for name in (*KEYS, "seed", "site")},
        "networks": [row.network for row in rows],
        "sites": list(simulation.federation.sites),
        "source": point.source,
        "licence": point.licence,
        "real images": scheme.real,
        "guarantee": guarantee.words if guarantee is not None else _without(first, real=scheme.real),
        "attackers": findings(folder, first.scheme, first.ipc, first.rounds),
        "test figures": figures,
        "preprocessing": None if point.preprocessing is None else Preprocessing.from_json(point.preprocessing).words(),
        "software": f"fedistill {__version__}",
    }


def _without(row: NetworkRow, *, real: bool) -> str:
    trained = "trained on real patients' images" if real or row.ipc is None else "trained on synthetic images"
    return f"None: {trained}, without a differential-privacy bound. What it leaks must be measured by attack."


def _point(frame: pd.DataFrame, plan: Any, number: int) -> pd.DataFrame:
    """Return a table's rows of one point of a sweep."""
    if not plan.sweep:
        return frame
    from fedistill.config.literals import written

    for name, value in plan.columns()[number].items():
        same = frame[name].map(lambda each: str(each)) if name in frame else None
        if same is not None:
            frame = frame[(same == str(value)) | (same == written(value)) | (frame[name] == value)]
    return frame


def _line(frame: pd.DataFrame, row: NetworkRow) -> pd.DataFrame:
    for name in KEYS:
        value = getattr(row, name)
        if name in frame:
            blank = frame[name].isna()
            frame = frame[blank if value in (None, "") else frame[name] == value]
    return frame


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else round(float(value), 6)


def card_text(model: ModelFile) -> str:
    """Return the model card in Markdown."""
    card = model.card
    lines = [
        f"# {card['what']}",
        "",
        f"- run: {card['run']}; scheme `{card['scheme']}`"
        + "".join(
            f", {name} {card[name]}"
            for name in ("ipc", "rounds", "seed", "site", "left_out")
            if card[name] not in (None, "")
        ),
        f"- sites: {', '.join(card['sites'])}",
        f"- data: {card['source']}" + (f"; licence: {card['licence']}" if card["licence"] else ""),
        f"- classes: {', '.join(model.class_names)}",
        f"- images: {card['preprocessing'] or 'as the data set has them; how they were made is not recorded'}",
        "",
        "## Test figures",
        "",
        "On the official test split, in %; the interval is that of the mean over all networks and seeds of the line.",
        "",
        "| | these networks | mean of the line | 95 % interval |",
        "|---|---|---|---|",
    ]
    for metric, of in card["test figures"].items():
        each = ", ".join(_percent(value) for value in of["of these networks"])
        low, high = of.get("95 % interval of the mean", (None, None))
        interval = f"{_percent(low)} to {_percent(high)}" if low is not None else ""
        lines.append(f"| {metric} | {each} | {_percent(of.get('mean of the line'))} | {interval} |")
    lines += [
        "",
        "## What protects the patients",
        "",
        card["guarantee"],
        "",
        *(f"- {line}" for line in card["attackers"]),
        "",
        "## Limits",
        "",
        "For research, not a medical device. The figures hold for images like those of the test split: of the same "
        "kind of device, patients and preparation. Probabilities are not calibrated. A class that no site held is "
        "never predicted rightly.",
    ]
    return "\n".join(lines) + "\n"


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.2f}"
