"""A live line for every site and one for the server while a run works; plain lines where there is no terminal."""

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

PLAIN_EVERY_SECONDS = 10.0


class Progress:
    """Told of every event; shows what each site is doing now."""

    def __init__(self, sites: Iterable[str], console: Console) -> None:
        self._console = console
        self._lines: dict[str, tuple[str, str]] = {name: ("waiting", "") for name in (*sites, "server")}
        self._done = dict.fromkeys(self._lines, 0)
        self._start = time.monotonic()
        self._printed: dict[str, float] = {}
        self._site_of: dict[str, str] = {}
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        job, stage = str(event.get("job", "")), str(event.get("stage", ""))
        if event.get("site"):
            self._site_of[job] = str(event["site"])
        who = "server" if job.startswith("server") else self._site_of.get(job, "")
        if who not in self._lines:
            return
        doing = job.removeprefix("server: ").removeprefix(who).strip()
        if event.get("point"):
            doing = f"{event['point']}: {doing}"
        self._lines[who] = (doing, self._state(event, stage))
        if event.get("final"):
            self._done[who] += 1
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        else:
            self._plainly(who, stage, event)

    def _state(self, event: dict[str, Any], stage: str) -> str:
        text = stage
        step, steps, seconds = event.get("step"), event.get("steps"), event.get("seconds")
        if step and steps:
            text += f" {step}/{steps}"
            if seconds and step < steps:
                text += f", {_rate(step / seconds)}, {_clock(seconds / step * (steps - step))} left"
        if event.get("message"):
            text += f" {event['message']}"
        return text

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True)
        for ratio in (3, 2):  # one line each, however narrow the terminal
            table.add_column(no_wrap=True, overflow="ellipsis", ratio=ratio)
        for who, (doing, state) in self._lines.items():
            table.add_row(f"[bold]{who}[/]", doing, f"[dim]{state}[/]")
        table.add_row("", f"[dim]{time.monotonic() - self._start:.0f} s[/]", "")
        return table

    def _plainly(self, who: str, stage: str, event: dict[str, Any]) -> None:
        now = time.monotonic()
        due = now - self._printed.get(who, -PLAIN_EVERY_SECONDS) >= PLAIN_EVERY_SECONDS
        if due or (stage in ("done", "failed") and who != "server"):
            self._printed[who] = now
            doing, state = self._lines[who]
            self._console.print(f"[{now - self._start:5.0f} s] {who}: {doing}: {state}", markup=False, highlight=False)


def _rate(per_second: float) -> str:
    """Steps a second, or seconds a step where that is the larger number.

    >>> _rate(12.34), _rate(0.25)
    ('12.3/s', '4.0 s each')
    """
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{1 / per_second:.1f} s each"


def _clock(seconds: float) -> str:
    """A duration as people say it.

    >>> _clock(42.4), _clock(600), _clock(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
