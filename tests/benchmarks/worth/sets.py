"""The image sets of simulations/worth.toml, and the small form of each."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from fedistill.config.dataset_names import with_variable
from fedistill.config.find import names, read_toml
from fedistill.data import ImageSet, load_dataset, parse_source
from fedistill.errors import SettingError, nearest

TUNED = ("blood_pbc", "pap_herlev", "fundus_odir", "cxr_covid3", "brain_mri", "breastmnist")
"""Sets on whose validation images settings may be chosen. The others are only scored, once, at the end."""

GROUPS = {"tuned": "those that settings may be chosen on", "untouched": "the others", "all": "both"}
FOLDER = "$FEDISTILL_REAL/"


def thirteen() -> dict[str, str]:
    """Return the words of the study's sets by their short names, in its order."""
    words = read_toml(names("simulations")["worth"])["sweep"]["federation.dataset"]
    return {parse_source(word).short if word.startswith(FOLDER) else word: word for word in words}


def chosen(given: Sequence[str], folder: Path | None) -> dict[str, str]:
    """Return the data sets that these names mean: a word for `load_dataset` by each set's name.

    Args:
        given: names of the study's sets, of `GROUPS`, or words of other data sets: ``phantom:blood``, ``ours.npz``.
        folder: of the study's files; by default what FEDISTILL_REAL names.

    Raises:
        SettingError: there is no such set.
        PlanError: a file of the study is meant, and FEDISTILL_REAL is not set.
    """
    known, found = thirteen(), {}
    groups = {"tuned": list(TUNED), "untouched": [name for name in known if name not in TUNED], "all": list(known)}
    for name in [each for one in given for each in groups.get(one, [one])]:
        if name not in known:
            if not parse_source(name).known:
                raise SettingError(f"There is no image set {name!r}.", mend=nearest(name, [*known, *GROUPS]))
            found[parse_source(name).slug] = name
        elif not known[name].startswith(FOLDER):
            found[name] = known[name]
        else:
            found[name] = with_variable(known[name]) if folder is None else str(folder / known[name].split("/")[-1])
    return found


@lru_cache(maxsize=3)  # all pieces of one set follow each other
def load(word: str, split: str, *, most: int | None, root: str | None) -> ImageSet:
    """Return one split of a set, at most so many of its images, drawn by a fixed seed and kept in their order."""
    source = parse_source(word)
    images = load_dataset(word, split) if source.drawn else load_dataset(word, split, data_root=root)
    if most is not None and len(images) > most:
        at = np.random.default_rng([0, ("train", "val", "test").index(split)]).permutation(len(images))[:most]
        images = images.take(np.sort(at))
    return replace(images, name=source.name if source.drawn else source.short)
