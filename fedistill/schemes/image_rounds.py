"""``tdm-rounds``: sites send their images a few at a time, each time those that the pool so far does not teach.

Every round has an equal part of the images. After each but the last the server trains a network on the pool so far, by
the common recipe, and sends it to all sites. Each makes its next images of the real images that this network gets wrong
(see `fedistill.methods.engine.guide`), as in FedVCK (Yan et al., AAAI 2025, arXiv 2412.18557). Unlike there, the
server trains by the common recipe, with no contrastive term, so that the rounds alone differ from ``tdm``.

Settings are ``rounds``, and those of ``tdm``, whose table is taken where there is one. Every Release tells more of a
site's images, and whoever chooses the network chooses which of them count: rounds run in simulations only.
"""

import asyncio
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from fedistill.config import Holdings, Job, Simulation, job
from fedistill.consent.items import Item
from fedistill.core.seeds import spawn
from fedistill.core.settings import Frozen, checked
from fedistill.errors import PlanError, PolicyError, ReleaseError, SettingError
from fedistill.methods import METHODS, Task
from fedistill.methods.engine.guide import guide_by
from fedistill.privacy.accounting.guarantee import PrivacyGuarantee
from fedistill.privacy.policy.rules import check_request
from fedistill.release.release import Release
from fedistill.schemes.images import ImageScheme
from fedistill.schemes.server.choice import choose
from fedistill.schemes.server.condition import Choice, Condition, Transfer
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.pool import Pool
from fedistill.schemes.server.site_row import SiteRow
from fedistill.schemes.server.work import Forecast, TrainingWork, expected_steps, fold_sizes
from fedistill.schemes.site.release import carry_out, requested
from fedistill.transport.backend.events import emitter
from fedistill.transport.protocol.codec import arrays_of, params_of
from fedistill.transport.protocol.guided import GuidedRequest, RoundJob
from fedistill.transport.protocol.messages import Outcome
from fedistill.transport.protocol.release_sizes import guided_sizes
from fedistill.transport.site.context import SiteContext

BETWEEN = -1
"""Number of the network between rounds. Those that are scored count from 0: no image is made to suit one of them."""


class ImageRoundsSettings(Frozen):
    """The settings that stand beside the method's own.

    Args:
        rounds: in which a site makes its images.
    """

    rounds: Annotated[int, Field(ge=1, le=100)] = 2


@dataclass(frozen=True, eq=False)
class Sent:
    """The outcome of one site's part in one round.

    Args:
        job: what it was asked for.
        outcome: its answer.
        release: the Release that the server accepted; None: there is none, because of ``why``.
        up, down: size in bytes of the encoded reply and request; 0 without a Release.
    """

    job: RoundJob
    outcome: Outcome
    release: Release | None
    why: str
    up: int
    down: int


class ImageRounds(ImageScheme):
    """A scheme whose sites make their images in rounds, guided by the server's network.

    Args:
        name: of the scheme, which begins with the method's.
        method: of `fedistill.methods`, which looks at a task's guide.

    Raises:
        SettingError: the method looks at no guide.
    """

    request = GuidedRequest
    pools_releases = False
    attackable = False
    unattacked = "makes its images in several rounds, which no attack here repeats"
    simulated = "a hospital makes no images that a network of the server's guides; rounds run in simulations"

    def __init__(self, name: str, method: str, summary: str) -> None:
        super().__init__(name, method, summary)
        if not METHODS[method].guided:
            known = [each for each, entry in METHODS.items() if entry.guided]
            raise SettingError(f"{method} looks at no guide.", expected=f"one of {known}", found=method)

    # ------------------------------------------------------------------ settings, policy

    @property
    def settings_under(self) -> str:
        """Name of the settings' table: the method's own."""
        return self.method

    def rounds(self, values: Mapping[str, Any]) -> tuple[int | None, ...]:
        """Return the number of rounds, which has one condition for each budget."""
        return (self._rounds(values),)

    def _rounds(self, values: Mapping[str, Any]) -> int:
        given = {name: value for name, value in values.items() if name == "rounds"}
        return checked(ImageRoundsSettings, given, self.name).rounds

    def check(
        self, values: Mapping[str, Any], *, budgets: Iterable[int | None], datasets: Iterable[str]
    ) -> Sequence[Any]:
        """Return the method's settings for every part of every budget."""
        number = self._rounds(values)
        chosen: list[Any] = []
        for ipc in budgets:
            if ipc is None or ipc < number:
                raise SettingError(
                    f"{self.name}: {number} rounds do not divide {ipc} image{'s' * (ipc != 1)} a class.",
                    expected="at least one image a class in every round",
                    mend=f"lower rounds, or leave {ipc} out of ipc",
                )
            for part in sorted(set(parts_of(ipc, number))):
                chosen += super().check(of_part(values, ipc, part), budgets=[part], datasets=datasets)
        return chosen

    def check_simulation(self, simulation: Simulation, settings: Sequence[Any]) -> None:
        """Raise ValueError where too many sites let fewer Releases leave than there are rounds."""
        number = self._rounds(simulation.settings(self.name))
        sites = simulation.federation.sites
        refuse = [site for site in sites if below(simulation.federation.policy_of(site).max_releases, number)]
        if refuse and len(sites) - len(refuse) < simulation.sites_needed:
            raise ValueError(
                f"scheme {self.name!r} has every site send {number} Releases, more than the policy of "
                f"{', '.join(refuse)} lets leave (rule max_releases): lower rounds, or leave the scheme out"
            )

    def written_out(self, values: Mapping[str, Any], *, budgets: Sequence[int | None]) -> dict[str, Any]:
        """Raise PlanError: no study that hospitals agree to has rounds of images."""
        raise self._not_in_a_study()

    def items(self, simulation: Simulation, site: str) -> Iterator[Item]:
        """Raise PlanError: no study that hospitals agree to has rounds of images."""
        raise self._not_in_a_study()

    def _not_in_a_study(self) -> PlanError:
        return PlanError(
            f"Hospitals cannot agree to {self.name}: {self.simulated}.", mend=f"take [scheme.{self.name}] away"
        )

    def guarantee(self, simulation: Simulation, ipc: int | None, rounds: int | None) -> PrivacyGuarantee | None:
        """Return None: the Releases are not private."""
        return None

    # ------------------------------------------------------------------ jobs

    def jobs(self, simulation: Simulation) -> Iterator[Job]:
        """Yield every site's job of every round."""
        for partition in range(simulation.partitions):
            for seed in simulation.repeats(self.name):
                for ipc in simulation.ipc:
                    for number in range(1, self._rounds(simulation.settings(self.name)) + 1):
                        for site in simulation.federation.sites:
                            yield self.round_job(simulation, site, seed, partition, ipc, number)

    def asked(self, job: Job, simulation: Simulation, holdings: Holdings) -> Job:
        """Return the job: its budget is its round's."""
        return job

    def round_job(
        self, simulation: Simulation, site: str, seed: int, partition: int, ipc: int, number: int
    ) -> RoundJob:
        """Return a site's job of one round, from 1; the first one's images are those of the method by itself."""
        rounds = self._rounds(simulation.settings(self.name))
        part = parts_of(ipc, rounds)[number - 1]
        whole = job(simulation, site, self.name, seed, partition, {ipc: part})
        plain = {each.name: getattr(whole, each.name) for each in fields(Job)}
        plain |= {"scheme": self.name, "settings": of_part(simulation.settings(self.name), ipc, part)}
        if number > 1:
            plain["random_seed"] = spawn(whole.random_seed, "round", number)
        return RoundJob(**plain, whole_ipc=ipc, rounds=rounds, number=number)

    # ------------------------------------------------------------------ the comparison

    async def pool_of(self, ctx: StudyContext, condition: Condition) -> tuple[Pool, Transfer]:
        """Return the pool of all rounds' Releases, and what was shared for it, networks included.

        Raises:
            RunError: fewer sites answered in a round than ``min_sites`` requires.
        """
        assert condition.ipc is not None and condition.rounds is not None
        return await self._pool(ctx, replace(condition, model="", recipe=""), condition.rounds)

    async def _pool(self, ctx: StudyContext, line: Condition, number: int) -> tuple[Pool, Transfer]:
        """Return the pool of the first rounds; ``line`` is a condition without model and recipe."""

        async def made() -> tuple[Pool, Transfer]:
            sent = await self._sent(ctx, line, number)
            if number == line.rounds:
                ctx.site_rows.extend(self._site_rows(ctx, line, sent))
            kept = [(each, each.release) for each in sent if each.release is not None]
            missing = {each.job.site: f"round {each.job.number}: {each.why}" for each in sent if each.release is None}
            # To the pool all are of the whole budget, whatever part of it a round has.
            whole = [replace(release, sets={line.ipc: release.sets[each.job.ipcs[0]]}) for each, release in kept]
            examples = [each.outcome.examples for each, _ in kept]
            pool = await self.joined(ctx, line.partition, whole, line.ipc, missing, examples)
            sites = tuple(dict.fromkeys(pool.sites))
            files = sum(len(release.to_bytes()) for _, release in kept)
            seconds = sum(sum(each.outcome.seconds) for each, _ in kept)
            up, down = sum(each.up for each in sent), sum(each.down for each in sent)
            return replace(pool, sites=sites, bytes_shared=files), Transfer(
                sites, missing, pool.images_shared, pool.ipc, files, up, down, seconds
            )

        return await ctx.once(("pool of rounds", line, number), made)

    async def _sent(self, ctx: StudyContext, line: Condition, number: int) -> list[Sent]:
        """Return what sites sent in the first rounds, one round after another."""
        if not number:
            return []

        async def made() -> list[Sent]:
            before = await self._sent(ctx, line, number - 1)
            params = await self._network(ctx, line, number - 1) if number > 1 else {}
            assert line.ipc is not None
            jobs = [
                self.round_job(ctx.simulation, site, line.seed, line.partition, line.ipc, number) for site in ctx.sites
            ]
            sent = await asyncio.gather(*[self._ask(ctx, GuidedRequest(each, params)) for each in jobs])
            missing = {each.job.site: each.why for each in sent if each.release is None}
            ctx.require_sites(len(sent) - len(missing), len(sent), f"round {number} of {self.name!r}", missing)
            return [*before, *sent]

        return await ctx.once(("sent in rounds", line, number), made)

    async def _ask(self, ctx: StudyContext, request: GuidedRequest) -> Sent:
        outcome = await ctx.coordinator.guided_release(request)
        label = f"{self.name}-ipc{request.job.whole_ipc}-round{request.job.number}"
        release, why, trace = self.accept(ctx, request.job, outcome, label=label)
        if release is None:
            ctx.report_failure(request.job.site, request.job.name, why, trace)
            return Sent(request.job, outcome, None, why, 0, 0)
        return Sent(request.job, outcome, release, "", *guided_sizes(request, release))

    async def _network(self, ctx: StudyContext, line: Condition, number: int) -> dict[str, Any]:
        """Return the parameters, by name, of the network trained on the pool of the first rounds."""
        simulation = ctx.simulation
        condition = replace(line, model=simulation.models[0], recipe="common", rounds=number)
        pool, _ = await self._pool(ctx, line, number)
        first = replace(line, seed=0)

        async def chosen() -> Choice:
            begun, _ = await self._pool(ctx, first, number)
            return await choose(ctx, replace(condition, seed=0), begun, grows=False)

        recipe = (await ctx.once(("choice between rounds", first, number), chosen)).recipe
        [network] = await ctx.trainer.train(condition, pool, recipe, [BETWEEN])
        return dict(zip(ctx.trainer.network(condition.model).names, network.params, strict=True))

    def _site_rows(self, ctx: StudyContext, line: Condition, sent: Sequence[Sent]) -> Iterator[SiteRow]:
        """Yield a row for each site, of all its rounds together."""
        for site in ctx.sites:
            own = [each for each in sent if each.job.site == site]
            rows = [
                row
                for each in own
                for part in each.job.ipcs
                for row in SiteRow.of(each.job, self.name, {line.ipc: part}, each.release, each.outcome, each.why)
            ]
            shared = [row for row in rows if row.status == "shared"]

            def total(name: str, of: Sequence[SiteRow] = shared) -> Any:
                return sum(getattr(row, name) or 0 for row in of) if of else None

            failed = [each for each in own if each.release is None]
            yield replace(
                rows[-1],
                status="shared" if shared else rows[-1].status,
                images_shared=total("images_shared"),
                bytes_shared=total("bytes_shared"),
                classes_shared=max((row.classes_shared or 0 for row in shared), default=None),
                why="; ".join(f"round {each.job.number}: {each.why}" for each in failed),
                distill_seconds=total("distill_seconds"),
                stored=all(row.stored for row in rows),
            )

    # ------------------------------------------------------------------ at a site

    def answer(self, request: GuidedRequest, site: SiteContext) -> Outcome:
        """Make one round's images of the site's own, guided by the network that came with the request.

        Raises:
            PolicyError: the site's policy forbids it: rounds add up, so it is asked for all of them.
            ReleaseError: there is no such network.
        """
        one, policy = request.job, site.policy
        check_request(policy, requested(replace(one, ipcs=(one.whole_ipc,)), deployed=site.deployed))
        if below(policy.max_releases, one.rounds):
            raise PolicyError(
                "The site's policy lets fewer Releases leave than there are rounds (rule max_releases).",
                expected=f"at most {policy.max_releases}",
                found=one.rounds,
            )
        on_event = emitter(one.name, seed=one.seed, partition=one.partition)
        return carry_out(one, site, on_event, partial(_guided, request, policy.smallest_batch))

    # ------------------------------------------------------------------ forecast

    def work(self, condition: Condition, forecast: Forecast) -> Iterator[tuple[Hashable, TrainingWork]]:
        """Yield the training on the whole pool, and of the network between each two rounds, which all sites get."""
        yield from super().work(condition, forecast)
        simulation = forecast.simulation
        assert condition.ipc is not None and condition.rounds is not None
        parts, steps = parts_of(condition.ipc, condition.rounds), simulation.recipe.steps
        for number in range(1, condition.rounds):
            images = forecast.pool_size(sum(parts[:number]))
            within = len(fold_sizes(images)) if simulation.recipe.chosen_on == "pool" else 0
            every, sent = expected_steps(simulation, grows=False, chooses=condition.seed == 0, folds=within)
            taken = every - (simulation.networks - 1) * steps
            key = (self.name, condition.ipc, condition.seed, "between rounds", number)
            sent = 0.0 if simulation.recipe.chosen_on == "coordinator" else sent
            scored = sent * forecast.validated
            yield key, TrainingWork(simulation.models[0], images, taken, 1, scored, sent + 1)


def parts_of(ipc: int, rounds: int) -> list[int]:
    """Return the images a class of each round, as equal as can be, the larger parts first.

    >>> parts_of(10, 4), parts_of(6, 2)
    ([3, 3, 2, 2], [3, 3])
    """
    return [ipc // rounds + (number < ipc % rounds) for number in range(rounds)]


def of_part(values: Mapping[str, Any], ipc: int, part: int) -> dict[str, Any]:
    """Return a scheme's table as the method reads it for a part of a budget: without rounds, with that budget's values.

    >>> of_part({"rounds": 2, "views": 8, "ipc": {"10": {"iterations": 300}}}, 10, 5)
    {'views': 8, 'ipc': {'5': {'iterations': 300}}}
    """
    plain = {name: value for name, value in values.items() if name not in ("rounds", "ipc")}
    tables = values.get("ipc", {})
    return {**plain, "ipc": {str(part): tables[str(ipc)]}} if str(ipc) in tables else plain


def below(most: int | None, number: int) -> bool:
    """Return whether a policy lets fewer leave; None: any number."""
    return most is not None and most < number


def _guided(request: GuidedRequest, least: int, task: Task) -> Task:
    """Return a task with the guide that came with the request."""
    if request.job.number == 1 and not request.params:
        return task
    if request.job.number == 1 or not request.params:
        raise ReleaseError("A network guides every round but the first.", found=f"round {request.job.number}")
    net = task.network()
    params = tuple(p.to(task.device) for p in params_of(arrays_of(request.params), net))
    return replace(task, guide=guide_by(net, params, task.images.pixels(), task.images.targets(), least=least))


TDM_ROUNDS = ImageRounds("tdm-rounds", "tdm", "tdm in rounds, each of what the pool so far does not teach")
