"""Any data set by name, and what is known of the named ones."""

import os
from dataclasses import dataclass
from pathlib import Path

from fedistill.data.facts import FACTS, SIZES, SPLITS, Facts
from fedistill.data.imageset import ImageSet
from fedistill.data.sources import medmnist, phantom
from fedistill.data.sources.npz import read_npz
from fedistill.errors import DataError, nearest


def load_dataset(
    name: str | Path,
    split: str = "train",
    *,
    size: int | None = None,
    data_root: str | Path | None = None,
    images: int | None = None,
    seed: int | None = None,
) -> ImageSet:
    """One split of a data set.

    Args:
        name: ``phantom:blood`` (drawn), ``bloodmnist`` (MedMNIST's file, downloaded if missing) or a path ending in
            ``.npz``.
        split: ``train``, ``val`` or ``test``.
        size: height and width in pixels, default 28. A file by path has the size it has.
        data_root: folder of MedMNIST's files, default ``$MEDMNIST_ROOT``, else ``~/.medmnist``.
        images: of a phantom: how many training images are drawn; see `fedistill.data.sources.phantom.split_sizes`.
        seed: of a phantom, default 0.

    Raises:
        DataError: the data cannot be had, or are not what they should be.

    >>> blood = load_dataset("phantom:blood", images=16)
    >>> blood.images.shape, blood.n_classes
    ((16, 28, 28, 3), 8)
    """
    text = str(name)
    if text.startswith(phantom.PREFIX):
        return phantom.draw(text, split, size=28 if size is None else size, images=images, seed=seed or 0)
    if images is not None or seed is not None:
        raise DataError(
            f"{text} is not drawn: it has no number of images to choose, and no seed.",
            mend="leave out images and seed, or name a phantom",
        )
    if text.endswith(".npz"):
        found = read_npz(Path(text).expanduser(), split)
        if size is not None and found.size != size:
            raise DataError(
                f"{text} has images of another size.",
                expected=f"{size} pixels",
                found=found.size,
                mend="leave out size: a file has the size it has",
            )
        return found
    if text not in FACTS:
        raise _unknown(text)
    return medmnist.load(text, split, size=28 if size is None else size, root=data_root)


def _unknown(text: str) -> DataError:
    if text.lower().endswith(".npz"):
        mend = f"rename it to {text[:-4]}.npz"
        return DataError(
            f"{text} does not end in .npz.", expected="a path that ends in .npz", found=text[-4:], mend=mend
        )
    if os.path.isdir(Path(text).expanduser()):  # noqa: PTH112 - a name too long for any path is none
        return DataError(f"{text} is a folder.", expected="the name of a data set, or the path of an .npz file")
    known = [*FACTS, *(entry.phantom for entry in FACTS.values())]
    return DataError(f"There is no data set {text!r}.", mend=f"{nearest(text, known)}; or give a path to an .npz")


def to_phantom(name: str | Path) -> str:
    """The phantom in the place of a data set.

    Raises:
        DataError: a file by path has none.

    >>> to_phantom("breastmnist")
    'phantom:breast'
    """
    text = str(name)
    if text.endswith(".npz"):
        raise DataError(
            f"There is no phantom of {text}: a phantom copies a published set's numbers, and this is your own file.",
            mend=f"name a phantom yourself, such as {FACTS['bloodmnist'].phantom}",
        )
    return phantom.phantom_of(text).phantom


@dataclass(frozen=True)
class DatasetCard:
    """What is known of a data set without reading it whole.

    Args:
        images: of train, val and test.
        on_disk: sizes in pixels whose files are in the data folder; None for a phantom, which needs none.
    """

    name: str
    task: str
    class_names: tuple[str, ...]
    channels: int
    images: tuple[int, int, int]
    licence: str
    on_disk: tuple[int, ...] | None

    @property
    def n_classes(self) -> int:
        return len(self.class_names)


def describe(name: str | Path, *, data_root: str | Path | None = None) -> DatasetCard:
    """The card of one data set. Only a file by path is read; nothing is downloaded.

    Raises:
        DataError: there is no such data set.

    >>> describe("phantom:breast").images
    (546, 78, 156)
    """
    text = str(name)
    if text.endswith(".npz"):
        splits = [load_dataset(text, split) for split in SPLITS]
        first, lengths = splits[0], (len(splits[0]), len(splits[1]), len(splits[2]))
        return DatasetCard(text, first.task, first.class_names, first.channels, lengths, "", (first.size,))
    if text.startswith(phantom.PREFIX):
        return _phantom_card(phantom.phantom_of(text))
    if text not in FACTS:
        raise _unknown(text)
    return _file_card(FACTS[text], medmnist.data_root(data_root))


def catalogue(*, data_root: str | Path | None = None) -> list[DatasetCard]:
    """The cards of the twelve sets and then of their phantoms. Needs no network and reads no image."""
    root = medmnist.data_root(data_root)
    return [_file_card(known, root) for known in FACTS.values()] + [_phantom_card(known) for known in FACTS.values()]


def _file_card(known: Facts, root: Path) -> DatasetCard:
    there = tuple(size for size in SIZES if (root / medmnist.file_name(known.name, size)).is_file())
    return DatasetCard(known.name, known.task, known.class_names, known.channels, known.images, known.licence, there)


def _phantom_card(known: Facts) -> DatasetCard:
    sizes = phantom.split_sizes(known)
    images = (sizes["train"], sizes["val"], sizes["test"])
    return DatasetCard(known.phantom, known.task, known.class_names, known.channels, images, phantom.LICENCE, None)
