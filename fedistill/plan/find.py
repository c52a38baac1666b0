"""From a NAME to a TOML file: an existing path, ./simulations, the checkout's, the shipped ones."""

import tomllib
from pathlib import Path
from typing import Any

from fedistill.errors import PlanError, nearest

PACKAGE = Path(__file__).resolve().parents[1]


def folders(kind: str) -> list[Path]:
    """Where files of this kind (``sites`` or ``simulations``) are looked for, first come first."""
    wanted = [Path.cwd() / kind, PACKAGE.parent / kind, PACKAGE / "content" / kind]
    checkout = (PACKAGE.parent / "pyproject.toml").is_file()  # installed, the package's parent is site-packages
    return [f for f in dict.fromkeys(wanted) if f.is_dir() and (f != PACKAGE.parent / kind or checkout)]


def names(kind: str) -> dict[str, Path]:
    """Every NAME of this kind and the file it stands for."""
    found: dict[str, Path] = {}
    for folder in folders(kind):
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def find(kind: str, name: str, *, beside: Path | None = None) -> Path:
    """The file a NAME or path stands for.

    Args:
        kind: ``sites`` or ``simulations``.
        name: a NAME, or a path.
        beside: a folder that a relative path may also start from.

    Raises:
        PlanError: there is none.
    """
    for base in (Path.cwd(), beside):
        if base is not None and (base / name).is_file():
            return (base / name).resolve()
    known = names(kind)
    if name in known:
        return known[name].resolve()
    what = {"sites": "federation", "simulations": "simulation"}[kind]
    raise PlanError(
        f"There is no {what} {name!r}.", expected=f"a path, or a name from {kind}/", mend=nearest(name, known)
    )


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's content.

    Raises:
        PlanError: it is not TOML; the message names file and line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path} is not TOML.", found=str(error), mend="mend that line") from error
    except (UnicodeDecodeError, OSError) as error:
        raise PlanError(f"{path} cannot be read.", expected="a text file in UTF-8", found=str(error)) from error
