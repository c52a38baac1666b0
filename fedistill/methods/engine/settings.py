"""Settings of methods: frozen dataclasses whose fields know their range, built from what a TOML file says."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from fedistill.errors import SettingError, nearest


def setting(
    default: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: Sequence[str] | None = None,
    quiet: bool = False,
) -> Any:
    """Return a dataclass field with a default and the range its values must keep to.

    A ``quiet`` one is not mentioned in keys and Releases while it has its default: one that came later than they did.
    """
    bounds = {"at_least": at_least, "above": above, "at_most": at_most, "below": below, "choices": choices}
    return field(default=default, metadata={**bounds, "quiet": quiet})


def detail(settings: Any) -> dict[str, Any]:
    """Return settings by name, for a key or for a Release's account: quiet ones only where they are not the default.

    >>> from fedistill.methods.subset import RandomSettings
    >>> detail(RandomSettings()), detail(RandomSettings(pack=2))
    ({}, {'pack': 2})
    """
    quiet = {f.name: f.default for f in fields(settings) if f.metadata.get("quiet")}
    return {k: v for k, v in asdict(settings).items() if k not in quiet or v != quiet[k]}


def pack_of(settings: Any) -> int:
    """Return how many smaller images along each side of one these settings ask for; 1 where they do not say."""
    return int(getattr(settings, "pack", 1))


def read(
    kind: type,
    values: Mapping[str, Any],
    *,
    ipc: int | None = None,
    where: str = "these settings",
    under: Mapping[str, Any] | None = None,
) -> Any:
    """Build the dataclass from these values, checked.

    Args:
        kind: a frozen dataclass whose fields are made by `setting`.
        under: values that stand in for the dataclass's own defaults.
        values: as a TOML file gives them; the sub-table ``ipc`` holds values for one budget, by its number.
        ipc: the budget in question, whose sub-table goes before the rest.
        where: whose settings they are, for messages.

    Raises:
        SettingError: an unknown name, or a value of the wrong type or out of range.
    """
    tables = values.get("ipc", {})
    if not isinstance(tables, Mapping):
        raise SettingError(
            f"{where}: 'ipc' holds a table for each budget that needs settings of its own.",
            expected='a table such as ipc = { "10" = { iterations = 100 } }',
            found=tables,
        )
    flat = _checked(kind, {k: v for k, v in values.items() if k != "ipc"}, where)
    for key, table in tables.items():
        if not str(key).isdigit() or not isinstance(table, Mapping):
            raise SettingError(f"{where}: no budget {key!r}.", expected="a number and a table", found=table)
        own = _checked(kind, table, f"{where}, ipc {key}")  # of every budget: a mistake shows before any work
        if int(key) == ipc:
            flat |= own
    return kind(**(dict(under or {}) | flat))


def _checked(kind: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    known = {f.name: f for f in fields(kind)}
    hints = get_type_hints(kind)
    for name in values:
        if name not in known:
            mend = nearest(name, known) if known else "leave it out: there is nothing to set"
            raise SettingError(f"{where}: there is no setting {name!r}.", mend=mend)
    return {k: _value(where, k, v, hints[k], known[k].metadata) for k, v in values.items()}


def _value(where: str, name: str, value: Any, hint: Any, bounds: Mapping[str, Any]) -> Any:
    kinds = get_args(hint) or (hint,)
    if value is None and NoneType in kinds:
        return None
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    words = " or ".join(k.__name__ for k in kinds if k is not NoneType)
    low, above, choices = bounds.get("at_least"), bounds.get("above"), bounds.get("choices")
    most, below = bounds.get("at_most"), bounds.get("below")
    if choices is not None:
        words = "one of " + ", ".join(choices)
    if low is not None:
        words += f", at least {low}"
    if above is not None:
        words += f", above {above}"
    if most is not None:
        words += f", at most {most}"
    if below is not None:
        words += f", below {below}"
    right = type(value) in kinds
    if right and isinstance(value, int | float):
        right = math.isfinite(value) and (low is None or value >= low) and (above is None or value > above)
        right = right and (most is None or value <= most) and (below is None or value < below)
    if right and choices is not None:
        right = value in choices
    if not right:
        raise SettingError(f"{where}: {name} cannot be {value!r}.", expected=words, found=f"{value!r}")
    return value
