"""Recipes by which networks are trained: the common one, and the stronger grid that may stand beside it."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fedistill.core.settings import Frozen

Steps = Annotated[int, Field(ge=1, le=10_000_000)]
StepSize = Annotated[float, Field(gt=0)]


def listed(value: Any) -> Any:
    """Return one value of a TOML or several as a tuple; whole step sizes as floats."""
    values = value if isinstance(value, list | tuple) else (value,)
    return tuple(float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in values)


class StrongRecipe(Frozen):
    """A grid of stronger recipes; networks of ``recipe = strong`` are trained by its best, chosen for each scheme.

    What the common recipe's step size is chosen on decides here too: by default the pool alone. Of equally good
    recipes, the first is taken, in the order of these lists: numbers of steps, then optimisers, then mixtures.

    Args:
        steps: numbers of steps; ``full`` takes as many as the common recipe where that has grown beyond.
        sgd, adamw: step sizes of each optimiser; none to leave it out.
        mix: what batches are mixed by: ``cutmix``, ``mixup``, ``none``.
    """

    steps: tuple[Steps, ...] = (1000,)
    sgd: tuple[StepSize, ...] = (0.01,)
    adamw: tuple[StepSize, ...] = (0.001,)
    mix: tuple[Literal["cutmix", "mixup", "none"], ...] = ("cutmix", "mixup", "none")

    @field_validator("sgd", "adamw", mode="before")
    @classmethod
    def _sizes(cls, value: Any) -> Any:
        return listed(value)

    @field_validator("steps", "mix", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not values or len(set(map(repr, values))) < len(values):
            raise ValueError(f"one value or more, each once; not {list(values)}")
        return values

    @model_validator(mode="after")
    def _some_optimiser(self) -> "StrongRecipe":
        if not self.sgd and not self.adamw:
            raise ValueError("sgd and adamw are both empty: give a step size to one of them")
        return self


class CommonRecipe(Frozen):
    """The recipe of every scheme's networks: the same one, so that schemes and not recipes are compared.

    Args:
        steps: SGD steps of schemes with an image budget. ``full`` starts there and doubles while validation gains.
        max_steps: where that doubling ends at the latest.
        batch: images a step.
        lr: the grid of step sizes; the one with the best validation AUC at the sites is used.
        augment: whether each batch takes a drawn augmentation.
        pilots: networks trained for each point of the grid.
        chosen_on: what the step size of networks trained on a pool is chosen on. ``pool``: the pool itself, by repeated
            cross-validation, with no part for any patient's image that was not shared; ``coordinator``: the official
            validation split as a whole, where the coordinator has one of its own; ``sites``: the sites' own validation
            images, each telling counts, which deployed sites refuse to.
        strong: the grid for ``recipes = ["common", "strong"]``.
    """

    steps: Steps = 300
    max_steps: Steps = 4800
    batch: Annotated[int, Field(ge=1, le=100_000)] = 64
    lr: tuple[StepSize, ...] = (0.003, 0.01, 0.03)
    augment: bool = True
    pilots: Annotated[int, Field(ge=1, le=1000)] = 2
    chosen_on: Literal["pool", "coordinator", "sites"] = "pool"
    strong: StrongRecipe | None = None

    @field_validator("lr", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        values = listed(value)
        if not values:
            raise ValueError("the grid needs at least one step size")
        return values

    @model_validator(mode="after")
    def _room_to_grow(self) -> "CommonRecipe":
        if self.max_steps < self.steps:
            raise ValueError(f"max_steps ({self.max_steps}) must be at least steps ({self.steps})")
        return self
