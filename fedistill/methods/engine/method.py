"""A method: one pure function from real images to a few images per class, and the task it is given."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from fedistill.core.accounting import PrivacyCost
from fedistill.core.events import OnEvent, ignore
from fedistill.core.precision import on
from fedistill.data.imageset import ImageSet
from fedistill.errors import DataError, SettingError
from fedistill.models import Network, build
from fedistill.training import packing
from fedistill.training.noise import require_entropy
from fedistill.training.recipe import Recipe

if TYPE_CHECKING:
    from fedistill.methods.engine.guide import Guide

Tensors = dict[str, Tensor]
Remember = Callable[[str, Mapping[str, Any], Callable[[], Tensors]], Tensors]
"""``remember(kind, settings, make)``: what `make` returns, from a store where these settings were met before."""

Charge = Callable[[Mapping[str, Any], PrivacyCost], None]
"""``charge(about, cost)``: called before any noise of the answers that `about` (JSON) determines is drawn; where it
raises, none is."""


class Checkpoint(Protocol):
    """Where a long piece of work keeps how far it has come: tensors, and a note of plain numbers (JSON)."""

    def load(self) -> tuple[Tensors, dict[str, Any]] | None:
        """Return the state saved last; None where there is none."""

    def save(self, tensors: Tensors, note: Mapping[str, Any]) -> None:
        """Keep this in place of what was saved before."""


Checkpoints = Callable[[Mapping[str, Any]], Checkpoint]
"""``checkpoints(about)``: the checkpoint of the work that `about` (JSON) determines."""


class NoCheckpoint:
    """A checkpoint that keeps nothing."""

    def load(self) -> None:
        """Return None: nothing is kept."""
        return None

    def save(self, tensors: Tensors, note: Mapping[str, Any]) -> None:
        """Keep nothing."""
        return None


def unkept(about: Mapping[str, Any]) -> Checkpoint:
    """Return a checkpoint that keeps nothing: a stopped distillation begins anew."""
    return NoCheckpoint()


def forget(kind: str, settings: Mapping[str, Any], make: Callable[[], Tensors]) -> Tensors:
    """Make the tensors anew, and keep nothing."""
    return make()


def unpaid(about: Mapping[str, Any], cost: PrivacyCost) -> None:
    """Charge nothing: no account is kept."""


def in_memory(behind: Remember = forget) -> Remember:
    """Return a store that keeps everything until it is dropped, and asks the one behind it for what it has not met.

    Several budgets distilled in one call train their experts once this way, whatever the store behind.

    >>> remember = in_memory()
    >>> first = remember("experts", {"seed": 0}, lambda: {"theta": torch.zeros(1)})
    >>> remember("experts", {"seed": 0}, lambda: {}) is first
    True
    """
    kept: dict[str, Tensors] = {}

    def remember(kind: str, settings: Mapping[str, Any], make: Callable[[], Tensors]) -> Tensors:
        key = json.dumps([kind, dict(settings)], sort_keys=True)
        if key not in kept:
            kept[key] = behind(kind, settings, make)
        return kept[key]

    return remember


@dataclass(frozen=True, eq=False)
class SyntheticSet:
    """The synthetic images that a method makes of a site's images for one budget.

    Args:
        images: float32 (N, C, H, W) as networks take them (mean 0.5 and standard deviation 0.5 taken out).
        labels: int64 (N,), or float32 (N, L) for multi-label tasks.
        ipc: images per class; None where the method has no budget.
        lr: the learned step size of the training the images were made for, where there is one.
        seconds_before: seconds spent on it before it was stopped and resumed.
        draw: int64 (N,), which independent draw an image belongs to, where there are several; one draw is one
            complete set, trained on by one network.
        pack: smaller images along each side of one; see `fedistill.training.packing`.
        soft: float32 (N * pack * pack, C), probabilities to train towards in place of the labels, for each image as it
            is shown; None: the labels themselves. See `fedistill.methods.engine.soft_labels`.
    """

    images: Tensor
    labels: Tensor
    ipc: int | None
    lr: float | None = None
    draw: Tensor | None = None
    seconds_before: float = 0.0
    pack: int = 1
    soft: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def shown(self) -> "SyntheticSet":
        """Return the set as networks train on it: every image unpacked, with its label and draw."""
        if self.pack == 1:
            return self
        return replace(
            self,
            images=packing.shown(self.images, self.pack),
            labels=packing.repeated(self.labels, self.pack),
            draw=None if self.draw is None else packing.repeated(self.draw, self.pack),
            pack=1,
        )


@dataclass(frozen=True, eq=False)
class Task:
    """A method's task: a site's images, a budget, a seed.

    Args:
        images: the real images it may look at.
        ipc: the budget in images per class (multi-label: ipc x labels images in all); None for methods without one.
        seed: everything random comes from it, spawned by name.
        draws: independent subsets, for methods whose outcome is one random draw (``random``).
        model: name of the network to match on, and its width.
        val: the site's own validation images, by which a method stops and chooses among its images; None: neither.
        precision: what networks compute in, ``float32``, ``tf32`` or ``bfloat16`` (see `fedistill.core.precision`).
        device: where they compute, ``cpu`` or ``cuda``.
        entropy: where the noise of private methods comes from: ``seeded``, from the seed, so that a simulation can be
            repeated, and anyone who knows the seed can take the noise off; or ``system``, from the operating system,
            kept nowhere. No other method looks at it.
        smallest: private methods leave out classes that their noisy counts cannot tell to have so many images (or
            patients); for others such classes are taken out of `images` beforehand, which would break a private bound.
        guide: a network from elsewhere, and how readily it has each real image drawn; None: none. Only methods whose
            entry in the registry says so look at it.
        on_event: told of progress; methods do no input or output of their own.
        remember: keeps what is worth keeping between calls (experts).
        checkpoints: keeps how far a distillation has come, so that a stopped one goes on from there.
        charge: private methods ask it before they draw any noise; it enters the cost in a ledger, or refuses.

    Raises:
        DataError: there are no images, or the validation images are shaped otherwise.
        SettingError: a budget or a number of draws below one, or no such entropy.
    """

    images: ImageSet
    ipc: int | None
    seed: int = 0
    draws: int = 1
    model: str = "convnet"
    width: int = 128
    val: ImageSet | None = None
    precision: str = "float32"
    device: str = "cpu"
    entropy: str = "seeded"
    smallest: int = 1
    guide: "Guide | None" = None
    on_event: OnEvent = ignore
    remember: Remember = forget
    checkpoints: Checkpoints = unkept
    charge: Charge = unpaid

    def __post_init__(self) -> None:
        if not len(self.images):
            raise DataError("There are no images to distil.", expected="at least one image", found=0)
        if self.val is not None:
            here, there = ((x.images.shape[1:], x.class_names, x.multilabel) for x in (self.images, self.val))
            if here != there:
                raise DataError(
                    "The validation images are not of the training images' kind.", expected=here, found=there
                )
        require_entropy(self.entropy)
        counted = {"ipc": 1 if self.ipc is None else self.ipc, "draws": self.draws, "smallest": self.smallest}
        for name, value in counted.items():
            if value < 1:
                raise SettingError(f"{name} counts images, patients or subsets.", expected="at least 1", found=value)

    @property
    def budget(self) -> int:
        """Return the images per class, for methods that need to know.

        Raises:
            SettingError: the task has no budget.
        """
        if self.ipc is None:
            raise SettingError("This method works to a budget.", expected="ipc, at least 1", found=None)
        return self.ipc

    @property
    def computes_in(self) -> str:
        """Return `precision` as it is on `device`: a processor has no TF32."""
        return on(self.device, self.precision)

    @property
    def dtype(self) -> torch.dtype:
        """Return the type that networks are matched in."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def training_detail(self) -> dict[str, Any]:
        """Return the part of a key for networks trained on its real images, which no budget and no method changes."""
        return {
            # On a processor they are trained in float32, whatever is matched in.
            **({} if self.device == "cpu" else {"trained in": self.computes_in}),
            "images": self.images.fingerprint(),
            "seed": self.seed,
            "model": self.model,
            "width": self.width,
            "device": self.device,
            "threads": torch.get_num_threads(),
        }

    def detail(self) -> dict[str, Any]:
        """Return the part of a key: everything that a distillation's result depends on, but its settings and method."""
        return {
            **self.training_detail(),
            "val": None if self.val is None else self.val.fingerprint(),
            "ipc": self.ipc,
            "draws": self.draws,
            "precision": self.computes_in,
            # Unseeded noise is another every time, and is drawn once: what it was added to is found by this key again.
            **({"entropy": self.entropy} if self.entropy != "seeded" else {}),
            **({"smallest": self.smallest} if self.smallest > 1 else {}),
            **({} if self.guide is None else {"guide": self.guide.detail()}),
        }

    def network(self) -> Network:
        """Build the network to match on, shaped for these images."""
        x = self.images
        return build(self.model, channels=x.channels, classes=x.n_classes, size=x.size, width=self.width)


@dataclass(frozen=True)
class Method:
    """A method's entry in the registry.

    Args:
        run: ``run(task, settings) -> SyntheticSet``, for the one budget of the task.
        settings: a frozen dataclass of its settings, all with defaults.
        real: whether the images it returns are real patients' images.
        budget: whether it works to a number of images per class.
        native: the published recipe for networks trained on its images, where the method has one of its own.
        drawn: whether its outcome is one random draw, so that every network should train on its own.
        multilabel: whether it works on sets whose images have several labels.
        guided: whether it looks at a task's guide.
        version: raised when its results change for equal settings; part of every key in the store.
        summary: one line for people.
    """

    run: Callable[[Task, Any], SyntheticSet]
    settings: type
    summary: str
    real: bool = False
    budget: bool = True
    drawn: bool = False
    native: Recipe | None = None
    multilabel: bool = True
    guided: bool = False
    version: int = 1


def classes_held(images: ImageSet) -> list[Tensor]:
    """Return the positions of each class's images, for the classes that have any.

    A site is never asked for a class it lacks. A multi-label set has no classes to keep apart: all its images are one
    group.
    """
    if images.multilabel:
        return [torch.arange(len(images))]
    labels = torch.from_numpy(images.labels)
    return [at for c in range(images.n_classes) if len(at := torch.nonzero(labels == c).flatten())]
