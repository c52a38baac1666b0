"""An arm: one line of the comparison; and the recipe its networks are trained by."""

from dataclasses import dataclass

from fedistill.training.recipe import Recipe


@dataclass(frozen=True)
class Arm:
    """One line of the comparison."""

    partition: int
    scheme: str
    ipc: int | None
    seed: int
    model: str
    recipe: str

    @property
    def name(self) -> str:
        """For people and progress."""
        budget = "" if self.ipc is None else f" ipc {self.ipc}"
        redraw = f" partition {self.partition}" if self.partition else ""
        return f"{self.scheme}{budget} seed {self.seed}{redraw} {self.model} {self.recipe}"


@dataclass(frozen=True)
class Choice:
    """The recipe that is used, and the validation AUC (mean over pilots) of every (step size, steps) tried."""

    recipe: Recipe
    tried: dict[tuple[float, int | None], float]
