"""Hospitals in this process: Flower's grid without a wire, their agreements, and runs of a study between them."""

import csv
from pathlib import Path

import tomli_w

from fedistill.api.consent import agreed_to, prepare
from fedistill.config.site_file import load_site
from fedistill.consent.study import load_study
from fedistill.study import run_on
from fedistill.transport.backend.failure import Failure
from fedistill.transport.backend.job import answer, attempt
from fedistill.transport.backend.nodes import Node
from fedistill.transport.deploy.client_loop import APP, _discreet
from fedistill.transport.flower_internals import acting_as, become_server, stamped
from fedistill.transport.server.launch import of_deployed

DM = {"iterations": 3, "batch_real": 8, "early_networks": 0, "looks": 0, "clusters": 1}
RULES = {"allow_weights": True, "smallest_batch": 8, "min_class_size": 8, "fewest_iterations": 1, "widths": [4]}
"""Of a hospital so small that a study of it takes seconds."""


def small_study(federation, schemes, **recipe):
    """Return a study of one small network of each scheme, as its file has it."""
    return {
        "federation": federation,
        "scheme": schemes,
        "networks": 1,
        "width": 4,
        "ipc": 1,
        "min_sites": 1,
        "deadline_s": 60.0,
        "recipe": {"pilots": 1, **recipe},
    }


def write_site(folder, name, federation, **rules):
    """Write the file of a hospital that has its share of a federation; nobody there looks at its answers."""
    own = {"name": name, "federation": federation, "secret": "", "store": f"{name}-kept"}
    own |= {"ledger": f"{name}-kept.jsonl", "agreements": f"{name}-agreed"}
    policy = {**RULES, "review": False, **rules}
    (folder / f"{name}.toml").write_text(tomli_w.dumps({**own, "policy": policy}))


class Nodes:
    """Flower's grid, whose nodes are hospitals in this process; they answer when they are asked for replies.

    Args:
        folder: of their files, ``NAME.toml``.
        names: of the sites.
    """

    def __init__(self, folder: Path, names):
        self.sites = {name: load_site(str(folder / f"{name}.toml")) for name in names}
        self._nodes = {i: Node(i, name, self.sites[name].node_config()) for i, name in enumerate(names, 1)}
        self._asked, self._count = {}, 0

    def get_node_ids(self):
        return list(self._nodes)

    def push_messages(self, messages):
        ids = []
        for message in messages:
            self._count += 1
            ids.append(f"real-{self._count}")
            self._asked[ids[-1]] = stamped(message, ids[-1])
        return ids

    def pull_messages(self, ids):
        return [self._answered(self._asked.pop(each)) for each in list(ids) if each in self._asked]

    def _answered(self, message):
        node = self._nodes[message.metadata.dst_node_id]
        outcome = attempt(answer, APP, message, node, {}, 7)
        with acting_as(7, node.node_id):
            reply, _ = _discreet(outcome, message, lambda event: None, own=node.config)
        assert isinstance(outcome, Failure) == reply.has_error()
        return reply


def agree(folder, name, **more):
    """Agree to ``study.toml`` as a site's data office does; return the site."""
    own = load_site(str(folder / f"{name}.toml"))
    agreed_to(own, prepare(own, str(folder / "study.toml"), **more), by="the data office")
    return own


def ran(folder, names, out="deployed", **changes):
    """Run ``study.toml`` between hospitals into a folder, and return the rows of its results."""
    become_server(7)
    study = load_study(str(folder / "study.toml"), changes=[f"{name}={value}" for name, value in changes.items()])
    run_on(study, of_deployed(Nodes(folder, names), study), out=folder / out, deployed=True)
    return untimed(folder / out)


def untimed(root):
    """Return the rows of results.csv without timings, and without what messages take on their way."""
    return [
        {key: value for key, value in row.items() if not key.endswith(("_seconds", "_up", "_down"))}
        for row in table(root, "results")
    ]


def table(root, name):
    """Return the rows of a run's table."""
    with (root / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))
