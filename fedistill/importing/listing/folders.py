"""Folders by class: ``SOURCE/benign/...``, or with splits above them ``SOURCE/train/benign/...``.

Below a class's folder files may lie at any depth, such as in a folder for each patient or study.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedistill.errors import DataError
from fedistill.importing.listing.entries import ListedFile, Listing, order_classes, split_named
from fedistill.importing.readers import kind_of

LAYOUT = "a folder for each class with its images, or train, val and test above them"


def list_folders(source: Path, *, classes: Sequence[str] = (), leave_out: Sequence[str] = ()) -> Listing:
    """List a folder's images, in the order of their paths.

    Args:
        source: the folder.
        classes: class names in the order of their labels; default sorted.
        leave_out: classes that are not imported.

    Raises:
        DataError: no image, images outside class folders alone, or fewer than two classes.
    """
    above = _folders(source)
    splits = {folder: split_named(folder.name) for folder in above}
    given = bool(above) and all(splits.values())
    if given and len(set(splits.values())) < len(splits):
        raise DataError(f"Two folders of {source} are one split.", found=", ".join(each.name for each in above))
    skipped: list[tuple[str, str]] = []
    other: list[str] = []
    files: list[tuple[str, str, Path]] = []  # split, class, path
    for top in above if given else [source]:
        for folder in _folders(top):
            for path in _files(folder):
                if kind_of(path):
                    files.append((splits[top] or "" if given else "", folder.name, path))
                else:
                    other.append(_name(path, source))
        loose = [path for path in sorted(top.iterdir()) if path.is_file() and not path.name.startswith(".")]
        for path in loose:
            (skipped.append((_name(path, source), "in no class's folder")) if kind_of(path)
             else other.append(_name(path, source)))  # fmt: skip
    if not files:
        loose_images = len(skipped)
        raise DataError(
            f"{source} has no image in a class's folder." if loose_images else f"{source} has no image.",
            expected=LAYOUT,
            found=f"{loose_images} images outside, {len(other)} other files, {len(above)} folders",
            mend="sort the images into a folder for each class, or give a table of paths and labels instead",
        )
    names = order_classes({label for _, label, _ in files}, classes, leave_out, what=str(source))
    number = {name: k for k, name in enumerate(names)}
    entries = [
        ListedFile(path, _name(path, source), number[label], split=split)
        for split, label, path in files
        if label in number
    ]
    return Listing(entries, names, False, skipped, other)


def list_files(source: Path) -> tuple[list[Path], list[str]]:
    """Return all images below a folder, in the order of their paths, and the names of what is none."""
    files = list(_files(source))
    return [path for path in files if kind_of(path)], [_name(path, source) for path in files if not kind_of(path)]


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    """Yield files at any depth, hidden ones left out, in an order that is the same everywhere."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))


def _name(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix()
