"""TOML -> frozen Simulation, Plan or Federation, with errors that say what stands where and how to fix it."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from fedistill.config.dataset_names import from_folder, renamed, with_phantoms
from fedistill.config.federation import Federation
from fedistill.config.find import find, read_toml
from fedistill.config.literals import assign, parts_of, put
from fedistill.config.simulation import Simulation
from fedistill.config.sweep import Plan, Point, combinations, label_of, listed
from fedistill.config.track import settled_track
from fedistill.core.settings import checked
from fedistill.data import to_phantom
from fedistill.errors import PlanError, nearest


def load_federation(name: str, *, beside: Path | None = None, phantom: bool = False) -> Federation:
    """Load the federation of a NAME or path.

    Args:
        name: a NAME in ``sites/``, or a path.
        beside: a folder that a relative path may also start from.
        phantom: put every data set's phantom in its place.

    Raises:
        PlanError: no such file, or something in it cannot be.
    """
    path = find("sites", name, beside=beside)
    content = _from_file(path)
    if "scheme" in content or "federation" in content:
        named = content.get("federation")
        raise PlanError(
            f"{path} is a simulation; a federation is needed here.",
            expected="a file that says who holds what: dataset and sites",
            mend=f"name its federation, {named!r}" if isinstance(named, str) else "see `fedistill simulations FILE`",
        )
    return _federation(content, source=str(path), phantom=phantom)


def load_simulation(name: str, *, changes: Iterable[str] = (), phantom: bool = False) -> Simulation:
    """Load the simulation of a NAME or path; see `load_plan`.

    Raises:
        PlanError: no such file, something in it cannot be, or it sweeps: it is several simulations then.
    """
    plan = load_plan(name, changes=changes, phantom=phantom)
    if plan.sweep:
        raise PlanError(
            f"{name} sweeps over {', '.join(plan.sweep)}: {len(plan.points)} simulations; one is needed here.",
            mend="run it with `fedistill run`, or take its [sweep] away (--set sweep={})",
        )
    return plan.first


def load_plan(name: str, *, changes: Iterable[str] = (), phantom: bool = False) -> Plan:
    """Load the simulations of a NAME or path: one, or one for each point of its ``[sweep]``.

    Args:
        name: a NAME in ``simulations/``, or a path.
        changes: ``key=value`` with dotted keys of the TOML and TOML literals, as ``--set`` takes them. Keys of the
            federation start with ``federation.``, those of the sweep with ``sweep.``.
        phantom: put every data set's phantom in its place, and what the file's ``[rehearsal]`` says, if it has one, in
            the place of its other settings: a table as the file itself is one.

    Raises:
        PlanError: no such file, or something in it cannot be.
    """
    path = find("simulations", name)
    return plan_from({"name": path.stem, **read_toml(path)}, path, changes=changes, phantom=phantom)


def plan_from(content: dict[str, Any], path: Path, *, changes: Iterable[str] = (), phantom: bool = False) -> Plan:
    """Build a plan from the content of a file; see `load_plan`.

    Args:
        content: the file's, changed in place.
        path: the file, which errors name and relative paths start from.
        changes: see `load_plan`.
        phantom: see `load_plan`.
    """
    rehearsal = content.pop("rehearsal", {})
    if not isinstance(rehearsal, dict):
        raise PlanError(f"{path}: rehearsal is no table.", expected="[rehearsal] with settings", found=repr(rehearsal))
    if phantom and "sweep" in rehearsal:  # before the data sets of the file's own are sought
        over = rehearsal.pop("sweep")
        content["sweep"] = {**listed(content.get("sweep", {}), source=str(path)), **listed(over, source=str(path))}
    content["sweep"] = _settled_sweep(content.get("sweep", {}), path, folder=path.parent, phantom=phantom)
    federation = content.get("federation")
    if federation is None and "federation" in content["sweep"]:
        federation = content["sweep"]["federation"][0]  # every point brings its own
    if isinstance(federation, str):
        content["federation"] = _from_file(find("sites", federation, beside=path.parent))
    elif isinstance(federation, dict):
        content["federation"] = renamed({"name": path.stem, **federation}, from_folder(path.parent))
    elif federation is None and "sites" in content and "scheme" not in content:
        raise PlanError(
            f"{path} is a federation; a simulation is needed here.",
            expected='a file with federation = "NAME" and schemes',
            mend="see `fedistill sites FILE` for it, or write a simulation that names it",
        )
    else:
        raise PlanError(f"{path}: no federation.", expected='federation = "NAME"', found=federation)
    if phantom:
        content = _merged(content, rehearsal)
    content["track"] = settled_track(content.get("track", {}), source=str(path), folder=path.parent)
    for change in changes:
        assign(content, change)
    # What `--set` has named is relative to where it was typed.
    sweep = _settled_sweep(content.pop("sweep"), path, folder=Path.cwd(), phantom=phantom)
    content["federation"] = _settled("federation", content["federation"], folder=Path.cwd(), phantom=False)
    track = settled_track(content.pop("track"), source=str(path), folder=Path.cwd())
    points: list[Point] = []
    for values in combinations(sweep, source=str(path)):
        points.append(Point(values, _simulation(content, values, path, phantom=phantom)))
        if "precision" not in sweep:
            content["precision"] = points[0].simulation.precision  # what "auto" stands for, once for all points
    return Plan(tuple(points), sweep, track)


def _simulation(content: dict[str, Any], values: Mapping[str, Any], path: Path, *, phantom: bool) -> Simulation:
    """Build the simulation of one point."""
    content = deepcopy(content)
    source = f"{path}, at {label_of(values)}" if values else str(path)
    for key, value in values.items():
        parts = parts_of(key)
        schemes = content.get("scheme", {})
        if parts[0] == "scheme" and len(parts) > 2 and isinstance(schemes, dict) and parts[1] not in schemes:
            mend = nearest(parts[1], schemes)
            raise PlanError(f"{path}: the sweep over {key!r} finds no [scheme.{parts[1]}].", mend=mend)
        put(content, parts, deepcopy(value), what=f"{path}: the sweep over {key!r}")
    content["federation"] = _federation(content["federation"], source=source, phantom=phantom)
    return checked(Simulation, content, source, error=PlanError)


def _merged(under: Any, over: Any) -> Any:
    """Merge one table over another: its values replace values, its tables merge into tables.

    >>> _merged({"width": 128, "scheme": {"dc": {"looks": 5}}}, {"scheme": {"dc": {"iterations": 9}}})
    {'width': 128, 'scheme': {'dc': {'looks': 5, 'iterations': 9}}}
    """
    if not isinstance(under, dict) or not isinstance(over, dict):
        return over
    return under | {name: _merged(under[name], value) if name in under else value for name, value in over.items()}


def _settled_sweep(table: Any, path: Path, *, folder: Path, phantom: bool) -> dict[str, list[Any]]:
    sweep = listed(table, source=str(path))
    return {key: [_settled(key, v, folder=folder, phantom=phantom) for v in values] for key, values in sweep.items()}


def _settled(key: str, value: Any, *, folder: Path, phantom: bool) -> Any:
    """Resolve the file names in a value of the federation: federations to their content, data to whole paths."""
    if key.partition(".")[0] != "federation":
        return value
    if key == "federation" and isinstance(value, str):
        value = _from_file(find("sites", value, beside=folder))
    return renamed(value, to_phantom if phantom else from_folder(folder), key.removeprefix("federation").strip("."))


def _from_file(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = renamed({"name": path.stem, **read_toml(path)}, from_folder(path.parent))
    return content


def _federation(content: dict[str, Any], *, source: str, phantom: bool) -> Federation:
    federation = checked(Federation, content, source, error=PlanError)
    return with_phantoms(federation) if phantom else federation
