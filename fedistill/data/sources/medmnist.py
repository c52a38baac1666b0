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
from fedistill.data.facts import CITATION, FACTS, SIZES, facts
from fedistill.data.imageset import ImageSet
from fedistill.data.sources.base import DatasetCard, DataSource
from fedistill.data.sources.npz import SUFFIX, read_npz
from fedistill.errors import DataError, nearest

_REMEMBERED = 1000  # checked files; the oldest are forgotten first


@dataclass(frozen=True)
class MedMNIST(DataSource):
    """A published MedMNIST set by name, ``bloodmnist``. It takes every word that no other kind claims."""

    @classmethod
    def cards(cls, data_root: Path | None) -> list[DatasetCard]:
        """List the twelve sets."""
        return [cls(name).card(data_root) for name in FACTS]

    @property
    def known(self) -> bool:
        """Return whether MedMNIST publishes a 2D set of this name."""
        return self.name in FACTS

    @property
    def published(self) -> bool:
        """Return whether MedMNIST publishes a 2D set of this name."""
        return self.known

    @property
    def short(self) -> str:
        """Return the name without ``mnist``."""
        return self.name.removesuffix("mnist")

    def phantom(self) -> str:
        """Return the word of this set's phantom; DataError if there is no such set."""
        if not self.known:
            words = [each.phantom for each in FACTS.values()]
            raise DataError(f"There is no phantom of {self.name!r}.", mend=nearest(f"phantom:{self.name}", words))
        return facts(self.name).phantom

    def load(
        self, split: str, *, size: int | None, data_root: str | Path | None, images: int | None, seed: int | None
    ) -> ImageSet:
        """Return one split; see `load`."""
        self._require_known()
        return load(self.name, split, size=28 if size is None else size, root=data_root)

    def card(self, data_root: str | Path | None) -> DatasetCard:
        """Return the published facts, and the sizes whose files are in the data folder."""
        self._require_known()
        known, root = facts(self.name), find_data_root(data_root)
        sizes = tuple(size for size in SIZES if (root / file_name(self.name, size)).is_file())
        return DatasetCard(self.name, known.task, known.class_names, known.channels, known.images, known.licence, sizes)

    def provenance(self, *, size: int | None, images: int | None, seed: int | None) -> tuple[str, str]:
        """Return the set's name and the MD5 sum of the published file."""
        self._require_known()
        return self.name, published_file(self.name, size or 28).md5

    def _require_known(self) -> None:
        """Raise DataError for a word that names no data set of any kind."""
        if self.known:
            return
        word = self.name
        if word.lower().endswith(SUFFIX):
            raise DataError(
                f"{word} does not end in {SUFFIX}.",
                expected=f"a path that ends in {SUFFIX}",
                found=word[-len(SUFFIX) :],
                mend=f"rename it to {word[: -len(SUFFIX)]}{SUFFIX}",
            )
        if os.path.isdir(Path(word).expanduser()):  # noqa: PTH112 - a word too long for a path is no folder
            raise DataError(f"{word} is a folder.", expected="the name of a data set, or the path of an .npz file")
        words = [*FACTS, *(each.phantom for each in FACTS.values())]
        raise DataError(f"There is no data set {word!r}.", mend=f"{nearest(word, words)}; or give a path to an .npz")


@dataclass(frozen=True)
class PublishedFile:
    """The published file of one set at one size.

    Args:
        name: of the set.
        size: height and width of its images in pixels.
        url: where the file is published.
        md5: the file's MD5 sum, in hex.
        file: the file's name.
    """

    name: str
    size: int
    url: str
    md5: str
    file: str


def published_file(name: str, size: int = 28) -> PublishedFile:
    """Return the file that MedMNIST publishes for a set at 28, 64, 128 or 224 pixels.

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
    return PublishedFile(name, size, info[f"url{suffix}"], info[f"MD5{suffix}"], file_name(name, size))


def file_name(name: str, size: int = 28) -> str:
    """Return the name that the medmnist package gives the file of a set.

    >>> file_name("breastmnist"), file_name("breastmnist", 64)
    ('breastmnist.npz', 'breastmnist_64.npz')
    """
    return f"{name}.npz" if size == 28 else f"{name}_{size}.npz"


def find_data_root(root: str | Path | None = None) -> Path:
    """Return the folder of the files: the argument, else ``$MEDMNIST_ROOT``, else ``~/.medmnist``."""
    return Path(root or os.environ.get("MEDMNIST_ROOT") or "~/.medmnist").expanduser()


def load(name: str, split: str = "train", *, size: int = 28, root: str | Path | None = None) -> ImageSet:
    """Return one split of a set; download its file first if it is missing.

    Raises:
        DataError: the set is unknown, there is no network, or the file is not the published one.
    """
    info, known = _info(name), facts(name)
    return read_npz(
        fetch(published_file(name, size), root),
        split,
        class_names=tuple(info["label"][str(k)] for k in range(len(info["label"]))),
        task=info["task"],
        name=name,
        source=f"{name}, {size} pixels, {CITATION}",
        licence=info["license"],
        mirror=known.mirror,
    )


def fetch(published: PublishedFile, root: str | Path | None = None) -> Path:
    """Return the path of the published file; download it if missing, and check its MD5 sum once.

    Raises:
        DataError: there is no network, or a file of this name that is not the published one.
    """
    path = find_data_root(root) / published.file
    if not path.exists():
        _download(published, path)
        _remember(_mark(path, published.md5))
    elif (mark := _mark(path, published.md5)) not in _remembered():
        md5 = _md5(path)
        if md5 != published.md5:
            raise DataError(
                f"{path} is not the file that MedMNIST publishes under this name.",
                expected=f"MD5 {published.md5}",
                found=f"MD5 {md5}",
                mend="move it away and it is downloaded anew; or rename it and give its path, if it is your own",
            )
        _remember(mark)
    return path


def _info(name: str) -> dict[str, Any]:
    facts(name)  # raises for an unknown name and for a 3D set
    from medmnist import INFO

    info: dict[str, Any] = INFO[name]
    return info


def _download(published: PublishedFile, path: Path) -> None:
    from pooch import HTTPDownloader

    # Nobody reads a progress bar in a log file.
    get = HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 20)

    def fill(partial: Path) -> None:
        get(published.url, str(partial), None)
        md5 = _md5(partial)
        if md5 != published.md5:
            raise DataError(
                f"The download of {published.file} is not the published file.",
                expected=f"MD5 {published.md5}",
                found=f"MD5 {md5}",
                mend="try again; a proxy may have answered instead of the publisher",
            )

    try:
        write_atomic(path, fill)
    except OSError as error:  # the network's errors and the disk's alike
        raise DataError(
            f"{published.file} is not in {path.parent} and cannot be downloaded.",
            expected=published.url,
            found=f"{type(error).__name__}: {error}",
            mend=f"download it elsewhere and put it in {path.parent}; "
            f"or rehearse with --phantom, which needs no file ({facts(published.name).phantom})",
        ) from error


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


# The list of checked files is kept in the user's cache folder: the data folder may be read-only, and is not ours.


def _list_of_checked() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fedistill" / "verified.json"


def _mark(path: Path, md5: str) -> str:
    stat = path.stat()
    return f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{md5}"


def _remembered() -> list[str]:
    try:
        marks = json.loads(_list_of_checked().read_text())
    except (OSError, ValueError):
        return []
    return marks if isinstance(marks, list) else []


def _remember(mark: str) -> None:
    # Two processes may overwrite each other's mark: the loser's file is only checked once more.
    try:
        write_atomic(_list_of_checked(), json.dumps([*_remembered(), mark][-_REMEMBERED:]))
    except OSError:
        return  # a home that cannot be written only means checking again next time
