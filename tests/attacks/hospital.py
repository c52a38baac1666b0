"""A hospital as its SuperNode's companion runs it: a server may ask it anything, by the very call of a message."""

import json
from pathlib import Path
from typing import Any

import tomli_w
from flwr.app import Message, RecordDict

from fedistill.api.consent import agreed_to, book_of, prepare
from fedistill.config.site_file import OwnSite, load_site
from fedistill.consent.study import hash_of
from fedistill.privacy.policy.secret import ensure_secret
from fedistill.transport.backend.failure import Failure
from fedistill.transport.backend.job import answer, attempt
from fedistill.transport.backend.nodes import Node
from fedistill.transport.deploy.client_loop import APP
from fedistill.transport.flower_internals import become_server
from fedistill.transport.protocol.messages import RELEASE, Outcome, unpack_outcomes
from fedistill.transport.protocol.named import pack_named

RUN = 4242

SITE = """
name = "north"
server = "127.0.0.1:9092"
data = "{data}"
{more}
[policy]
review = {review}
{policy}
"""

DM = {"iterations": 20, "batch_real": 32, "looks": 0, "early_networks": 0, "clusters": 1}
"""As little work as the floors let a method be told."""

ANYTHING = {"allow_real_images": True, "allow_weights": True, "start": "real"}
"""What a coordinator writes into a study for everybody; a hospital has rules of its own."""


class Hospital:
    """A deployed site at its first start.

    Args:
        policy, more: lines of its file, beside the defaults, which are safe; but that nothing waits for a person.
        data: its images.
        review: whether everything does.
    """

    def __init__(
        self,
        folder: Path,
        policy: str = "",
        *,
        data: str = "phantom:breast",
        more: str = "images = 240",
        review: bool = False,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "north.toml"
        path.write_text(SITE.format(data=data, policy=policy, more=more, review=str(review).lower()))
        self.folder = folder
        self.site: OwnSite = load_site(str(path))
        file = self.site.file
        ensure_secret(self.site.path(file.secret), store=self.site.path(file.store), ledger=self.site.path(file.ledger))
        self.node = Node(1, file.name, self.site.node_config(), threads=1)

    @property
    def book(self):
        """Its ledger, with the counter."""
        return book_of(self.site)

    @property
    def ledger(self) -> list[dict[str, Any]]:
        """The lines of its ledger."""
        path = self.site.path(self.site.file.ledger)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """The lines of its ledger of one kind."""
        return [line for line in self.ledger if line["entry"] == kind]

    def agree(self, study: dict[str, Any], **more: Any) -> str:
        """Agree to a study as its data office does; return its HASH."""
        path = self.folder / "study.toml"
        path.write_text(tomli_w.dumps(study))
        offer = prepare(self.site, str(path), **more)
        agreed_to(self.site, offer, by="the data office")
        return hash_of(offer.text)

    def ask(self, content: RecordDict | None, kind: str) -> Message | str:
        """Return its reply to a message, or the words that refuse it."""
        become_server(RUN)
        message = Message(RecordDict() if content is None else content, 1, kind)
        message.metadata.__dict__["_message_id"] = "1"
        outcome = attempt(answer, APP, message, self.node, {}, RUN)
        return outcome.line if isinstance(outcome, Failure) else outcome

    def release(self, study: str, name: str = "north dm seed 0") -> Outcome:
        """Return what comes of one item that makes a Release."""
        reply = self.ask(pack_named(study, [name]), RELEASE)
        if isinstance(reply, str):
            return Outcome("", "", error=reply)
        [outcome] = unpack_outcomes(reply.content)
        return outcome


def study(
    scheme: str = "dm",
    settings: dict[str, Any] | None = None,
    *,
    schemes: dict[str, Any] | None = None,
    **top: Any,
) -> dict[str, Any]:
    """Return a study as its file has it: one that the default policy lets pass, but for what is given.

    Args:
        scheme, settings: of its first scheme; schemes: its others.
        top: other settings of the file.
    """
    federation = {"name": "t", "dataset": "phantom:breast", "images": 240, "sites": ["north", "east"]}
    own = {**(DM if scheme == "dm" else {}), **(settings or {})}
    plain = {"networks": 1, "width": 32, "ipc": [1], "recipe": {"lr": [0.01]}}
    federation |= {"policy": ANYTHING, **top.pop("federation", {})}
    return {**plain, **top, "federation": federation, "scheme": {scheme: own, **(schemes or {})}}
