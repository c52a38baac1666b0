"""A simulation submitted to a SuperLink, whose app runs it on connected sites; this file follows its progress."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedistill.config import Plan
from fedistill.config.find import find
from fedistill.core.events import OnEvent
from fedistill.core.files import require_folder
from fedistill.core.json_lines import parse
from fedistill.errors import SettingError
from fedistill.study.folder.event_log import read_event
from fedistill.study.folder.tables_on_disk import read_table
from fedistill.study.tables.missing import missing_releases
from fedistill.transport.deploy.control import Control, ServerAwayError, connection
from fedistill.transport.deploy.deployed import error_of, require_deployable

LOOK_SECONDS = 1.0
AGAIN_SECONDS = 5.0
PATIENCE_SECONDS = 3600.0
"""Longest wait for a server that has gone to be started again."""


@dataclass(frozen=True)
class Followed:
    """The outcome of a run on connected sites.

    Args:
        root: the run folder.
        missing: what sites did not share and why, one line each.
    """

    root: Path
    missing: tuple[str, ...]


def run_submitted(
    plan: Plan,
    name: str,
    where: str,
    *,
    out: Path,
    data_root: str | None,
    phantom: bool,
    changes: Sequence[str],
    on_event: OnEvent,
    tell: Callable[[str], None],
) -> Followed:
    """Submit a simulation, follow it to its end, and raise its error if it fails.

    Args:
        plan: loaded from ``name``, ``phantom`` and ``changes``, which the server reads again.
        name: of the simulation, or a path.
        where: of ``--engine superlink:WHERE``.
        out: the run folder, on this machine, which is the server's.
        data_root: folder of MedMNIST files.
        phantom: replace every data set by its phantom.
        changes: ``"key=value"`` with dotted keys of the TOML.
        on_event: receives every event of the run.
        tell: receives a line on what happens.

    Raises:
        UserError: the plan, the folder or the connection is invalid; nothing was done.
        RunError: the run could not be finished.
    """
    require_deployable(plan)
    require_folder(out, "--out")
    control, root = connection(where), out.resolve()
    events = Tail(root / "events.jsonl")
    config: dict[str, str | bool] = {
        "simulation": str(find("simulations", name)),
        "phantom": phantom,
        "changes": json.dumps(list(changes)),
        "out": str(root),
        "data-root": "" if data_root is None else str(Path(data_root).expanduser().resolve()),
        "deployed": True,
    }
    run_id = control.start(config)
    tell(f"run {run_id} at {control.address}; run folder: {out}")
    try:
        while True:
            try:
                ended = control.ended(run_id)
            except ServerAwayError as error:
                run_id = _again(control, config, error, tell)
                continue
            if ended is not None:
                break
            events.hand_on(on_event)
            time.sleep(LOOK_SECONDS)
    except BaseException:
        control.stop(run_id)  # nobody follows it any more; finished work is in the sites' stores
        raise
    events.hand_on(on_event)
    if not ended.well:
        raise error_of(ended.why)
    return Followed(root, tuple(missing_releases(read_table(root / "sites.csv"))))


def _again(control: Control, config: dict[str, str | bool], error: ServerAwayError, tell: Callable[[str], None]) -> int:
    """Wait for a server that has gone, and submit the run to it anew; sites and run folder have what was finished.

    Raises:
        ServerAwayError: it does not come back.
    """
    tell("the server does not answer; waiting for it")
    until = time.monotonic() + PATIENCE_SECONDS
    while not control.is_up():
        if time.monotonic() > until:
            raise error
        time.sleep(AGAIN_SECONDS)
    run_id = control.start({**config, "resumed": True})
    tell(f"the server is back; the run goes on as run {run_id}")
    return run_id


def require_plain(**given: object) -> None:
    """Refuse options that only engines on this machine have.

    Raises:
        SettingError: one of them is set.
    """
    for name, value in given.items():
        if value:
            raise SettingError(f"--{name} has no effect on connected sites.", mend="omit it")


class Tail:
    """The events that are added to a run folder from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = path.stat().st_size if path.is_file() else 0

    def hand_on(self, on_event: OnEvent) -> None:
        """Pass on new events; an incomplete line is left for the next call."""
        if not self._path.is_file():
            return
        if self._path.stat().st_size < self._read:
            self._read = 0  # an earlier run's file was moved aside
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                try:
                    event = read_event(parse(line))
                except ValueError:
                    continue  # damaged: the report and `fedistill status` count such lines
                if event.kind != "planned":  # the plan is in plan.json as well
                    on_event(event)
