"""Presets: settings that were published, or measured to reach the same in a fraction of the time.

``published`` is what the settings' own defaults say. ``measured`` is read from ``presets.toml`` beside this file, which
says where each number comes from.
"""

import math
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fedistill.distill.settings import read
from fedistill.errors import SettingError

DEFAULT, PUBLISHED = "measured", "published"


@cache
def table() -> Mapping[str, Any]:
    """presets.toml."""
    return tomllib.loads(files("fedistill.distill").joinpath("presets.toml").read_text(encoding="utf-8"))


def preset(which: Any, kind: type, method: str, *, dataset: str, ipc: int | None) -> dict[str, Any]:
    """The values a preset puts in place of a method's defaults.

    A data set's own table goes before the general one, and in each the values of a budget before those for all. A
    budget that is not listed takes those of the nearest one that is, in ratio.

    Args:
        which: ``measured`` or ``published``.
        kind: the method's settings, against which the values are checked.
        method, dataset, ipc: what for.

    Raises:
        SettingError: no such preset.

    >>> from fedistill.distill.dc import DCSettings
    >>> preset("published", DCSettings, "dc", dataset="breastmnist", ipc=10)
    {}
    """
    if which not in (DEFAULT, PUBLISHED):
        raise SettingError(f"{method}: there is no preset {which!r}.", expected=f"{DEFAULT} or {PUBLISHED}")
    if which == PUBLISHED:
        return {}
    found: dict[str, Any] = {}
    general = table().get(method, {})
    for layer in (general, general.get("dataset", {}).get(dataset, {})):
        found |= {name: value for name, value in layer.items() if name not in ("ipc", "dataset")}
        budgets = layer.get("ipc", {})
        if budgets and ipc is not None:
            found |= budgets[min(budgets, key=lambda known: (abs(math.log(int(known) / ipc)), int(known)))]
    read(kind, found, where=f"presets.toml, {method}")
    return found
