"""A hospital as its SuperNode's companion runs it: a server may ask it anything, by the very call of a message."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict

from fedistill.config import Job
from fedistill.config.site_file import OwnSite, load_site
from fedistill.privacy.policy.secret import ensure_secret
from fedistill.transport.backend.failure import Failure
from fedistill.transport.backend.job import answer, attempt
from fedistill.transport.backend.nodes import Node
from fedistill.transport.deploy.client_loop import APP
from fedistill.transport.flower_internals import become_server
from fedistill.transport.protocol.messages import RELEASE, Outcome, unpack_outcomes

RUN = 4242

SITE = """
name = "north"
server = "127.0.0.1:9092"
data = "{data}"
{more}
[policy]
{policy}
"""

DM = {"iterations": 20, "batch_real": 32, "looks": 0, "early_networks": 0, "clusters": 1}
"""As little work as the floors let a method be told."""


class Hospital:
    """A deployed site at its first start.

    Args:
        policy, more: lines of its file, beside the defaults, which are safe.
        data: its images.
    """

    def __init__(self, folder: Path, policy: str = "", *, data: str = "phantom:breast", more: str = "images = 240"):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "north.toml"
        path.write_text(SITE.format(data=data, policy=policy, more=more))
        self.site: OwnSite = load_site(str(path))
        file = self.site.file
        ensure_secret(self.site.path(file.secret), store=self.site.path(file.store), ledger=self.site.path(file.ledger))
        self.node = Node(1, file.name, self.site.node_config(), threads=1)

    @property
    def ledger(self) -> list[dict[str, Any]]:
        """The lines of its ledger."""
        path = self.site.path(self.site.file.ledger)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def ask(self, content: RecordDict, kind: str) -> Message | str:
        """Return its reply to a message, or the words that refuse it."""
        become_server(RUN)
        message = Message(content, 1, kind)
        message.metadata.__dict__["_message_id"] = "1"
        outcome = attempt(answer, APP, message, self.node, {}, RUN)
        return outcome.line if isinstance(outcome, Failure) else outcome

    def release(self, scheme: str = "dm", **changes: Any) -> Outcome:
        """Return what comes of one job; ``settings`` go over those of `DM`, for its scheme, unless ``bare``."""
        return self.releases([job(scheme, **changes)])[0]

    def releases(self, jobs: list[dict[str, Any]]) -> list[Outcome]:
        """Return what comes of a request, which may list anything."""
        records = {"job": ConfigRecord({"name": "x"}), "request": ConfigRecord({"jobs": json.dumps(jobs)})}
        reply = self.ask(RecordDict(records), RELEASE)
        if isinstance(reply, str):
            return [Outcome("", "", error=reply)]
        return unpack_outcomes(reply.content)


def job(scheme: str = "dm", **changes: Any) -> dict[str, Any]:
    """Return a job as a request lists it: one that the default policy lets pass, but for the changes."""
    settings = {**(DM if scheme == "dm" else {}), **changes.pop("settings", {})}
    plain = Job("north", scheme, 0, 0, (1,), settings, 1, "convnet", 32, "float32", random_seed=7)
    return {**asdict(plain), **changes}
