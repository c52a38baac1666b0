"""A study on real nodes: what it must and cannot ask for, and which node is which site."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedistill.config import Plan
from fedistill.config.scheme import scheme_named
from fedistill.consent.study import differences, hash_of
from fedistill.errors import FedistillError, PlanError, RunError, UserError
from fedistill.transport.deploy.deadline_grid import DeadlineGrid
from fedistill.transport.flower_internals import status_in_words, words_with_status
from fedistill.transport.protocol.messages import WHO, shown_line
from fedistill.transport.protocol.named import AGREED, MOST_TEXTS

WAIT_SECONDS = 60.0
RETURN_SECONDS = 600.0
"""Longest wait for nodes to come back after their server was started again."""
"""Longest wait for nodes to connect, and for each to say which site it is."""
MOST_DIFFERENCES = 50
"""Settings that are shown of those in which a site's study differs."""


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
    whole = [name for name in simulation.scheme if (s := scheme_named(name)).pools_releases and not s.has_budget]
    if simulation.recipe.chosen_on == "sites" and (simulation.scores_epsilon is None or whole):
        raise PlanError(
            f"{plan.name} chooses step sizes by the sites' scores (recipe.chosen_on), and hospitals tell none but with "
            "noise, of schemes with an ipc.",
            expected="scores_epsilon, what a hospital's scores may spend, such as scores_epsilon = 4.0",
            found=f"{simulation.scores_epsilon}" + f"; {', '.join(whole)} without an ipc" * bool(whole),
            mend="--set 'recipe.chosen_on=\"pool\"'; or scores_epsilon, at hospitals with `scores` in their policy",
        )
    central = [name for name in simulation.scheme if scheme_named(name).one_place]
    if central:
        raise PlanError(
            f"{', '.join(central)} cannot run {where}: all data would have to be in one place.",
            mend="take those tables away, or compare with them in a simulation",
        )
    for name in simulation.scheme:
        if why := scheme_named(name).simulated:
            raise PlanError(f"{name} cannot run {where}: {why}.", mend=f"take [scheme.{name}] away")
    rounds = [name for name in simulation.scheme if scheme_named(name).has_rounds and not scheme_named(name).private]
    if rounds and len(simulation.recipe.lr) > 1 and simulation.scores_epsilon is None:
        raise PlanError(
            f"{', '.join(rounds)} would choose a step size by the sites' scores, which hospitals tell only with noise.",
            expected="one step size, or scores_epsilon, what a hospital's scores may spend",
            found=simulation.recipe.lr,
            mend="choose it in a simulation, and give --set recipe.lr=0.01; or scores_epsilon, at hospitals with "
            "`scores` in their policy",
        )


def find_sites(
    grid: Grid,
    names: Iterable[str],
    *,
    registered: Callable[[], Mapping[int, str]] = dict,
    patience: float = WAIT_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, int]:
    """Return the node ids of the sites. Wait until all are connected or the time is up.

    Args:
        grid: the grid of the run.
        names: of the sites.
        registered: by node the name that its key was registered under, where nodes have keys.
        patience: seconds to wait for those that are not connected.
        clock: in seconds.
        sleep: waits for a number of seconds.

    Raises:
        RunError: none is, two nodes say they are one site, or a node says it is one whose key it does not have.
    """
    wanted, start = list(names), clock()
    while len(ids := list(grid.get_node_ids())) < len(wanted) and clock() - start < patience:
        sleep(1.0)
    patient = DeadlineGrid(grid, deadline_s=patience, clock=clock, sleep=sleep)
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


def require_agreed(
    grid: Grid,
    nodes: Mapping[str, int],
    text: str,
    *,
    name: str,
    needed: int,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Ask each site, before any work, whether it has agreed to the study; return what the others say, a line each.

    Args:
        grid: the grid of the run.
        nodes: Flower's node id of each connected site.
        text: canonical text of the study, as the coordinator has it.
        name: of the study.
        needed: sites that must have agreed.
        clock: in seconds.
        sleep: waits for a number of seconds.

    Raises:
        PlanError: fewer have; with the settings in which a site's study differs from this one.
    """
    study = hash_of(text)
    patient = DeadlineGrid(grid, deadline_s=WAIT_SECONDS, clock=clock, sleep=sleep)
    asked = ConfigRecord({"study": study, "name": name})
    sites = list(nodes)
    messages = [Message(RecordDict({"request": asked}), nodes[site], AGREED) for site in sites]
    site_of = dict(zip(patient.push_messages(messages), sites, strict=True))
    agreed, notes = 0, []
    replies = {site_of[reply.metadata.reply_to_message_id]: reply for reply in patient.await_replies(list(site_of))}
    for site in sites:
        yes, lines = _answer_in_words(replies[site], text)
        agreed += yes
        notes += [f"{site}: {line}" for line in lines]
    if agreed < needed:
        raise PlanError(
            f"{agreed} of the connected sites have agreed to this study ({study[:12]}), and {needed} are needed.",
            found="; ".join(notes),
            mend="send them the study's file: `fedistill agree STUDY.toml --site SITE.toml` there; nothing was begun",
        )
    return notes


def _answer_in_words(reply: Message, text: str) -> tuple[bool, list[str]]:
    """Return whether a site has agreed, and if not, why not and in what its study differs."""
    if reply.has_error() or "agreed" not in reply.content.config_records:
        return False, [shown_line(reply.error.reason if reply.has_error() else "a reply that cannot be read")]
    record = reply.content.config_records["agreed"]
    if record.get("agreed") is True:
        return True, []
    lines = [shown_line(record.get("why", "it has not agreed"))]
    theirs: Any = record.get("texts")
    if isinstance(theirs, list) and theirs:
        nearest = min((_differing(text, str(each)) for each in theirs[:MOST_TEXTS]), key=len)
        lines += [shown_line(f"its study differs: {line}") for line in nearest[:MOST_DIFFERENCES]]
    return False, lines


def _differing(ours: str, theirs: str) -> list[str]:
    try:
        return differences(ours, theirs)
    except PlanError as error:
        return [str(error)]


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
