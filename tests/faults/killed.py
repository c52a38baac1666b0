"""A whole run killed at moments spread over its stages, taken up each time, and held against an unbroken one."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
from tiny import timeless

from faults.plans import LONG, written

PATIENCE_SECONDS = 900
STAGES = ("synthetic", "network", "test")
"""Kinds of finished work in a store, none of which may be made a second time."""


def killed_again_and_again(out: Path, kills: int) -> tuple[bool, str]:
    """Whether the results are the unbroken run's and nothing finished was computed again; and what was lost."""
    path = written(out, "long", LONG)
    unbroken, broken = out / "unbroken", out / "broken"
    began = time.perf_counter()
    run_to_its_end(path, unbroken)
    seconds = time.perf_counter() - began
    total = len(finished(unbroken))
    made: dict[str, int] = {}
    again: set[str] = set()
    late = 0
    for number in range(kills):
        # The first two while the run starts and sites begin; then by how much is finished, from little to almost all.
        wanted = 0 if number < 2 else 1 + round((total - 4) * (number - 2) / max(1, kills - 3))
        late += killed_at(path, broken, wanted, early=number < 2)
        now = finished(broken)
        again |= {name for name in made if now.get(name) != made[name]}
        made = now
    run_to_its_end(path, broken)
    now = finished(broken)
    again |= {name for name in made if now.get(name) != made[name]}
    rows = [timeless(pd.read_csv(each / "results.csv")) for each in (unbroken, broken)]
    same = rows[0].equals(rows[1])
    told = f"{kills} kills, {late} after distillation began, of a run of {seconds:.0f} s with {total} finished stages: "
    told += "the same results" if same else "OTHER RESULTS"
    told += f", {len(again)} finished stages computed again"
    return same and not again, told


def command(path: str, out: Path) -> list[str]:
    return [sys.executable, "-m", "fedistill.cli", "run", path, "--out", str(out), "--workers", "2"]


def run_to_its_end(path: str, out: Path) -> None:
    subprocess.run(command(path, out), check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_SECONDS)


def killed_at(path: str, out: Path, wanted: int, *, early: bool) -> bool:
    """Kill a run, and every process of its session, once so many stages are finished; whether distillation had begun.

    Args:
        early: as soon as the run folder is there, whatever is finished.
    """
    process = subprocess.Popen(
        command(path, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            if process.poll() is not None:
                raise RuntimeError("the run ended before it could be killed")
            if len(finished(out)) >= wanted and (not early or (out / "events.jsonl").exists()):
                break
            time.sleep(0.05)
        time.sleep(0.3)  # in the midst of what comes next, not at its edge
        return (out / "work" / "synthetic").is_dir() or "dm ipc" in _read(out / "events.jsonl")
    finally:
        for pid in session(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def session(leader: int) -> list[int]:
    """Processes of a session, Ray's workers among them; the leader first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, ValueError):
                # PID (NAME) STATE PPID PGRP SESSION ...; a name may hold spaces and brackets.
                if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                    found.append(int(entry.name))
    return sorted(found, key=lambda pid: pid != leader)


def finished(out: Path) -> dict[str, int]:
    """Stages that are done, and when their files were written."""
    files = [file for kind in STAGES for file in (out / "work" / kind).glob("*.safetensors")]
    return {f"{file.parent.name}/{file.name}": file.stat().st_mtime_ns for file in files}


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
