"""The command line. Thin: it reads words, calls the library, and prints; --help imports neither torch nor ray."""

import errno
import signal
import sys
from typing import Annotated

import typer
from rich.markup import escape

from fedistill import __version__
from fedistill.cli import consent, data, deliver, deploy, options, run, show
from fedistill.cli.screen import show_what_can_be

cli = typer.Typer(
    name="fedistill",
    help="What would hospitals lose, and leak, if each shared a few synthetic images per class instead of its data?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
FAILING = (errno.EIO, errno.ESTALE)
"""Errors of the disk about a place that cannot be read or written; others are our mistakes."""


@cli.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        options.console.print(f"fedistill {__version__}")
        raise typer.Exit


for commands in (run, data, deliver, show, deploy, consent):
    commands.add_to(cli)


def main() -> None:
    """Run the ``fedistill`` command."""
    from fedistill.core.malloc import keep_freed_memory
    from fedistill.errors import FedistillError

    show_what_can_be()
    keep_freed_memory()
    signal.signal(signal.SIGTERM, _stop)
    try:
        cli(standalone_mode=True)
    except FedistillError as error:
        options.errors.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except (_Stopped, SystemError) as error:
        # Compiled code, such as Ray's, hands the exception of a signal on as the cause of another.
        if not isinstance(error, _Stopped) and not isinstance(error.__cause__, _Stopped):
            raise
        options.errors.print("stopped; run the same command again to resume")
        sys.exit(128 + signal.SIGTERM)
    except OSError as error:
        if error.errno in (*CLOSED, *FAILING) and error.filename is not None:
            options.errors.print(
                f"[red]error:[/] {escape(str(error.filename)[:200])} cannot be read or written: {error.strerror}",
                soft_wrap=True,
            )
            options.errors.print("  fix: see who owns it and what it is, or name another place")
            sys.exit(2 if error.errno in CLOSED else 1)
        if error.errno not in FULL:
            raise
        where = f" at {error.filename}" if error.filename else ""
        options.errors.print(f"[red]error:[/] there is no room to write{escape(where)}", soft_wrap=True)
        options.errors.print("  fix: make room, and run the same command again: what is finished is kept")
        sys.exit(1)
    except KeyboardInterrupt:
        options.errors.print("stopped; run the same command again to resume")
        sys.exit(128 + signal.SIGINT)


class _Stopped(BaseException):
    """SIGTERM: like Ctrl-C, it passes through the work, which keeps what it has."""


def _stop(number: int, frame: object) -> None:
    raise _Stopped
