"""A table as data: heads, cells and what they are sorted by. A page and a terminal render it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedistill.report import format as words

DARKEST = 55
"""Percent of the accent colour in the fullest cell of a heat map: numbers stay readable on it."""

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """A text, and the number it is sorted by; words are sorted as words. ``shade``, 0 to 1, of a heat map."""

    text: str
    value: float | None = None
    shade: float | None = None

    @property
    def key(self) -> str:
        """Return what the page's script sorts by; empty for words and blanks."""
        return "" if words.is_blank(self.value) else repr(float(self.value or 0))

    @property
    def shading(self) -> str:
        """Return the shade in percent of the accent colour; empty without one."""
        return "" if self.shade is None else f"{DARKEST * self.shade:.0f}%"


@dataclass(frozen=True)
class Head:
    """A column's head.

    Args:
        name: of the column; short: in a terminal, unless it is the same.
        means: what it holds, in words; number: whether that is numbers.
        folds: whether a narrow terminal may break its cells.
    """

    name: str
    means: str = ""
    number: bool = True
    short: str = ""
    folds: bool = False


@dataclass(frozen=True)
class Column:
    """A head, and what makes a line's cell below it."""

    head: Head
    cell: Callable[[Line], Cell]


@dataclass(frozen=True)
class Row:
    """Cells, the first of which is the row's head; and the group that they belong to, which a terminal prints apart."""

    cells: Sequence[Cell]
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table: its name in a page, its caption, and its rows; ``totals`` stay below however the rows are sorted."""

    name: str
    caption: str
    heads: Sequence[Head]
    rows: Sequence[Row]
    totals: Sequence[Row] = ()


def build(
    name: str,
    caption: str,
    columns: Sequence[Column],
    lines: Iterable[Line],
    *,
    group: Callable[[Line], str] = lambda line: "",
) -> Table:
    """Return a table with a row a line."""
    rows = [Row([column.cell(line) for column in columns], group(line)) for line in lines]
    return Table(name, caption, [column.head for column in columns], rows)


def text(name: str, key: str, **more: Any) -> Column:
    """Return a column of words."""
    return Column(Head(name, number=False, **more), lambda line: Cell(words.word(line.get(key))))


def number(name: str, key: str, form: Callable[[Any], str] = words.word, **more: Any) -> Column:
    """Return a column of numbers, blank where there are none."""
    return Column(Head(name, **more), lambda line: number_cell(line.get(key), form))


def number_cell(value: Any, form: Callable[[Any], str]) -> Cell:
    """Return the cell of a number, blank where there is none."""
    return Cell("") if words.is_blank(value) else Cell(form(value), float(value))
