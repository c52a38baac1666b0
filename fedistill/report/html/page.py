"""report.html: one self-contained page on a run. No network, and it reads without its script.

Everything in it comes from the run folder, so it can be built anew at any time.
"""

from pathlib import Path

from fedistill.config.sweep import word
from fedistill.core.files import require_folder, write_atomic
from fedistill.report import tables
from fedistill.report.figures.frontier import leaks
from fedistill.report.figures.of_run import RunFigures, figures_of, save_figures
from fedistill.report.figures.pictures import class_rows, pictures
from fedistill.report.html import missing, sections, summary
from fedistill.report.html.render import MARK, PHANTOMS, render
from fedistill.report.run_data import RunData, read_run
from fedistill.study import Finished
from fedistill.study.tables.grids import shows_real


def write_report(finished: Finished) -> Path:
    """Write report.html and its figures into the run folder; return the page's path."""
    path = rebuild(finished.root)
    if finished.timing is not None:
        finished.timing.until_now().write(finished.root)
    return path


def rebuild(folder: Path) -> Path:
    """Write the report of what a run folder holds; return the page's path.

    Raises:
        RunFolderError: it is no finished run, or nothing can be written there.
    """
    run = read_run(folder)
    require_folder(run.folder, "The run folder")
    figures = figures_of(run)
    save_figures(run, figures)
    path = run.folder / "report.html"
    write_atomic(path, page(run, figures))
    return path


def page(run: RunData, figures: RunFigures | None = None) -> str:
    """Return report.html."""
    figures = figures_of(run) if figures is None else figures
    rows, more = pictures(run)
    sweep = [(chart, MARK if phantom else "") for phantom, chart in figures.sweep.items()]
    parts = {
        "holdings": tables.holdings(run),
        "sweep": sweep,
        "indicator": figures.indicator,
        "gains": figures.gains.panels,
        "site_table": tables.at_sites(run),
        "privacy": tables.privacy(run.privacy),
        "rows": rows,
        "curves": figures.curves,
    }
    return render(
        "run",
        **parts,
        figures=figures,
        name=run.name,
        folder=run.folder.name,
        dataset=" and ".join(run.datasets),
        banner=PHANTOMS if run.phantom else "",
        phantom=run.phantom,
        mark=MARK if run.phantom else "",
        about=_about(run),
        contents=_contents({name for name, part in parts.items() if part}),
        leaks=leaks(run),
        point=summary.first_point_words(run),
        answers=summary.answers(run),
        beside=summary.beside(run),
        failures=missing.failures(run),
        incidents=missing.incidents(run),
        gaps=missing.gaps(run),
        division=_division(run),
        repeats=run.plan.first.seeds,
        choice=_choice(run),
        quality=tables.quality(run),
        costs=tables.costs(run),
        sources=tables.by_source(run),
        adds=[line.replace(" -", " −") for line in tables.what_sites_add(run)],
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


def _contents(there: set[str]) -> list[tuple[str, str]]:
    """Return the sections that the page has, with their headings."""
    sections = [
        ("answer", "The answer", True),
        ("who", "Who held what", "holdings" in there),
        ("quality", "Quality", True),
        ("bytes", "What it costs", True),
        ("sweep", "Over the sweep", "sweep" in there),
        ("indicator", "What a random subset foretells", "indicator" in there),
        ("sites", "What each site gains", bool({"gains", "site_table"} & there)),
        ("privacy", "Privacy", "privacy" in there),
        ("images", "What left the sites", "rows" in there),
        ("curves", "How the images were made", "curves" in there),
        ("missing", "What is missing", True),
        ("repeat", "How to repeat it", True),
    ]
    return [(target, words) for target, words, is_there in sections if is_there]


def _about(run: RunData) -> list[tuple[str, str]]:
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


def _division(run: RunData) -> str:
    federation = run.plan.first.federation
    if run.environment.get("engine") == "superlink":
        return "Every site's own images: what they hold is not known here."
    if federation.dataset is None:
        return "Every site brings a data set of its own."
    rule = federation.partition.described()
    text = f"{run.dataset}, divided among {len(run.sites)} sites by the rule {word(rule)}."
    if run.swept or run.plan.first.partitions > 1:
        text += " Shown is the first division."
    return text


def _choice(run: RunData) -> str:
    """Return what figures are of, where the table has more."""
    parts = []
    if run.swept:
        parts.append("the sweep’s first point")
    for column, words in (("partition", "the first redraw"), ("recipe", "the common recipe"), ("model", "{}")):
        values = run.compared[column].dropna().unique()
        if len(values) > 1:
            parts.append(words.format(values[0]))
    return ", ".join(parts)


def _hidden(run: RunData) -> str:
    """Return why there are no real images."""
    simulation = run.plan.first
    if "random" not in simulation.scheme:
        return "the scheme random, which would send some, was not run"
    if not simulation.federation.policy.allow_real_images:
        return "the sites’ policy keeps them in (allow_real_images = false)"
    if not shows_real(simulation):
        return "they come from a file of somebody’s own, and the simulation does not keep real images"
    return "the run drew none"
