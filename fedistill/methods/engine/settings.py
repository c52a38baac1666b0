"""Settings of methods: frozen dataclasses whose annotations say their ranges, built from what a TOML file says."""

from collections.abc import Mapping
from typing import Any, TypeVar

from fedistill.errors import SettingError

T = TypeVar("T")


def pack_of(settings: Any) -> int:
    """Return how many smaller images along each side of one these settings ask for; 1 where they do not say."""
    return int(getattr(settings, "pack", 1))


def read(
    kind: type[T],
    values: Mapping[str, Any],
    *,
    ipc: int | None = None,
    where: str = "these settings",
    under: Mapping[str, Any] | None = None,
) -> T:
    """Build the dataclass from these values, checked.

    Args:
        kind: a frozen dataclass; see `fedistill.core.settings`.
        under: values that stand in for the dataclass's own defaults.
        values: as a TOML file gives them; the sub-table ``ipc`` holds values for one budget, by its number.
        ipc: the budget in question, whose sub-table goes before the rest.
        where: whose settings they are, for messages.

    Raises:
        SettingError: an unknown name, or a value of the wrong type or out of range.
    """
    # Needs pydantic; methods whose settings are built, not read, do without.
    from fedistill.core.settings import checked_table

    tables = values.get("ipc", {})
    if not isinstance(tables, Mapping):
        raise SettingError(
            f"{where}: 'ipc' holds a table for each budget that needs settings of its own.",
            expected='a table such as ipc = { "10" = { iterations = 100 } }',
            found=tables,
        )
    flat = checked_table(kind, {k: v for k, v in values.items() if k != "ipc"}, where)
    for key, table in tables.items():
        if not str(key).isdigit() or not isinstance(table, Mapping):
            raise SettingError(f"{where}: no budget {key!r}.", expected="a number and a table", found=table)
        own = checked_table(kind, table, f"{where}, ipc {key}")  # of every budget: a mistake shows before any work
        if int(key) == ipc:
            flat |= own
    return kind(**(dict(under or {}) | flat))
