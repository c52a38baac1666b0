"""Mislabelled canaries: the records an attack can learn most about.

Aerni, Zhang & Tramèr, *Evaluations of Machine Learning Privacy Defenses are Misleading* (arXiv 2404.17399), and for
distilled sets Zhao & Zhang, *Does Training with Synthetic Data Truly Protect Privacy?*, ICLR 2025 (arXiv 2502.12976).

Averages over a site's records hide the patients at risk, those unlike all others. A record with a wrong label is such
a patient, made on purpose: if anything of it shows in what a site releases, the attack finds it. A few records of a
site are given a wrong label; each is in half of the shadows and altogether out of the others; all other records are in
every shadow. The attacks then look at the canaries alone.
"""

from dataclasses import dataclass, replace

import numpy as np

from fedistill.core.seeds import rng
from fedistill.data.imageset import ImageSet
from fedistill.errors import DataError, SettingError
from fedistill.privacy.attacks.shadow_design import Design, halves

MOST = 0.05
"""Share of a site's records that may be canaries: with more, the shadows would no longer be that site."""


@dataclass(frozen=True, eq=False)
class Canaries:
    """Records chosen as canaries, what they are labelled and show, and who is in which shadow.

    Args:
        at: sorted int64 (M,), their positions in the site's images, no two of one patient.
        labels: int64 (M,) or (M, L), wrong ones: another class, or every label of a multi-label record turned round.
        design: of M records, shadows by canaries.
        images: uint8 (M, H, W, C), what the canaries show; None: what the records show.
    """

    at: np.ndarray
    labels: np.ndarray
    design: Design
    images: np.ndarray | None = None

    def records(self, images: ImageSet) -> ImageSet:
        """Return the canaries as members hold them, the records that the attacks score."""
        taken = replace(images.take(self.at), labels=self.labels)
        return taken if self.images is None else replace(taken, images=self.images)

    def shadow(self, images: ImageSet, number: int) -> ImageSet:
        """Return a shadow's images: the records that are no canaries, then the canaries that are members."""
        inside = self.design.membership[number]
        others = np.setdiff1d(np.arange(len(images)), self.at)
        held = images.take(np.concatenate([others, self.at[inside]]))
        held = replace(held, labels=np.concatenate([images.labels[others], self.labels[inside]]))
        if self.images is None:
            return held
        return replace(held, images=np.concatenate([images.images[others], self.images[inside]]))


def canaries(images: ImageSet, shadows: int, *, seed: int, share: float = MOST) -> Canaries:
    """Choose canaries at random and give them wrong labels.

    Args:
        images: the site's.
        shadows: an even number.
        seed: the choice, the labels and the design come from it.
        share: of the site's records, above 0 and at most `MOST`; rounded down to whole records.

    Raises:
        SettingError: a share outside that, or shadows that are no pairs.
        DataError: too few records for two canaries, or one class only, which leaves no wrong label.
    """
    if not 0 < share <= MOST:
        raise SettingError("This share of canaries would change the site.", expected=f"0 to {MOST}", found=share)
    random = rng(seed, "canaries")
    at = choose(images, random, share=share)
    labels = 1 - images.labels[at] if images.multilabel else _wrong(images, at, random)
    return Canaries(at, labels, halves(len(at), shadows, seed=seed))


def choose(images: ImageSet, random: np.random.Generator, *, share: float) -> np.ndarray:
    """Draw records as canaries, sorted int64 (M,), one of a patient at most.

    Raises:
        DataError: too few records for two.
    """
    unit = np.arange(len(images)) if images.groups is None else images.groups
    # The first record of each patient in a random order: a canary's other images would otherwise tell of it.
    order = random.permutation(len(images))
    single = order[np.sort(np.unique(unit[order], return_index=True)[1])]
    wanted = min(int(share * len(images) + 1e-9), len(single))
    if wanted < 2:
        raise DataError(
            "There are too few records for canaries.",
            expected=f"at least {int(np.ceil(2 / share))} records, for two canaries of {share:.3g}",
            found=f"{len(images)} records",
            mend="attack all records of a site as small as this",
        )
    return np.sort(single[:wanted])


def _wrong(images: ImageSet, at: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw another class for each canary, among those of other records.

    A class of canaries alone would give them away.
    """
    held = np.unique(np.delete(images.labels, at))
    if len(held) < 2:
        raise DataError(
            "There is no wrong label to give.", expected="a site that holds two classes", found=f"{len(held)} class"
        )
    return np.array([random.choice(held[held != images.labels[i]]) for i in at], np.int64)
