"""The contract of a scheme: everything that one file of this room says.

A scheme is known by its settings and flags (`fedistill.config.scheme.Scheme`) to files, policies and tables. Here
stands what it does: which conditions of the comparison it has, what it asks of sites and how a site answers, what the
server makes of the answers, how much work that is, and how an audit repeats it on half of a site's images. A study only
iterates over schemes; what all of them need is in `fedistill.schemes.server` and `fedistill.schemes.site`.
"""

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from fedistill.config import Holdings, Job, Simulation
from fedistill.config.scheme import Scheme, scheme_named
from fedistill.errors import PlanError, SettingError
from fedistill.schemes.server.condition import Condition, Result
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.shadows import AuditData, AuditTarget, ShadowSpec
from fedistill.schemes.server.trainer import Trained
from fedistill.schemes.server.work import Forecast, Training

Networks = Sequence[Sequence[Trained]]
"""A condition's networks: for each, those that predict together; mostly one alone."""


class NoNetwork(Exception):
    """A site trained no network of its own; the message says why."""


class StudyScheme(Scheme):
    """A scheme as a study runs it.

    Attributes:
        request: the type of the requests that `answer` takes.
    """

    request: type

    def conditions(self, simulation: Simulation, condition: Condition) -> Iterator[Condition]:
        """Yield the conditions that one line of the file stands for: itself; or one for each site; or none."""
        if condition.recipe == "common":
            yield condition

    def jobs(self, simulation: Simulation) -> Iterator[Job]:
        """Yield the jobs by which sites make Releases, for progress and forecast."""
        yield from ()

    def budgets(self, simulation: Simulation, holdings: Holdings) -> dict[int | None, int | None]:
        """Return the simulation's budgets, and the ones that a site's job has in their place: the same."""
        return {ipc: ipc for ipc in simulation.budgets(self.name)}

    @abstractmethod
    async def run(self, condition: Condition, ctx: StudyContext) -> tuple[Result, Networks]:
        """Run one condition: ask sites, train or collect networks, score them on the official test split.

        Raises:
            RunError: fewer sites answered than ``min_sites`` wants.
            NoNetwork: the condition's one site trained none.
        """

    @abstractmethod
    def answer(self, request: Any, site: Any) -> Any:
        """Carry out a server's request at a site.

        Args:
            request: of the type `request`; site: `fedistill.transport.site.context.SiteContext`.

        Raises:
            PolicyError: the site's policy forbids it.
        """

    @abstractmethod
    def work(self, condition: Condition, forecast: Forecast) -> Iterator[tuple[Hashable, Training]]:
        """Yield what a condition has trained and scored, each with a key that equal work of other conditions shares."""

    def check_audit(self, target: AuditTarget, site: str, ctx: StudyContext) -> None:
        """Raise SettingError where the site sends nothing that could be attacked; before any work."""

    async def shadow(self, target: AuditTarget, site: str, data: AuditData, ctx: StudyContext) -> ShadowSpec | None:
        """Return how a shadow of the target is made: what the site does, on half of its images.

        Returns:
            None where the site itself trained nothing, which was reported.
        """
        raise SettingError(f"{self.name} cannot be attacked.")

    def shadow_work(self, target: AuditTarget, site: str, scored: int, forecast: Forecast) -> Iterator[Training]:
        """Yield the training of one shadow's networks.

        Args:
            scored: images that they are scored on.
        """
        raise SettingError(f"{self.name} cannot be attacked.")


def study_scheme(name: str) -> StudyScheme:
    """Return the scheme of this name.

    Raises:
        SettingError: there is none. PlanError: another package offers it, without what a study needs.
    """
    scheme = scheme_named(name)
    if not isinstance(scheme, StudyScheme):
        raise PlanError(f"The scheme {name!r} cannot be run.", expected="a StudyScheme", found=type(scheme).__name__)
    return scheme
