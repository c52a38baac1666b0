"""Any data set by the word that names it: parse the word, load a split, describe the data set."""

from pathlib import Path

from fedistill.data.imageset import ImageSet
from fedistill.data.sources.base import DatasetCard, DataSource
from fedistill.data.sources.installed import installed_sources
from fedistill.data.sources.medmnist import MedMNIST
from fedistill.data.sources.npz import NpzFile
from fedistill.data.sources.phantom import Phantom
from fedistill.errors import DataError


def source_kinds() -> tuple[type[DataSource], ...]:
    """Return every kind of data set, in the order in which they may claim a word; MedMNIST takes what is left.

    Raises:
        SettingError: an installed package offers a data source that cannot be used.
    """
    return (Phantom, *installed_sources((Phantom.prefix,)), NpzFile, MedMNIST)


def parse_source(word: str | Path) -> DataSource:
    """Return the data set that a user's word names. No file is read.

    Raises:
        SettingError: an installed package offers a data source that cannot be used.

    >>> parse_source("phantom:bloodmnist").name, parse_source("bloodmnist").drawn
    ('phantom:blood', False)
    """
    text = str(word)
    return next(source for kind in source_kinds() if (source := kind.parse(text)) is not None)


def load_dataset(
    name: str | Path,
    split: str = "train",
    *,
    size: int | None = None,
    data_root: str | Path | None = None,
    images: int | None = None,
    seed: int | None = None,
) -> ImageSet:
    """Return one split of a data set.

    Args:
        name: ``phantom:blood`` (drawn), ``bloodmnist`` (MedMNIST's file, downloaded if missing), a path that ends in
            ``.npz``, or the word of an installed data source.
        split: ``train``, ``val`` or ``test``.
        size: height and width in pixels, default 28. A file by path has the size it has.
        data_root: folder of MedMNIST's files, default ``$MEDMNIST_ROOT``, else ``~/.medmnist``.
        images: of a phantom: number of training images; see `fedistill.data.sources.phantom.split_sizes`.
        seed: of a phantom, default 0.

    Returns:
        uint8 images (N, H, W, C) with int64 labels (N,) or (N, L).

    Raises:
        DataError: the data set does not exist or cannot be read, or an option does not apply to it.

    >>> blood = load_dataset("phantom:blood", images=16)
    >>> blood.images.shape, blood.n_classes
    ((16, 28, 28, 3), 8)
    """
    source = parse_source(name)
    if not source.drawn and (images is not None or seed is not None):
        raise DataError(
            f"{name} is not drawn, so it has no number of images to choose, and no seed.",
            mend="leave out images and seed, or name a phantom",
        )
    return source.load(split, size=size, data_root=data_root, images=images, seed=seed)


def to_phantom(name: str | Path) -> str:
    """Return the word of the phantom that stands in for a data set; a phantom stands in for itself.

    Raises:
        DataError: this data set has no phantom.

    >>> to_phantom("breastmnist")
    'phantom:breast'
    """
    return parse_source(name).phantom()


def describe(name: str | Path, *, data_root: str | Path | None = None) -> DatasetCard:
    """Return the card of one data set. Downloads nothing; only a file given by its path is read.

    Raises:
        DataError: the data set does not exist or cannot be read.

    >>> describe("phantom:breast").images
    (546, 78, 156)
    """
    return parse_source(name).card(data_root)


def catalogue(*, data_root: str | Path | None = None) -> list[DatasetCard]:
    """List the cards of the MedMNIST sets, their phantoms, and what installed packages offer. Reads no image.

    Raises:
        SettingError: an installed package offers a data source that cannot be used.
    """
    root = None if data_root is None else Path(data_root)
    kinds: list[type[DataSource]] = [MedMNIST, Phantom, *installed_sources((Phantom.prefix,))]
    return [card for kind in kinds for card in kind.cards(root)]
