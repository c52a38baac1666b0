"""Progress: a line a site, live in a terminal and plain elsewhere."""

import re
from io import StringIO

from rich.console import Console

from fedistill.core.events import Event
from fedistill.report.terminal.progress import Progress

EVENTS = [
    Event("started", job="north dc seed 0", site="north"),
    Event("distilling", job="north dc seed 0", site="north", method="dc", ipc=10, step=20, steps=100, seconds=5.0),
    Event("training", job="dc ipc 10", step=1, steps=2, seconds=1.0),
    Event("training", job="somebody else's", site="west", message="lost"),
    Event("done", job="north dc seed 0", site="north", bytes=12_300),
]


def shown(terminal, width=50):
    out = StringIO()
    console = Console(file=out, force_terminal=terminal, width=width, highlight=False, _environ={"TERM": "xterm"})
    with Progress(["north", "south"], console) as progress:
        for event in EVENTS:
            progress(event)
    return out.getvalue()


def test_plain_lines_say_where_things_stand():
    text = shown(False, width=100)
    assert "north: dc seed 0: started" in text and "north: dc seed 0: done 12 kB" in text
    assert "server: dc ipc 10: training 1/2, 1.0/s, 1.0 s left" in text
    assert "lost" not in text and "\x1b" not in text


def test_a_live_line_each_in_a_narrow_terminal():
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", shown(True))
    assert "north" in text and "south" in text and "waiting" in text
    assert all(len(line) <= 50 for line in text.splitlines())
