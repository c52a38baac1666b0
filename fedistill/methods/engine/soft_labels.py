"""Soft labels: for each image the probabilities that networks of the site's own give it, in place of its class.

An axis of its own, after any method has run and for real images as well: much of what is published as a gain of
distilled images is their labels' (Qin et al., *A Label is Worth a Thousand Images in Dataset Distillation*, NeurIPS
2024, arXiv 2406.10485). A few networks are trained on the site's images by the common recipe; their probabilities, at a
temperature, are averaged (Hinton et al., arXiv 1503.02531). Whoever trains on the images then takes the cross-entropy
against these probabilities.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.events import Event
from fedistill.core.precision import of_training
from fedistill.core.ranges import Range
from fedistill.data.imageset import ImageSet
from fedistill.errors import SettingError
from fedistill.methods.engine import sgd
from fedistill.methods.engine.method import SyntheticSet, Task, Tensors
from fedistill.methods.engine.settings import read
from fedistill.models import Params
from fedistill.training.fit import VERSION as FIT_VERSION
from fedistill.training.fit import fit, predict
from fedistill.training.recipe import Recipe

VERSION = 1


@dataclass(frozen=True)
class LabelSettings:
    """Settings of the labels, in a scheme's table beside its method's.

    Args:
        labels: ``hard``, each image's class; or ``soft``, probabilities of all classes.
        temperature: what networks' logits are divided by; larger is softer.
        label_networks: networks whose probabilities are averaged.
        label_steps: SGD steps of each.
    """

    labels: Literal["hard", "soft"] = "hard"
    temperature: Annotated[float, Range(gt=0, le=100)] = 2.0
    label_networks: Annotated[int, Range(ge=1, le=100)] = 3
    label_steps: Annotated[int, Range(ge=1, le=1_000_000)] = 300

    @property
    def soft(self) -> bool:
        """Return whether labels are probabilities."""
        return self.labels == "soft"

    def detail(self) -> dict[str, Any]:
        """Return the part of a key, or of a Release's account; empty for hard labels, which need no mention."""
        return {"labels": asdict(self)} if self.soft else {}


HARD = LabelSettings()
STATED = " Its labels are probabilities that networks trained on patients' images gave."
"""What a Release's statement of privacy adds."""

NAMES = tuple(field.name for field in fields(LabelSettings))


def label_settings(values: Mapping[str, Any], *, where: str) -> LabelSettings:
    """Return the settings of the labels from a scheme's table, which has its method's settings as well.

    Raises:
        SettingError: a value that cannot be, or one that hard labels do not have.

    >>> label_settings({"labels": "soft", "iterations": 3}, where="dm").soft, label_settings({}, where="dm").soft
    (True, False)
    """
    given = {name: value for name, value in values.items() if name in NAMES}
    settings: LabelSettings = read(LabelSettings, given, where=where)
    more = [name for name in given if name != "labels"]
    if more and not settings.soft:
        raise SettingError(f"{where}: {more[0]} is a setting of soft labels.", mend='set labels = "soft" beside it')
    return settings


def require_one_label(images: ImageSet) -> None:
    """Raise SettingError for images with several labels each."""
    if images.multilabel:
        raise SettingError(
            "Soft labels are probabilities of classes, and these images may have several labels each.",
            expected="one label an image",
            found=images.task,
            mend='set labels = "hard"',
        )


def soft_labels(task: Task, synthetic: SyntheticSet, settings: LabelSettings) -> Tensor:
    """Return the probabilities of a set's images as networks are shown them, unpacked, float32 (N * pack * pack, C).

    Args:
        task: gives the real images, the network's architecture and the seed.
        synthetic: the images; best as they arrive, decoded from their encoding.
        settings: of the labels.

    Raises:
        SettingError: images may have several labels each.
        RunError: training diverged.
    """
    require_one_label(task.images)
    network, shown = task.network(), synthetic.shown().images.to(task.device)
    total = torch.zeros(())
    for i in range(settings.label_networks):
        total = total + (
            predict(network, teacher(task, settings.label_steps, i), shown) / settings.temperature
        ).softmax(1)
        task.on_event(Event("training", step=i + 1, steps=settings.label_networks, message="networks for soft labels"))
    return total / settings.label_networks


def teacher(task: Task, steps: int, index: int) -> Params:
    """Return a network trained on the site's images for so many steps, one of several by its index; remembered.

    Raises:
        RunError: training diverged.
    """
    recipe = Recipe("labels", lr=0.01, steps=steps)
    about = {
        **task.training_detail(),
        "recipe": recipe.detail(),
        "network": index,
        "version": [VERSION, FIT_VERSION],
    }
    theta = task.remember("teachers", about, partial(_trained, task, recipe, index))["theta"]
    return tuple(p.to(task.device) for p in sgd.unflatten(theta, task.network().init(torch.Generator())))


def _trained(task: Task, recipe: Recipe, index: int) -> Tensors:
    x, y = task.images.pixels().to(task.device), task.images.targets().to(task.device)
    params = fit(
        task.network(),
        x,
        y,
        recipe,
        seed=seeds.spawn(task.seed, "labels", index),
        mirror=task.images.mirror,
        precision=of_training(task.device),
        on_step=lambda step, steps: task.on_event(Event("training")),  # a sign of life
    )
    return {"theta": sgd.finite(sgd.flatten(params).cpu(), "networks for soft labels", f"step size {recipe.lr}")}
