"""ImageSet: real images with their labels, the value every site starts from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from fedistill.errors import DataError

if TYPE_CHECKING:
    import torch

# One preprocessing everywhere; statistics of a site's own pixels are private and must not be pooled.
MEAN, STD = 0.5, 0.5


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Real images of one data set, split or site.

    Args:
        images: uint8, (N, H, W, C), C = 1 or 3.
        labels: int64, (N,), or (N, L) of 0 and 1 for multi-label tasks.
        class_names: one name per class (multi-label: per label).
        groups: int64 (N,): images with one number belong to one patient and are never separated; or None.
        task: MedMNIST's word: ``binary-class``, ``multi-class``, ``ordinal-regression`` (scored as classes) or
            ``multi-label, binary-class``.
        name: of the data set, as files and the command line write it; settings measured for it are found by it.
        source: where the images come from, for people to read.
        licence: the data's licence, which travels with everything made of it.
        mirror: whether a horizontal flip keeps the labels true (it does not where left and right are classes).

    Raises:
        DataError: shapes, dtypes or lengths that do not fit together.

    >>> x = ImageSet(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]), ("no", "yes"))
    >>> len(x), x.n_classes, x.channels, x.size, x.multilabel
    (2, 2, 1, 8, False)
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    groups: np.ndarray | None = field(default=None, kw_only=True)
    task: str = field(default="multi-class", kw_only=True)
    name: str = field(default="", kw_only=True)
    source: str = field(default="", kw_only=True)
    licence: str = field(default="", kw_only=True)
    mirror: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[-1] not in (1, 3):
            raise DataError(
                "These images cannot be used.",
                expected="uint8, (N, H, W, C) with 1 or 3 channels",
                found=f"{self.images.dtype}, {self.images.shape}",
                mend="convert to 8 bits and add a channel axis where it is missing",
            )
        if self.labels.dtype != np.int64 or len(self.labels) != len(self.images) or self.labels.ndim not in (1, 2):
            raise DataError(
                "These labels do not fit the images.",
                expected=f"int64, ({len(self.images)},) or ({len(self.images)}, L)",
                found=f"{self.labels.dtype}, {self.labels.shape}",
            )
        if self.multilabel and self.labels.shape[1] != len(self.class_names):
            raise DataError(
                "The label columns and the class names differ in number.",
                expected=f"{len(self.class_names)} columns",
                found=f"{self.labels.shape[1]}",
            )
        top = 1 if self.multilabel else len(self.class_names) - 1
        if len(self.labels) and (self.labels.min() < 0 or self.labels.max() > top):
            raise DataError(
                "A label lies outside its range.",
                expected=f"0..{top}",
                found=f"{self.labels.min()}..{self.labels.max()}",
            )
        if self.groups is not None and self.groups.shape != (len(self.images),):
            raise DataError(
                "The groups do not fit the images.", expected=f"({len(self.images)},)", found=self.groups.shape
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def multilabel(self) -> bool:
        """Return whether an image may have several labels, or none."""
        return self.labels.ndim == 2

    @property
    def n_classes(self) -> int:
        """Return the number of classes (multi-label: of labels)."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Return the number of channels, 1 or 3."""
        return int(self.images.shape[-1])

    @property
    def size(self) -> int:
        """Return the height in pixels; MedMNIST images are square."""
        return int(self.images.shape[1])

    def counts(self) -> np.ndarray:
        """Return the number of images per class (multi-label: positives per label), int64 (K,)."""
        if self.multilabel:
            return self.labels.sum(0)
        return np.bincount(self.labels, minlength=self.n_classes).astype(np.int64)

    def take(self, indices: np.ndarray | Sequence[int]) -> "ImageSet":
        """Return the images at these positions, in this order."""
        at = np.asarray(indices, dtype=np.int64)
        groups = None if self.groups is None else self.groups[at]
        return replace(self, images=self.images[at], labels=self.labels[at], groups=groups)

    def pixels(self) -> "torch.Tensor":
        """Return network input, float32 (N, C, H, W) in -1..1: pixels in 0..1, minus 0.5, divided by 0.5."""
        import torch

        x = torch.from_numpy(self.images).permute(0, 3, 1, 2)
        # NumPy calls a grey (N, H, W, 1) array transposed to (N, 1, H, W) contiguous as it is; PyTorch reads its
        # strides as channels-last and takes convolutions that are up to twice as slow.
        return x.to(torch.float32, memory_format=torch.contiguous_format).div_(255).sub_(MEAN).div_(STD)

    def targets(self) -> "torch.Tensor":
        """Return the labels as a tensor: int64 (N,), or float32 (N, L) for multi-label tasks."""
        import torch

        y = torch.from_numpy(self.labels.copy())
        return y.float() if self.multilabel else y

    def fingerprint(self) -> str:
        """Return the SHA-256, in hex, of everything a computation can depend on.

        Two sets with one fingerprint give the same results.
        """
        digest = hashlib.sha256()
        digest.update(repr((self.images.shape, self.labels.shape, self.class_names, self.task, self.mirror)).encode())
        for array in (self.images, self.labels, self.groups):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def concatenate(parts: Sequence[ImageSet]) -> ImageSet:
    """Join sets that agree in classes, task, channels and size.

    Raises:
        DataError: they do not agree.
    """
    first = parts[0]
    for part in parts[1:]:
        here, there = ((p.class_names, p.task, p.images.shape[1:]) for p in (part, first))
        if here != there:
            raise DataError(
                "These image sets cannot be joined.", expected=there, found=here, mend="use sets with one label space"
            )
    if len(parts) == 1:
        return first
    groups = None
    if all(part.groups is not None for part in parts):
        # A number means a patient only within its own set: shift each set's numbers clear of the ones before.
        shifted, base = [], 0
        for part in parts:
            assert part.groups is not None
            _, compact = np.unique(part.groups, return_inverse=True)
            shifted.append(compact.astype(np.int64) + base)
            base += int(compact.max()) + 1 if len(compact) else 0
        groups = np.concatenate(shifted)
    return replace(
        first,
        images=np.concatenate([p.images for p in parts]),
        labels=np.concatenate([p.labels for p in parts]),
        groups=groups,
        name=" + ".join(dict.fromkeys(p.name for p in parts)),
        source=" + ".join(dict.fromkeys(p.source for p in parts)),
        licence=", ".join(dict.fromkeys(p.licence for p in parts)),
        mirror=all(p.mirror for p in parts),
    )
