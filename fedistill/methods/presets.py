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
    """presets.toml."""
    return tomllib.loads(files("fedistill.methods").joinpath("presets.toml").read_text(encoding="utf-8"))


@cache
def fingerprint() -> str:
    """The SHA-256, in hex, of what presets.toml says: whoever agrees on a study has the same presets."""
    text = json.dumps(table(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def preset(which: Any, kind: type, method: str, *, dataset: str, ipc: int | None) -> dict[str, Any]:
    """The values a preset puts in place of a method's defaults.

    A data set's own table goes before the general one, and in each the values of a budget before those for all. A
    budget that is not listed takes those of the nearest one that is, in ratio; a data set's own where it is as near as
    the general one.

    Args:
        which: ``measured`` or ``published``.
        kind: the method's settings, against which the values are checked.
        method, dataset, ipc: what for.

    Raises:
        SettingError: no such preset.

    >>> from fedistill.methods.dc import DCSettings
    >>> preset("published", DCSettings, "dc", dataset="breastmnist", ipc=10)
    {}
    """
    if ipc is not None and ipc < 1:
        raise SettingError("ipc counts images per class.", expected="at least 1", found=ipc)
    if which not in (DEFAULT, PUBLISHED):
        raise SettingError(f"{method}: there is no preset {which!r}.", expected=f"{DEFAULT} or {PUBLISHED}")
    if which == PUBLISHED:
        return {}
    general = table().get(method, {})
    own = general.get("dataset", {}).get(dataset, {})
    found: dict[str, Any] = {}
    for layer in (general, own):
        found |= {name: value for name, value in layer.items() if name not in ("ipc", "dataset")}
    if ipc is not None:
        nearest = [_nearest(layer.get("ipc", {}), ipc) for layer in (general, own)]
        closest = min(away for away, _ in nearest)
        for away, values in nearest:
            found |= values if away == closest else {}
    read(kind, found, where=f"presets.toml, {method}")
    return found


def _nearest(budgets: Mapping[str, Mapping[str, Any]], ipc: int) -> tuple[float, Mapping[str, Any]]:
    """Return how far the nearest budget listed is, as a logarithm of the ratio, and its values."""
    listed = [(abs(math.log(int(known) / ipc)), values) for known, values in budgets.items()]
    return min(listed, key=lambda each: each[0], default=(math.inf, {}))
