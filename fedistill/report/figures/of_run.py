"""The figures of a run, each once: the page shows them, and those that people cut out are saved as PNG as well."""

from dataclasses import dataclass

import pandas as pd

from fedistill.report.figures.curves import distillation_panels, expert_panels, round_panels, site_colours
from fedistill.report.figures.frontier import frontier, roc_panels
from fedistill.report.figures.indicator import indicator_charts, write_indicators
from fedistill.report.figures.palette import Look, Looks, legend, looks
from fedistill.report.figures.panel import Chart, save_png
from fedistill.report.figures.quality import by_bytes, by_ipc, gains, over_random
from fedistill.report.figures.sweep import over_points
from fedistill.report.frames import at_largest, first_of, schemes, whole_pools
from fedistill.report.run_data import RunData, is_phantom, points_of
from fedistill.study.feasibility.indicator import FEWEST
from fedistill.study.feasibility.run_metrics import points, read_runs


@dataclass(frozen=True)
class RunFigures:
    """The figures of a run, by what they show; those without panels were not measured.

    Args:
        sweep: by whether their points are phantoms.
        frontier: what networks are worth against what attacks find; roc: the attacks' curves.
    """

    difference: Chart
    ipc: Chart
    bytes: Chart
    sweep: dict[bool, Chart]
    indicator: list[Chart]
    gains: Chart
    frontier: Chart
    roc: Chart
    curves: list[Chart]


def figures_of(run: RunData) -> RunFigures:
    """Return the figures of a run."""
    known, shown = looks(schemes(run.compared)["scheme"]), run.shown
    in_bytes = shown[(shown["bytes_up"] + shown["bytes_down"]) > 0]
    attacked = legend(known, run.privacy["scheme"] if len(run.privacy) else ())
    return RunFigures(
        difference=Chart(over_random(shown, known)),
        ipc=Chart(by_ipc(shown, run.majority, known), legend=legend(known, shown.loc[shown["ipc"].notna(), "scheme"])),
        bytes=Chart(by_bytes(shown, run.majority, known), legend=legend(known, in_bytes["scheme"])),
        sweep=_sweep(run, known),
        indicator=_indicator(run),
        gains=Chart(gains(_gained(run), known)),
        frontier=Chart(frontier(run, known), legend=attacked),
        roc=Chart(roc_panels(run, known), legend=attacked),
        curves=_curves(run, known),
    )


def save_figures(run: RunData, figures: RunFigures) -> None:
    """Write the figures into the run folder, each where there is anything to draw.

    They are comparison.png, communication.png, sweep.png, frontier.png and those of the indicator.
    """
    headings = {
        "comparison": ("global networks trained on what the hospitals share", figures.ipc),
        "communication": ("what quality costs in communication", figures.bytes),
        "frontier": (
            "what the networks are worth, and what the hospital sends tells of its patients",
            figures.frontier,
        ),
    }
    for name, (words, chart) in headings.items():
        save_png(run.folder / f"{name}.png", _heading(run.dataset, words, run.phantom), chart.panels, chart.legend)
    for phantom, chart in figures.sweep.items():
        both = "-phantom" if phantom and len(figures.sweep) > 1 else ""
        heading = _heading(run.name, "over the points of the sweep", phantom)
        save_png(run.folder / f"sweep{both}.png", heading, chart.panels, chart.legend)
    if figures.indicator:
        write_indicators([run.folder], run.folder)


def _heading(name: str, words: str, phantom: bool) -> str:
    return f"{name}: {words}{' (phantoms)' if phantom else ''}"


def _sweep(run: RunData, known: Looks) -> dict[bool, Chart]:
    """Return the figures of a sweep: phantoms and real images never share one."""
    if not run.swept:
        return {}
    drawn: dict[bool, list[tuple[str, ...]]] = {}
    for point, values in zip(run.plan.points, points_of(run), strict=True):
        drawn.setdefault(is_phantom(point.simulation.federation), []).append(values)
    return {
        phantom: over_points(run.compared, drawn[phantom], known, name=f"sweep-{'phantom' if phantom else 'real'}")
        for phantom in sorted(drawn)
    }


def _indicator(run: RunData) -> list[Chart]:
    """Return the indicator's figures over the sets of a sweep, phantoms and real images apart."""
    if len({point.simulation.federation.dataset for point in run.plan.points} - {None}) < FEWEST:
        return []
    known = points(read_runs([run.folder], notes=[]))
    return [
        chart
        for phantom in (False, True)
        for chart in indicator_charts(known[known["phantom"] == phantom], "phantom" if phantom else "real")
    ]


def _gained(run: RunData) -> pd.DataFrame:
    """Return ``scheme, ipc, rounds, site, gain_auc``, mean over seeds: of each scheme its largest budget."""
    frame = run.at_first_point(run.by_site)
    if "gain_auc" not in frame:
        return pd.DataFrame()
    frame = at_largest(first_of(whole_pools(frame[frame["gain_auc"].notna()])))
    keys = ["scheme", "ipc", "rounds", "site"]
    return frame.groupby(keys, sort=False, dropna=False)["gain_auc"].mean().reset_index()


def _curves(run: RunData, known: Looks) -> list[Chart]:
    by_site = [(site, Look(colour, "o")) for site, colour in site_colours(run).items()]
    few = len({look.colour for _, look in by_site}) > 1
    lines = "a line a site" + ("" if few else ", all in one colour: there are many")
    charts = [
        Chart(
            distillation_panels(run),
            "Distillation at each method’s largest budget: quality on the site’s own validation images, and the loss "
            f"that it makes small; {lines}. Sites with too few validation images look at none.",
            by_site if few else (),
        ),
        Chart(
            expert_panels(run),
            f"Networks that the method learns from, trained at the sites; {lines}.",
            by_site if few else (),
        ),
        Chart(round_panels(run, known), "Federated training on the official test split, mean over networks."),
    ]
    return [chart for chart in charts if chart.panels]
