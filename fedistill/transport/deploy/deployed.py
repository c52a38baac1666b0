"""A study on real nodes: what it must and cannot ask for, and which node is which site."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedistill.config import Plan
from fedistill.config.scheme import scheme_named
from fedistill.errors import FedistillError, PlanError, RunError, UserError
from fedistill.transport.deploy.deadline_grid import DeadlineGrid
from fedistill.transport.flower_internals import status_in_words, words_with_status
from fedistill.transport.protocol.messages import WHO

SUPERLINK = "superlink:"
WAIT_SECONDS = 60.0
"""Longest wait for nodes to connect, and for each to say which site it is."""


def require_deployable(plan: Plan) -> None:
    """Refuse what real sites cannot be asked for, before anything is touched.

    Raises:
        PlanError: a sweep, no deadline, several partitions, an audit, or schemes that need what the coordinator does
            not know.
    """
    where = "on connected sites (--engine superlink:...)"
    if plan.sweep:
        raise PlanError(f"{plan.name} sweeps over {', '.join(plan.sweep)}: {where} runs one simulation, not several.")
    simulation = plan.first
    if simulation.deadline_s is None:
        raise PlanError(
            f"{plan.name} has no deadline_s, so a crashed site would be waited for without end.",
            expected="seconds that a site may take for a job, such as deadline_s = 3600",
            found="none",
            mend="write it into the file, or give --set deadline_s=3600",
        )
    if simulation.partitions > 1:
        raise PlanError(
            f"{plan.name} divides the data {simulation.partitions} times: hospitals cannot redistribute images.",
            mend="--set partitions=1",
        )
    if simulation.audit is not None:
        raise PlanError(f"{plan.name} has an audit: attacks need the site's own images.", mend="take [audit] away")
    if simulation.recipe.chosen_on == "sites":
        raise PlanError(
            f"{plan.name} chooses step sizes by the sites' scores (recipe.chosen_on), and no hospital tells any.",
            mend="--set 'recipe.chosen_on=\"pool\"'",
        )
    others = [name for name in simulation.scheme if not scheme_named(name).pools_releases]
    if others:
        raise PlanError(
            f"{', '.join(others)} cannot run {where} yet: only schemes whose sites send images once.",
            expected="such as random, dc, dm, mtt, dp-dm",
            mend="take those tables away, or compare with them in a simulation",
        )


def find_sites(
    grid: Grid,
    names: Iterable[str],
    *,
    registered: Callable[[], Mapping[int, str]] = dict,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, int]:
    """Return the node ids of the sites. Wait until all are connected or the time is up.

    Args:
        grid: the grid of the run.
        names: of the sites.
        registered: by node the name that its key was registered under, where nodes have keys.
        clock: in seconds.
        sleep: waits for a number of seconds.

    Raises:
        RunError: none is, two nodes say they are one site, or a node says it is one whose key it does not have.
    """
    wanted, start = list(names), clock()
    while len(ids := list(grid.get_node_ids())) < len(wanted) and clock() - start < WAIT_SECONDS:
        sleep(1.0)
    patient = DeadlineGrid(grid, deadline_s=WAIT_SECONDS, clock=clock, sleep=sleep)
    requests = [Message(RecordDict({"job": ConfigRecord({"name": "who"})}), node_id, WHO) for node_id in ids]
    node_of = dict(zip(patient.push_messages(requests), ids, strict=True))
    keys = registered()
    node_ids: dict[str, int] = {}
    for reply in patient.await_replies(list(node_of)):
        if reply.has_error() or "who" not in reply.content.config_records:
            continue
        name = str(reply.content.config_records["who"].get("site"))
        node_id = node_of[reply.metadata.reply_to_message_id]
        holder = keys.get(node_id) or name
        if holder != name and name in wanted:
            raise RunError(
                f"The node that has the key of {holder!r} says it is site {name!r}.",
                mend="write the name that the key was made for into its site's file",
            )
        if name in node_ids:
            raise RunError(
                f"Two nodes say they are site {name!r}.",
                mend="name each site's file differently",
            )
        if name in wanted:
            node_ids[name] = node_id
    if not node_ids:
        raise RunError(
            "No connected node says it is a site of this run.",
            expected=", ".join(wanted),
            found=f"{len(ids)} connected",
            mend="start `fedistill site FILE.toml` at the hospitals",
        )
    return node_ids


@contextmanager
def status_told() -> Iterator[None]:
    """Within the block an error carries the status that the command is to end with, for `error_of`.

    Raises:
        RunError: with that status in its words, which are all that Flower hands on.
    """
    try:
        yield
    except FedistillError as error:
        raise RunError(words_with_status(error.exit_code, str(error))) from error


def error_of(words: str) -> FedistillError:
    """Return the error that a run ended with.

    Args:
        words: Flower's own.

    >>> error_of("ServerApp failed with exception: " + words_with_status(2, "no such file")).exit_code
    2
    >>> str(error_of("ServerApp failed with exception: boom"))
    'ServerApp failed with exception: boom'
    """
    status, text = status_in_words(words)
    return (UserError if status == UserError.exit_code else RunError)(text)
