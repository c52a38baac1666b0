"""Jobs: (site, scheme, seed) with all its budgets, the unit of parallel work, retry and progress."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fedistill.config.scheme import is_variant, scheme_named
from fedistill.config.simulation import Simulation
from fedistill.core.seeds import spawn
from fedistill.core.text import printable
from fedistill.errors import SettingError
from fedistill.methods import METHODS, method_of
from fedistill.models import MODELS
from fedistill.release.release import ENCODINGS


@dataclass(frozen=True)
class Job:
    """A request to a site for a Release. It names no file and no data: the site knows its own.

    Args:
        site, scheme, seed: whose, made how, in which repeat; partition: in which redraw of who holds what.
        ipcs: budgets in images per class; empty for a scheme without one.
        settings: of the scheme, as the simulation's file gives them.
        draws: independent subsets a budget, for schemes whose outcome is one random draw.
        model, width: the network to match on; precision: what it computes in.
        random_seed: where everything random of this job comes from.
        encoding: what synthetic images must travel as; see `fedistill.release.release`.
    """

    site: str
    scheme: str
    seed: int
    partition: int
    ipcs: tuple[int, ...]
    settings: dict[str, Any]
    draws: int
    model: str
    width: int
    precision: str
    random_seed: int
    encoding: str = "uint8"

    @property
    def method(self) -> str:
        """The method that makes the images: ``random`` of the scheme ``random-soft``."""
        return method_of(self.scheme)

    @property
    def name(self) -> str:
        """For people and for progress: ``north dc seed 0``."""
        redraw = f" partition {self.partition}" if self.partition else ""
        return f"{self.site} {self.scheme} seed {self.seed}{redraw}"

    @property
    def budgets(self) -> tuple[int | None, ...]:
        """Its ipcs; None alone for a scheme without a budget."""
        return self.ipcs or (None,)


MOST_BUDGETS, MOST_DRAWS, MOST_IPC, MOST_WIDTH = 1000, 1000, 100_000, 4096
MOST_SETTINGS = 1 << 16
"""Characters of a job's settings as JSON."""


def read_job(values: Any) -> Job:
    """Read a job out of a request: JSON that somebody else wrote, every value checked for its type and range.

    Raises:
        SettingError: something in it cannot be.
    """
    if not isinstance(values, Mapping) or set(values) != {field.name for field in fields(Job)}:
        raise SettingError("A job of the request has other fields than jobs have.", mend="run one version everywhere")
    ipcs = values["ipcs"]
    checks = {
        "site": _is_text(values["site"]),
        "scheme": _is_text(values["scheme"]) and _is_of_a_method(values["scheme"]),
        "seed": _is_whole(values["seed"], 0, 2**63 - 1),
        "partition": _is_whole(values["partition"], 0, 10**6),
        "ipcs": isinstance(ipcs, list | tuple)
        and len(set(map(repr, ipcs))) == len(ipcs) <= MOST_BUDGETS
        and all(_is_whole(ipc, 1, MOST_IPC) for ipc in ipcs),
        "settings": isinstance(values["settings"], dict) and len(json.dumps(values["settings"])) <= MOST_SETTINGS,
        "draws": _is_whole(values["draws"], 1, MOST_DRAWS),
        "model": _is_text(values["model"]) and values["model"] in MODELS,
        "width": _is_whole(values["width"], 1, MOST_WIDTH),
        "precision": values["precision"] in ("float32", "tf32", "bfloat16"),
        "random_seed": _is_whole(values["random_seed"], 0, 2**63 - 1),
        "encoding": _is_text(values["encoding"]) and values["encoding"] in ENCODINGS,
    }
    wrong = [name for name, right in checks.items() if not right]
    if not wrong and METHODS[method_of(values["scheme"])].budget != bool(ipcs):
        wrong = ["ipcs"]  # a method with a budget needs one, and another has none
    if not wrong and values["draws"] > 1 and not METHODS[method_of(values["scheme"])].drawn:
        wrong = ["draws"]
    if wrong:
        raise SettingError(
            f"Invalid {wrong[0]} in a job of the request.", found=printable(repr(values[wrong[0]]), most=80)
        )
    return Job(**{**values, "ipcs": tuple(ipcs)})


def _is_of_a_method(scheme: str) -> bool:
    try:
        return bool(method_of(scheme))
    except SettingError:
        return False


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def _is_whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def job(
    simulation: Simulation,
    site: str,
    scheme: str,
    seed: int,
    partition: int,
    ipcs: Mapping[int | None, int | None] | None = None,
) -> Job:
    """Return one job of a simulation, for a scheme that makes images.

    Args:
        simulation: whose settings it has.
        site: who is asked.
        scheme: of the simulation.
        seed: number of the repeat.
        partition: number of the redraw of who holds what.
        ipcs: what the job is asked for in place of each of the simulation's budgets; the same unless given.
    """
    name = scheme_named(scheme).method
    assert name is not None
    method = METHODS[name]
    asked = {ipc: ipc for ipc in simulation.budgets(scheme)} if ipcs is None else ipcs
    settings = dict(simulation.settings(scheme))
    if "ipc" in settings:  # settings of one budget go with what is asked for in its place
        tables = settings["ipc"]
        settings["ipc"] = {str(new): tables[str(old)] for old, new in asked.items() if str(old) in tables}
    return Job(
        site=site,
        scheme=scheme if is_variant(scheme) else name,
        seed=seed,
        partition=partition,
        ipcs=tuple(new for new in asked.values() if new is not None),
        settings=settings,
        draws=simulation.networks if method.drawn else 1,
        model=simulation.models[0],
        width=simulation.width,
        precision=simulation.precision,
        # All sites' data in one place draw as they did when that place went by a word that a site may have.
        random_seed=spawn(simulation.seed, site.strip("()"), name, seed, partition),
        encoding=simulation.encoding,
    )
