"""ListedFile and Listing: the files to read with their labels, whichever way they were given."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedistill.core.text import printable
from fedistill.data.facts import SPLITS
from fedistill.errors import DataError, nearest

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class ListedFile:
    """A file and what is known of it.

    Args:
        path: of the file.
        name: what reports call it: its path from the source.
        label: the class's number, or 0 and 1 for each finding.
        patient, split, site: where they are given; else empty.
    """

    path: Path
    name: str
    label: int | tuple[int, ...]
    patient: str = ""
    split: str = ""
    site: str = ""


@dataclass(frozen=True)
class Listing:
    """All files of a source.

    Args:
        entries: in the order in which their images will stand.
        class_names: in the order of their labels.
        multilabel: whether an image may have several findings, or none.
        skipped: name and reason of what was left out already.
        other: names of files that are no images.
    """

    entries: Sequence[ListedFile]
    class_names: tuple[str, ...]
    multilabel: bool
    skipped: list[tuple[str, str]] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


def order_classes(present: set[str], classes: Sequence[str], leave_out: Sequence[str], *, what: str) -> tuple[str, ...]:
    """Return the class names in the order of their labels: as asked, else whole numbers by size and words by letter.

    Args:
        present: names that images have.
        classes: names in the order wanted, which hospitals of one study must share; empty for the natural order.
        leave_out: names whose images are not imported.
        what: names the source in messages.

    Raises:
        DataError: a name that cannot be shown, one that nobody knows, or fewer than two classes.

    >>> order_classes({"10", "9", "2"}, (), (), what="x")
    ('2', '9', '10')
    """
    for name in leave_out:
        if name not in present:
            raise DataError(f"No image of {what} is of the class {name!r}.", mend=nearest(name, present))
    wanted = present - set(leave_out)
    for name in sorted(wanted):
        if not name or printable(name) != name:
            raise DataError(
                f"A class of {what} has a name that cannot be used.",
                expected="one line of printable characters",
                found=repr(name[:80]),
            )
    if classes:
        unknown = sorted(wanted - set(classes))
        if unknown or len(set(classes)) < len(classes):
            raise DataError(
                f"--classes and the classes of {what} differ.",
                expected=", ".join(sorted(wanted)[:20]),
                found=", ".join(classes[:20]),
                mend="name each class once; --leave-out leaves the images of one out",
            )
        names = tuple(classes)
    elif all(name.isascii() and name.isdigit() for name in wanted):
        names = tuple(sorted(wanted, key=int))
    else:
        names = tuple(sorted(wanted))
    if len(names) < 2:
        raise DataError(
            f"{what} has a single class." if names else f"{what} has no class.",
            expected="at least two",
            found=", ".join(names) or "none",
        )
    return names


def split_named(word: str) -> str | None:
    """Return the split that a word means; None if it means none.

    >>> split_named("Validation"), split_named("fold 3")
    ('val', None)
    """
    return SPLIT_WORDS.get(word.strip().lower())


assert set(SPLIT_WORDS.values()) == set(SPLITS)
