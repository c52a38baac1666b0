"""The options that commands share, and the consoles they print to."""

from pathlib import Path
from typing import IO, Annotated, cast

import typer
from rich.console import Console
from rich.markup import escape

from fedistill.cli.screen import Lasting

console = Console(file=cast(IO[str], Lasting("stdout")), highlight=False)
errors = Console(file=cast(IO[str], Lasting("stderr")), highlight=False)

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be given several times.")
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="Folder of MedMNIST files. Default: $MEDMNIST_ROOT, else ~/.medmnist."),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="local (Ray here), inline (no Ray) or HOST:PORT of a Ray cluster. Default: $RAY_ADDRESS, or local."
    ),
]
Phantom = Annotated[bool, typer.Option("--phantom", help="Put every data set's phantom in its place: no download.")]


def short(path: Path) -> str:
    """Return a path relative to this folder if it lies below, escaped for a console."""
    try:
        return escape(str(path.relative_to(Path.cwd())))
    except ValueError:
        return escape(str(path))


def text(path: Path | None) -> str | None:
    """Return a path as the library takes it."""
    return None if path is None else str(path)
