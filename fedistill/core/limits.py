"""A limit on nesting: text from others may be nested so deep that a recursive walk runs out of stack."""

from collections.abc import Callable, Iterable
from typing import Any

DEEPEST = 20
"""Tables and lists within each other; nothing that anybody means comes near it."""


def require_shallow(read: Any, parts: Callable[[Any], Iterable[Any]]) -> None:
    """Refuse what is nested deeper than `DEEPEST`.

    Args:
        read: the value.
        parts: what is directly within a value; it may raise ValueError for a value that cannot be.

    Raises:
        ValueError: it is deeper.

    >>> require_shallow([[1], [2, [3]]], lambda value: value if isinstance(value, list) else ())
    """
    depth, level = 0, [read]
    while level:
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} tables and lists within each other")
        depth, level = depth + 1, [each for value in level for each in parts(value)]
