"""A prediction from random subsets in words for a terminal, and its figure."""

from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedistill.report.figures.indicator import NAMES, PHANTOMS, draw_indicator
from fedistill.study.feasibility.indicator import indicator
from fedistill.study.feasibility.predict import Prediction
from fedistill.study.feasibility.reference_runs import short


def draw_prediction(prediction: Prediction) -> Path:
    """Draw indicator.png into the run folder: what the prediction rests on, and the prediction as a star."""
    basis, path = prediction.basis, prediction.finished.root / "indicator.png"
    draw_indicator(basis.points, indicator(basis.points), path, predicted=prediction.table, name=basis.dataset)
    return path


def print_prediction(prediction: Prediction, console: Console) -> None:
    """The prediction as a table, how far off such predictions were, and what it rests on."""
    basis = prediction.basis
    console.print(f"[bold]{escape(short(basis.dataset))}[/] at ipc {basis.ipc}, foretold from random subsets alone:")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("scheme", "metric"):
        table.add_column(name, no_wrap=True)
    for name in ("random", "predicted", "95 % interval", "off by", "sets"):
        table.add_column(name, justify="right")
    lines = prediction.table.to_dict("records")
    for line in lines:
        between = "too few sets" if pd.isna(line["low"]) else f"{_percent(line['low'])} to {_percent(line['high'])}"
        cells = [line["scheme"], NAMES[line["metric"]], _percent(line["random"]), _percent(line["predicted"]), between]
        table.add_row(*map(escape, cells), _percent(line["loo_error"]), str(line["n_sets"]))
    console.print(table)
    sets = dict.fromkeys(basis.points["dataset"])
    console.print(f"It rests on {len(sets)} other sets: {', '.join(map(short, sets))}.", markup=False)
    console.print("All in %; off by: such predictions of these sets, each left out in turn, mean error.", style="dim")
    for line in lines:
        if line["beyond"] is True:
            where = f"{line['scheme']} {NAMES[line['metric']]}: random reaches {_percent(line['random'])}"
            console.print(f"{where}, beyond what those sets span: the line says little there.", markup=False)
    console.print(f"Their runs are of one kind: {basis.kind.words}.", markup=False, style="dim")
    for note in basis.notes:
        console.print(note, markup=False, style="dim")
    if basis.kind.phantom:
        console.print(PHANTOMS)


def _percent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.1f}"
