"""Settings as a file, a message or a caller gives them, read in one way and refused with one kind of message.

Settings are frozen pydantic models (`Frozen`) or frozen dataclasses. Their ranges stand in their annotations, such as
``Annotated[int, Range(ge=1)]`` (`fedistill.core.ranges`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, NotRequired, TypeVar, get_args, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    with_config,
)
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from fedistill.core.text import printable
from fedistill.errors import FedistillError, SettingError, nearest

T = TypeVar("T")

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Frozen(BaseModel):
    """No unknown keys, no silent conversions, no change afterwards."""

    model_config = STRICT


def checked(kind: type[T], values: Any, source: str, *, error: type[FedistillError] = SettingError) -> T:
    """Build a frozen model or dataclass from a table.

    Args:
        kind: its class.
        values: the table, which somebody else may have written.
        source: the file, or whose settings they are, for the message.
        error: what is raised.

    Raises:
        FedistillError: of the class ``error``: an unknown or missing name, or a value of another type or out of range.
    """
    table = checked_table(kind, values, source, error=error)
    return table if isinstance(table, kind) else kind(**table)


def checked_table(kind: type, values: Any, source: str, *, error: type[FedistillError] = SettingError) -> Any:
    """Check a table as `checked` does; return a dataclass's given values by name, or the model."""
    try:
        return _adapter(kind).validate_python(values)
    except ValidationError as wrong:
        raise _explained(wrong, kind, values, source, error) from wrong


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(table_of(kind) if hasattr(kind, "__dataclass_fields__") else kind)


@cache
def table_of(kind: Any) -> Any:
    """Return the type of a dataclass's table: its fields, of which those with defaults may be left out."""
    hints = get_type_hints(kind, include_extras=True)
    needed = {each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING}
    parts = {
        each.name: hints[each.name] if each.name in needed else NotRequired[hints[each.name]] for each in fields(kind)
    }
    return with_config({**STRICT, "arbitrary_types_allowed": True})(TypedDict(kind.__name__, parts))  # type: ignore[operator]


def _explained(
    wrong: ValidationError, kind: type, values: Any, source: str, error: type[FedistillError]
) -> FedistillError:
    """Describe the first problem, a mistyped key before the key that is then missing."""
    first = min(wrong.errors(), key=lambda each: each["type"] != "extra_forbidden")
    where, what = ".".join(_path(first, values)), first["type"]
    given, context = first["input"], first.get("ctx", {})
    found = printable(repr(given), most=200)
    if what in ("union_tag_invalid", "union_tag_not_found"):
        tags = [each.strip("'") for each in context.get("expected_tags", "").split(", ")]
        by = context["discriminator"].strip("'")
        said = given.get(by) if isinstance(given, dict) else given
        if said is None or not isinstance(given, dict):
            return error(f"{source}: {where} does not say {by}.", expected='by = "iid"', found=found)
        return error(f"{source}: there is no {where} by {str(said)[:100]!r}.", mend=nearest(str(said), tags))
    if what == "extra_forbidden":
        names = list(_keys(kind, first["loc"][:-1]))
        mend = nearest(str(first["loc"][-1]), names) if names else "leave it out: there is nothing to set"
        return error(f"{source}: there is no setting {printable(repr(where))}.", mend=mend)
    if what == "missing":
        return error(f"{source}: {where!r} is missing.", expected=f"a value for {where}", found="none")
    if what == "value_error":
        return error(f"{source}{': ' + where if where else ''}: {first['msg'].removeprefix('Value error, ')}")
    context = {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in context.items()}
    expected = _WORDS[what].format(**context) if what in _WORDS else first["msg"]
    return error(f"{source}{': ' + where if where else ''} is invalid.", expected=expected, found=found)


_WORDS = {
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "a table"),
    **dict.fromkeys(("int_type", "int_from_float"), "a whole number"),
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "tuple_type": "a list",
}
"""What was expected, by pydantic's type of the error."""


def _path(first: ErrorDetails, values: Any) -> Iterator[str]:
    """Yield an error's keys in a table, without pydantic's names for the kinds of table that a key may have."""
    for number, part in enumerate(first["loc"]):
        inside = dict(enumerate(values)) if isinstance(values, list | tuple) else values
        inside = inside if isinstance(inside, Mapping) else {}
        if part in inside or (number == len(first["loc"]) - 1 and first["type"] == "missing"):
            yield str(part)
            values = inside.get(part)


def _keys(kind: Any, path: tuple[Any, ...]) -> Iterator[str]:
    """Yield the known keys of the table that an error's path leads to."""
    several: list[Any] = []
    for part in path:
        hints = _hints(kind)
        if part in hints:
            tables = list(_tables(hints[part]))
            several = tables if len(tables) > 1 else []
            kind = tables[0] if tables else kind
        else:  # a name inside a table of tables, such as a site's; or the kind of table that is meant
            kind = next((each for each in several if part in get_args(_hints(each)["by"])), kind)
    yield from _hints(kind)


def _hints(kind: Any) -> dict[str, Any]:
    if is_dataclass(kind):
        return {each.name: get_type_hints(kind)[each.name] for each in fields(kind)}
    return {name: each.annotation for name, each in kind.model_fields.items()}


def _tables(hint: Any) -> Iterator[Any]:
    """Yield the models and dataclasses in an annotation."""
    if isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, BaseModel)):
        yield hint
    for each in get_args(hint):
        yield from _tables(each)
