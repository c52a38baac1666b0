"""Sites share images, real or synthetic, by a method of `fedistill.methods`; the server trains networks on the pool.

Each method is a scheme by its own name. ``central-METHOD`` is the same with all sites' data in one place, which makes
as many synthetic images as the sites would have made together: it measures the cost of distilling at each site alone.
"""

import asyncio
import hashlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from fedistill.config import Holdings, Job, Simulation, job
from fedistill.config.scheme import CENTRAL, NoSchemeSettings
from fedistill.consent.items import Item, whatever_comes
from fedistill.core.ranges import detail
from fedistill.core.store import key_of
from fedistill.data.facts import FACTS
from fedistill.errors import ReleaseError, SettingError
from fedistill.methods import METHODS, labels_for, method_of, settings_for
from fedistill.methods.engine import loop
from fedistill.methods.engine.settings import pack_of
from fedistill.methods.presets import PUBLISHED
from fedistill.methods.private.queries import PrivateSettings, costs_of
from fedistill.methods.registry import is_private
from fedistill.privacy.accounting.guarantee import OF_IMAGES, PrivacyGuarantee
from fedistill.privacy.attacks.shadows import VERSION
from fedistill.privacy.policy.floors import patients_per_image
from fedistill.privacy.policy.rules import PolicyRequest
from fedistill.release.release import Release, sha256
from fedistill.schemes.base import Networks, StudyScheme
from fedistill.schemes.images_shadow import ImageShadow, OtherReleases, trained_set
from fedistill.schemes.server.choice import choose, choose_strong, compared, question_name
from fedistill.schemes.server.condition import Choice, Condition, Result, Transfer
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.pool import Pool, build_pool
from fedistill.schemes.server.pooling import cap_counts
from fedistill.schemes.server.questions import Question
from fedistill.schemes.server.shadows import (
    AuditData,
    AuditTarget,
    ShadowSpec,
    cap_steps,
    network_seeds,
    shadow_detail,
    task_arguments,
)
from fedistill.schemes.server.site_row import SiteRow
from fedistill.schemes.server.teaching import taught_levels, teaching_of
from fedistill.schemes.server.work import Forecast, TrainingWork, expected_steps
from fedistill.schemes.site.release import carry_out, item_of, per_class, requested
from fedistill.training.fit import VERSION as FIT_VERSION
from fedistill.training.recipe import Recipe
from fedistill.transport.backend.events import emitter
from fedistill.transport.protocol.messages import Outcome, shown_line, shown_trace
from fedistill.transport.protocol.release_sizes import release_sizes
from fedistill.transport.server.release_validation import validate_release
from fedistill.transport.site.context import SiteContext

MULTI_LABEL = {name for known in FACTS.values() if known.multilabel for name in (known.name, known.phantom)}
"""Names of the known multi-label sets; the labels of a file are checked when it is read."""


class ImageScheme(StudyScheme):
    """A scheme whose sites send Releases of their images.

    Args:
        name: of the scheme.
        method: of `fedistill.methods`.
    """

    request: type = Job
    pools_releases = True
    attackable = True

    def __init__(self, name: str, method: str, summary: str) -> None:
        super().__init__(name, summary, NoSchemeSettings)
        self.method: str = method

    @property
    def real(self) -> bool:  # type: ignore[override]
        """True if sites send real patients' images."""
        return METHODS[self.method].real

    @property
    def private(self) -> bool:
        """True if the Releases are differentially private."""
        return is_private(self.method)

    @property
    def has_budget(self) -> bool:  # type: ignore[override]
        """True if the scheme has a condition for each number of images per class."""
        return METHODS[self.method].budget

    # ------------------------------------------------------------------ settings, policy, guarantee

    def check(
        self, values: Mapping[str, Any], *, budgets: Iterable[int | None], datasets: Iterable[str]
    ) -> Sequence[Any]:
        """Return the method's settings for every budget."""
        several = [name for name in datasets if name in MULTI_LABEL]
        if several and not METHODS[self.method].multilabel:
            raise SettingError(
                f"{self.name} does not work on multi-label sets.", expected="one label an image", found=several[0]
            )
        if several and labels_for(self.method, values).soft:
            raise SettingError(
                f"{self.name}: soft labels are probabilities of classes.",
                expected="one label an image",
                found=several[0],
                mend='set labels = "hard"',
            )
        chosen = [settings_for(self.method, values, ipc=ipc) for ipc in budgets]
        if several and self.real and any(pack_of(each) > 1 for each in chosen):
            raise SettingError(
                f"{self.name}: real images with several labels each are not packed.",
                expected="one label an image",
                found=several[0],
                mend="set pack = 1",
            )
        return chosen

    def disclosure(
        self, settings: Sequence[Any], *, ipcs: Sequence[int | None], held_out: bool, costed: bool
    ) -> PolicyRequest:
        """Return what each site would send: of a simulation's draws, one."""
        times = max((patients_per_image(each, real=self.real) for each in settings), default=1)
        return PolicyRequest(
            self.name,
            real=self.real,
            starts=frozenset(str(each.start) for each in settings if hasattr(each, "start")),
            per_class=None if None in ipcs else times * max(ipc for ipc in ipcs if ipc is not None),
            private=self.private,
            costs=costs_of(settings) if self.private and costed else (),
            held_out=held_out,
        )

    def written_out(self, values: Mapping[str, Any], *, budgets: Sequence[int | None]) -> dict[str, Any]:
        """Return the settings of the labels, and the method's for each budget, every value of them."""
        labels = labels_for(self.method, values)
        # Hard labels have no other settings, and one that is given is refused.
        common = {"preset": PUBLISHED, **(asdict(labels) if labels.soft else {"labels": labels.labels})}
        tables = {ipc: self._plain(values, ipc) for ipc in budgets}
        if None in tables:
            return {**common, **tables[None]}
        return {**common, "ipc": {str(ipc): table for ipc, table in tables.items()}}

    def _plain(self, values: Mapping[str, Any], ipc: int | None) -> dict[str, Any]:
        chosen = settings_for(self.method, values, ipc=ipc)
        plain = {name: value for name, value in asdict(chosen).items() if value is not None}  # TOML has no None
        if settings_for(self.method, {"preset": PUBLISHED, **plain}, ipc=ipc) != chosen:
            raise SettingError(f"The settings of {self.name!r} cannot be written out.", found=plain)
        return plain

    def items(self, simulation: Simulation, site: str) -> Iterator[Item]:
        """Yield the Releases that the site is asked for, one for each repeat."""
        if self.one_place:
            return
        for seed in simulation.repeats(self.name):
            own = job(simulation, site, self.name, seed, 0)
            chosen = self.check(own.settings, budgets=own.budgets, datasets=[""])
            yield Item(
                own.name,
                "release",
                self.name,
                requested(own, chosen, deployed=True),
                item_of(own),
                whatever_comes(own),
                per_class=per_class(own, chosen, deployed=True),
            )

    def choosing(self, simulation: Simulation) -> Iterator[Question]:
        """Yield the questions by which the server chooses each pool's recipe, one an ipc, model and kind of recipe."""
        if self.one_place or not self.has_budget or simulation.recipe.chosen_on != "sites":
            return
        pilots, candidates = min(simulation.recipe.pilots, simulation.networks), compared(simulation)
        for recipe, ipc, model in product(candidates, simulation.ipc, simulation.models):
            condition = Condition(0, self.name, ipc, 0, model, recipe)
            name = question_name(condition, [one.steps for one in candidates[recipe]])
            yield Question(name, model, pilots * len(candidates[recipe]))

    def guarantee(self, simulation: Simulation, ipc: int | None, rounds: int | None) -> PrivacyGuarantee | None:
        """Return the guarantee of a Release of this budget."""
        values = simulation.settings(self.name)
        chosen = settings_for(self.method, values, ipc=ipc)
        if not isinstance(chosen, PrivateSettings):
            return None
        return PrivacyGuarantee(
            chosen.epsilon, chosen.delta, chosen.accountant, chosen.clip, chosen.mechanism(), OF_IMAGES
        )

    # ------------------------------------------------------------------ the comparison

    def conditions(self, simulation: Simulation, condition: Condition) -> Iterator[Condition]:
        """Yield the condition if it has such a recipe, and for ``leave_out`` one without each site."""
        if condition.recipe == "native" and METHODS[self.method].native is None:
            return
        yield condition
        if self.name in simulation.leave_out and condition.recipe == "common":
            yield from (replace(condition, left_out=site) for site in simulation.federation.sites)

    def jobs(self, simulation: Simulation) -> Iterator[Job]:
        """Yield the jobs that make Releases at sites.

        For a job on all sites' data, only name and site are final: its budgets depend on the data.
        """
        for partition in range(simulation.partitions):
            for seed in simulation.repeats(self.name):
                for site in self.sites(simulation.federation.sites):
                    yield job(simulation, site, self.name, seed, partition)

    async def run(self, condition: Condition, ctx: StudyContext) -> tuple[Result, Networks]:
        """Train networks on the pool of the sites' Releases, and score them on the official test split."""
        pool, transfer = await self.pool_of(ctx, condition)
        recipe = self._native(pool) if condition.recipe == "native" else (await self.choice(ctx, condition)).recipe
        count = ctx.simulation.networks
        networks = await ctx.trainer.train(condition, pool, recipe, range(count))
        scores = await ctx.trainer.test(condition, networks)
        steps = [recipe.steps_for(len(pool.of_network(i)[0])) for i in range(count)]
        seconds = [network.seconds for network in networks]
        result = Result(condition, [transfer] * count, [recipe] * count, steps, scores, seconds)
        return result, [[network] for network in networks]

    async def choice(self, ctx: StudyContext, condition: Condition) -> Choice:
        """Choose a condition's recipe: the common one's step size and, if they may grow, steps; or the best strong one.

        The choice is made once, on the first repeat's pool: all repeats train by the same recipe.
        """
        first, grows = replace(condition, seed=0, left_out=""), not self.has_budget

        async def chosen() -> Choice:
            pool, _ = await self.pool_of(ctx, first)
            if condition.recipe != "strong":
                return await choose(ctx, first, pool, grows=grows)
            common = (await self.choice(ctx, replace(first, recipe="common"))).recipe if grows else Recipe()
            return await choose_strong(ctx, first, pool, common, grows=grows)

        return await ctx.once(("choice", first), chosen)

    async def pool_of(self, ctx: StudyContext, condition: Condition) -> tuple[Pool, Transfer]:
        """Return what a condition's networks train on, and what was shared for it; raises as `pool`."""
        return await self.pool(ctx, condition.partition, condition.ipc, condition.seed, left_out=condition.left_out)

    async def pool(
        self, ctx: StudyContext, partition: int, ipc: int | None, seed: int, *, left_out: str = ""
    ) -> tuple[Pool, Transfer]:
        """Return the pool of the sites' Releases, and what was shared for it.

        Raises:
            RunError: fewer sites answered than ``min_sites`` requires.
        """
        replies = await self._replies(ctx, partition, seed)
        missing = {reply.job.site: reply.why for reply in replies if reply.release is None}
        of = 1 if self.one_place else len(replies)
        ctx.require_sites(len(replies) - len(missing), of, repr(self.name), missing)
        if left_out:
            missing |= {left_out: "left out, to measure what it adds"}
        used = [reply for reply in replies if reply.release is not None and reply.job.site != left_out]

        async def joined() -> tuple[Pool, Transfer]:
            releases, budget = [reply.release for reply in used if reply.release is not None], used[0].ipcs[ipc]
            examples = [reply.examples for reply in used]
            pool = await self.joined(ctx, partition, releases, budget, missing, examples)
            study = ctx.coordinator.study
            pairs = zip(used, releases, strict=True)
            sizes = [release_sizes(reply.job, release, budget, study=study) for reply, release in pairs]
            # With all data in one place, nothing is shared.
            up, down = (0, 0) if self.one_place else (sum(size[i] for size in sizes) for i in (0, 1))
            seconds = sum(reply.seconds[budget] for reply in used)
            return pool, Transfer(
                pool.sites, missing, pool.images_shared, pool.ipc, up and pool.bytes_shared, up, down, seconds
            )

        return await ctx.once(("pool", partition, self.name, ipc, seed, left_out), joined)

    async def joined(
        self,
        ctx: StudyContext,
        partition: int,
        releases: Sequence[Release],
        ipc: int | None,
        missing: dict[str, str],
        examples: Sequence[int],
    ) -> Pool:
        """Return the pool of Releases, by the simulation's rule, held once for all points of a sweep.

        Args:
            ctx: of the study.
            partition: number of the redraw of who holds what.
            releases: in the pool's order.
            ipc: the budget of each.
            missing: why other sites are absent, by name.
            examples: number of real images behind each Release, as its site says.
        """
        by = ctx.simulation.pooling
        weights = examples if ctx.holdings[partition].shares else cap_counts(examples)
        if by == "taught":
            weights = await taught_levels(ctx, releases, ipc, self.name)
        pool = build_pool(releases, ipc, missing, classes=ctx.expected.classes, by=by, examples=weights)
        keep = ctx.coordinator.kept_once
        parts = {part: getattr(pool, part) for part in ("images", "labels", "draw", "soft")}
        return replace(pool, **{part: keep(f"pool {pool.name} {part}", value) for part, value in parts.items()})

    async def releases(self, ctx: StudyContext, partition: int, ipc: int | None, seed: int) -> dict[str, bytes]:
        """Return each site's Release file of this budget, by site."""
        replies = await self._replies(ctx, partition, seed)
        return {
            reply.job.site: reply.release.only(reply.ipcs[ipc], draw=0).to_bytes()
            for reply in replies
            if reply.release is not None
        }

    def _native(self, pool: Pool) -> Recipe:
        recipe = METHODS[self.method].native
        assert recipe is not None
        return recipe if pool.lr is None else recipe.with_lr(pool.lr)

    async def _replies(self, ctx: StudyContext, partition: int, seed: int) -> list["_Reply"]:
        ipcs = self.budgets(ctx.simulation, ctx.holdings[partition])
        jobs = [job(ctx.simulation, site, self.name, seed, partition, ipcs) for site in self.sites(ctx.sites)]
        return list(await asyncio.gather(*[self._reply(ctx, each, ipcs) for each in jobs]))

    async def _reply(self, ctx: StudyContext, job: Job, ipcs: dict[int | None, int | None]) -> "_Reply":
        async def requested() -> _Reply:
            outcome = await ctx.coordinator.release(job)
            release, why, trace = self.accept(ctx, job, outcome, label=job.scheme)
            if release is None:
                ctx.report_failure(job.site, job.name, why, trace)
            seconds = dict(zip(job.budgets, outcome.seconds, strict=False))
            ctx.site_rows.extend(SiteRow.of(job, self.name, ipcs, release, outcome, why))
            return _Reply(job, release, why, ipcs, seconds, outcome.examples)

        return await ctx.once(("answer", job.name, self.name), requested)

    def accept(self, ctx: StudyContext, job: Job, outcome: Outcome, *, label: str) -> tuple[Release | None, str, str]:
        """Return a site's Release, or None with a one-line reason and, if there is one, a traceback.

        ``label`` stands for the scheme in the name of the Release's file.
        """
        why, trace = outcome.refused or outcome.error, outcome.trace
        if outcome.release is None or why:
            return None, why, trace
        try:
            release = validate_release(outcome.release, job, ctx.expected)
            if len(outcome.seconds) != len(job.budgets) or outcome.examples < 0:
                raise ReleaseError("The reply's times or counts do not match its budgets.")
            name = sha256(outcome.release)
            keep = not release.real or ctx.simulation.keep_real_images
            ctx.folder.release(job.site, label, job.seed, job.partition, outcome.release, keep=keep, name=name)
        except ReleaseError as error:
            return None, f"refused by the server: {shown_line(error.what)}", shown_trace(str(error))
        release = ctx.coordinator.kept_once(f"release {name}", release)
        ctx.releases.append((self.name, release))
        return release, "", ""

    # ------------------------------------------------------------------ at a site

    def answer(self, request: Any, site: SiteContext) -> Outcome:
        """Make a Release of the site's own images."""
        return carry_out(request, site, emitter(request.name, seed=request.seed, partition=request.partition))

    # ------------------------------------------------------------------ forecast

    def work(self, condition: Condition, forecast: Forecast) -> Iterator[tuple[Hashable, TrainingWork]]:
        """Yield the training of the server's networks on the pool."""
        if condition.recipe == "common":
            yield condition, forecast.of_pool(condition)
            return
        if condition.recipe == "strong":
            yield condition, forecast.of_strong(condition)
            return
        images, networks = forecast.pool_size(condition.ipc), forecast.simulation.networks
        native = Recipe("native", steps=None, epochs=1000, batch=256)
        steps = float(networks * native.steps_for(images))
        yield condition, TrainingWork(condition.model, images, steps, networks, networks * forecast.test)

    # ------------------------------------------------------------------ audit

    async def shadow(self, target: AuditTarget, site: str, data: AuditData, ctx: StudyContext) -> ShadowSpec:
        """Return the specification of shadows that distil and join the pool of the other sites' Releases."""
        simulation, model = ctx.simulation, ctx.simulation.models[0]
        chosen = await self.choice(ctx, Condition(0, self.name, target.ipc, 0, model, "common"))
        recipe, network = cap_steps(simulation, chosen.recipe), ctx.trainer.network(model)
        settings = settings_for(self.method, simulation.settings(self.name), ipc=target.ipc)
        releases = await self.releases(ctx, 0, target.ipc, 0)
        place = ctx.sites.index(site)
        before = [name for name in ctx.sites[:place] if name in releases]
        after = [name for name in ctx.sites[place + 1 :] if name in releases]
        sizes = {name: len(share.train) for name, share in zip(ctx.sites, ctx.holdings[0].shares, strict=True)}
        sizes[site] = int(data.design.membership.sum(1).max())
        examples, seeds = [sizes[name] for name in (*before, site, *after)], network_seeds(simulation)
        mirror, labels = data.attacked.images.mirror, labels_for(self.method, simulation.settings(self.name))
        maker = ImageShadow(
            self.method,
            settings,
            simulation.encoding,
            simulation.pooling,
            examples,
            network,
            recipe,
            seeds,
            mirror,
            labels,
            releases=target.releases or 1,
            teaching=teaching_of(simulation, network, mirror) if simulation.pooling == "taught" else None,
        )
        others = OtherReleases(
            [trained_set(releases[name], target.ipc) for name in before],
            [trained_set(releases[name], target.ipc) for name in after],
        )
        about = {
            **shadow_detail(simulation, data, method=self.method, network=network, recipe=recipe, seeds=seeds),
            "settings": detail(settings),
            **labels.detail(),
            "distilled": [target.ipc, model, simulation.width, simulation.precision, simulation.encoding],
            "others": [hashlib.sha256(releases[name]).hexdigest() for name in (*before, *after)],
            "place": len(before),
            "pooling": [simulation.pooling, *(examples if simulation.pooling == "weighted" else ())],
            **({} if maker.teaching is None else {"teaching": maker.teaching.detail()}),
            "version": [METHODS[self.method].version, loop.VERSION, FIT_VERSION, VERSION],
            **({"releases": maker.releases} if maker.releases > 1 else {}),
        }
        return ShadowSpec(maker, settings, others, key_of(about), about, task_arguments(simulation, target.ipc))

    def shadow_work(self, target: AuditTarget, site: str, scored: int, forecast: Forecast) -> Iterator[TrainingWork]:
        """Yield the training of one shadow's networks on the pool."""
        simulation, audit = forecast.simulation, forecast.simulation.audit
        assert audit is not None
        steps = expected_steps(simulation, grows=target.ipc is None, chooses=False)[0] / simulation.networks
        steps = steps if audit.steps is None else min(steps, audit.steps)
        images = forecast.pool_size(target.ipc)
        yield TrainingWork(simulation.models[0], images, audit.networks * steps, 1, audit.networks * scored)


class VariantScheme(ImageScheme):
    """A method's scheme under another name, with other settings or labels: ``random-soft`` beside ``random``."""

    @property
    def settings_under(self) -> str:
        """Name of the settings' table: the method's own, where the simulation has one."""
        return self.method

    def written_out(self, values: Mapping[str, Any], *, budgets: Sequence[int | None]) -> dict[str, Any]:
        """Return the settings as of the method's own scheme, and which method it is."""
        return {"method": self.method, **super().written_out(values, budgets=budgets)}


class CentralScheme(ImageScheme):
    """A scheme that applies a method to all sites' data in one place."""

    pools_releases = False
    attackable = False
    one_place = True

    @property
    def settings_under(self) -> str:
        """Name of the settings' table: the method's own."""
        return self.method

    def conditions(self, simulation: Simulation, condition: Condition) -> Iterator[Condition]:
        """Yield the condition, for the common recipe only."""
        if condition.recipe == "common":
            yield condition

    def budgets(self, simulation: Simulation, holdings: Holdings) -> dict[int | None, int | None]:
        """Map each budget to the one that makes as many images in total as the sites make for the classes they hold."""
        trains = [share.train for share in holdings.shares]
        holders = sum(1.0 if x.multilabel else float((x.counts() > 0).mean()) for x in trains)
        budgets = simulation.budgets(self.name)
        return {ipc: None if ipc is None else max(1, round(ipc * holders)) for ipc in budgets}


def image_scheme(method: str) -> ImageScheme:
    """Return the scheme whose sites distil by this method."""
    return ImageScheme(method, method, METHODS[method].summary)


def variant_scheme(name: str) -> VariantScheme:
    """Return the scheme ``METHOD-WORD``."""
    method = method_of(name)
    return VariantScheme(name, method, METHODS[method].summary)


def central_scheme(name: str) -> CentralScheme:
    """Return the scheme ``central-METHOD``."""
    method = name.removeprefix(CENTRAL)
    return CentralScheme(name, method, f"{method} with all sites' data in one place, as many images in all")


@dataclass(frozen=True, eq=False)
class _Reply:
    """Outcome of a job: the Release that the server accepted, or why there is none.

    Args:
        ipcs: the job's budget for each of the simulation's.
        seconds: by the job's budgets.
        examples: real images that the Release was made from.
    """

    job: Job
    release: Release | None
    why: str
    ipcs: dict[int | None, int | None]
    seconds: dict[int | None, float]
    examples: int
