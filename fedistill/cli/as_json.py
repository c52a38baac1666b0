"""``--json``: what a command would print as tables, for programs to read; one JSON value on standard output."""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedistill.cli import options

if TYPE_CHECKING:
    import pandas as pd

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def print_json(value: Any) -> None:
    """Print a value as JSON, without colours and without breaking lines."""
    options.console.print(json.dumps(plain(value), indent=2), markup=False, soft_wrap=True, highlight=False)


def plain(value: Any) -> Any:
    """Return a value of JSON's kinds; what is no number is null.

    >>> plain({"a": (1, float("nan")), 2: True})
    {'a': [1, None], '2': True}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if hasattr(value, "item") and not isinstance(value, float):
        return plain(value.item())  # a number of NumPy's
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return None if str(value) in ("<NA>", "NaT") else str(value)


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return a table as a list of its rows; blank cells are null."""
    rows: list[dict[str, Any]] = plain(frame.astype(object).to_dict("records"))
    return rows
