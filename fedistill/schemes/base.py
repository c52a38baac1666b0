"""The contract of a scheme, which each file of this room implements.

Files, policies and tables know a scheme by its settings and flags (`fedistill.config.scheme.Scheme`). This class adds
its behaviour: the conditions it has in the comparison, the requests it sends to sites and how a site answers them, what
the server does with the answers, the work that takes, and how an audit repeats it on half of a site's images. A study
only iterates over schemes; the parts they share are in `fedistill.schemes.server` and `fedistill.schemes.site`.
"""

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from fedistill.config import Holdings, Job, Simulation
from fedistill.config.scheme import Scheme, scheme_named
from fedistill.consent.items import Item
from fedistill.errors import PlanError, SettingError
from fedistill.schemes.server.condition import Condition, Result
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.questions import Question, evaluation_name, items_for
from fedistill.schemes.server.shadows import AuditData, AuditTarget, ShadowSpec
from fedistill.schemes.server.trainer import Trained
from fedistill.schemes.server.work import Forecast, TrainingWork

Networks = Sequence[Sequence[Trained]]
"""A condition's networks, each a group whose predictions are averaged; most groups have one member."""


class NoNetwork(Exception):
    """Raised when a site trained no network of its own; the message says why."""


class StudyScheme(Scheme):
    """A scheme that a study can run."""

    def conditions(self, simulation: Simulation, condition: Condition) -> Iterator[Condition]:
        """Yield the conditions that a condition of the file expands to: itself, one for each site, or none."""
        if condition.recipe == "common":
            yield condition

    def every_condition(self, simulation: Simulation, partition: int) -> Iterator[Condition]:
        """Yield all conditions of the scheme in a redraw, in the order of the simulation's file."""
        for seed in simulation.repeats(self.name):
            for ipc in simulation.budgets(self.name):
                for rounds in simulation.rounds(self.name):
                    for model in simulation.models:
                        for recipe in simulation.recipes:
                            line = Condition(partition, self.name, ipc, seed, model, recipe, rounds)
                            yield from self.conditions(simulation, line)

    def jobs(self, simulation: Simulation) -> Iterator[Job]:
        """Yield the jobs that make Releases at sites, for progress and forecast."""
        yield from ()

    def asked(self, job: Job, simulation: Simulation, holdings: Holdings) -> Job:
        """Return one of `jobs` as a site with these holdings is asked for it; here for the budgets of `budgets`."""
        return replace(job, ipcs=tuple(ipc for ipc in self.budgets(simulation, holdings).values() if ipc))

    def budgets(self, simulation: Simulation, holdings: Holdings) -> dict[int | None, int | None]:
        """Map each of the simulation's budgets to the budget of a site's job; here to itself."""
        return {ipc: ipc for ipc in simulation.budgets(self.name)}

    def choosing(self, simulation: Simulation) -> Iterator[Question]:
        """Yield the questions to deployed sites by which step sizes are chosen; none by default."""
        yield from ()

    def most_members(self, simulation: Simulation) -> int:
        """Return how many networks give one prediction together, at most."""
        return 1

    def questions(self, simulation: Simulation, site: str) -> list[Question]:
        """Return all questions for scores that a deployed site is asked under this scheme.

        Args:
            simulation: the study.
            site: its name; networks of another site's own are not scored there.
        """
        asked = [] if simulation.scores_epsilon is None else list(self.choosing(simulation))
        if simulation.evaluation_epsilon is None or self.one_place:
            return asked
        members = self.most_members(simulation)
        return asked + [
            Question(evaluation_name(condition), condition.model, simulation.networks, "held_out", members)
            for condition in self.every_condition(simulation, 0)
            if condition.site in ("", site)
        ]

    def score_items(self, simulation: Simulation, site: str) -> Iterator[Item]:
        """Yield the items of `questions`."""
        own = self.questions(simulation, site)
        if own:
            schemes = [study_scheme(name) for name in simulation.scheme]
            everything = [each for scheme in schemes for each in scheme.questions(simulation, site)]
            yield from items_for(simulation, site, own, everything)

    @abstractmethod
    async def run(self, condition: Condition, ctx: StudyContext) -> tuple[Result, Networks]:
        """Run a condition: send requests to sites, train or collect networks, score them on the official test split.

        Raises:
            RunError: fewer sites answered than ``min_sites`` requires.
            NoNetwork: the condition's only site trained no network.
        """

    @abstractmethod
    def answer(self, request: Any, site: Any) -> Any:
        """Carry out a server's request at a site.

        Args:
            request: an instance of the class attribute `request`.
            site: a `fedistill.transport.site.context.SiteContext`.

        Raises:
            PolicyError: the site's policy forbids it.
        """

    @abstractmethod
    def work(self, condition: Condition, forecast: Forecast) -> Iterator[tuple[Hashable, TrainingWork]]:
        """Yield a condition's training in parts, each keyed so that conditions can share equal work."""

    def check_audit(self, target: AuditTarget, site: str, ctx: StudyContext) -> None:
        """Raise SettingError, before any work, if the site sends nothing to attack."""

    async def shadow(self, target: AuditTarget, site: str, data: AuditData, ctx: StudyContext) -> ShadowSpec | None:
        """Return the specification of shadows that repeat the site's part in the target on half of its images.

        Returns:
            None if the site itself trained nothing, which has been reported.
        """
        raise SettingError(f"{self.name} cannot be attacked.")

    def shadow_work(self, target: AuditTarget, site: str, scored: int, forecast: Forecast) -> Iterator[TrainingWork]:
        """Yield the training of one shadow's networks, each of which is scored on ``scored`` images."""
        raise SettingError(f"{self.name} cannot be attacked.")


def study_scheme(name: str) -> StudyScheme:
    """Return the scheme of this name.

    Raises:
        SettingError: no scheme has this name.
        PlanError: the scheme, of another package, does not implement `StudyScheme`.
    """
    scheme = scheme_named(name)
    if not isinstance(scheme, StudyScheme):
        raise PlanError(f"The scheme {name!r} cannot be run.", expected="a StudyScheme", found=type(scheme).__name__)
    return scheme
