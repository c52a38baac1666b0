"""report.html: one self-contained page on a run. No network, and it reads without its script.

Everything in it comes from the run folder, so it can be built anew at any time.
"""

from pathlib import Path
from typing import Any

from fedistill.config.sweep import word
from fedistill.core.files import require_folder, write_atomic
from fedistill.report.figures import panels
from fedistill.report.figures.communication import draw_communication
from fedistill.report.figures.curves import distillation_panels, expert_panels, round_panels, site_colours
from fedistill.report.figures.figure import draw_comparison
from fedistill.report.figures.frontier import draw_frontier, frontier, leaks
from fedistill.report.figures.gains import gains
from fedistill.report.figures.indicator import write_indicators
from fedistill.report.figures.indicator_svg import indicator_parts
from fedistill.report.figures.pictures import class_rows, pictures
from fedistill.report.figures.roc import roc_panels
from fedistill.report.figures.style import Look, looks
from fedistill.report.figures.sweep import draw_sweep
from fedistill.report.figures.sweep_svg import Part, over_points
from fedistill.report.html import missing, sections
from fedistill.report.html import summary as answer
from fedistill.report.html import tables as cells
from fedistill.report.html.render import MARK, PHANTOMS, render
from fedistill.report.run_data import Recorded, read_recorded
from fedistill.report.terminal.table import first_point, swept, what_sites_add, whole_pools
from fedistill.study import Finished
from fedistill.study.feasibility.indicator import FEWEST
from fedistill.study.feasibility.run_metrics import points, read_runs
from fedistill.study.tables.grids import shows_real


def write_report(finished: Finished) -> Path:
    """Write report.html and its figures into the run folder."""
    path = rebuild(finished.root)
    if finished.timing is not None:
        finished.timing.until_now().write(finished.root)
    return path


def rebuild(folder: Path) -> Path:
    """The report of what a run folder holds.

    Raises:
        RunFolderError: it is no finished run, or nothing can be written there.
    """
    run = read_recorded(folder)
    require_folder(run.folder, "The run folder")
    first = first_point(run.compared)
    if swept(run.compared):
        draw_sweep(run.compared, run.dataset, run.folder / "sweep.png")
    draw_comparison(first, run.dataset, run.folder / "comparison.png")
    draw_communication(whole_pools(first), run.dataset, run.folder / "communication.png")
    draw_frontier(run, run.folder / "frontier.png")
    if known_sets(run) >= FEWEST:
        write_indicators([run.folder], run.folder)
    path = run.folder / "report.html"
    write_atomic(path, page(run))
    return path


def page(run: Recorded) -> str:
    """report.html."""
    found = looks(run.compared["scheme"])
    shown, mark = run.shown, MARK if run.phantom else ""
    rows, more = pictures(run)
    made: dict[str, Any] = {
        "difference": panels.over_random(run, found),
        "holdings": cells.holdings(run),
        "ipc": panels.by_ipc(run, found),
        "bytes": panels.by_bytes(run, found),
        "sweep": over_points(run, found),
        "indicator": _indicators(run),
        "gains": gains(run, found),
        "site_table": cells.at_sites(run),
        "frontier": [*frontier(run, found), *roc_panels(run, found)],
        "privacy": cells.privacy(run),
        "curves": _curves(run, found),
        "rows": rows,
    }
    with_bytes = shown[(shown["bytes_up"] + shown["bytes_down"]) > 0]
    return render(
        "run",
        **made,
        name=run.name,
        folder=run.folder.name,
        dataset=" and ".join(run.datasets),
        banner=PHANTOMS if run.phantom else "",
        phantom=run.phantom,
        mark=mark,
        about=_about(run),
        contents=_contents(made),
        leaks=leaks(run),
        point=answer.first_point_words(run),
        answers=answer.answers(run),
        beside=answer.beside(run),
        failures=missing.failures(run),
        incidents=missing.incidents(run),
        gaps=missing.gaps(run),
        division=_division(run),
        repeats=run.plan.first.seeds,
        choice=_choice(run),
        quality=cells.quality(run),
        costs=cells.costs(run),
        sources=cells.by_source(run),
        adds=[line.replace(" -", " −") for line in what_sites_add(run.compared)],
        legends={
            "ipc": panels.legend(found, shown.loc[shown["ipc"].notna(), "scheme"]),
            "bytes": panels.legend(found, with_bytes["scheme"]),
            "frontier": panels.legend(found, run.privacy["scheme"] if len(run.privacy) else ()),
        },
        classes=class_rows(run),
        shows_real=any(each.real for row in rows for each in row.pictures),
        hidden=_hidden(run),
        more=more,
        command=sections.command(run),
        data=sections.data(run),
        machine=sections.machine(run),
        versions=sections.versions(run),
        settings=run.text,
    )


def known_sets(run: Recorded) -> int:
    """Data sets that the points of a sweep have to themselves."""
    return len({point.simulation.federation.dataset for point in run.plan.points} - {None})


def _indicators(run: Recorded) -> list[Part]:
    """Whether random subsets foretell distilled images, over the sets of a sweep; phantoms and real images apart."""
    if known_sets(run) < FEWEST:
        return []
    known = points(read_runs([run.folder], notes=[]))
    return [
        part
        for phantom in (False, True)
        for part in indicator_parts(known[known["phantom"] == phantom], "phantom" if phantom else "real")
    ]


def _contents(made: dict[str, Any]) -> list[tuple[str, str]]:
    """The sections that the page has."""
    sections = [
        ("answer", "The answer", True),
        ("who", "Who held what", made["holdings"]),
        ("quality", "Quality", True),
        ("bytes", "What it costs", True),
        ("sweep", "Over the sweep", made["sweep"]),
        ("indicator", "What a random subset foretells", made["indicator"]),
        ("sites", "What each site gains", made["gains"] or made["site_table"]),
        ("privacy", "Privacy", made["privacy"]),
        ("images", "What left the sites", made["rows"]),
        ("curves", "How the images were made", made["curves"]),
        ("missing", "What is missing", True),
        ("repeat", "How to repeat it", True),
    ]
    return [(target, words) for target, words, there in sections if there]


def _about(run: Recorded) -> list[tuple[str, str]]:
    simulation = run.plan.first
    repeats = [f"{simulation.networks} networks each"]
    repeats += [f"{simulation.seeds} repeats"] * (simulation.seeds > 1)
    repeats += [f"{simulation.partitions} redraws of who holds what"] * (simulation.partitions > 1)
    pairs = [
        ("Data", ", ".join(run.datasets)),
        ("Sites", f"{len(run.sites)}: {', '.join(run.sites)}" if len(run.sites) <= 12 else str(len(run.sites))),
        ("Schemes", ", ".join(simulation.scheme)),
        ("Images per class", ", ".join(map(str, simulation.ipc))),
        ("Networks", f"{', '.join(simulation.models)} of width {simulation.width}; {', '.join(repeats)}"),
        ("Sweep", ", ".join(run.plan.sweep)),
        ("Finished", sections.ended(run)),
    ]
    return [(name, value) for name, value in pairs if value]


def _division(run: Recorded) -> str:
    federation = run.plan.first.federation
    if run.environment.get("engine") == "superlink":
        return "Every site's own images: what they hold is not known here."
    if federation.dataset is None:
        return "Every site brings a data set of its own."
    rule = federation.partition.described()
    text = f"{run.dataset}, divided among {len(run.sites)} sites by the rule {word(rule)}."
    if swept(run.compared) or run.plan.first.partitions > 1:
        text += " Shown is the first division."
    return text


def _choice(run: Recorded) -> str:
    """What figures are of, where the table has more."""
    parts = []
    if swept(run.compared):
        parts.append("the sweep’s first point")
    for column, words in (("partition", "the first redraw"), ("recipe", "the common recipe"), ("model", "{}")):
        values = run.compared[column].dropna().unique()
        if len(values) > 1:
            parts.append(words.format(values[0]))
    return ", ".join(parts)


def _hidden(run: Recorded) -> str:
    """Why there are no real images."""
    simulation = run.plan.first
    if "random" not in simulation.scheme:
        return "the scheme random, which would send some, was not run"
    if not simulation.federation.policy.allow_real_images:
        return "the sites’ policy keeps them in (allow_real_images = false)"
    if not shows_real(simulation):
        return "they come from a file of somebody’s own, and the simulation does not keep real images"
    return "the run drew none"


def _curves(run: Recorded, found: panels.Looks) -> list[Part]:
    by_site = [(site, Look(colour, "o")) for site, colour in site_colours(run).items()]
    few = len({look.colour for _, look in by_site}) > 1
    site_legend = by_site if few else ()
    lines = "a line a site" + ("" if few else ", all in one colour: there are many")
    parts = [
        Part(
            distillation_panels(run),
            "Distillation at each method’s largest budget: quality on the site’s own validation images, and the loss "
            f"that it makes small; {lines}. Sites with too few validation images look at none.",
            site_legend,
        ),
        Part(expert_panels(run), f"Networks that the method learns from, trained at the sites; {lines}.", site_legend),
        Part(round_panels(run, found), "Federated training on the official test split, mean over networks."),
    ]
    return [part for part in parts if part.panels]
