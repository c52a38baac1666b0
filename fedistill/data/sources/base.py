"""DataSource: one data set that a user's word names, whichever kind it is of."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from fedistill.data.imageset import ImageSet
from fedistill.errors import DataError


@dataclass(frozen=True)
class DatasetCard:
    """The facts about a data set that need none of its images.

    Args:
        name: the data set's word, as files and the command line write it.
        task: MedMNIST's word; see `ImageSet`.
        class_names: one per class (multi-label: per label).
        channels: 1 or 3.
        images: number of images of train, val and test.
        licence: of the data; empty if unknown.
        on_disk: sizes in pixels that can be read without a download; None for a data set that is drawn.
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
        """Return the number of classes (multi-label: of labels)."""
        return len(self.class_names)

    @property
    def multilabel(self) -> bool:
        """Return whether an image may have several labels, or none."""
        return self.task.startswith("multi-label")


@dataclass(frozen=True)
class DataSource(ABC):
    """A data set, as the user's word names it.

    A kind of data set is a subclass: it claims the words that name its data sets, loads their images and describes
    them. Everything else asks the properties below and never looks at the word.

    Args:
        name: the one word for this data set; words that mean the same data set have the same `name`.
    """

    name: str

    prefix: ClassVar[str] = ""
    """Beginning, with its colon, of every word of this kind. A kind without one overrides `parse` and `split_class`."""

    @classmethod
    def parse(cls, word: str) -> Self | None:
        """Return the data set that a word names; None if the word belongs to another kind.

        Must not read files. A data set that does not exist raises DataError in `load` and `card`, not here: reports
        are written of runs whose data have gone.
        """
        return cls(word) if word.startswith(cls.prefix) else None

    @classmethod
    def split_class(cls, entry: str) -> tuple[str, str | None] | None:
        """Split ``SET:CLASS`` into the set's word and the class; the class is None for a whole set.

        Returns:
            None if the entry belongs to another kind.
        """
        if not entry.startswith(cls.prefix):
            return None
        name, colon, label = entry.removeprefix(cls.prefix).strip().partition(":")
        return cls.prefix + name.strip(), label.strip() if colon else None

    @classmethod
    def cards(cls, data_root: Path | None) -> list[DatasetCard]:
        """List the data sets of this kind that have fixed names, for ``fedistill datasets``; reads no image."""
        return []

    @property
    def known(self) -> bool:
        """Return whether the word can name a data set of this kind. It says nothing about files on the disk."""
        return True

    @property
    def drawn(self) -> bool:
        """Return whether the images are drawn: they show no patient, and their number and seed may be chosen."""
        return False

    @property
    def published(self) -> bool:
        """Return whether anybody may have the real images, so that reports may show some of them."""
        return False

    @property
    def one_size(self) -> bool:
        """Return whether the images have one size in pixels, which cannot be chosen; `card` says which."""
        return False

    @property
    def path(self) -> Path | None:
        """Return the file that holds the data set, if the word names a file."""
        return None

    @property
    def short(self) -> str:
        """Return a short name for people; it is the same for a published set and its phantom."""
        return self.name.removeprefix(self.prefix)

    @property
    def slug(self) -> str:
        """Return a name for files and runs."""
        return self.name.replace(":", "-")

    def moved(self, folder: Path) -> Self:
        """Return the data set with a relative path in its word resolved from a folder."""
        return self

    def phantom(self) -> str:
        """Return the word of the phantom that stands in for this data set.

        Raises:
            DataError: this data set has no phantom.
        """
        raise DataError(
            f"There is no phantom of {self.name}: only the published MedMNIST sets have phantoms.",
            mend="name a phantom yourself, such as phantom:blood",
        )

    @abstractmethod
    def load(
        self, split: str, *, size: int | None, data_root: str | Path | None, images: int | None, seed: int | None
    ) -> ImageSet:
        """Return one split.

        Args:
            split: ``train``, ``val`` or ``test``.
            size: height and width in pixels; None for the default of this kind.
            data_root: folder of downloaded files; None for the default.
            images: number of training images, of a drawn data set only; None for the default.
            seed: of a drawn data set only; None for 0.

        Raises:
            DataError: the data set does not exist, cannot be read, or has no such split or size.
        """

    @abstractmethod
    def card(self, data_root: str | Path | None) -> DatasetCard:
        """Return the facts about this data set. Downloads nothing.

        Raises:
            DataError: the data set does not exist or cannot be read.
        """

    @abstractmethod
    def provenance(self, *, size: int | None, images: int | None, seed: int | None) -> tuple[str, str]:
        """Return a name and the words that pin down the data, such as an MD5 sum; they are kept with every run.

        Args:
            size: as in `load`.
            images: as in `load`.
            seed: as in `load`.

        Raises:
            DataError: the data set does not exist or cannot be read.
        """
