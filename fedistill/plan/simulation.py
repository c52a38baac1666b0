"""A simulation: one file in ``simulations/``, resolved and checked, frozen from then on."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from fedistill.distill import METHODS, settings_for
from fedistill.distill.release import Encoding
from fedistill.errors import SettingError, nearest
from fedistill.models import MODELS
from fedistill.plan.federation import Federation, Frozen, require_name
from fedistill.precision import resolve


class CommonRecipe(Frozen):
    """How every scheme's networks are trained: one recipe, so that schemes and not recipes are compared.

    Args:
        steps: SGD steps of schemes with an image budget. ``full`` starts there and doubles while validation gains.
        max_steps: where that doubling ends at the latest.
        batch: images a step.
        lr: the grid of step sizes; the one with the best validation AUC at the sites is used.
        augment: whether each batch takes a drawn augmentation.
        pilots: networks trained for each point of the grid.
    """

    steps: Annotated[int, Field(ge=1)] = 300
    max_steps: Annotated[int, Field(ge=1)] = 4800
    batch: Annotated[int, Field(ge=1)] = 64
    lr: tuple[Annotated[float, Field(gt=0)], ...] = (0.003, 0.01, 0.03)
    augment: bool = True
    pilots: Annotated[int, Field(ge=1)] = 2

    @field_validator("lr", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        values = value if isinstance(value, list | tuple) else (value,)
        if not values:
            raise ValueError("the grid needs at least one step size")
        return tuple(float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in values)

    @model_validator(mode="after")
    def _room_to_grow(self) -> "CommonRecipe":
        if self.max_steps < self.steps:
            raise ValueError(f"max_steps ({self.max_steps}) must be at least steps ({self.steps})")
        return self


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
        recipes: ``common``, and ``native`` for each method's own published one beside it.
        recipe: the common recipe.
        scheme: the schemes to compare, each with its settings; a sub-table ``ipc.K`` holds those of one budget.
        precision: what distillation computes in, ``float32`` or ``bfloat16``; ``auto`` takes the one that pays on the
            machine that reads the file, and is recorded as that one. Everything measured is computed in float32.
        encoding: what synthetic images travel as, ``uint8``, ``float16`` or ``float32``; real ones are always uint8.
        threads: torch threads of each server stage.
        gpus: share of a GPU each server stage may use; with any, the networks of a pool are trained on it together.
        keep_real_images: whether releases of real images are kept in the run folder, not only their hashes.
        deadline_s: seconds a site's job may take, from its start.
        silence_s: seconds without a sign of life after which a job is tried again, once.
    """

    name: str
    federation: Federation
    seed: Annotated[int, Field(ge=0)] = 0
    seeds: Annotated[int, Field(ge=1)] = 1
    partitions: Annotated[int, Field(ge=1)] = 1
    networks: Annotated[int, Field(ge=1)] = 5
    models: tuple[str, ...] = ("convnet",)
    width: Annotated[int, Field(ge=1, le=4096)] = 128
    ipc: tuple[Annotated[int, Field(ge=1)], ...] = (1, 10)
    min_sites: Annotated[int, Field(ge=1)] | None = None
    recipes: tuple[Literal["common", "native"], ...] = ("common",)
    recipe: CommonRecipe = CommonRecipe()
    scheme: dict[str, dict[str, Any]]
    precision: Literal["auto", "float32", "bfloat16"] = Field(default="auto", validate_default=True)
    encoding: Encoding = "uint8"
    threads: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[float, Field(ge=0, le=1)] = 0.0
    keep_real_images: bool = False
    deadline_s: Annotated[float, Field(gt=0)] | None = None
    silence_s: Annotated[float, Field(gt=0)] = 600.0

    @field_validator("precision")
    @classmethod
    def _resolved(cls, value: str, info: ValidationInfo) -> str:
        return resolve(value, width=info.data.get("width", 1))

    @field_validator("name")
    @classmethod
    def _fit_for_a_folder(cls, value: str) -> str:
        return require_name(value, "a simulation")

    @field_validator("ipc", "models", "recipes", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, int | str) else value

    @field_validator("ipc", "models", "recipes")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value:
            raise ValueError("needs at least one value")
        if len(set(value)) < len(value):
            raise ValueError(f"names something twice: {list(value)}")
        return tuple(sorted(value)) if isinstance(value[0], int) else value

    @field_validator("models")
    @classmethod
    def _known_models(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in MODELS:
                raise ValueError(f"there is no model {name!r}: {nearest(name, MODELS)}")
        return value

    @model_validator(mode="after")
    def _schemes(self) -> "Simulation":
        if not self.scheme:
            raise ValueError("a simulation needs at least one [scheme.NAME] table")
        for name, settings in self.scheme.items():
            if name not in METHODS:
                raise ValueError(f"there is no scheme {name!r}: {nearest(name, METHODS)}")
            try:
                chosen = [
                    settings_for(name, settings, ipc=ipc, dataset=dataset)
                    for ipc in self.budgets(name)
                    for dataset in self.federation.datasets()
                ]
            except SettingError as error:
                raise ValueError(str(error)) from error
            policy = self.federation.policy
            if METHODS[name].real and not policy.allow_real_images:
                raise ValueError(
                    f"scheme {name!r} sends real images, which the policy of the sites forbids: leave the scheme out, "
                    "or write `[policy]` with `allow_real_images = true` into the federation file"
                )
            if policy.start == "noise" and any(getattr(each, "start", None) == "real" for each in chosen):
                raise ValueError(
                    f"scheme {name!r} starts from real images, which the policy of the sites forbids: set "
                    f'scheme.{name}.start = "noise", or write `[policy]` with `start = "real"` into the federation file'
                )
        if self.min_sites is not None and self.min_sites > len(self.federation.sites):
            raise ValueError(f"min_sites ({self.min_sites}) is more than the {len(self.federation.sites)} sites")
        return self

    @property
    def sites_needed(self) -> int:
        """Sites that must answer for a pool."""
        return len(self.federation.sites) if self.min_sites is None else self.min_sites

    def settings(self, scheme: str) -> Mapping[str, Any]:
        """A scheme's settings as its file gives them."""
        return self.scheme[scheme]

    def budgets(self, scheme: str) -> tuple[int | None, ...]:
        """The scheme's budgets: those of the simulation, or None alone for a scheme without one."""
        return self.ipc if METHODS[scheme].budget else (None,)

    def repeats(self, scheme: str) -> range:
        """The seeds the scheme is asked for; all of the data is the same data every time."""
        return range(self.seeds if METHODS[scheme].budget else 1)
