"""TOML -> frozen Simulation, Plan or Federation, with errors that say what stands where and how to fix it."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from fedistill.config.dataset_names import from_folder, renamed, with_phantoms
from fedistill.config.federation import Federation
from fedistill.config.find import find, read_toml
from fedistill.config.literals import assign, parts_of, put
from fedistill.config.simulation import Simulation
from fedistill.config.sweep import Plan, Point, combinations, label_of, listed
from fedistill.config.track import settled_track
from fedistill.data import to_phantom
from fedistill.errors import PlanError, nearest

M = TypeVar("M", bound=BaseModel)


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
    return _checked(Simulation, content, source)


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
    checked = _checked(Federation, content, source)
    return with_phantoms(checked) if phantom else checked


def _checked(model: type[M], content: dict[str, Any], source: str) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _explained(error, model, source) from error


def _explained(error: ValidationError, model: type[BaseModel], source: str) -> PlanError:
    """Describe the first problem, a mistyped key before the key that is then missing."""
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    at = [part for number, part in enumerate(first["loc"]) if not _is_tag(model, first["loc"], number)]
    where = ".".join(str(part) for part in at)
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        known = [each.strip("'") for each in first["ctx"].get("expected_tags", "").split(", ")]
        by, given = first["ctx"]["discriminator"].strip("'"), first["input"]
        said = given.get(by) if isinstance(given, dict) else given
        if said is None or not isinstance(given, dict):
            return PlanError(f"{source}: {where} does not say {by}.", expected='by = "iid"', found=repr(given)[:200])
        return PlanError(f"{source}: there is no {where} by {str(said)[:100]!r}.", mend=nearest(str(said), known))
    if first["type"] == "extra_forbidden":
        *path, last = first["loc"]
        known = _keys(model, path)
        return PlanError(f"{source}: there is no setting {where!r}.", mend=nearest(str(last), known))
    if first["type"] == "missing":
        return PlanError(f"{source}: {where!r} is missing.", expected=f"a value for {where}", found="none")
    table = first["type"] in ("model_type", "model_attributes_type", "dict_type")
    message = "a table" if table else first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return PlanError(f"{source}{': ' + where if where else ''}: {message}")
    return PlanError(f"{source}: {where} is invalid.", expected=message, found=repr(first["input"])[:200])


def _is_tag(model: type[BaseModel], path: tuple[Any, ...], number: int) -> bool:
    """Return whether a part of an error's path is pydantic's tag of a partition's kind and no key of the file."""
    return path[:number] in (("partition",), ("federation", "partition")) and number < len(path)


def _keys(model: type[BaseModel], path: list[Any]) -> list[str]:
    """Return the known keys of the table that an error's path leads to."""
    several: list[type[BaseModel]] = []
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None:  # a name inside a table of tables, such as a site's; or the kind of table that is meant
            model = next((k for k in several if part in get_args(k.model_fields["by"].annotation)), model)
            continue
        kinds = [field.annotation, *get_args(field.annotation)]
        models = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        several = models if len(models) > 1 else []
        model = models[0] if models else model
    return list(model.model_fields)
