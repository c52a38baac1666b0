"""The twelve 2D MedMNIST sets, as files: where they are published, fetched once, checked once.

Yang et al., *MedMNIST v2*, Scientific Data 10:41 (2023). Addresses, MD5 sums, labels, tasks and licences come from
``medmnist.INFO``. The medmnist package's own downloader needs torchvision, so pooch fetches instead, to the same place.
"""

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedistill.core.files import write_atomic
from fedistill.data.facts import CITATION, SIZES, facts
from fedistill.data.imageset import ImageSet
from fedistill.data.sources.npz import read_npz
from fedistill.errors import DataError

_REMEMBERED = 1000  # checked files; the oldest are forgotten first


@dataclass(frozen=True)
class Entry:
    """One published file: a set at one size in pixels."""

    name: str
    size: int
    url: str
    md5: str
    file: str


def entry(name: str, size: int = 28) -> Entry:
    """The file that MedMNIST publishes for a set at 28, 64, 128 or 224 pixels.

    Raises:
        DataError: unknown set or size.
    """
    info = _info(name)
    if size not in SIZES:
        raise DataError(
            f"{name} is not published at {size} pixels.",
            expected=", ".join(map(str, SIZES)),
            found=size,
            mend=f"use one of these sizes, or {facts(name).phantom}, which can be drawn at any",
        )
    suffix = "" if size == 28 else f"_{size}"
    return Entry(name, size, info[f"url{suffix}"], info[f"MD5{suffix}"], file_name(name, size))


def file_name(name: str, size: int = 28) -> str:
    """As the medmnist package names it.

    >>> file_name("breastmnist"), file_name("breastmnist", 64)
    ('breastmnist.npz', 'breastmnist_64.npz')
    """
    return f"{name}.npz" if size == 28 else f"{name}_{size}.npz"


def data_root(root: str | Path | None = None) -> Path:
    """The folder of the files: the argument, else ``$MEDMNIST_ROOT``, else ``~/.medmnist`` as the medmnist package."""
    return Path(root or os.environ.get("MEDMNIST_ROOT") or "~/.medmnist").expanduser()


def load(name: str, split: str = "train", *, size: int = 28, root: str | Path | None = None) -> ImageSet:
    """One split of a set, downloaded first if it is not there.

    Raises:
        DataError: unknown set, no network, or a file that is not the published one.
    """
    info, known = _info(name), facts(name)
    return read_npz(
        fetch(entry(name, size), root),
        split,
        class_names=tuple(info["label"][str(k)] for k in range(len(info["label"]))),
        task=info["task"],
        name=name,
        source=f"{name}, {size} pixels, {CITATION}",
        licence=info["license"],
        mirror=known.mirror,
    )


def fetch(wanted: Entry, root: str | Path | None = None) -> Path:
    """The path of the published file; it is downloaded if missing, and its MD5 sum is checked once.

    Raises:
        DataError: no network, or a file of this name that is not the published one.
    """
    path = data_root(root) / wanted.file
    if not path.exists():
        _download(wanted, path)
        _remember(_mark(path, wanted.md5))
    elif (mark := _mark(path, wanted.md5)) not in _remembered():
        found = _md5(path)
        if found != wanted.md5:
            raise DataError(
                f"{path} is not the file that MedMNIST publishes under this name.",
                expected=f"MD5 {wanted.md5}",
                found=f"MD5 {found}",
                mend="move it away and it is downloaded anew; or rename it and give its path, if it is your own",
            )
        _remember(mark)
    return path


def _info(name: str) -> dict[str, Any]:
    facts(name)  # an unknown name, or a 3D set, ends here
    from medmnist import INFO

    found: dict[str, Any] = INFO[name]
    return found


def _download(wanted: Entry, path: Path) -> None:
    from pooch import HTTPDownloader

    # Nobody reads a progress bar in a log file.
    get = HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 20)

    def fill(partial: Path) -> None:
        get(wanted.url, str(partial), None)
        found = _md5(partial)
        if found != wanted.md5:
            raise DataError(
                f"The download of {wanted.file} came out wrong.",
                expected=f"MD5 {wanted.md5}",
                found=f"MD5 {found}",
                mend="try again; a proxy may have answered in the publisher's place",
            )

    try:
        write_atomic(path, fill)
    except OSError as error:  # the network's errors and the disk's alike
        raise DataError(
            f"{wanted.file} is not in {path.parent} and cannot be downloaded.",
            expected=wanted.url,
            found=f"{type(error).__name__}: {error}",
            mend=f"download it elsewhere and put it in {path.parent}; "
            f"or rehearse with --phantom, which needs no file ({facts(wanted.name).phantom})",
        ) from error


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


# Which files were checked is kept in the user's cache folder: the data folder may be read-only, and is not ours.


def _memory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fedistill" / "verified.json"


def _mark(path: Path, md5: str) -> str:
    stat = path.stat()
    return f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{md5}"


def _remembered() -> list[str]:
    try:
        marks = json.loads(_memory().read_text())
    except (OSError, ValueError):
        return []
    return marks if isinstance(marks, list) else []


def _remember(mark: str) -> None:
    # Two processes may overwrite each other's mark: the loser's file is only checked once more.
    try:
        write_atomic(_memory(), json.dumps([*_remembered(), mark][-_REMEMBERED:]))
    except OSError:
        return  # a home that cannot be written only means checking again next time
