"""The rules of MedMNIST's layout: which arrays go together, and what classes and patients they mean."""

import unicodedata
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedistill.core.text import LONGEST, printable
from fedistill.data.facts import LEAST_SIZE, SPLITS
from fedistill.errors import DataError

MOST_CLASSES = 10_000  # a larger label is a patient number or a mistake, not a class
LONGEST_NAME = 4000  # bytes, four a letter


class Header(NamedTuple):
    """The shape and dtype in an array's header."""

    shape: tuple[int, ...]
    dtype: np.dtype


def check_images(path: Path, headers: Mapping[str, Header]) -> tuple[int, int, int]:
    """Return the shape (S, S, C) that all splits' images share.

    Raises:
        DataError: an array is missing, of another dtype or shape, or of another length than its labels.
    """
    needed = [f"{split}_{what}" for split in ("train", "test") for what in ("images", "labels")]
    if "val_images" in headers or "val_labels" in headers:
        needed += ["val_images", "val_labels"]
    lacking = [name for name in needed if name not in headers]
    if lacking:
        raise DataError(
            f"{path} lacks {', '.join(lacking)}.",
            expected="train_images, train_labels, test_images, test_labels, and val_images, val_labels or neither",
            found=", ".join(sorted(headers)) or "no arrays",
            mend="save it with numpy.savez_compressed under these names",
        )
    shapes = {}
    for split in SPLITS:
        if (images := headers.get(f"{split}_images")) is None:
            continue
        shape, dtype = images
        square = len(shape) in (3, 4) and shape[1] == shape[2] and shape[1] > 0 and (*shape, 1)[3] in (1, 3)
        if dtype != np.uint8 or not square:
            alpha = dtype == np.uint8 and len(shape) == 4 and shape[3] in (2, 4)
            raise DataError(
                f"{path}: {split}_images cannot be used.",
                expected="uint8, square, (N, S, S) or (N, S, S, C) with C = 1 or 3",
                found=f"{dtype}, {shape}",
                mend="leave out the last channel, which says how opaque a pixel is: images[..., :-1]"
                if alpha
                else "scale the pixels to 0..255 and convert with .astype(numpy.uint8); crop or pad to a square",
            )
        if shape[1] < LEAST_SIZE:
            raise DataError(
                f"{path}: {split}_images are too small.",
                expected=f"at least {LEAST_SIZE} by {LEAST_SIZE} pixels",
                found=f"{shape[1]} by {shape[2]}",
                mend="save them as large as they were taken",
            )
        length = headers[f"{split}_labels"].shape[:1]
        if length != shape[:1]:
            raise DataError(
                f"{path}: {split}_images and {split}_labels differ in length.",
                expected=f"{shape[0]} labels",
                found=length[0] if length else "a single number",
            )
        shapes[split] = (shape[1], shape[2], (*shape, 1)[3])
    if len(set(shapes.values())) > 1:
        raise DataError(f"{path}: the splits' images differ in shape.", expected="one size and channels", found=shapes)
    if headers["train_images"].shape[0] == 0:
        raise DataError(f"{path} has no training images.", expected="at least one")
    return shapes["train"]


def check_labels(path: Path, headers: Mapping[str, Header], labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return every split's labels as int64, (N,) for classes or (N, L) for multi-label tasks.

    Raises:
        DataError: labels that are no integers from 0, or (N, L) with anything but 0 and 1.
    """
    columns = {split: array.shape[1] if array.ndim == 2 else 1 for split, array in labels.items()}
    if (
        any(array.ndim not in (1, 2) for array in labels.values())
        or len(set(columns.values())) > 1
        or 0 in columns.values()
    ):
        raise DataError(
            f"{path}: the labels' shapes cannot be used.",
            expected="(N,), (N, 1) or (N, L), the same L in every split",
            found={split: array.shape for split, array in labels.items()},
        )
    multilabel = columns["train"] > 1
    top = 1 if multilabel else MOST_CLASSES - 1
    for split, array in labels.items():
        expected = "0 or 1 in every column" if multilabel else "whole numbers 0, 1, 2, ... one per class"
        if array.dtype.kind not in "iub":
            raise DataError(
                f"{path}: {split}_labels are no integers.",
                expected=expected,
                found=array.dtype,
                mend="number the classes from 0 and convert with .astype(numpy.int64); leave out unlabelled images",
            )
        if array.size and (array.min() < 0 or array.max() > top):
            raise DataError(
                f"{path}: {split}_labels lie outside their range.",
                expected=expected,
                found=f"{array.min()}..{array.max()}",
                mend="number the classes from 0",
            )
    return {s: a.astype(np.int64) if multilabel else a.reshape(-1).astype(np.int64) for s, a in labels.items()}


def check_sizes(path: Path, headers: Mapping[str, Header]) -> None:
    """Raise DataError where labels, groups or class names would take more memory than any can, before they are read."""
    for name, (shape, dtype) in headers.items():
        labels, names = name.endswith("_labels"), name == "class_names"
        if not (labels or names or name.endswith("_groups")):
            continue
        if labels and dtype.kind in "US":
            raise DataError(
                f"{path}: {name} are text.",
                expected="whole numbers 0, 1, 2, ... one per class",
                found=dtype,
                mend="number them over all splits with names, labels = numpy.unique(labels, return_inverse=True), and "
                "save names as class_names",
            )
        each = prod(shape if names else shape[1:])
        longest = 8 if labels else LONGEST_NAME
        if each > MOST_CLASSES or (dtype.itemsize > longest and dtype.kind in "iufbUS"):
            raise DataError(
                f"{path}: {name} cannot be used.",
                expected=f"at most {MOST_CLASSES:,} values{'' if names else ' an image'} of at most {longest} bytes",
                found=f"{dtype}, {str(shape)[:200]}",
            )


def check_names(path: Path, array: np.ndarray) -> tuple[str, ...]:
    """Return the file's own class names, if terminals and tables can show them.

    Raises:
        DataError: one that is no line of printable text, or that another has too.
    """
    try:
        names = tuple(each.decode() if isinstance(each, bytes) else str(each) for each in array.ravel().tolist())
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: class_names cannot be read.", expected="text, or bytes in UTF-8", found=error.reason
        ) from error
    for number, name in enumerate(names):
        if not name or printable(name) != name:
            raise DataError(
                f"{path}: the name of class {number} cannot be used.",
                expected=f"one line of printable characters, at least one and at most {LONGEST}",
                found=repr(name[:80]),
                mend="name it anew and save the file again",
            )
    alike = [unicodedata.normalize("NFC", name) for name in names]
    twice = sorted({name for name, each in zip(names, alike, strict=True) if alike.count(each) > 1})
    if twice:
        raise DataError(
            f"{path}: several classes are called {twice[0]!r}.", expected="a name of its own for every class"
        )
    return names


def name_classes(
    path: Path, labels: Mapping[str, np.ndarray], names: tuple[str, ...] | None
) -> tuple[tuple[str, ...], str]:
    """Return class names and task. Without names the largest label of any split gives the number of classes.

    Raises:
        DataError: fewer names than classes, a single class, or labels most of which no image has.
    """
    multilabel = labels["train"].ndim == 2
    if multilabel:
        classes = labels["train"].shape[1]
    else:
        classes = max(int(array.max()) + 1 for array in labels.values() if len(array))
        if names is None:
            _require_few_gaps(path, labels, classes)
        classes = max(classes, len(names or ()))  # a named class may lack images
    if names is None:
        names = tuple(f"class {k}" for k in range(classes))
    if len(names) != classes:
        raise DataError(
            f"{path}: classes and class names differ in number.", expected=f"{classes} names", found=f"{len(names)}"
        )
    if classes < 2:
        raise DataError(f"{path} has a single class.", expected="at least two", found=names[0])
    task = "multi-label, binary-class" if multilabel else "binary-class" if classes == 2 else "multi-class"
    return names, task


def _require_few_gaps(path: Path, labels: Mapping[str, np.ndarray], classes: int) -> None:
    """Raise DataError if so few classes have images that a stray label must have raised their number."""
    present = set(np.unique(np.concatenate([array for array in labels.values() if len(array)])).tolist())
    lacking = [k for k in range(classes) if k not in present]
    if len(lacking) > len(present):
        raise DataError(
            f"{path}: most of the labels 0 to {classes - 1} have no image in any split.",
            expected="whole numbers 0, 1, 2, ... one per class",
            found=f"{len(present)} of {classes} labels have images; {', '.join(map(str, lacking[:5]))} have none",
            mend="number the classes from 0 without gaps, and look for a label that is none; or save class_names",
        )


def check_groups(path: Path, headers: Mapping[str, Header], groups: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return every split's patients as int64 (N,), numbered from 0 over all splits in the order in which they appear.

    So what is computed does not depend on what the patients are called.

    Raises:
        DataError: ids of another kind or length, or a patient in two splits.
    """
    for split, array in groups.items():
        if array.dtype.kind not in "iuUS" or array.shape != headers[f"{split}_images"].shape[:1]:
            raise DataError(
                f"{path}: {split}_groups cannot be used.",
                expected=f"integers or strings, ({headers[f'{split}_images'].shape[0]},)",
                found=f"{array.dtype}, {array.shape}",
            )
    if not groups:
        return {}
    if len({array.dtype.kind in "iu" for array in groups.values()}) > 1:
        raise DataError(f"{path}: some groups are numbers and some are strings.", expected="one kind in all splits")
    ids, first, number = np.unique(np.concatenate(list(groups.values())), return_index=True, return_inverse=True)
    order = np.argsort(first)
    ids, number = ids[order], np.argsort(order)[number]
    ends = np.cumsum([len(array) for array in groups.values()])
    numbered = dict(zip(groups, np.split(number.astype(np.int64), ends[:-1]), strict=True))
    seen: dict[int, str] = {}
    for split, array in numbered.items():
        for group in np.unique(array).tolist():
            if group in seen:
                raise DataError(
                    f"{path}: the group {ids[group]} is in {seen[group]} and in {split}.",
                    expected="all images of one patient in one split",
                    mend="move its images to one of the two",
                )
            seen[group] = split
    return numbered
