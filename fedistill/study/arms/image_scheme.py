"""Arms whose networks the server trains on a pool of Releases: what sites share as images, real or synthetic."""

import asyncio
from dataclasses import dataclass, replace

from fedistill.config import Holdings, Job, Simulation, job
from fedistill.config.scheme_settings import EVERYONE, scheme_named
from fedistill.errors import ReleaseError
from fedistill.methods import METHODS
from fedistill.release.release import Release, sha256
from fedistill.study.arms.choice import choose
from fedistill.study.arms.condition import Arm, Choice, Scored, Shared
from fedistill.study.arms.context import Desk
from fedistill.study.arms.pool import Pool, pooled
from fedistill.study.arms.pooling import believed
from fedistill.study.arms.site_row import SiteRow
from fedistill.study.arms.trainer import Trained
from fedistill.training.recipe import Recipe
from fedistill.transport.protocol.messages import shown_line, shown_trace
from fedistill.transport.protocol.release_sizes import release_sizes
from fedistill.transport.server.release_validation import inspect


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of a job: the Release the server accepted, or why there is none.

    Args:
        ipcs: the simulation's budgets, and those that the job has in their place.
        seconds: by the job's budgets.
        examples: real images that the Release was made of.
    """

    job: Job
    release: Release | None
    why: str
    ipcs: dict[int | None, int | None]
    seconds: dict[int | None, float]
    examples: int


class Pooled:
    """Arms of image schemes of one study."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.accepted: list[tuple[str, Release]] = []
        """By scheme, every Release the server took."""
        self.rows: list[SiteRow] = []

    async def arm(self, arm: Arm) -> tuple[Scored, list[list[Trained]]]:
        """The arm's networks on the official test split; and the networks."""
        pool, shared = await self.pool(arm.partition, arm.scheme, arm.ipc, arm.seed, left_out=arm.left_out)
        choice = Choice(_native(arm, pool), {}) if arm.recipe == "native" else await self.choice(arm)
        count = self.desk.simulation.networks
        networks = await self.desk.trainer.networks(arm, pool, choice.recipe, range(count))
        scores = await self.desk.trainer.test(arm, networks)
        steps = [choice.recipe.steps_for(len(pool.of_network(i)[0])) for i in range(count)]
        seconds = [network.seconds for network in networks]
        scored = Scored(arm, [shared] * count, [choice.recipe] * count, steps, scores, seconds)
        return scored, [[network] for network in networks]

    async def choice(self, arm: Arm) -> Choice:
        """The common recipe's step size, and steps where they may grow, for an arm's pool.

        Chosen once, on the first repeat's pool: repeats differ in data and chance, not in how they are trained.
        """
        first = replace(arm, seed=0, left_out="")
        return await self.desk.once(("choice", first), lambda: self._choose(first))

    async def _choose(self, arm: Arm) -> Choice:
        pool, _ = await self.pool(arm.partition, arm.scheme, arm.ipc, arm.seed)
        return await choose(self.desk, arm, pool)

    async def pool(
        self, partition: int, scheme: str, ipc: int | None, seed: int, *, left_out: str = ""
    ) -> tuple[Pool, Shared]:
        """The pool, and what was shared for it.

        Raises:
            RunError: fewer sites answered than ``min_sites`` wants.
        """
        answers = await self._answers(partition, scheme, seed)
        missing = {a.job.site: a.why for a in answers if a.release is None}
        if scheme_named(scheme).kind == "images":
            self.desk.require(len(answers) - len(missing), len(answers), repr(scheme), missing)
        else:
            self.desk.require(len(answers) - len(missing), 1, repr(scheme), missing)
        if left_out:
            missing |= {left_out: "left out, to see what it adds"}
        good = [a for a in answers if a.release is not None and a.job.site != left_out]

        async def join() -> tuple[Pool, Shared]:
            releases, budget = [a.release for a in good if a.release is not None], good[0].ipcs[ipc]
            told = [a.examples for a in good]
            made = pooled(
                releases,
                budget,
                missing,
                classes=self.desk.expected.classes,
                by=self.desk.simulation.pooling,
                examples=told if self.desk.holdings[partition].shares else believed(told),
            )
            once = self.desk.coordinator.kept_once
            parts = {part: getattr(made, part) for part in ("images", "labels", "draw")}
            made = replace(made, **{part: once(f"pool {made.name} {part}", value) for part, value in parts.items()})
            sizes = [release_sizes(a.job, release, budget) for a, release in zip(good, releases, strict=True)]
            up, down = (sum(size[i] for size in sizes) for i in (0, 1))
            if scheme_named(scheme).kind == "central":
                up = down = 0  # nothing is shared: it is at one place to begin with
            seconds = sum(a.seconds[budget] for a in good)
            shared = Shared(
                made.sites, missing, made.images_shared, made.ipc, up and made.bytes_shared, up, down, seconds
            )
            return made, shared

        return await self.desk.once(("pool", partition, scheme, ipc, seed, left_out), join)

    async def releases(self, partition: int, scheme: str, ipc: int | None, seed: int) -> dict[str, bytes]:
        """By site, the Release file of one budget alone."""
        answers = await self._answers(partition, scheme, seed)
        return {a.job.site: a.release.only(a.ipcs[ipc], draw=0).to_bytes() for a in answers if a.release is not None}

    async def _answers(self, partition: int, scheme: str, seed: int) -> list[Answer]:
        central = scheme_named(scheme).kind == "central"
        sites = (EVERYONE,) if central else self.desk.sites
        return list(await asyncio.gather(*[self._answer(site, scheme, seed, partition) for site in sites]))

    async def _answer(self, site: str, scheme: str, seed: int, partition: int) -> Answer:
        simulation = self.desk.simulation
        ipcs = budgets(simulation, scheme, self.desk.holdings[partition])
        asked = job(simulation, site, scheme, seed, partition, ipcs)
        return await self.desk.once(("answer", asked.name, scheme), lambda: self._ask(asked, scheme, ipcs))

    async def _ask(self, asked: Job, scheme: str, ipcs: dict[int | None, int | None]) -> Answer:
        outcome = await self.desk.coordinator.release(asked)
        why, trace = outcome.refused or outcome.error, outcome.trace
        release = None
        if outcome.release is not None and not why:
            try:
                release = inspect(outcome.release, asked, self.desk.expected)
                if len(outcome.seconds) != len(asked.budgets) or outcome.examples < 0:
                    raise ReleaseError("The reply's times or counts do not fit its budgets.")
                self._keep(asked, release, outcome.release)
                release = self.desk.coordinator.kept_once(f"release {sha256(outcome.release)}", release)
                self.accepted.append((scheme, release))
            except ReleaseError as error:
                release, why, trace = None, f"refused by the server: {shown_line(error.what)}", shown_trace(str(error))
        if release is None:
            self.desk.failed(asked.site, asked.name, why, trace)
        seconds = dict(zip(asked.budgets, outcome.seconds, strict=False))
        self.rows.extend(SiteRow.of(asked, scheme, ipcs, release, outcome, why))
        return Answer(asked, release, why, ipcs, seconds, outcome.examples)

    def _keep(self, asked: Job, release: Release, data: bytes) -> None:
        keep = not release.real or self.desk.simulation.keep_real_images
        self.desk.folder.release(
            asked.site, asked.scheme, asked.seed, asked.partition, data, keep=keep, name=sha256(data)
        )


def budgets(simulation: Simulation, scheme: str, held: Holdings) -> dict[int | None, int | None]:
    """The simulation's budgets, and what a job is asked for in their place: the same, but with all data in one place as
    many synthetic images in all as the sites would have made together, each for the classes it holds.
    """
    asked = {ipc: ipc for ipc in simulation.budgets(scheme)}
    if scheme_named(scheme).kind != "central":
        return asked
    trains = [share.train for share in held.shares]
    holders = sum(1.0 if x.multilabel else float((x.counts() > 0).mean()) for x in trains)
    return {ipc: None if ipc is None else max(1, round(ipc * holders)) for ipc in asked}


def _native(arm: Arm, pool: Pool) -> Recipe:
    recipe = METHODS[arm.scheme].native
    assert recipe is not None
    return recipe if pool.lr is None else recipe.with_lr(pool.lr)
