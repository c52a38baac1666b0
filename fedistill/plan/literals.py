"""`--set key=value`: dotted keys and TOML literals from the command line."""

import tomllib
from collections.abc import Iterable
from typing import Any

from fedistill.errors import PlanError


def assign(content: dict[str, Any], change: str) -> None:
    """Carry out one change in place.

    Raises:
        PlanError: it is no ``key=value``, or its key leads through a value.

    >>> content = {"scheme": {"dc": {}}}
    >>> assign(content, "scheme.dc.iterations=40")
    >>> content
    {'scheme': {'dc': {'iterations': 40}}}
    """
    key, equals, literal = change.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise PlanError(
            f"--set {change!r} changes nothing.", expected="key=value, such as scheme.dc.iterations=100", found=change
        )
    try:
        value = tomllib.loads(f"value = {literal}")["value"]
    except tomllib.TOMLDecodeError:
        value = literal.strip()  # a bare word is a string: --set models=mlp
    table = content
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise PlanError(f"--set {change!r}: {part!r} is a value, not a table.", found=repr(table))
    table[parts[-1]] = value


def literals(changes: Iterable[str]) -> dict[str, Any]:
    """Changes to nothing: a table of its own."""
    content: dict[str, Any] = {}
    for change in changes:
        assign(content, change)
    return content
