"""A job, wherever it runs: the driver's own process or a Ray worker. Backends differ only in how they get here."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedistill.core.text import printable
from fedistill.errors import RunError
from fedistill.transport.backend.events import About
from fedistill.transport.backend.failure import from_exception
from fedistill.transport.backend.nodes import Node
from fedistill.transport.flower_internals import acting_as

LONGEST_NAME = 200
"""Characters of a job's name that are kept: two names of 63, a scheme's, and what tells repeats apart."""


def job_name(message: Message, node: Node) -> str:
    """Return the job's name for people: one printable line.

    It is the name in the message's ConfigRecord ``job``, which is the sender's free text, or that of the item asked
    for, which is no less so; else site/message id.
    """
    if message.has_content() and "job" in message.content and "name" in message.content["job"]:
        return printable(message.content["job"]["name"], most=LONGEST_NAME)
    names = message.content["request"].get("items") if message.has_content() and "request" in message.content else None
    if isinstance(names, list) and names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return printable(names[0], most=LONGEST_NAME) + more
    return f"{node.name}/{message.metadata.message_id}"


def about(message: Message, node: Node) -> About:
    """Return the fields of a job's events: its site, and ``point``, where in a sweep it belongs."""
    record: Mapping[str, Any] = message.content["job"] if message.has_content() and "job" in message.content else {}
    return {
        "site": node.name,
        **({"point": printable(record["point"], most=10 * LONGEST_NAME)} if "point" in record else {}),
    }


def answer(app: ClientApp | str, message: Message, node: Node, run_config: Mapping[str, Any], run_id: int) -> Message:
    """Return the reply of the site's handler to one message.

    The handler gets a copy of the message, so that it behaves in the driver's process as it would in another: two
    sites may share one content object.

    Args:
        app: the ClientApp, or "module:attribute" to import it from here.
        message: the request.
        node: the site.
        run_config: Flower's ``context.run_config``.
        run_id: Flower's number of the run.

    Raises:
        Exception: whatever the handler raises; RunError when it returns anything but a Message.
    """
    with torch_threads(node.threads), settled(), acting_as(run_id, node.node_id):
        app = load(app) if isinstance(app, str) else app
        context = Context(run_id, node.node_id, dict(node.config), RecordDict(), dict(run_config))
        reply = app(copy.deepcopy(message), context)
    if not isinstance(reply, Message):
        kind = message.metadata.message_type
        raise RunError(f"the handler of {kind!r} did not reply", expected="a flwr Message", found=type(reply).__name__)
    return reply


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; return its result, or a Failure if it raised or tried to end the process."""
    try:
        return function(*arguments)
    except (Exception, SystemExit) as error:
        return from_exception(error)


def run_function(threads: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run server-side work on a fixed number of threads."""
    with torch_threads(threads), settled():
        return function(*arguments)


def load(reference: str) -> Any:
    """Import "module:attribute".

    Raises:
        RunError: when there is no such module or attribute.
    """
    module, _, attribute = reference.partition(":")
    if not module or not attribute:
        raise RunError("There is no such app.", expected='"module:attribute"', found=repr(reference))
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RunError(
            f"cannot load {reference!r}", found=error, mend="it must be importable on every machine"
        ) from error


@contextmanager
def settled() -> Iterator[None]:
    """Settle with the GPU after the block, whose own memory is free then (`fedistill.training.card`)."""
    from fedistill.training.card import settle

    try:
        yield
    finally:
        settle()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within the block torch computes with ``count`` threads: the same count, the same bits, on any machine type."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
