"""One page on several runs: what ran, what each reached, set beside one another.

Phantoms and real images never share a figure or a table: each has a part of the page of its own.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from fedistill.config import Plan, load_plan
from fedistill.config.sweep import word
from fedistill.core.files import require_folder, require_new_file, write_atomic
from fedistill.errors import RunFolderError, SettingError
from fedistill.report.figures.communication import budget_of
from fedistill.report.figures.indicator_svg import indicator_parts
from fedistill.report.figures.panels import horizontal, in_percent, legend, row_height
from fedistill.report.figures.style import Look, looks
from fedistill.report.figures.svg import Panel, panel
from fedistill.report.figures.sweep_svg import Part, drawn
from fedistill.report.html.render import MARK, PHANTOMS, render
from fedistill.report.html.tables import Cell, Grid, Head, plain, points_between
from fedistill.report.run_data import Recorded, read_recorded
from fedistill.report.terminal.table import lines_of, metric_of, size_of, swept, whole_pools
from fedistill.study.feasibility.run_metrics import points as indicator_points
from fedistill.study.feasibility.run_metrics import read_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GENERATOR = 'name="generator" content="FeDistill"'
"""What tells a page of ours from somebody's own file."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One run, or one point of its sweep.

    Args:
        run: the run's name on the page; point: what point it is, empty where nothing is swept.
        lines: of comparison.csv: first partition, common recipe, first model, whole pools, with ``majority``.
    """

    run: str
    point: str
    dataset: str
    phantom: bool
    lines: pd.DataFrame

    @property
    def title(self) -> str:
        return ", ".join(filter(None, (self.dataset, self.run, self.point)))


def compare(folders: Sequence[Path], out: Path) -> Path:
    """Write a page on several runs.

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
    """The page."""
    names = names_of(folders)
    runs: dict[str, Recorded] = {}
    unfinished: dict[str, Plan] = {}
    for name, folder in zip(names, folders, strict=True):
        try:
            runs[name] = read_recorded(folder)
        except RunFolderError:
            whole = all((folder / f"{name}.csv").is_file() for name in ("results", "comparison", "sites"))
            if whole or not (folder / "simulation.toml").is_file():
                raise  # damaged, which is not the same as not finished
            unfinished[name] = load_plan(str(folder / "simulation.toml"))
    pieces = [piece for name, run in runs.items() for piece in pieces_of(name, run)]
    found = looks(scheme for piece in pieces for scheme in piece.lines["scheme"] if scheme != "majority")
    notes: list[str] = []
    known = indicator_points(read_runs([run.folder for run in runs.values()], notes=notes))
    parts = []
    for phantom in (False, True):
        mine = [piece for piece in pieces if piece.phantom == phantom]
        if mine:
            kind = "phantom" if phantom else "real"
            parts.append(
                {
                    "kind": kind,
                    "title": "Phantoms" if phantom else "Real images",
                    "banner": PHANTOMS if phantom else "",
                    "mark": MARK if phantom else "",
                    "table": _table(mine, kind),
                    "figure": _figure(mine, found, kind, phantom),
                    "indicators": indicator_parts(known[known["phantom"] == phantom], kind),
                }
            )
    return render(
        "runs",
        runs=_runs(runs, unfinished),
        parts=parts,
        banner=PHANTOMS if pieces and all(piece.phantom for piece in pieces) else "",
        unfinished=[f"{name} is not finished: none of its results are here." for name in unfinished],
        notes=notes,
        count=len(folders),
    )


def names_of(folders: Sequence[Path]) -> list[str]:
    """Names that tell folders apart: their own, with as much of what is above them as that takes.

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


def pieces_of(name: str, run: Recorded) -> list[Piece]:
    """A run's points; the run itself where nothing is swept."""
    columns, frame = swept(run.compared), whole_pools(run.compared)
    pieces = []
    for point, values in zip(run.plan.points, run.plan.columns(), strict=True):
        lines = frame[frame["scheme"] != "majority"]
        for column in columns:
            lines = lines[[word_of(value) == word_of(values[column]) for value in lines[column]]]
        for column in ("partition", "recipe", "model"):
            if len(lines):
                lines = lines[lines[column] == lines[column].iloc[0]]
        federation = point.simulation.federation
        dataset = " + ".join(Path(each).name for each in federation.datasets())
        pieces.append(Piece(name, point.label, dataset, drawn(federation), lines))
    return pieces


def word_of(value: object) -> str:
    """A swept value as any table may have it.

    >>> word_of(1), word_of(1.0), word_of("1"), word_of(True), word_of("iid")
    ('1', '1', '1', 'true', 'iid')
    """
    return word(value) if not isinstance(value, str) else str(value)


def _runs(runs: Mapping[str, Recorded], unfinished: Mapping[str, Plan]) -> Grid:
    words = ("Run", "Simulation", "Data", "Images", "Federation", "Divided by")
    heads = [*(Head(each, number=False) for each in words), Head("Sites"), Head("Points"), Head("ipc", number=False)]
    heads += [Head("Networks"), Head("Repeats"), Head("Redraws"), Head("State", number=False)]
    rows = []
    plans = {name: run.plan for name, run in runs.items()} | dict(unfinished)
    for name, plan in plans.items():
        simulation = plan.first
        sets = list(dict.fromkeys(Path(s).name for p in plan.points for s in p.simulation.federation.datasets()))
        kinds = {drawn(point.simulation.federation) for point in plan.points}
        rule = simulation.federation.partition.described()
        own = simulation.federation.dataset is None
        rows.append(
            [
                Cell(name),
                Cell(plan.name),
                Cell(", ".join(sets)),
                Cell("both" if len(kinds) > 1 else "phantoms" if kinds == {True} else "real"),
                Cell(simulation.federation.name),
                Cell("each its own set" if own else word(rule)),
                _count(len(simulation.federation.sites)),
                _count(len(plan.points)),
                Cell(", ".join(map(str, simulation.ipc))),
                _count(simulation.networks),
                _count(simulation.seeds),
                _count(simulation.partitions),
                Cell("finished" if name in runs else "not finished"),
            ]
        )
    return Grid("runs-table", "The runs", heads, rows)


def _count(number: int) -> Cell:
    return Cell(str(number), number)


def _table(pieces: Sequence[Piece], kind: str) -> Grid:
    points = any(piece.point for piece in pieces)
    words = ["Data", "Run", *(["Point"] if points else []), "Scheme"]
    heads = [*(Head(each, number=False) for each in words), Head("ipc"), Head("Rounds")]
    heads += [Head("AUC"), Head("Balanced accuracy"), Head("Accuracy")]
    heads += [Head("AUC less random’s", "95 % interval, in points"), Head("Bytes", "both ways, for one network")]
    rows = []
    for piece in pieces:
        for line in lines_of(piece.lines):
            cells = [Cell(piece.dataset), Cell(piece.run), *([Cell(piece.point)] if points else [])]
            cells += [Cell(str(line["scheme"])), plain(line, "ipc"), plain(line, "rounds")]
            cells += [Cell(metric_of(line, m), line[m]) for m in ("auc", "balanced_accuracy", "accuracy")]
            total = line["bytes_up"] + line["bytes_down"]
            cells += [points_between(line, "auc"), Cell("" if pd.isna(total) else size_of(total), total)]
            rows.append(cells)
    return Grid(f"{kind}-table", "What each run reached on the official test split, in %", heads, rows)


def _figure(pieces: Sequence[Piece], found: Mapping[str, Look], kind: str, phantom: bool) -> Part:
    """A panel a run or point: AUC of each scheme at its largest budget, all on one scale."""
    tops = [in_percent(piece.lines).drop_duplicates("scheme", keep="last").dropna(subset=["auc"]) for piece in pieces]
    ends = pd.concat([pd.concat([top["auc"] - top["auc_spread"], top["auc"] + top["auc_spread"]]) for top in tops])
    room = 0.05 * max(1.0, float(ends.max() - ends.min()))
    limits = (float(ends.min()) - room, float(ends.max()) + room)
    panels = [
        _panel(f"{kind}-{number}", piece.title, top, found, limits)
        for number, (piece, top) in enumerate(zip(pieces, tops, strict=True))
    ]
    caption = (
        "AUC on the test split, each scheme at its largest budget; bars are one standard deviation. One scale for all."
    )
    return Part(panels, caption, legend(found, pd.concat(tops)["scheme"]), MARK if phantom else "")


def _panel(name: str, title: str, top: pd.DataFrame, found: Mapping[str, Look], limits: tuple[float, float]) -> Panel:
    lines = lines_of(top)
    names = [" ".join(filter(None, (str(line["scheme"]), budget_of(line)))) for line in lines]

    def draw(axis: "Axes") -> None:
        for row, line in enumerate(lines):
            look = found[line["scheme"]]
            axis.errorbar(
                [line["auc"]],
                [row],
                xerr=[line["auc_spread"]],
                fmt=look.marker,
                color=look.colour,
                markerfacecolor=look.face,
                markersize=4.5,
                elinewidth=1.2,
            )
        horizontal(axis, names, "AUC, %")
        axis.set_xlim(*limits)

    told = "; ".join(f"{who} {line['auc']:.1f} %" for who, line in zip(names, lines, strict=True))
    return panel(name, title, f"AUC on the test split of {title}: {told}.", draw, height=row_height(len(names)))
