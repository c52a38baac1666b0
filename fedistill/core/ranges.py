"""Ranges of settings, said in their annotations; settings themselves are frozen dataclasses or pydantic models.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Example:
...     iterations: Count = 100
...     share: Annotated[float, Range(gt=0, le=1)] = 0.5

`fedistill.core.settings` checks them. This file imports pydantic only where that asks: what distils and trains needs
PyTorch and NumPy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from fedistill.core.text import printable
from fedistill.errors import nearest

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Range:
    """Annotation of a number: greater than ``gt`` or at least ``ge``, less than ``lt`` or at most ``le``."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the number's schema with its bounds."""
        bounds = {name: value for name, value in vars(self).items() if value is not None}
        schema: Any = {**handler(kind), **bounds}
        assert schema["type"] in ("int", "float"), schema
        return schema


Count = Annotated[int, Range(ge=1)]
NonNegativeInt = Annotated[int, Range(ge=0)]
NonNegativeFloat = Annotated[float, Range(ge=0)]
PositiveFloat = Annotated[float, Range(gt=0)]
Fraction = Annotated[float, Range(ge=0, le=1)]


@dataclass(frozen=True)
class Before:
    """Annotation of a value that is converted before it is checked."""

    convert: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema behind the conversion."""
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.convert, handler(kind))


@dataclass(frozen=True)
class After:
    """Annotation of a value that is checked further: ``require`` returns it, or raises ValueError."""

    require: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema before the further check."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.require, handler(kind))


AS_TUPLE = Before(lambda value: tuple(value) if isinstance(value, list) else value)
"""For a tuple that a TOML or JSON file gives as a list."""

ONE_OR_MORE = Before(lambda v: tuple(v) if isinstance(v, list) else (v,) if isinstance(v, int | str) else v)
"""For a tuple that a file gives as a list, or as its only value."""


QUIET = object()
"""Annotation of a field that keys, Releases and messages leave out while it has its default: it came after they did."""


def known(what: str, names: Collection[str]) -> After:
    """Return the annotation of a word that must be one of these names."""

    def require(word: str) -> str:
        if word not in names:
            raise ValueError(f"there is no {what} {printable(repr(word))}: {nearest(word, names)}")
        return word

    return After(require)


def among(*numbers: int) -> After:
    """Return the annotation of a number that must be one of these."""

    def require(number: int) -> int:
        if number not in numbers:
            raise ValueError(f"one of {', '.join(map(str, numbers))}, not {number}")
        return number

    return After(require)


class _AsTable:
    """See `AS_TABLE`."""

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the dataclass's table, and of an instance, which is written as a table again."""
        from pydantic_core import core_schema

        from fedistill.core.settings import table_of

        plain = core_schema.no_info_before_validator_function(
            lambda value: vars(value) if isinstance(value, kind) else value, handler.generate_schema(table_of(kind))
        )
        written = core_schema.plain_serializer_function_ser_schema(  # without None, which a TOML file cannot say
            lambda value: {name: each for name, each in asdict(value).items() if each is not None}
        )
        return core_schema.no_info_after_validator_function(lambda table: kind(**table), plain, serialization=written)


AS_TABLE = _AsTable()
"""For a dataclass that a pydantic model has from a table, read as `checked` reads it."""


def detail(value: Any, *, without: Iterable[str] = ()) -> dict[str, Any]:
    """Return a dataclass's fields by name, for a key, a Release's account or a message: quiet ones where they are set.

    >>> from fedistill.methods.subset import RandomSettings
    >>> detail(RandomSettings()), detail(RandomSettings(pack=2))
    ({}, {'pack': 2})
    """
    named = {each.name: getattr(value, each.name) for each in fields(value) if each.name not in without}
    unset = {name for name, default in _quiet(value.__class__).items() if named.get(name) == default}
    return {name: detail(each) if is_dataclass(each) else each for name, each in named.items() if name not in unset}


@cache
def _quiet(kind: Any) -> dict[str, Any]:
    """Return the defaults of a dataclass's quiet fields by name."""
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: each.default for each in fields(kind) if QUIET in getattr(hints[each.name], "__metadata__", ())}
