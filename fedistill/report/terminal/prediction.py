"""A prediction from random subsets in words for a terminal, and its figure."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape

from fedistill.report.figures.indicator import OF_PHANTOMS, draw_indicator
from fedistill.report.format import is_blank, percent
from fedistill.report.frames import METRICS, lines_of
from fedistill.report.table import Head
from fedistill.report.terminal.table import print_rows
from fedistill.study.feasibility.indicator import indicator
from fedistill.study.feasibility.predict import Prediction, left_out_table
from fedistill.study.feasibility.reference_runs import short


def draw_prediction(prediction: Prediction) -> Path:
    """Draw indicator.png into the run folder: what the prediction rests on, and the prediction as a star."""
    basis, path = prediction.basis, prediction.finished.root / "indicator.png"
    draw_indicator(basis.points, indicator(basis.points), path, predicted=prediction.table, name=basis.dataset)
    return path


def print_prediction(prediction: Prediction, console: Console) -> None:
    """Print the prediction as a table, how far off such predictions were, and what it rests on."""
    basis = prediction.basis
    console.print(f"[bold]{escape(short(basis.dataset))}[/] at ipc {basis.ipc}, foretold from random subsets alone:")
    heads = [Head("scheme", number=False), Head("metric", number=False), Head("random"), Head("predicted")]
    heads += [Head("95 % interval", folds=True), Head("off by"), Head("sets")]
    lines, rows = lines_of(prediction.table), []
    for line in lines:
        between = "too few sets" if is_blank(line["low"]) else f"{percent(line['low'])} to {percent(line['high'])}"
        cells = [line["scheme"], METRICS[line["metric"]], percent(line["random"]), percent(line["predicted"]), between]
        rows.append([*cells, percent(line["loo_error"]), str(line["n_sets"])])
    print_rows(console, heads, rows)
    sets = dict.fromkeys(basis.points["dataset"])
    console.print(f"It rests on {len(sets)} other sets: {', '.join(map(short, sets))}.", markup=False)
    console.print("All in %; off by: such predictions of these sets, each left out in turn, mean error.", style="dim")
    for sentence in evidence(basis.points):
        console.print(sentence, markup=False)
    for line in lines:
        if line["beyond"] is True:
            where = f"{line['scheme']} {METRICS[line['metric']]}: random reaches {percent(line['random'])}"
            console.print(f"{where}, beyond what those sets span: the line says little there.", markup=False)
    console.print(f"Their runs are of one kind: {basis.kind.words}.", markup=False, style="dim")
    for note in basis.notes:
        console.print(note, markup=False, style="dim")
    if basis.kind.phantom:
        console.print(OF_PHANTOMS)


def evidence(points: pd.DataFrame) -> list[str]:
    """Return a sentence for each scheme and metric on how well random images foretold its quality on the sets measured.

    Args:
        points: of one kind and budget, as `left_out_table` takes them.
    """
    missed, sentences = left_out_table(points), []
    for line in lines_of(indicator(points)):
        if line["metric"] not in METRICS or is_blank(line["loo_error"]):
            continue
        own = missed[(missed["scheme"] == line["scheme"]) & (missed["metric"] == line["metric"])]
        worst = own.loc[own["error"].abs().idxmax()]
        named = [_correlation(line, name) for name in ("pearson", "spearman")]
        sentences.append(
            f"{line['scheme']} {METRICS[line['metric']]} over {line['n_sets']} sets: {', '.join(named)}. "
            f"A set foretold from the others is missed by {percent(line['loo_error'])} points in the mean, by "
            f"{percent(abs(worst['error']))} at most ({short(worst['dataset'])}); the others' mean alone misses it by "
            f"{percent(line['loo_error_of_mean'])}."
        )
    return sentences


def _correlation(line: dict[str, Any], name: str) -> str:
    if is_blank(line[name]):
        return f"{name.capitalize()}'s r undefined"
    between = f" ({line[f'{name}_low']:.2f} to {line[f'{name}_high']:.2f})" if not is_blank(line[f"{name}_low"]) else ""
    return f"{name.capitalize()}'s r {line[name]:.2f}{between}"
