"""No run is lost to its display: what cannot be shown is replaced, and one that is gone is left alone."""

import io
import os
import sys

import pytest
from rich.console import Console

from fedistill.cli.main import main
from fedistill.cli.options import short
from fedistill.cli.screen import Lasting, show_what_can_be
from fedistill.core.events import Event
from fedistill.report.terminal.progress import Progress


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1252"])
def test_what_a_terminal_cannot_show_is_replaced(monkeypatch, encoding):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    show_what_can_be()
    Console(file=Lasting("stdout"), width=40).print("Łódź: 90.0 ±0.1 \udcff")
    sys.stdout.flush()
    shown = raw.getvalue().decode(encoding)
    assert shown.startswith("?") and "90.0" in shown and shown.rstrip().endswith("?")


def test_the_command_replaces_what_it_cannot_show(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(sys, "argv", ["fedistill", "datasets"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    sys.stdout.flush()
    assert b"bloodmnist" in raw.getvalue()


def test_a_reader_who_leaves_ends_no_run(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        console = Console(file=Lasting("stdout"))
        for _ in range(3):
            console.print("x" * 10)
        with Progress(["a"], console) as progress:
            progress(Event("done", job="a dc seed 0", site="a"))


def test_a_live_display_prints_through_itself(monkeypatch):
    raw = io.StringIO()
    monkeypatch.setattr(sys, "stdout", raw)
    console = Console(file=Lasting("stdout"), force_terminal=True, width=60, _environ={"TERM": "xterm"})
    with Progress(["a"], console) as progress:
        progress(Event("done", job="a dc seed 0", site="a"))
        print("beside it")
    assert "beside it" in raw.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("words", ["m[/red]", "x [red]", "[", "a\\"])
def test_what_looks_like_markup_is_shown_as_it_is(terminal, words):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, _environ={"TERM": "xterm"})
    with Progress(["a"], console) as progress:
        progress(Event("failed", job="a dc seed 0", site="a", message=words, point=words))
    assert words in out.getvalue()


def test_a_path_that_looks_like_markup_is_shown_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("m[/red]", "x [red]"):
        out = io.StringIO()
        Console(file=out).print(f"report: {short(tmp_path / name)}", soft_wrap=True)
        assert out.getvalue() == f"report: {name}\n"


def test_a_site_called_server_has_a_line_of_its_own():
    out = io.StringIO()
    with Progress(["server", "server-room"], Console(file=out, width=100)) as progress:
        for name in ("server", "server-room"):
            progress(Event("done", job=f"{name} dc seed 0", site=name, message=f"from {name}"))
        progress(Event("training", job="dc ipc 1", message="at the server"))
    lines = [line.split("] ")[1] for line in out.getvalue().splitlines()]
    assert lines == [
        "server: dc seed 0: done from server",
        "server-room: dc seed 0: done from server-room",
        "server: dc ipc 1: training at the server",
    ]
