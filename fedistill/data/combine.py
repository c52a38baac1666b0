"""Combination of several sets: a label space whose classes come from different sets.

The feasibility study (Li et al., arXiv 2407.14429) asks what happens to distillation when images vary more than those
of one set.

An entry of a label space is a whole set (``organamnist``, or ``organamnist:*``) or one of its classes
(``pathmnist:adipose``). Grey images become RGB where any set is RGB: three equal channels.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedistill.data.imageset import ImageSet
from fedistill.data.load import describe, parse_source, source_kinds
from fedistill.errors import DataError, nearest

WHOLE = "*"
"""In the place of a class: all of the set's."""


@dataclass(frozen=True)
class LabelSpace:
    """Classes of several sets.

    Args:
        names: of the joint classes, in the order of their labels.
        labels: for each set, in the order of their first mention, the joint label of each of its classes by name.
            Classes without one are left out.
    """

    names: tuple[str, ...]
    labels: Mapping[str, Mapping[str, int]]

    @property
    def sets(self) -> list[str]:
        """Return the sets, in the order of their first mention."""
        return list(self.labels)

    @property
    def task(self) -> str:
        """Return MedMNIST's word for the task: ``binary-class`` or ``multi-class``."""
        return "binary-class" if len(self.names) == 2 else "multi-class"


def parts_of(entry: str) -> tuple[str, str]:
    """Split an entry into a set's name and one of its classes, or `WHOLE`.

    >>> parts_of("pathmnist:smooth muscle"), parts_of("phantom:organamnist"), parts_of("ours/lungs.npz:sick")
    (('pathmnist', 'smooth muscle'), ('phantom:organa', '*'), ('ours/lungs.npz', 'sick'))
    """
    name, label = next(parts for kind in source_kinds() if (parts := kind.split_class(entry)) is not None)
    return parse_source(name).name, WHOLE if label is None else label


def with_set(entry: str, change: Callable[[str], str]) -> str:
    """Return the entry with its set's name changed.

    >>> with_set("pathmnist:adipose", lambda name: "phantom:path"), with_set("organamnist:*", str.upper)
    ('phantom:path:adipose', 'ORGANAMNIST')
    """
    name, of_it = parts_of(entry)
    return change(name) if of_it == WHOLE else f"{change(name)}:{of_it}"


def label_space(entries: Iterable[str], *, by_name: bool) -> LabelSpace:
    """Build the label space of a list of sets and classes. Downloads nothing; reads sets given by a path.

    Args:
        entries: whole sets or classes of them; labels follow their order.
        by_name: classes of one name are one class, whatever their set. Else each is a class of its own, and its name
            says which set it is from: ``path: adipose``.

    Raises:
        DataError: an unknown set or class, one listed twice, a set of findings (multi-label), or fewer than two
            classes.

    >>> label_space(["octmnist:drusen", "pathmnist:mucus"], by_name=False).names
    ('oct: drusen', 'path: mucus')
    >>> len(label_space(["organamnist", "organcmnist"], by_name=True).names)
    11
    """
    known: dict[str, tuple[str, ...]] = {}
    names: dict[str, int] = {}
    labels: dict[str, dict[str, int]] = {}
    for entry in entries:
        source, label = parts_of(entry)
        if source not in known:
            known[source] = _classes_of(source)
        if label != WHOLE and label not in known[source]:
            raise DataError(f"{source} has no class {label!r}.", mend=nearest(label, known[source]))
        joint_labels = labels.setdefault(source, {})
        for name in known[source] if label == WHOLE else (label,):
            if name in joint_labels:
                raise DataError(f"The class {name!r} of {source} is listed twice.", mend="list it once")
            joint = name if by_name else f"{parse_source(source).short}: {name}"
            if not by_name and joint in names:
                raise DataError(
                    f"Two classes would be called {joint!r}.", mend="give the files different names, or their classes"
                )
            joint_labels[name] = names.setdefault(joint, len(names))
    if len(names) < 2:
        raise DataError("There is nothing to tell apart.", expected="two classes or more", found=", ".join(names))
    return LabelSpace(tuple(names), labels)


def _classes_of(name: str) -> tuple[str, ...]:
    """Return the class names of a set.

    Raises:
        DataError: there is no such set, or its labels are not classes.
    """
    card = describe(name)
    classes = card.class_names
    if card.multilabel:
        raise DataError(
            f"{name} cannot be combined with others: an image of it has several findings or none.",
            expected="sets whose images have one class each",
            mend="leave it out",
        )
    if len(set(classes)) < len(classes):
        raise DataError(f"{name} has two classes of one name.", found=", ".join(classes), mend="name them apart")
    return classes


def into(space: LabelSpace, name: str, images: ImageSet) -> ImageSet:
    """Select a set's images of the classes in a label space, in their order, with their joint labels.

    A set of which classes are left out is another set: settings that were measured on the whole do not belong to it.
    """
    wanted = space.labels[name]
    joint = np.array([wanted.get(each, -1) for each in images.class_names], np.int64)
    whole = bool((joint >= 0).all())
    part = images if whole else images.take(np.flatnonzero(joint[images.labels] >= 0))
    taken = f" ({len(wanted)} of {images.n_classes} classes)"
    return replace(
        part,
        labels=joint[part.labels],
        class_names=space.names,
        task=space.task,
        name=part.name if whole else f"{part.name}{taken}",
        source=part.source if whole else f"{part.source}{taken}",
    )


def alike(parts: Sequence[ImageSet]) -> list[ImageSet]:
    """Convert sets of one label space so that they can be joined: to RGB if one is, with groups if one has them.

    Raises:
        DataError: their images differ in size.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.size != first.size:
            raise DataError(
                "The sets to combine differ in size.",
                expected=f"{first.size} pixels, as {first.name} has",
                found=f"{part.size} pixels, {part.name}",
                mend="bring them to one size: `size` for published sets and phantoms, a file of that size else",
            )
    channels, grouped = max(part.channels for part in parts), any(part.groups is not None for part in parts)
    converted = []
    for part in parts:
        images = part.images if part.channels == channels else part.images.repeat(channels, axis=-1)
        # Where patients are not known, each image is one's own: those of other sets are still kept together.
        own = np.arange(len(part), dtype=np.int64) if grouped and part.groups is None else part.groups
        converted.append(replace(part, images=images, groups=own))
    return converted
