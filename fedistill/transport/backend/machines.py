"""The machines of a Ray cluster, or the one of a local Ray: what a job may ask for, who is gone, who has joined."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import ray

from fedistill.errors import PlanError


@dataclass(frozen=True)
class Machine:
    """A machine of a cluster.

    Args:
        name: as its owner called it (``ray start --node-name``), else its host and address.
        resources: what Ray may give away of it: ``CPU``, ``GPU``, ``memory`` in bytes.
    """

    name: str
    resources: Mapping[str, float]

    def fits(self, options: Mapping[str, Any]) -> bool:
        """Return whether the machine could ever run a job with these resources."""
        return all(self.resources.get(kind, 0) >= amount for kind, amount in _needs(options).items())


class Machines:
    """The machines that were up at the last `look`."""

    def __init__(self) -> None:
        self._up = _up()

    def look(self) -> list[str]:
        """Ask again; a line on each machine that has gone or joined since."""
        before, self._up = self._up, _up()
        gone = [f"{before[key].name} is gone; its jobs are done elsewhere" for key in before.keys() - self._up.keys()]
        came = [f"{self._up[key].name} has joined" for key in self._up.keys() - before.keys()]
        return sorted(gone) + sorted(came)

    def total(self, kind: str) -> float:
        """Return the amount of a resource on all machines together."""
        return sum(machine.resources.get(kind, 0) for machine in self._up.values())

    def fit(self, options: Mapping[str, Any]) -> bool:
        """Return whether any single machine could ever run a job with these resources; no job spreads over two."""
        return any(machine.fits(options) for machine in self._up.values())

    def require(self, who: str, options: Mapping[str, Any]) -> None:
        """Raise PlanError when none could: Ray would wait for one without end."""
        if self.fit(options):
            return
        expected, requested = self.lacking(options)
        raise PlanError(
            f"{who} requests more than any machine has",
            expected=expected,
            found=requested,
            mend="ask for less in the federation file, or start with more workers",
        )

    def lacking(self, options: Mapping[str, Any]) -> tuple[str, str]:
        """Describe, for an error, the largest amount of each resource on a machine, and the amounts requested."""
        needs = _needs(options)
        most = {kind: max((each.resources.get(kind, 0) for each in self._up.values()), default=0) for kind in needs}
        return (
            ", ".join(f"{kind} up to {amount:g}" for kind, amount in most.items()),
            ", ".join(f"{kind} {amount:g}" for kind, amount in needs.items()),
        )


@cache
def this_machine() -> str:
    """Return the name of the machine that this Ray worker runs on."""
    machine = _up().get(ray.get_runtime_context().get_node_id())
    return "a machine that has just left" if machine is None else machine.name


def _needs(options: Mapping[str, Any]) -> dict[str, float]:
    return {"CPU": options["num_cpus"], "GPU": options["num_gpus"], "memory": options.get("memory", 0)}


def _up() -> dict[str, Machine]:
    """Return the machines that are alive, by Ray's id."""
    return {node["NodeID"]: Machine(_name(node), node["Resources"]) for node in ray.nodes() if node["Alive"]}


def _name(node: Mapping[str, Any]) -> str:
    address, given = str(node["NodeManagerAddress"]), str(node.get("NodeName") or "")
    return given if given not in ("", address) else f"{node['NodeManagerHostname']} ({address})"
