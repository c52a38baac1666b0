"""Presets: settings that were published, or measured to reach the same in a fraction of the time.

``published`` is what the settings' own defaults say. ``measured`` is read from ``presets.toml`` beside this file, which
says where each number comes from.
"""

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fedistill.errors import SettingError
from fedistill.methods.engine.settings import read

DEFAULT, PUBLISHED = "measured", "published"


@cache
def table() -> Mapping[str, Any]:
    """Read presets.toml."""
    return tomllib.loads(files("fedistill.methods").joinpath("presets.toml").read_text(encoding="utf-8"))


@cache
def fingerprint() -> str:
    """Return the SHA-256, in hex, of what presets.toml says: whoever agrees on a study has the same presets."""
    text = json.dumps(table(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def preset(which: Any, kind: type, method: str, *, ipc: int | None) -> dict[str, Any]:
    """Return the values a preset puts in place of a method's defaults.

    Values of a budget go before those for all. A budget that is not listed takes those of the nearest one that is, in
    ratio. No preset knows a data set by its name: what was chosen on one would not be shown by it.

    Args:
        which: ``measured`` or ``published``.
        kind: the method's settings, against which the values are checked.
        method: its name.
        ipc: the budget; None for the values that are every budget's.

    Raises:
        SettingError: no such preset, or a budget below 1.

    >>> from fedistill.methods.dc import DCSettings
    >>> preset("published", DCSettings, "dc", ipc=10)
    {}
    """
    if ipc is not None and ipc < 1:
        raise SettingError("ipc counts images per class.", expected="at least 1", found=ipc)
    if which not in (DEFAULT, PUBLISHED):
        raise SettingError(f"{method}: there is no preset {which!r}.", expected=f"{DEFAULT} or {PUBLISHED}")
    if which == PUBLISHED:
        return {}
    listed = table().get(method, {})
    values = {name: value for name, value in listed.items() if name != "ipc"}
    if ipc is not None:
        values |= _nearest(listed.get("ipc", {}), ipc)
    read(kind, values, where=f"presets.toml, {method}")
    return values


def _nearest(budgets: Mapping[str, Mapping[str, Any]], ipc: int) -> Mapping[str, Any]:
    """Return the values of the nearest budget listed, by the logarithm of the ratio."""
    return budgets[min(budgets, key=lambda known: abs(math.log(int(known) / ipc)))] if budgets else {}
