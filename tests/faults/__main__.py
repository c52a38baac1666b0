"""`make faults`: what a run survives. Each fault is put into runs of its own; a table says what was lost.

    PYTHONPATH=tests .venv/bin/python -m faults runs/faults --kills 10

Ten SIGKILLs of a whole run come one after another into one run folder, the first two before distillation is under way,
the others spread over its stages; the run is taken up again each time. Then its results are those of an unbroken run.
"""

import argparse
import errno
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster import cluster
from tiny import timeless

from faults.killed import killed_again_and_again
from faults.plans import SMALL, written
from faults.sites import SPOILT, WHY
from fedistill.config import load_plan
from fedistill.core import store
from fedistill.core.events import Event
from fedistill.core.files import write_atomic
from fedistill.errors import RunError
from fedistill.study import run
from fedistill.study.folder import run_folder as folder
from fedistill.study.run import Finished
from fedistill.transport.server import launch

Outcome = tuple[bool, str]
"""Whether it was survived, and what was lost, in words."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=10, help="of the whole run")
    parser.add_argument("--only", help="faults whose name has this in it")
    given = parser.parse_args()
    out: Path = given.out / time.strftime("%Y%m%d-%H%M%S")
    path = written(out, "small", SMALL)
    faults: dict[str, Callable[[], Outcome]] = {
        f"a site {fault}": lambda fault=fault: sick(path, out, fault, "inline")  # type: ignore[misc]
        for fault in ["raises", *SPOILT]
    }
    faults["a site hangs past its deadline"] = lambda: sick(path, out, "hangs", "local", "deadline_s=20.0")
    faults["a worker is killed"] = lambda: worker_killed(path, out)
    faults["a machine of a Ray cluster dies"] = lambda: machine_killed(path, out)
    faults["files of the store are damaged"] = lambda: damaged(path, out)
    faults["the disk is full"] = lambda: full_disk(path, out)
    faults[f"the run is killed {given.kills} times"] = lambda: killed_again_and_again(out, given.kills)
    print(f"{'injected':<36} {'survived':<9} {'seconds':>7}  lost", flush=True)
    failed = 0
    for name, inject in faults.items():
        if given.only and given.only not in name:
            continue
        begun = time.perf_counter()
        try:
            survived, lost = inject()
        except Exception as error:  # the other faults are to be seen as well
            survived, lost = False, f"{type(error).__name__}: {str(error).splitlines()[0]}"
        failed += not survived
        print(f"{name:<36} {'yes' if survived else 'NO':<9} {time.perf_counter() - begun:>7.1f}  {lost}", flush=True)
    sys.exit(1 if failed else 0)


def sick(path: str, out: Path, fault: str, engine: str, *changes: str) -> Outcome:
    """One site of two does what it should not; the other's part must count, and the tables say why one is missing."""
    done = with_sites(path, out / fault.replace(" ", "-"), fault, engine, *changes)
    sites = done.sites.set_index("site")
    named = sites.loc["b", "status"] == "failed" and WHY[fault] in str(sites.loc["b", "why"])
    whole = sites.loc["a", "status"] == "shared" and bool((done.rows["n_sites"] == 1).all())
    return bool(named and whole), f"its Release: {str(sites.loc['b', 'why']).splitlines()[0]}"


def worker_killed(path: str, out: Path) -> Outcome:
    """SIGKILL of the process that distils; Ray starts the job again."""
    whole = run(load_plan(path), out=out / "worker-whole", engine="inline")
    marker = out / "died"
    os.environ["FEDISTILL_FAULT_MARKER"] = str(marker)
    done = with_sites(path, out / "worker", "dies once", "local")
    same = timeless(done.rows).equals(timeless(whole.rows))
    return marker.exists() and same, "nothing: the same results" if same else "the results differ"


def machine_killed(path: str, out: Path) -> Outcome:
    """SIGKILL of all that runs on one of two nodes while a site distils there; its job is done on the other."""
    plan = load_plan(path, changes=["scheme.dm.iterations=1500"])
    whole = run(plan, out=out / "machine-whole", engine="inline")
    killed: list[str] = []
    with cluster() as nodes:
        nodes.start("first")
        nodes.start("second")

        def kill(event: Event) -> None:
            if event.site and event.message == "on second" and not killed:
                killed.append(event.job)
                nodes.kill("second")

        done = run(plan, out=out / "machine", engine=nodes.address, on_event=kill)
    same = timeless(done.rows).equals(timeless(whole.rows))
    again = f'"job": "{killed[0]}"' in _again(out / "machine") if killed else False
    return again and same, "nothing: the same results" if same else "the results differ"


def _again(out: Path) -> str:
    """Events of jobs whose process died."""
    lines = (out / "events.jsonl").read_text().splitlines()
    return "".join(line for line in lines if '"started again"' in line)


def damaged(path: str, out: Path) -> Outcome:
    """Every file of a store cut short or emptied or with a byte changed."""
    first = run(load_plan(path), out=out / "damaged", engine="inline")
    kept = sorted((out / "damaged" / "work").rglob("*.safetensors"))
    for number, file in enumerate(kept):
        data = file.read_bytes()
        file.write_bytes([data[: len(data) // 2], b"", data[:-1] + bytes([data[-1] ^ 1])][number % 3])
    again = run(load_plan(path), out=out / "damaged", engine="inline")
    same = timeless(first.rows).equals(timeless(again.rows))
    return same and again.found == 0, f"{len(kept)} files, made anew" if same else "the results differ"


def full_disk(path: str, out: Path) -> Outcome:
    """No room from the sixth file on; then there is some, and the same command resumes."""
    whole = run(load_plan(path), out=out / "disk-whole", engine="inline")
    left = 6

    def full(file: Path, content: Any, **more: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(file))
        write_atomic(file, content, **more)

    told = ""
    store.write_atomic = folder.write_atomic = full
    try:
        run(load_plan(path), out=out / "disk", engine="inline")
    except (OSError, RunError) as error:
        told = str(error)
    finally:
        store.write_atomic = folder.write_atomic = write_atomic
    halves = list((out / "disk").rglob("*.partial"))
    done = run(load_plan(path), out=out / "disk", engine="inline")
    same = timeless(done.rows).equals(timeless(whole.rows))
    lost = "what was being written" if same else "the results differ"
    return "No space left" in told and not halves and same, lost


def with_sites(path: str, out: Path, fault: str, engine: str, *changes: str) -> Finished:
    """A run among whose sites one is sick."""
    sound = launch.CLIENT
    os.environ["FEDISTILL_FAULT"], launch.CLIENT = fault, "faults.sites:app"
    try:
        return run(load_plan(path, changes=changes), out=out, engine=engine, workers=2 if engine == "local" else None)
    finally:
        launch.CLIENT = sound
        del os.environ["FEDISTILL_FAULT"]


if __name__ == "__main__":
    main()
