"""The image sets that are measured on: real ones where their files are, phantoms of the same shape otherwise."""

from pathlib import Path

from fedistill.data import ImageSet, load_dataset, to_phantom
from fedistill.data.sources.medmnist import file_name, find_data_root

SETS = ("pneumoniamnist", "breastmnist")


def at_hand(name: str, root: str | Path | None) -> str:
    """The set's name where its file is in the data folder, else its phantom's; nothing is ever downloaded."""
    return name if (find_data_root(root) / file_name(name, 28)).is_file() else to_phantom(name)


def load(name: str, split: str, root: str | Path | None) -> ImageSet:
    """One split of a set as `at_hand` names it."""
    return load_dataset(name, split) if name.startswith("phantom:") else load_dataset(name, split, data_root=root)


def stem(source: str) -> str:
    """What a set's files are called by: ``phantom:breast`` and ``DIR/breastmnist.npz`` alike.

    >>> stem("phantom:breast"), stem("data/breastmnist.npz"), stem("breastmnist")
    ('phantom-breast', 'breastmnist', 'breastmnist')
    """
    return source.replace(":", "-") if source.startswith("phantom:") else Path(source).stem
