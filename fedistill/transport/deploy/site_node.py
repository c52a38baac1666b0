"""A hospital's node: a Flower SuperNode that connects it, a child of this process, which answers with its own code."""

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context, RecordDict

from fedistill.config.site_file import OwnSite
from fedistill.consent.agreement import Agreements
from fedistill.core.files import keep_private, private_file, private_folder
from fedistill.errors import RunError, SettingError
from fedistill.privacy.accounting.counter import counter_of
from fedistill.privacy.accounting.ledger import Ledger
from fedistill.privacy.policy.secret import ensure_secret
from fedistill.transport.deploy.client_loop import answer_while
from fedistill.transport.deploy.subprocesses import Child, flower, free_port, secret_file
from fedistill.transport.flower_internals import CONNECTED, REFUSED
from fedistill.transport.site.context import read_context

WATCH_SECONDS = 0.5
PATIENCE_SECONDS = 30.0
REMEMBERED_SECONDS = 75.0
RETRY_SECONDS = 5.0


def run_site(site: OwnSite, *, insecure: bool, tell: Callable[[str], None]) -> None:
    """Run this site's node until the process is ended.

    Args:
        site: the site's file.
        insecure: without TLS and keys; only by explicit word.
        tell: told in a line what happens.

    Raises:
        SettingError: keys or a secret that are missing or not as they should be, or a server whose certificate is not
            the one expected.
        DataError: its images cannot be read.
        RunError: the server turns this node away, or the SuperNode ended.
    """
    _require_keys(site, insecure)
    file = site.file
    keep_private()
    if file.secret:
        ensure_secret(site.path(file.secret), store=site.path(file.store), ledger=site.path(file.ledger))
    private_folder(site.path(file.store))
    private_file(site.path(file.ledger))
    tell(f"site {site.file.name}: {_holds(site)}")
    tell(f"site {site.file.name}: {_has_agreed(site)}")
    if not insecure:
        require_server(site.file.server, site.path(str(site.file.root_certificate)))
    tell(f"site {site.file.name}: connecting to {site.file.server}")
    start, reported = time.monotonic(), False
    while True:
        began = time.monotonic()
        node = _live(site, insecure, tell)
        if REFUSED not in node.said():
            if CONNECTED not in node.said():
                last = node.last_words()
                raise RunError("The SuperNode ended.", found=last, mend=f"see {node.log.name} in the site's store")
            tell(f"site {site.file.name}: the connection is lost; connecting again")
            start, reported = time.monotonic(), False
            time.sleep(RETRY_SECONDS)
            continue
        if time.monotonic() - began > REMEMBERED_SECONDS:
            start = time.monotonic()  # it was connected for long: the server has forgotten it only now
        if time.monotonic() - start > REMEMBERED_SECONDS:
            raise RunError(
                f"The server at {site.file.server} does not know this site's key.",
                found=f"site {site.file.name!r}",
                mend="send its public key to the coordinator, who puts it into server/sites/; or end its other node",
            )
        if not reported:
            tell(f"site {site.file.name}: connection refused; the key of a crashed node is freed in a minute")
            reported = True
        time.sleep(RETRY_SECONDS)


def _holds(site: OwnSite) -> str:
    """Describe the site's data for its own log. Reads them at once, so that a mistake shows before anybody waits."""
    own = Context(run_id=0, node_id=0, node_config={**site.node_config()}, state=RecordDict(), run_config={})
    train = read_context(own).whole(0).train
    return f"{len(train):,} training images of {train.n_classes} classes"


def _has_agreed(site: OwnSite) -> str:
    """Describe the agreements, after a look at the ledger: one that cannot be trusted shows before anybody waits."""
    book = Ledger(site.path(site.file.ledger), counter_of(site.path(site.file.store)))
    holding = Agreements(site.agreements, book.entries()).holding()
    names = ", ".join(f"{each.study.name} ({each.hash[:12]})" for each in holding)
    return f"agreed to {names}" if names else "agreed to no study, so nothing is answered: see `fedistill agree`"


def _live(site: OwnSite, insecure: bool, tell: Callable[[str], None]) -> Child:
    """Run one SuperNode from its start to its end, and answer the messages that reach it."""
    store = site.path(site.file.store)
    with secret_file(store) as (path, secret):
        port = free_port()
        node = flower("supernode", _arguments(site, port, path, insecure), store / "node.log", store / "flower")
        try:
            _await_connected(site, node, tell, insecure=insecure)
            answer_while(
                lambda: node.status is None,
                f"127.0.0.1:{port}",
                secret,
                site.node_config(),
                threads=site.file.threads,
                log=store / "events.jsonl",
                tell=tell,
            )
        finally:
            node.end()
    return node


def _await_connected(site: OwnSite, node: Child, tell: Callable[[str], None], *, insecure: bool) -> None:
    """Wait until the SuperNode is connected, however long the server lets it wait, or has ended.

    Raises:
        SettingError: a server has come up that is not the one expected. Flower would try again without end.
    """
    looked = time.monotonic()
    while node.status is None and CONNECTED not in node.said():
        if time.monotonic() - looked > PATIENCE_SECONDS:
            tell(f"site {site.file.name}: still waiting for {site.file.server}")
            if not insecure:
                require_server(site.file.server, site.path(str(site.file.root_certificate)))
            looked = time.monotonic()
        time.sleep(WATCH_SECONDS)
    if node.status is None:
        tell(f"site {site.file.name}: connected")


def _arguments(site: OwnSite, port: int, secret: Path, insecure: bool) -> list[str]:
    trust = (
        ["--insecure"]
        if insecure
        else [
            "--root-certificates",
            str(site.path(str(site.file.root_certificate))),
            "--auth-supernode-private-key",
            str(site.path(str(site.file.key))),
        ]
    )
    beside = ["--host", "127.0.0.1", "--port", str(port), "--superexec-auth-secret-file", str(secret)]
    # Its own code answers, not that of the run: nothing here would run the latter.
    return ["--superlink", site.file.server, "--isolation", "process", *beside, *trust]


def _require_keys(site: OwnSite, insecure: bool) -> None:
    file = site.file
    if insecure and file.key is not None:
        raise SettingError(
            "--insecure connects without keys, and this site's file names some.",
            mend="leave --insecure out, or take root_certificate and key out of the file",
        )
    if insecure:
        return
    if file.root_certificate is None or file.key is None:
        raise SettingError(
            "This site's file names no root_certificate and key.",
            mend="take those that `fedistill keys` has made for it; --insecure connects without, and protects nothing",
        )
    for name in (file.root_certificate, file.key):
        if not site.path(name).is_file():
            raise SettingError(f"There is no file {name!r} beside the site's.", mend="`fedistill keys` makes it")


def require_server(address: str, root: Path) -> None:
    """Look whether the server shows a certificate signed by this root, for this name. One not up may come later.

    Raises:
        SettingError: it does not.
    """
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(root))
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=host.strip("[]")),
        ):
            return
    except ssl.SSLError as error:
        raise SettingError(
            f"The server at {address} does not show a certificate that this site trusts.",
            expected=f"one signed by {root.name}, for {host}",
            found=error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error,
            mend="ask the coordinator for the ca.crt of this server, and under what name it was made",
        ) from error
    except OSError:
        return
