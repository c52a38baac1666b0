"""The page on several runs: what ran, what each reached, set beside one another.

Phantoms and real images never share a figure or a table: each has a part of the page of its own.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fedistill.config import Plan, load_plan
from fedistill.config.sweep import word
from fedistill.core.files import require_folder, require_new_file, write_atomic
from fedistill.errors import RunFolderError, SettingError
from fedistill.report import tables
from fedistill.report.figures.indicator import indicator_charts
from fedistill.report.figures.palette import Looks, legend, looks
from fedistill.report.figures.panel import Chart
from fedistill.report.figures.quality import by_condition
from fedistill.report.format import size
from fedistill.report.frames import at_largest, first_of, in_percent, lines_of, schemes
from fedistill.report.html.render import MARK, PHANTOMS, render
from fedistill.report.run_data import TABLES, RunData, is_phantom, points_of, read_run
from fedistill.report.table import Column, Table
from fedistill.study.feasibility.run_metrics import points as indicator_points
from fedistill.study.feasibility.run_metrics import read_runs

GENERATOR = 'name="generator" content="FeDistill"'
"""Tells a page of ours from somebody's own file."""

NEEDED = ("rows", "compared", "by_site")
"""Tables without which a run is not finished; see `run_data.TABLES`."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A run, or a point of its sweep.

    Args:
        run: the run's name on the page; point: what point it is, empty where nothing is swept.
        lines: of comparison.csv: first partition, common recipe, first model, whole pools, without ``majority``.
    """

    run: str
    point: str
    dataset: str
    phantom: bool
    lines: pd.DataFrame

    @property
    def title(self) -> str:
        """Return data set, run and point in words."""
        return ", ".join(filter(None, (self.dataset, self.run, self.point)))


def compare(folders: Sequence[Path], out: Path) -> Path:
    """Write a page on several runs; return its path.

    Raises:
        SettingError: one folder is named twice.
        RunFolderError: a folder is no run, or ``out`` is somebody's own file.
    """
    whole = [folder.resolve() for folder in folders]
    twice = [str(folder) for folder in whole if whole.count(folder) > 1]
    if twice:
        raise SettingError(f"{twice[0]} is named twice: a run is not compared with itself.")
    if not os.path.lexists(out):
        require_new_file(out, "--out")
    elif not out.is_file() or GENERATOR not in out.read_text(encoding="utf-8", errors="replace"):
        raise RunFolderError(f"{out} is there already, and no report of FeDistill.", mend="choose another --out")
    else:
        require_folder(out.resolve().parent, "The folder of --out,")
    write_atomic(out.resolve(), page(whole))
    return out.resolve()


def page(folders: Sequence[Path]) -> str:
    """Return the page."""
    runs: dict[str, RunData] = {}
    unfinished: dict[str, Plan] = {}
    for name, folder in zip(names_of(folders), folders, strict=True):
        try:
            runs[name] = read_run(folder)
        except RunFolderError:
            whole = all((folder / f"{TABLES[table]}.csv").is_file() for table in NEEDED)
            if whole or not (folder / "simulation.toml").is_file():
                raise  # damaged, which is not the same as not finished
            unfinished[name] = load_plan(str(folder / "simulation.toml"))
    pieces = [piece for name, run in runs.items() for piece in pieces_of(name, run)]
    known = looks(scheme for piece in pieces for scheme in piece.lines["scheme"])
    notes: list[str] = []
    measured = indicator_points(read_runs([run.folder for run in runs.values()], notes=notes))
    parts = []
    for phantom in (False, True):
        own = [piece for piece in pieces if piece.phantom == phantom]
        if own:
            kind = "phantom" if phantom else "real"
            parts.append(
                {
                    "kind": kind,
                    "title": "Phantoms" if phantom else "Real images",
                    "banner": PHANTOMS if phantom else "",
                    "mark": MARK if phantom else "",
                    "table": _table(own, kind),
                    "figure": _figure(own, known, kind),
                    "indicators": indicator_charts(measured[measured["phantom"] == phantom], kind),
                }
            )
    return render(
        "runs",
        runs=_runs({name: run.plan for name, run in runs.items()}, unfinished),
        parts=parts,
        banner=PHANTOMS if pieces and all(piece.phantom for piece in pieces) else "",
        unfinished=[f"{name} is not finished: none of its results are here." for name in unfinished],
        notes=notes,
        count=len(folders),
    )


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return names that tell folders apart: their own, with as much of what is above them as that takes.

    >>> names_of([Path("/runs/a"), Path("/runs/b"), Path("/old/b")])
    ['a', 'runs/b', 'old/b']
    """
    names = []
    for folder in folders:
        for depth in range(1, len(folder.parts) + 1):
            name = "/".join(folder.parts[-depth:])
            if sum("/".join(other.parts[-depth:]) == name for other in folders) == 1:
                break
        names.append(name)
    return names


def pieces_of(name: str, run: RunData) -> list[Piece]:
    """Return a run's points; the run itself where nothing is swept."""
    pieces = []
    for point, values in zip(run.plan.points, points_of(run), strict=True):
        lines = schemes(run.whole)
        for column, value in zip(run.swept, values, strict=True):
            lines = lines[lines[column] == value]
        federation = point.simulation.federation
        dataset = " + ".join(Path(each).name for each in federation.datasets())
        pieces.append(Piece(name, point.label, dataset, is_phantom(federation), first_of(lines)))
    return pieces


def _runs(finished: Mapping[str, Plan], unfinished: Mapping[str, Plan]) -> Table:
    words = ("Run", "Simulation", "Data", "Images", "Federation", "Divided by")
    numbers = ("Sites", "Points", "Networks", "Repeats", "Redraws")
    columns = [
        *map(_words, words),
        *map(_count, numbers[:2]),
        _words("ipc"),
        *map(_count, numbers[2:]),
        _words("State"),
    ]
    lines = []
    for name, plan in {**finished, **unfinished}.items():
        simulation = plan.first
        sets = list(dict.fromkeys(Path(s).name for p in plan.points for s in p.simulation.federation.datasets()))
        kinds = {is_phantom(point.simulation.federation) for point in plan.points}
        own = simulation.federation.dataset is None
        line: dict[str, Any] = {
            "Run": name,
            "Simulation": plan.name,
            "Data": ", ".join(sets),
            "Images": "both" if len(kinds) > 1 else "phantoms" if kinds == {True} else "real",
            "Federation": simulation.federation.name,
            "Divided by": "each its own set" if own else word(simulation.federation.partition.described()),
            "Sites": len(simulation.federation.sites),
            "Points": len(plan.points),
            "ipc": ", ".join(map(str, simulation.ipc)),
            "Networks": simulation.networks,
            "Repeats": simulation.seeds,
            "Redraws": simulation.partitions,
            "State": "finished" if name in finished else "not finished",
        }
        lines.append(line)
    return tables.build("runs-table", "The runs", columns, lines)


def _words(name: str) -> Column:
    return tables.text(name, name)


def _count(name: str) -> Column:
    return tables.number(name, name)


def _table(pieces: Sequence[Piece], kind: str) -> Table:
    about = ["Data", "Run", *(["Point"] if any(piece.point for piece in pieces) else [])]
    columns = [
        *map(_words, about),
        tables.text("Scheme", "scheme"),
        tables.IPC,
        tables.ROUNDS,
        tables.metric("AUC", "auc"),
        tables.metric("Balanced accuracy", "balanced_accuracy"),
        tables.metric("Accuracy", "accuracy"),
        tables.difference("AUC", "auc"),
        tables.number("Bytes", "bytes", size, means="both ways, for one network"),
    ]
    lines = [
        {**line, "Data": piece.dataset, "Run": piece.run, "Point": piece.point}
        for piece in pieces
        for line in lines_of(piece.lines.assign(bytes=piece.lines["bytes_up"] + piece.lines["bytes_down"]))
    ]
    return tables.build(f"{kind}-table", "What each run reached on the official test split, in %", columns, lines)


def _figure(pieces: Sequence[Piece], known: Looks, kind: str) -> Chart:
    """Return a panel a run or point: AUC of each scheme at its largest budget, all on one scale."""
    tops = [at_largest(in_percent(piece.lines)).dropna(subset=["auc"]) for piece in pieces]
    whole = pd.concat(tops)
    low, high = (whole["auc"] - whole["auc_spread"]).min(), (whole["auc"] + whole["auc_spread"]).max()
    room = 0.05 * max(1.0, float(high - low))
    panels = [
        by_condition(f"{kind}-{number}", piece.title, top, known, (float(low) - room, float(high) + room))
        for number, (piece, top) in enumerate(zip(pieces, tops, strict=True))
    ]
    caption = (
        "AUC on the test split, each scheme at its largest budget; bars are one standard deviation. One scale for all."
    )
    return Chart(panels, caption, legend(known, whole["scheme"]))
