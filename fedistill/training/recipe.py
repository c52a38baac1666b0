"""Recipes: how a network is trained on a pool. Accuracy depends on the recipe, so every scheme gets the same one."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from fedistill.core.ranges import QUIET, Count, NonNegativeFloat, NonNegativeInt, detail

Optimiser = Literal["sgd", "adamw"]


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum, or AdamW; the step size falls at half time.

    Args:
        name: ``common`` (the same for every scheme, step size chosen on validation data), ``native`` (the method's own)
            or ``strong`` (the best of a larger grid).
        lr: step size.
        steps: SGD steps; or None to count in epochs.
        epochs: passes over the pool, where steps is None.
        batch: images a step, at most the pool's.
        momentum: of SGD; weight_decay: of SGD, where it is a part of the gradient, or of AdamW, where it is not.
        augment: whether each batch takes one drawn augmentation (the DSA family).
        fall: what the step size is multiplied by at half time.
        optimiser: ``sgd`` or ``adamw``.
        mix: what each batch is mixed by after its augmentation: ``none``, ``mixup`` or ``cutmix``.
    """

    name: str = "common"
    lr: NonNegativeFloat = 0.01
    steps: NonNegativeInt | None = 300
    epochs: NonNegativeInt = 300
    batch: Count = 64
    momentum: NonNegativeFloat = 0.9
    weight_decay: NonNegativeFloat = 5e-4
    augment: bool = True
    fall: NonNegativeFloat = 0.1
    optimiser: Annotated[Optimiser, QUIET] = "sgd"
    mix: Annotated[Literal["none", "mixup", "cutmix"], QUIET] = "none"

    @property
    def plain(self) -> bool:
        """Return whether it is SGD on unmixed images, which a GPU's graphs can take."""
        return self.optimiser == "sgd" and self.mix == "none"

    def with_lr(self, lr: float) -> "Recipe":
        """Return the recipe with another step size."""
        return replace(self, lr=lr)

    def steps_for(self, images: int) -> int:
        """Return the number of SGD steps on a pool of this many images.

        >>> Recipe(steps=None, epochs=300, batch=256).steps_for(600)
        900
        """
        if self.steps is not None:
            return self.steps
        return self.epochs * -(-images // min(self.batch, images))

    def lr_at(self, step: int, steps: int) -> float:
        """Return the step size of a step, counted from 0.

        >>> [Recipe(lr=1.0).lr_at(step, 3) for step in range(3)]
        [1.0, 1.0, 0.1]
        """
        return self.lr if step < -(-steps // 2) else self.lr * self.fall

    def detail(self) -> dict[str, Any]:
        """Return the part of a store's key: all fields, but those that came later where they change nothing.

        >>> sorted(Recipe(mix="mixup").detail().keys() - Recipe().detail().keys())
        ['mix']
        """
        return detail(self)
