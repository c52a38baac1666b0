"""A live line for every site and one for the server while a run works; plain lines where there is no terminal."""

import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from fedistill.core.events import Event
from fedistill.report.format import duration, rate, size
from fedistill.report.terminal.eta import RunProgress

PLAIN_EVERY_SECONDS = 10.0
WHOLE_EVERY_SECONDS = 30.0
"""Between two plain lines that say how far all of it is."""


SERVER = ""
"""The server's line: its events have no site."""

NOBODYS = ("planned", "note", "machine", "damaged file")
"""Kinds of events that are of no job."""


class Progress:
    """A display of what each site is doing now; call it with every event."""

    def __init__(self, sites: Iterable[str], console: Console) -> None:
        self._console = console
        self._lines: dict[str, tuple[str, str]] = {name: ("waiting", "") for name in (*sites, SERVER)}
        self._start = time.monotonic()
        self._printed: dict[str, float] = {}
        self._told = self._start
        self._so_far: RunProgress | None = None
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

    def __call__(self, event: Event) -> None:
        """Take in an event: show it, and what its site does now."""
        if event.plan is not None:
            self._so_far = RunProgress(event.plan)
        if self._so_far is not None:
            self._so_far.add(event)
        if event.kind in ("machine", "note"):
            self._console.print(f"[{time.monotonic() - self._start:5.0f} s] {event.message}", markup=False)
        if event.kind in NOBODYS or event.site not in self._lines:
            return
        doing = f"{event.point}: {event.title}" if event.point else event.title
        self._lines[event.site] = (doing, state_words(event))
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        else:
            self._plainly(event)

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
        """Return how far all of it is."""
        parts = [f"{time.monotonic() - self._start:.0f} s"]
        if self._so_far is not None:
            parts += [self._so_far.line, self._so_far.estimate(time.time()).words]
        return ", ".join(filter(None, parts))

    def _plainly(self, event: Event) -> None:
        now, who = time.monotonic(), event.site
        due = now - self._printed.get(who, -PLAIN_EVERY_SECONDS) >= PLAIN_EVERY_SECONDS
        if due or (event.kind in ("done", "failed") and who != SERVER):
            self._printed[who] = now
            doing, state = self._lines[who]
            line = f"[{now - self._start:5.0f} s] {who or 'server'}: {doing}: {state}"
            if self._so_far is not None and now - self._told >= WHOLE_EVERY_SECONDS:
                self._told = now
                line += f" ({self._whole()})"
            self._console.print(line, markup=False, highlight=False)


def state_words(event: Event) -> str:
    """Return in words how far a job is.

    >>> state_words(Event("distilling", method="dc", ipc=10, step=20, steps=100, seconds=5.0))
    'dc ipc 10 20/100, 4.0/s, 20 s left'
    >>> state_words(Event("done", seconds=5.0, bytes=12_300))
    'done 12 kB'
    """
    text, step, steps, seconds = event.stage, event.step, event.steps, event.seconds
    if step and steps:
        text += f" {step}/{steps}"
        if seconds and step < steps:
            text += f", {rate(step / seconds)}, {duration(seconds / step * (steps - step))} left"
    return " ".join(filter(None, (text, size(event.bytes), event.message)))
