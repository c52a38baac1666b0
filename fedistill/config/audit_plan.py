"""The plan of an audit that is asked for by a few words: a simulation narrowed to what is attacked, or a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedistill.config.find import find, names, read_toml
from fedistill.config.literals import written
from fedistill.config.load import plan_from
from fedistill.config.sweep import Plan, listed
from fedistill.data import parse_source
from fedistill.data.facts import FACTS
from fedistill.errors import PlanError, nearest

METHODS = ("dc",)
"""Attacked on a data set, unless others are named."""


def audited_plan(
    name: str,
    *,
    methods: Sequence[str] = (),
    ipc: Sequence[int] = (),
    shadows: int | None = None,
    site: str | None = None,
    networks: int | None = None,
    canaries: bool = False,
    changes: Sequence[str] = (),
    phantom: bool = False,
) -> Plan:
    """Return the plan that `fedistill audit` runs.

    An option left out keeps the value of the simulation's ``[audit]``, or its default.

    Args:
        name: a simulation, or a data set, which two hospitals then halve.
        methods: the schemes that run and are attacked; all of the simulation's unless given, or `METHODS`.
        ipc: the budgets that run and are attacked.
        shadows: of `fedistill.config.Audit`.
        site: of `fedistill.config.Audit`.
        networks: of `fedistill.config.Audit`.
        canaries: of `fedistill.config.Audit`.
        changes: see `fedistill.config.load_plan`.
        phantom: see `fedistill.config.load_plan`.

    Raises:
        PlanError: there is no such simulation or data set, or something asked for cannot be.
    """
    content, path = _content(name)
    if methods:
        _narrow(content, methods)
    content.setdefault("audit", {})
    options: dict[str, Any] = {"shadows": shadows, "site": site, "networks": networks, "canaries": canaries or None}
    options = {f"audit.{key}": value for key, value in options.items()}
    if ipc:
        options |= {"ipc": list(ipc), "audit.ipc": list(ipc)}
    if methods:
        options["audit.schemes"] = list(methods)
    # As changes: they go before what the file puts in the place of its settings for a rehearsal.
    words = [f"{key}={written(value)}" for key, value in options.items() if value is not None]
    return plan_from(content, path, changes=[*words, *changes], phantom=phantom)


def _content(name: str) -> tuple[dict[str, Any], Path]:
    """Return the content of a simulation's file, or the content that stands in for a data set; and the path."""
    if parse_source(name).known:
        return _of_dataset(name), Path.cwd() / f"audit of {Path(name).name}"
    try:
        path = find("simulations", name)
    except PlanError as error:
        known = [*names("simulations"), *FACTS]
        expected = "a name from simulations/, a path, or the name or .npz file of a data set"
        raise PlanError(
            f"There is nothing to audit called {name!r}.", expected=expected, mend=nearest(name, known)
        ) from error
    content = {"name": path.stem, **read_toml(path)}
    return content | {"name": f"audit-{content['name']}"}, path


def _of_dataset(name: str) -> dict[str, Any]:
    """Return a simulation of two hospitals that halve a data set, by the recipe of the simulation `privacy`."""
    federation = {"name": "two", "dataset": name, "partition": {"by": "iid", "seed": 0}, "sites": ["north", "south"]}
    return {
        "name": f"audit-{parse_source(name).slug}",
        "federation": federation | {"policy": {"allow_real_images": True, "allow_weights": True, "start": "real"}},
        "networks": 3,
        "width": 32,
        "ipc": [10],
        "recipe": {"steps": 200, "max_steps": 400, "lr": [0.01], "pilots": 1},
        "scheme": {method: {} for method in METHODS},
        "audit": {"steps": 200},
    }


def _narrow(content: dict[str, Any], methods: Sequence[str]) -> None:
    """Leave only these schemes in a simulation's table, with their settings, and in what it sweeps and rehearses."""
    for table in (content, content.get("rehearsal", {})):
        if isinstance(table.get("scheme"), dict):
            table["scheme"] = {name: table["scheme"][name] for name in table["scheme"] if name in methods}
    content["scheme"] = {name: {} for name in methods} | content.get("scheme", {})
    content["leave_out"] = [name for name in content.get("leave_out", ()) if name in methods]
    for table in (content, content.get("rehearsal", {})):
        if "sweep" in table:
            swept = listed(table["sweep"], source=str(content["name"]))
            table["sweep"] = {key: values for key, values in swept.items() if _about(key) in (None, *methods)}


def _about(key: str) -> str | None:
    """Return the scheme that a dotted key is about; None for a key about no single scheme."""
    parts = key.split(".")
    return parts[1] if parts[0] == "scheme" and len(parts) > 1 else None
