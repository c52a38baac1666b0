"""A live line for every site and one for the server while a run works; plain lines where there is no terminal."""

import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from fedistill.core.events import Event
from fedistill.report.terminal.eta import Tally, clock
from fedistill.report.terminal.table import size_of

PLAIN_EVERY_SECONDS = 10.0
WHOLE_EVERY_SECONDS = 30.0
"""Between two plain lines that say how far all of it is."""


SERVER = ""
"""The server's line: its events have no site."""

NOBODYS = ("planned", "note", "machine", "damaged file")
"""Kinds of events that are of no job."""


class Progress:
    """Told of every event; shows what each site is doing now."""

    def __init__(self, sites: Iterable[str], console: Console) -> None:
        self._console = console
        self._lines: dict[str, tuple[str, str]] = {name: ("waiting", "") for name in (*sites, SERVER)}
        self._start = time.monotonic()
        self._printed: dict[str, float] = {}
        self._told = self._start
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

    def __call__(self, event: Event) -> None:
        if event.plan is not None:
            self._tally = Tally(event.plan)
        if self._tally is not None:
            self._tally.add(event)
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
        """How far all of it is."""
        parts = [f"{time.monotonic() - self._start:.0f} s"]
        if self._tally is not None:
            parts += [self._tally.line, self._tally.estimate(time.time()).words]
        return ", ".join(filter(None, parts))

    def _plainly(self, event: Event) -> None:
        now, who = time.monotonic(), event.site
        due = now - self._printed.get(who, -PLAIN_EVERY_SECONDS) >= PLAIN_EVERY_SECONDS
        if due or (event.kind in ("done", "failed") and who != SERVER):
            self._printed[who] = now
            doing, state = self._lines[who]
            line = f"[{now - self._start:5.0f} s] {who or 'server'}: {doing}: {state}"
            if self._tally is not None and now - self._told >= WHOLE_EVERY_SECONDS:
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
            text += f", {_rate(step / seconds)}, {clock(seconds / step * (steps - step))} left"
    size = "" if event.bytes is None else size_of(event.bytes)
    return " ".join(filter(None, (text, size, event.message)))


def _rate(per_second: float) -> str:
    """Steps a second, or seconds a step where that is the larger number.

    >>> _rate(12.34), _rate(0.25)
    ('12.3/s', '4.0 s each')
    """
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{1 / per_second:.1f} s each"
