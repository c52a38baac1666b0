"""A single task for everyone who waits for the same work."""

import asyncio
from collections.abc import Callable, Coroutine, MutableMapping
from typing import Any, TypeVar

T = TypeVar("T")


async def single_flight(
    begun: MutableMapping[Any, "asyncio.Task[Any]"], key: Any, begin: Callable[[], Coroutine[Any, Any, T]]
) -> T:
    """Return the result of the work of this key, begun by the first who asks for it.

    Whoever waits may be cancelled without the others' losing the work.

    Args:
        begun: tasks by key; the caller keeps it, and cancels at its end what is left in it.
        key: of the work.
        begin: starts the work.
    """
    if key not in begun:
        begun[key] = asyncio.ensure_future(begin())
    result: T = await asyncio.shield(begun[key])
    return result
