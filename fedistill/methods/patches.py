"""Patches: crops of real images that a trained network is surest of, packed.

After RDED (Sun et al., *On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation
Paradigm*, CVPR 2024, arXiv 2312.03526).

Of each candidate image a few crops are drawn, and the one with the smallest cross-entropy against the image's class is
kept; of a class the images with the surest crops are taken, packed 2 x 2. The paper's soft labels are an axis of their
own (``labels = "soft"``). Every pixel is a patient's: policies treat these as real images.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.ranges import Count, Range
from fedistill.errors import SettingError
from fedistill.methods.engine.method import SyntheticSet, Task, classes_held
from fedistill.methods.engine.soft_labels import teacher
from fedistill.methods.subset import images_to_take
from fedistill.training.fit import predict
from fedistill.training.packing import MOST, pack_images


@dataclass(frozen=True)
class PatchSettings:
    """Settings of patches; the defaults are the paper's where it gives them.

    Args:
        pack: crops along each side of one image.
        crops: drawn of each candidate image; the surest one is kept.
        smallest_area: of a crop, as a share of the image's; crops are square, and drawn evenly up to the whole.
        candidates: images of a class that crops are drawn of, at most.
        steps: SGD steps of the network that crops are shown to, the first of those that make soft labels.
    """

    pack: Annotated[int, Range(ge=1, le=MOST)] = 2
    crops: Count = 5
    smallest_area: Annotated[float, Range(gt=0, le=1)] = 0.5
    candidates: Count = 300
    steps: Count = 300


def patches(task: Task, settings: PatchSettings) -> SyntheticSet:
    """Take the surest crops of each class held, packed, surest first.

    Raises:
        SettingError: images may have several labels each, or cannot be packed so.
    """
    if task.images.multilabel:
        raise SettingError("patches does not work on multi-label sets.", expected="one label an image")
    network, params = task.network(), teacher(task, settings.steps, 0)
    targets, pack = task.images.targets(), settings.pack
    images, labels = [], []
    for at in classes_held(task.images):
        label = int(targets[at[0]])
        generator = seeds.generator(task.seed, "patches", label)
        most = max(settings.candidates, task.budget * pack * pack)
        drawn = at[torch.randperm(len(at), generator=generator)[:most]]
        pixels = task.images.take(drawn.numpy()).pixels()
        tried = torch.stack([crop(pixels, settings.smallest_area, generator) for _ in range(settings.crops)], 1)
        logits = predict(network, params, tried.flatten(0, 1))
        losses = F.cross_entropy(logits, torch.full((len(logits),), label), reduction="none").view(tried.shape[:2])
        least = losses.min(1)
        surest = tried[torch.arange(len(tried)), least.indices][least.values.argsort(stable=True)]
        wanted = images_to_take(task, len(surest), pack)
        # A class that cannot fill one image repeats its crops in it.
        packed = pack_images(surest[torch.arange(wanted) % len(surest)], pack)
        images.append(packed)
        labels.append(torch.full((len(packed),), label))
    return SyntheticSet(torch.cat(images), torch.cat(labels), task.budget, pack=pack)


def crop(images: Tensor, smallest_area: float, generator: torch.Generator) -> Tensor:
    """Draw a square crop of each image and bring it to full size by bilinear interpolation, (N, C, H, W) to alike.

    Args:
        images: square.
        smallest_area: share of an image that a crop has at least; 1 returns the images.
        generator: of sizes and places.
    """
    size = images.shape[-1]
    areas, tops, lefts = (torch.rand(len(images), generator=generator) for _ in range(3))
    sides = (size * (smallest_area + (1 - smallest_area) * areas).sqrt()).round().long().clamp(1, size)
    cropped = []
    for image, side, down, along in zip(images, sides.tolist(), tops.tolist(), lefts.tolist(), strict=True):
        top, left = (min(int(share * (size - side + 1)), size - side) for share in (down, along))
        part = image[None, :, top : top + side, left : left + side]
        cropped.append(F.interpolate(part, size=(size, size), mode="bilinear", align_corners=False))
    return torch.cat(cropped)
