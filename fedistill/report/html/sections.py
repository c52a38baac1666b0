"""Facts for the end of a page: how to repeat a run, on what it ran, whose data it used."""

from datetime import UTC, datetime
from shlex import quote
from typing import Any

from fedistill.report.run_data import RunData


def command(run: RunData) -> str:
    """Return the command that repeats the run into another folder."""
    return f"fedistill run {quote(f'{run.folder.name}/simulation.toml')} --out {quote(f'{run.folder.name}-again')}"


def ended(run: RunData) -> str:
    """Return the day of the last event; empty where there is none."""
    times = [event.time for event in run.events if event.time]
    return datetime.fromtimestamp(max(times), UTC).strftime("%-d %B %Y") if times else ""


def versions(run: RunData) -> list[tuple[str, str]]:
    """Return packages and their versions."""
    known: dict[str, Any] = dict(run.environment.get("versions", {}))
    return [(name, str(version)) for name, version in sorted(known.items()) if version]


def machine(run: RunData) -> list[tuple[str, str]]:
    """Return what the run ran on."""
    about: dict[str, Any] = dict(run.environment.get("machine", {}))
    gpus = about.get("gpus") or []
    workers = run.environment.get("workers")
    shares = run.timing.get("shares", {})
    took = run.timing.get("wall_seconds")
    pairs = [
        ("System", about.get("system")),
        ("Processor", about.get("processor")),
        ("Cores", about.get("cores")),
        ("Vector instructions", about.get("vector_instructions")),
        ("GPUs", ", ".join(gpus) if gpus else "none used"),
        ("Engine", run.environment.get("engine")),
        ("Workers", workers if workers is not None else "all cores"),
        ("Precision of distillation", (run.environment.get("precision") or {}).get("distillation")),
        ("Seed", run.environment.get("seed")),
        ("The last run took", None if took is None else f"{took:,.0f} s"),
        ("of which sites, server", _shares(shares)),
    ]
    return [(name, str(value)) for name, value in pairs if value not in (None, "")]


def data(run: RunData) -> list[tuple[str, str, str]]:
    """Return every data set: its name, its MD5 or what draws it, and its licence."""
    known = dict(run.environment.get("data", {}))
    licences = dict(run.environment.get("licences", {}))
    return [(name, str(about), licences.get(name) or "not stated") for name, about in known.items()]


def _shares(shares: dict[str, Any]) -> str | None:
    if not shares:
        return None
    return f"{100 * shares['sites']:.0f} %, {100 * shares['server']:.0f} % of the workers' time"
