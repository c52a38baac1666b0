"""Recipes: how a network is trained on a pool. Accuracy depends on the recipe, so every scheme gets the same one."""

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum; the step size falls at half time.

    Args:
        name: ``common`` (the same for every scheme, step size chosen on validation data) or ``native`` (the
            method's own).
        lr: step size.
        steps: SGD steps; or None to count in epochs.
        epochs: passes over the pool, where steps is None.
        batch: images a step, at most the pool's.
        momentum, weight_decay: of SGD.
        augment: whether each batch takes one drawn augmentation (the DSA family).
        fall: what the step size is multiplied by at half time.
    """

    name: str = "common"
    lr: float = 0.01
    steps: int | None = 300
    epochs: int = 300
    batch: int = 64
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: bool = True
    fall: float = 0.1

    def with_lr(self, lr: float) -> "Recipe":
        return replace(self, lr=lr)

    def steps_for(self, images: int) -> int:
        """SGD steps on a pool of this many images.

        >>> Recipe(steps=None, epochs=300, batch=256).steps_for(600)
        900
        """
        if self.steps is not None:
            return self.steps
        return self.epochs * -(-images // min(self.batch, images))

    def lr_at(self, step: int, steps: int) -> float:
        """The step size of a step, counted from 0.

        >>> [Recipe(lr=1.0).lr_at(step, 3) for step in range(3)]
        [1.0, 1.0, 0.1]
        """
        return self.lr if step < -(-steps // 2) else self.lr * self.fall

    def detail(self) -> dict[str, Any]:
        """Return the part of a store's key."""
        return asdict(self)
