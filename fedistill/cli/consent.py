"""Commands of a hospital's data office: agree to studies, list and revoke agreements, look at what waits to leave."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from fedistill.cli import options

if TYPE_CHECKING:
    from fedistill.config.site_file import OwnSite
    from fedistill.privacy.accounting.ledger import Ledger

SiteOption = Annotated[
    Path,
    typer.Option("--site", metavar="SITE.toml", help="This hospital's file.", envvar="FEDISTILL_SITE"),
]
By = Annotated[str | None, typer.Option("--by", help="Who decides. Default: the account.")]
DAYS = 365
"""For which an agreement holds unless --until says otherwise."""


def agree(
    study: Annotated[str, typer.Argument(metavar="STUDY.toml", help="The study, as the coordinator has sent it.")],
    site: SiteOption,
    yes: Annotated[bool, typer.Option("--yes", help="Agree without being asked, as scripts must.")] = False,
    evidence: Annotated[Path | None, typer.Option(help="A run with an audit of such Releases.")] = None,
    without: Annotated[str, typer.Option(help="Schemes to take no part in, with commas between.")] = "",
    standing: Annotated[str, typer.Option(help="Schemes whose answers need not be looked at first.")] = "",
    until: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="The last day. Default: in a year.")] = None,
    by: By = None,
    changes: options.Set = None,
    phantom: options.Phantom = False,
) -> None:
    """Say what a study would have this hospital send; on a yes, agree to it, and to nothing else."""
    from fedistill.api.consent import agreed_to, prepare
    from fedistill.config.site_file import load_site
    from fedistill.errors import SettingError

    own = load_site(str(site))
    offer = prepare(
        own,
        study,
        changes=changes or (),
        phantom=phantom,
        without=_names(without),
        standing=_names(standing),
        until=until,
        evidence=evidence,
    )
    for line in offer.lines:
        options.console.print(escape(line), soft_wrap=True)
    if not yes:
        if not _terminal():
            raise SettingError("Nobody is there to be asked, so nothing was agreed.", mend="--yes, for scripts")
        if not typer.confirm(f"Does {own.file.name} agree to this?", default=False):
            options.console.print("Nothing was agreed.")
            raise typer.Exit(1)
    path = agreed_to(own, offer, by=_who(by))
    options.console.print(f"agreed: {options.short(path)}", soft_wrap=True)


def agreements(
    site: SiteOption,
    revoke: Annotated[str | None, typer.Option(metavar="HASH", help="Take this agreement back.")] = None,
    by: By = None,
) -> None:
    """List what this hospital has agreed to and what each study has used; or take an agreement back."""
    from rich import box
    from rich.table import Table

    from fedistill.api.consent import listed, revoke_agreement
    from fedistill.config.site_file import load_site

    own = load_site(str(site))
    if revoke is not None:
        study = revoke_agreement(own, revoke, by=_who(by))
        options.console.print(f"revoked: {study[:12]}. What has left cannot be called back.", soft_wrap=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("HASH", "study", "by", "until", "state", "answered", "sent", "waits", "refused"):
        table.add_column(column)
    for row in listed(own):
        table.add_row(*[escape(str(cell)) for cell in row])
    options.console.print(table)


def requests(
    site: SiteOption,
    what: Annotated[str | None, typer.Argument(metavar="[show", help="Show one of them.")] = None,
    number: Annotated[int | None, typer.Argument(metavar="N]", help="Its number.")] = None,
) -> None:
    """List what waits to leave this hospital; or show one: its images beside the nearest real ones."""
    from rich import box
    from rich.table import Table

    from fedistill.api.consent import show, waiting
    from fedistill.config.site_file import load_site
    from fedistill.core.files import PRIVATE_FILE, write_atomic
    from fedistill.errors import SettingError
    from fedistill.report.html.held import write_page

    own = load_site(str(site))
    if what is None:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for column in ("N", "study", "what", "state", "by", "came (UTC)"):
            table.add_column(column)
        for row in waiting(own):
            table.add_row(*[escape(str(cell)) for cell in row])
        options.console.print(table)
        return
    if what != "show" or number is None:
        raise SettingError("`fedistill requests` lists them, `fedistill requests show N` shows one.")
    seen = show(own, number)
    for line in seen.lines:
        options.console.print(escape(line), soft_wrap=True)
    page = own.folder / "requests" / f"{number}.html"
    # It shows patients' images: its owner's alone, and it stays at the hospital.
    write_atomic(page, write_page(seen.title, seen.lines, seen.pictures), mode=PRIVATE_FILE)
    options.console.print(f"page: {options.short(page)}", soft_wrap=True)


def approve(number: Annotated[int, typer.Argument(metavar="N")], site: SiteOption, by: By = None) -> None:
    """Let what waits under a number leave this hospital."""
    _decide(site, number, "approved", by, "")


def reject(
    number: Annotated[int, typer.Argument(metavar="N")],
    site: SiteOption,
    by: By = None,
    why: Annotated[str, typer.Option(help="For the log; nobody else is told.")] = "",
) -> None:
    """Keep what waits under a number at this hospital, for good."""
    _decide(site, number, "rejected", by, why)


def _decide(site: Path, number: int, decision: Literal["approved", "rejected"], by: str | None, why: str) -> None:
    from fedistill.api.consent import book_of
    from fedistill.config.site_file import load_site
    from fedistill.consent.airlock import decide
    from fedistill.core.text import printable

    own: OwnSite = load_site(str(site))
    book: Ledger = book_of(own)
    one = decide(book, number, decision, by=_who(by), why=printable(why))
    options.console.print(f"{decision}: {number}, {escape(one.what)}", soft_wrap=True)


def _names(words: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in words.split(",") if name.strip())


def _who(by: str | None) -> str:
    import getpass

    from fedistill.core.text import printable

    return printable(by or getpass.getuser(), most=100)


def _terminal() -> bool:
    import sys

    return sys.stdin.isatty()


def add_to(cli: typer.Typer) -> None:
    """Put the commands into the command line."""
    for command in (agree, agreements, requests, approve, reject):
        cli.command()(command)
