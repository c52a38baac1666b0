"""``fedistill check``: what an ``.npz`` holds and what would go wrong with it, before a night is spent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fedistill.data.facts import SPLITS
from fedistill.data.layout import check_groups, check_images, check_labels, check_names, name_classes
from fedistill.data.sources.npz import read_npz, read_small, read_text
from fedistill.errors import DataError
from fedistill.importing.card import count_images
from fedistill.importing.decode import thumb
from fedistill.importing.duplicates import exact, near
from fedistill.importing.preprocessing import ARRAY, Preprocessing

TINY = 10
"""Training images below which a class is warned of."""

COMPARED = 20_000
"""Images that near duplicates are looked for among; more would take minutes."""


@dataclass(frozen=True, eq=False)
class Check:
    """The contents of a file, checked.

    Args:
        path: of the file.
        images: shape and dtype of each split's images, in words.
        counts: images by class and split; empty where labels or names cannot be used.
        patients: number of patients by split; empty where they are not known.
        preprocessing: how the images were made, in words; empty where the file does not say.
        problems: what stops a run, or makes its figures worthless.
        warnings: what a person should look at.
    """

    path: str
    images: dict[str, str]
    counts: dict[str, dict[str, int]]
    patients: dict[str, int]
    preprocessing: str
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return dict(vars(self))


def check_file(path: Path) -> Check:
    """Look through a file.

    Raises:
        DataError: it is no ``.npz``, or damaged.
    """
    headers, arrays = read_small(path)
    shapes = {
        s: f"{headers[f'{s}_images'].shape} {headers[f'{s}_images'].dtype}"
        for s in SPLITS
        if f"{s}_images" in headers
    }  # fmt: skip
    unread: list[str] = []
    check = Check(str(path), shapes, {}, {}, _preprocessing(path, unread))
    problems, warnings = check.problems, check.warnings
    try:
        check_images(path, headers)
    except DataError as error:
        problems.append(_told(error))
    raw = {s: arrays[f"{s}_labels"] for s in SPLITS if f"{s}_labels" in arrays}
    labels = _labels(path, headers, raw, arrays, check) if "train" in raw and not problems else None
    groups = {s: arrays[f"{s}_groups"] for s in SPLITS if f"{s}_groups" in arrays}
    try:
        numbered = check_groups(path, headers, groups)
        check.patients.update({s: len(np.unique(of)) for s, of in numbered.items()})
        if not groups:
            warnings.append("no patients are known (train_groups and so on): two images of one may be in two splits")
        elif len(groups) < len(raw):
            warnings.append(f"patients are known of {', '.join(groups)} alone")
    except DataError as error:
        problems.append(_told(error))
    if "val" not in raw:
        warnings.append("no validation images: sites choose nothing on images of their own")
    warnings += unread
    if labels is not None and not problems:
        _copies(path, labels, check)
    return check


def _preprocessing(path: Path, unread: list[str]) -> str:
    """Return how the images were made, in words; note a record that cannot be read."""
    try:
        text = read_text(path, ARRAY)
        return "" if text is None else Preprocessing.from_json(text).words()
    except DataError as error:
        unread.append(_told(error))
        return ""


def _labels(
    path: Path, headers: Mapping[str, Any], raw: dict[str, np.ndarray], arrays: dict[str, np.ndarray], check: Check
) -> dict[str, np.ndarray] | None:
    """Return the labels where they can be used; note what is wrong with them and their classes."""
    problems, warnings = check.problems, check.warnings
    try:
        labels = check_labels(path, headers, raw)
        names = check_names(path, arrays["class_names"]) if "class_names" in arrays else None
        lowest = min(int(of.min()) for of in labels.values() if of.size)
        if labels["train"].ndim == 1 and lowest == 1:
            problems.append("labels start at 1: class 0 has no image; number the classes from 0")
        names, _ = name_classes(path, labels, names)
    except DataError as error:
        problems.append(_told(error))
        return None
    whole = np.concatenate([labels[s] for s in SPLITS if s in labels])
    split = np.concatenate([np.full(len(labels[s]), SPLITS.index(s)) for s in SPLITS if s in labels])
    counts = count_images(whole, split, names)
    check.counts.update(counts)
    nobody = [name for name, of in counts.items() if not sum(of.values())]
    if nobody and not any(each.startswith("labels start at 1") for each in problems):
        problems.append(f"no split has an image of {_list(nobody)}")
    for name, of in counts.items():
        has = [s for s in SPLITS if of[s]]
        if len(has) == 1:
            problems.append(f"{name!r} is in {has[0]} alone ({of[has[0]]} images)")
        elif has and "train" not in has:
            problems.append(f"{name!r} has no training image")
        elif has and "test" not in has:
            warnings.append(f"{name!r} has no test image: no score counts it")
    tested = [name for name, of in counts.items() if of["test"]]
    if labels["train"].ndim == 1 and len(labels.get("test", ())) and len(tested) == 1:
        problems.append(f"all test images are of {tested[0]!r}: AUC is not defined")
    few = [f"{name} ({of['train']})" for name, of in counts.items() if 0 < of["train"] < TINY]
    if few:
        warnings.append(f"fewer than {TINY} training images of {_list(few)}")
    if not len(labels.get("test", ())):
        problems.append("no test images")
    return labels


def _copies(path: Path, labels: dict[str, np.ndarray], check: Check) -> None:
    """Note exact copies across splits, and near ones where the file is not too large to compare all."""
    import hashlib

    digests, thumbs, split = [], [], []
    for number, name in enumerate(SPLITS):
        if name not in labels:
            continue
        images = read_npz(path, name).images
        if len(images) and not images.any():
            check.problems.append(f"all {name} images are black")
        digests += [hashlib.sha256(image.tobytes()).digest()[:16] for image in images]
        thumbs += [thumb(image) for image in images]
        split += [number] * len(images)
    same, of = exact(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)), np.array(split, np.int64)
    across = int((of != of[same]).sum())
    if across:
        check.problems.append(f"{across:,} images of one split are exact copies of another's")
    if len(of) <= COMPARED:
        _, count = near(np.stack(thumbs), of, same)
        if count:
            check.warnings.append(f"{count:,} pairs of images in different splits look alike")


def _list(words: list[str]) -> str:
    return ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")


def _told(error: DataError) -> str:
    """Return an error in one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join([lines[0], *(line for line in lines[1:] if line.startswith(("expected", "found")))])
