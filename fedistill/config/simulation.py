"""A simulation: one file in ``simulations/``, resolved and checked, frozen from then on."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from fedistill.config.audit import Audit
from fedistill.config.federation import Federation, require_name
from fedistill.config.policy_preflight import require_equal_weights, require_permitted
from fedistill.config.recipes import CommonRecipe, StrongRecipe
from fedistill.config.scheme import is_variant, scheme_named, scheme_names
from fedistill.core.precision import resolve
from fedistill.core.ranges import ONE_OR_MORE, known
from fedistill.core.settings import Frozen
from fedistill.core.text import printable
from fedistill.errors import SettingError, nearest
from fedistill.methods import labels_for, method_of
from fedistill.methods.engine.soft_labels import HARD
from fedistill.methods.engine.soft_labels import NAMES as LABELS
from fedistill.models import MODELS
from fedistill.release.release import Encoding

MOST_ROWS = 1_000_000
"""Of results.csv; beyond that a setting is mistyped."""


def require_variant(name: str, values: Mapping[str, Any]) -> None:
    """Raise ValueError for a scheme's name that is no scheme's, and no variant whose table says its method."""
    if not is_variant(name):
        raise ValueError(f"there is no scheme {name!r}: {nearest(name, scheme_names())}")
    method = method_of(name)
    if values.get("method") != method:
        raise ValueError(
            f"there is no scheme {name!r}: {nearest(name, scheme_names())}. For {method!r} under another name write "
            f'`method = "{method}"` into its table'
        )


class Simulation(Frozen):
    """Everything that determines a run's results.

    Args:
        name: the file's name unless given; a run folder belongs to it.
        federation: the sites.
        seed: the root of everything random.
        seeds: whole repeats: subsets and distillations drawn anew.
        partitions: redraws of who holds what.
        networks: how many of each model are trained on a pool.
        models, width: global networks and their width; distillation matches on the first one.
        ipc: budgets in images per class.
        min_sites: the run goes on while so many sites answered for a pool; default all of them.
        recipes: ``common``; beside it ``native`` for each method's own published one, and ``strong`` for the best of a
            larger grid, where the server trains on a pool.
        recipe: the common recipe, and the larger grid.
        scheme: the schemes to compare, each with its settings; a sub-table ``ipc.K`` holds those of one budget.
        precision: what distillation computes in, ``float32``, ``tf32`` (on a GPU; a processor takes float32) or
            ``bfloat16``; ``auto`` takes tf32 where every site has a GPU, else the one that pays on the machine that
            reads the file, and is recorded as that one. The server trains networks in float32 on a processor and in
            tf32 on a GPU, sites train theirs in float32; everything measured is computed in float32.
        encoding: what synthetic images travel as, ``uint8``, ``float16`` or ``float32``; real ones are always uint8.
        threads: torch threads of each server stage.
        gpus: share of a GPU each server stage may use; with any, the networks of a pool are trained on it together.
        epsilon: what every private scheme may spend, where its own settings do not say.
        pooling: how the server puts Releases together: ``concat`` as they are; ``balanced``, every class repeated to
            the size of the largest; ``weighted``, every site's repeated in proportion to the images it holds;
            ``taught``, every Release's repeated in proportion to how well it teaches images of the others.
        leave_out: schemes whose pools are also tried without each single site, which shows what that site adds.
        keep_real_images: whether releases of real images are kept in the run folder, not only their hashes.
        deadline_s: seconds a site's job may take, from its start.
        silence_s: seconds without a sign of life after which a job is tried again, once.
        scores_epsilon: what a deployed site's scores spend in all, where step sizes are chosen by them
            (``recipe.chosen_on = "sites"``, and schemes with rounds); a simulation's scores are exact.
        evaluation_epsilon: what a deployed site spends in all on scores of every condition's networks on the images
            that it has set aside; None: deployed sites are not asked. A simulation's sites are, and their scores are
            exact.
        audit: what attacks are tried on what a site sends; none unless given.
        purpose, requester: what the study is for and who asks, in a line each, for those who decide on it.
    """

    name: str
    federation: Federation
    seed: Annotated[int, Field(ge=0)] = 0
    seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    partitions: Annotated[int, Field(ge=1, le=1000)] = 1
    networks: Annotated[int, Field(ge=1, le=1000)] = 5
    models: Annotated[tuple[Annotated[str, known("model", MODELS)], ...], ONE_OR_MORE] = ("convnet",)
    width: Annotated[int, Field(ge=1, le=4096)] = 128
    ipc: Annotated[tuple[Annotated[int, Field(ge=1, le=100_000)], ...], ONE_OR_MORE] = (1, 10)
    min_sites: Annotated[int, Field(ge=1)] | None = None
    recipes: Annotated[tuple[Literal["common", "native", "strong"], ...], ONE_OR_MORE] = ("common",)
    recipe: CommonRecipe = CommonRecipe()
    scheme: dict[str, dict[str, Any]]
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = Field(default="auto", validate_default=True)
    encoding: Encoding = "uint8"
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    gpus: Annotated[float, Field(ge=0, le=1)] = 0.0
    epsilon: Annotated[float, Field(gt=0, le=1000)] | None = None
    pooling: Literal["concat", "balanced", "weighted", "taught"] = "concat"
    leave_out: Annotated[tuple[str, ...], ONE_OR_MORE] = ()
    keep_real_images: bool = False
    deadline_s: Annotated[float, Field(gt=0)] | None = None
    silence_s: Annotated[float, Field(gt=0)] = 600.0
    scores_epsilon: Annotated[float, Field(gt=0, le=1000)] | None = None
    evaluation_epsilon: Annotated[float, Field(gt=0, le=1000)] | None = None
    audit: Audit | None = None
    purpose: Annotated[str, Field(max_length=1000)] | None = None
    requester: Annotated[str, Field(max_length=300)] | None = None

    @field_validator("purpose", "requester")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and printable(value, most=1000) != value:
            raise ValueError("must be one line of printable characters")
        return value

    @field_validator("precision")
    @classmethod
    def _resolved(cls, value: str, info: ValidationInfo) -> str:
        federation = info.data.get("federation")
        sites = [] if federation is None else [federation.of(name) for name in federation.sites]
        device = "cuda" if sites and all(site.gpus for site in sites) else "cpu"
        return resolve(value, width=info.data.get("width", 1), device=device)

    @field_validator("name")
    @classmethod
    def _fit_for_a_folder(cls, value: str) -> str:
        return require_name(value, "a simulation")

    @field_validator("ipc", "models", "recipes")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value:
            raise ValueError("needs at least one value")
        if len(set(value)) < len(value):
            raise ValueError(f"names something twice: {list(value)}")
        return tuple(sorted(value)) if isinstance(value[0], int) else value

    @model_validator(mode="after")
    def _schemes(self) -> "Simulation":
        if not self.scheme:
            raise ValueError("a simulation needs at least one [scheme.NAME] table")
        repeats = self.seeds * self.partitions * len(self.ipc) * len(self.models) * len(self.recipes)
        if (rows := repeats * len(self.scheme) * self.networks) > MOST_ROWS:
            raise ValueError(f"{rows:,} rows of results would be too many: at most {MOST_ROWS:,}")
        for name in self.scheme:
            self._check_scheme(name)
        weighed = any(scheme_named(name).weighs_sites for name in self.scheme)
        require_equal_weights(self.federation, by_counts=weighed or self.pooling == "weighted")
        for name in self.leave_out:
            if name not in self.scheme or not scheme_named(name).pools_releases:
                mine = [each for each in self.scheme if scheme_named(each).pools_releases]
                raise ValueError(f"leave_out names schemes whose Releases are pooled, here {mine}; not {name!r}")
        if self.min_sites is not None and self.min_sites > len(self.federation.sites):
            raise ValueError(f"min_sites ({self.min_sites}) is more than the {len(self.federation.sites)} sites")
        if self.audit is not None:
            self.audit.check(self.federation.sites, self.scheme, self.ipc)
        return self

    @model_validator(mode="after")
    def _strong(self) -> "Simulation":
        if self.recipe.strong is not None and "strong" not in self.recipes:
            raise ValueError(
                "[recipe.strong] has no effect: recipes does not name it. Write "
                f"recipes = {[*self.recipes, 'strong']}, or leave the table out"
            )
        return self

    @property
    def strong(self) -> StrongRecipe:
        """Return the grid of ``recipe = strong``: the file's, or the default one."""
        return self.recipe.strong or StrongRecipe()

    @property
    def sites_needed(self) -> int:
        """Sites that must answer for a pool."""
        return len(self.federation.sites) if self.min_sites is None else self.min_sites

    def settings(self, scheme: str) -> Mapping[str, Any]:
        """Return a scheme's settings as the file gives them; ``central-dc`` has ``dc``'s unless it gives its own.

        Private ones have the simulation's epsilon, unless they give their own. One with hard labels has no settings of
        the other's soft ones.
        """
        known, own = scheme_named(scheme), self.scheme[scheme]
        under = self.scheme.get(known.settings_under or "", {})
        if own.get("labels") == HARD.labels:
            under = {name: value for name, value in under.items() if name not in LABELS}
        common = {"epsilon": self.epsilon} if known.private and self.epsilon is not None else {}
        return {**common, **under, **own}

    def budgets(self, scheme: str) -> tuple[int | None, ...]:
        """Return the scheme's budgets: those of the simulation, or None alone for a scheme without one."""
        return self.ipc if scheme_named(scheme).has_budget else (None,)

    def rounds(self, scheme: str) -> tuple[int | None, ...]:
        """Return the numbers of rounds that have a condition each; None alone for a scheme without rounds."""
        return scheme_named(scheme).rounds(self.settings(scheme))

    def repeats(self, scheme: str) -> range:
        """Return the scheme's repeats: one where all of the data are shared, which are the same every time."""
        return range(self.seeds if scheme_named(scheme).has_budget else 1)

    def _check_scheme(self, name: str) -> None:
        """Raise ValueError for a scheme that could not be carried out."""
        if name not in scheme_names():
            require_variant(name, self.scheme[name])
        try:
            scheme = scheme_named(name)
            datasets = self.federation.datasets()
            chosen = scheme.check(self.settings(name), budgets=self.budgets(name), datasets=datasets)
        except SettingError as error:
            raise ValueError(str(error)) from error
        scheme.check_simulation(self, chosen)
        budgets, needed = self.budgets(name), self.sites_needed
        soft = scheme.method is not None and labels_for(scheme.method, self.settings(name)).soft
        require_permitted(self.federation, scheme, chosen, ipcs=budgets, needed=needed, soft=soft)
