"""A live line for every site and one for the server while a run works; plain lines where there is no terminal."""

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from fedistill.report.terminal.eta import OF_SERVER, Tally, clock
from fedistill.study.folder.event_log import NOTE

PLAIN_EVERY_SECONDS = 10.0
WHOLE_EVERY_SECONDS = 30.0
"""Between two plain lines that say how far all of it is."""


SERVER = ""
"""The server's line; any word may be a site's name."""


class Progress:
    """Told of every event; shows what each site is doing now."""

    def __init__(self, sites: Iterable[str], console: Console) -> None:
        self._console = console
        self._lines: dict[str, tuple[str, str]] = {name: ("waiting", "") for name in (*sites, SERVER)}
        self._done = dict.fromkeys(self._lines, 0)
        self._start = time.monotonic()
        self._printed: dict[str, float] = {}
        self._told = self._start
        self._site_of: dict[str, str] = {}
        self._tally: Tally | None = None
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
        if stage == "planned":
            self._tally = Tally(event["plan"])
        if self._tally is not None:
            self._tally.add(event)
        if stage in ("machine", NOTE):
            self._console.print(f"[{time.monotonic() - self._start:5.0f} s] {event['message']}", markup=False)
        if event.get("site"):
            self._site_of[job] = str(event["site"])
        who = SERVER if job.startswith(OF_SERVER) else self._site_of.get(job)
        if who is None or who not in self._lines:
            return
        doing = job.removeprefix(OF_SERVER).removeprefix(who).strip()
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
                text += f", {_rate(step / seconds)}, {clock(seconds / step * (steps - step))} left"
        if event.get("message"):
            text += f" {event['message']}"
        return text

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True)
        for ratio in (3, 2):  # one line each, however narrow the terminal
            table.add_column(no_wrap=True, overflow="ellipsis", ratio=ratio)
        for who, (doing, state) in self._lines.items():
            table.add_row(f"[bold]{escape(who or 'server')}[/]", escape(doing), f"[dim]{escape(state)}[/]")
        table.add_row("", f"[dim]{escape(self._whole())}[/]", "")
        return table

    def _whole(self) -> str:
        """How far all of it is."""
        parts = [f"{time.monotonic() - self._start:.0f} s"]
        if self._tally is not None:
            parts += [self._tally.line, self._tally.estimate(time.time()).words]
        return ", ".join(filter(None, parts))

    def _plainly(self, who: str, stage: str, event: dict[str, Any]) -> None:
        now = time.monotonic()
        due = now - self._printed.get(who, -PLAIN_EVERY_SECONDS) >= PLAIN_EVERY_SECONDS
        if due or (stage in ("done", "failed") and who != SERVER):
            self._printed[who] = now
            doing, state = self._lines[who]
            line = f"[{now - self._start:5.0f} s] {who or 'server'}: {doing}: {state}"
            if self._tally is not None and now - self._told >= WHOLE_EVERY_SECONDS:
                self._told = now
                line += f" ({self._whole()})"
            self._console.print(line, markup=False, highlight=False)


def _rate(per_second: float) -> str:
    """Steps a second, or seconds a step where that is the larger number.

    >>> _rate(12.34), _rate(0.25)
    ('12.3/s', '4.0 s each')
    """
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{1 / per_second:.1f} s each"
