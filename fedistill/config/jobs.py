"""Jobs: (site, scheme, seed) with all its budgets, the unit of parallel work, retry and progress."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field

from fedistill.config.scheme import is_variant, scheme_named
from fedistill.config.simulation import Simulation
from fedistill.core.ranges import AS_TUPLE, known
from fedistill.core.seeds import spawn
from fedistill.core.settings import checked
from fedistill.errors import SettingError
from fedistill.methods import METHODS, method_of
from fedistill.models import MODELS
from fedistill.release.release import Encoding

MOST_BUDGETS, MOST_DRAWS, MOST_IPC, MOST_WIDTH = 1000, 1000, 100_000, 4096
MOST_SETTINGS = 1 << 16
"""Characters of a job's settings as JSON."""

Name = Annotated[str, Field(min_length=1, max_length=200)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _of_a_method(scheme: str) -> str:
    try:
        method_of(scheme)
    except SettingError:
        raise ValueError("there is no such method") from None
    return scheme


def _each_once(ipcs: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(ipcs)) < len(ipcs) or len(ipcs) > MOST_BUDGETS:
        raise ValueError(f"at most {MOST_BUDGETS}, each once")
    return ipcs


def _short(settings: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(settings)) > MOST_SETTINGS:
        raise ValueError("too long")
    return settings


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

    site: Name
    scheme: Annotated[Name, AfterValidator(_of_a_method)]
    seed: Seed
    partition: Annotated[int, Field(ge=0, le=10**6)]
    ipcs: Annotated[tuple[Annotated[int, Field(ge=1, le=MOST_IPC)], ...], AS_TUPLE, AfterValidator(_each_once)]
    settings: Annotated[dict[str, Any], AfterValidator(_short)]
    draws: Annotated[int, Field(ge=1, le=MOST_DRAWS)]
    model: Annotated[Name, known("model", MODELS)]
    width: Annotated[int, Field(ge=1, le=MOST_WIDTH)]
    precision: Annotated[str, known("precision", ("float32", "tf32", "bfloat16"))]
    random_seed: Seed
    encoding: Encoding = "uint8"

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


J = TypeVar("J", bound=Job)


def read_job(values: Any, kind: type[J] = Job) -> J:  # type: ignore[assignment]
    """Read a job out of a request: JSON that somebody else wrote, every value checked for its type and range.

    Raises:
        SettingError: something in it cannot be.
    """
    if not isinstance(values, Mapping) or set(values) != {field.name for field in fields(kind)}:
        raise SettingError("A job of the request has other fields than jobs have.", mend="run one version everywhere")
    job = checked(kind, values, "a job of the request")
    method = METHODS[job.method]
    if method.budget != bool(job.ipcs):
        raise SettingError(f"a job of the request: {job.method} takes {'' if method.budget else 'no '}budgets.")
    if job.draws > 1 and not method.drawn:
        raise SettingError(f"a job of the request: {job.method} draws nothing.", expected="draws of 1", found=job.draws)
    return job


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
