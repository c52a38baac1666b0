"""Commands for a hospital's own data: import a folder or table into a data set, and check one."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fedistill.cli import options
from fedistill.cli.as_json import Json, print_json


def import_(
    source: Annotated[Path, typer.Argument(metavar="FOLDER|TABLE", help="Folders by class; or CSV, Excel, Parquet.")],
    out: Annotated[Path, typer.Option(help="The data set to write: a path that ends in .npz.")],
    size: Annotated[int, typer.Option(help="Height and width in pixels: 28, 64, 128 or 224.")] = 28,
    fit: Annotated[
        str | None, typer.Option(help="crop or pad: how a picture becomes a square. Needed unless all are one square.")
    ] = None,
    colour: Annotated[str, typer.Option(help="auto, grey or rgb.")] = "auto",
    intensity: Annotated[
        str, typer.Option(help="What becomes black and white: auto, percentile, window or full.")
    ] = "auto",
    window: Annotated[
        str | None, typer.Option(metavar="CENTRE,WIDTH", help="One window for all, such as 40,400 for CT.")
    ] = None,
    frames: Annotated[
        str, typer.Option(help="Of a file with several pictures: middle, all, or a number of them.")
    ] = "middle",
    image_column: Annotated[str, typer.Option(help="Of a table: the column of paths.")] = "image",
    label_column: Annotated[
        list[str] | None, typer.Option(help="The column of classes; several times for columns of 0 and 1.")
    ] = None,
    patient_column: Annotated[str | None, typer.Option(help="Default: patient, if there is one.")] = None,
    split_column: Annotated[str | None, typer.Option(help="Default: split, if there is one.")] = None,
    site_column: Annotated[str | None, typer.Option(help="Default: site, if there is one; a file for each.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder that a table's paths start from. Default: its own.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Classes in the order of their labels, the same everywhere.")
    ] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="A class to leave out; several times.")] = None,
    split: Annotated[
        str, typer.Option(metavar="TRAIN/VAL/TEST", help="Parts of the splits that are drawn.")
    ] = "70/10/20",
    new_splits: Annotated[bool, typer.Option("--new-splits", help="Draw splits though some are given.")] = False,
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 0,
    skip: Annotated[
        float | None, typer.Option(help="Share of files that may be unreadable, such as 0.05. Default: 0.01.")
    ] = None,
    salt: Annotated[
        Path | None, typer.Option(help="File of the hospital's salt. Default: ~/.config/fedistill/patients.salt.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that read. Default: all cores.")] = None,
    as_json: Json = False,
) -> None:
    """Turn folders by class, or a table of paths and labels, into a data set: PNG, JPEG, TIFF, DICOM, NIfTI.

    Writes the data set, a card of what was read and skipped, and a contact sheet to look at.
    """
    from fedistill.importing.listing.tables import Columns
    from fedistill.importing.preprocessing import Preprocessing
    from fedistill.importing.run_import import import_images
    from fedistill.importing.settings import ImportSettings
    from fedistill.importing.words import channels_named, frames_named, shares_named, window_named

    settings = ImportSettings(
        preprocessing=Preprocessing(
            size=size,
            fit=fit,
            channels=channels_named(colour),
            intensity="window" if window is not None and intensity == "auto" else intensity,
            window=window_named(window),
            frames=frames_named(frames),
        ),
        columns=Columns(image_column, tuple(label_column or ("label",)), patient_column, split_column, site_column),
        images=images,
        classes=[name.strip() for name in classes.split(",")] if classes else (),
        leave_out=leave_out or (),
        shares=shares_named(split),
        new_splits=new_splits,
        seed=seed,
        skip=skip,
        salt=salt,
        threads=threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else threads or 1,
    )
    with progress_bar() as on_progress:
        cards = import_images(source, out, settings, on_progress=on_progress)
    if as_json:
        print_json([card.to_json() for card in cards])
        return
    from fedistill.report.terminal.data import print_card

    for card in cards:
        print_card(card, options.console)


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="A data set.")],
    as_json: Json = False,
) -> None:
    """Say what a data set holds and what would go wrong with it, before a night is spent. Exits with 2 if something."""
    from fedistill.importing.check import check_file

    result = check_file(file)
    if as_json:
        print_json(result.to_json())
    else:
        from fedistill.report.terminal.data import print_check

        print_check(result, options.console)
    if result.problems:
        raise typer.Exit(2)


class progress_bar:
    """A progress bar while images are read; where there is no terminal, nothing."""

    def __enter__(self) -> Any:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=options.errors,
            transient=True,
            disable=not options.errors.is_terminal,
        )
        self._progress.start()
        self._task: Any = None
        self._what = ""
        return self._update

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def _update(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task, self._what = self._progress.add_task(what, total=total), what
        self._progress.update(self._task, completed=done, total=total)


def add_to(cli: typer.Typer) -> None:
    """Put the commands into the command line."""
    cli.command("import")(import_)
    cli.command()(check)
