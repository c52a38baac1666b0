"""Disclosure control of counts: the policy's ``share_counts``, and classes too small to disclose.

Counts leave a site in four places: with a Release, how many images it was made of; with a network, how many it was
trained on (federated averaging weights by it); with scores, how many images of each class were scored; and in the
Release itself, where a scheme sends a class's real images and there are fewer than were asked for.

- ``exact``: all of them, as they are.
- ``rounded``: to the nearest ten, fives up, and never below ten. Scores keep their meaning: their rates stay, to two
  digits, and only what they are rates of is rounded. Real images leave only where every class has as many as were asked
  for: which tells that there are no fewer.
- ``none``: a count is 1 where there are images, so that every site weighs the same; and scores are bare rates.

What this does not hide: that there are images; how long work took; and small counts from many networks' rates, for
rates of seven images are sevenths. What a simulation's own tables say of who holds what no site has sent.
"""

import numpy as np

from fedistill.data.imageset import ImageSet
from fedistill.training.metrics import Tally

BASE = 10
RATE_DIGITS = 2


def disclosed_count(count: int, how: str) -> int:
    """Return a number of images as the site discloses it.

    >>> [disclosed_count(n, "rounded") for n in (0, 3, 14, 15, 546)]
    [0, 10, 10, 20, 550]
    >>> disclosed_count(546, "none"), disclosed_count(546, "exact")
    (1, 546)
    """
    if how == "exact" or not count:
        return count
    return 1 if how == "none" else max(BASE, BASE * int((count + BASE / 2) // BASE))


def disclosed_tally(tally: Tally, how: str) -> Tally:
    """Return counts of predictions as the site discloses them; AUC and accuracy keep two digits.

    >>> exact = Tally(*[np.array([v]) for v in (26.0, 27.0, 6.0, 9.0)])
    >>> rounded = disclosed_tally(exact, "rounded")
    >>> rounded.count.tolist(), rounded.correct.tolist(), rounded.pairs.tolist(), round(rounded.auc, 2)
    ([10.0], [6.7], [30.0], 0.96)
    """
    if how == "exact":
        return tally
    count, pairs = (
        np.array([disclosed_count(int(n), how) for n in part], float) for part in (tally.count, tally.pairs)
    )
    return Tally(_rate(tally.concordant, tally.pairs) * pairs, pairs, _rate(tally.correct, tally.count) * count, count)


def _rate(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.round(np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0), RATE_DIGITS)


def unit(images: ImageSet) -> str:
    """Return what is counted: ``patients`` if the images name them, else ``images``."""
    return "image" if images.groups is None else "patient"


def per_class(images: ImageSet) -> np.ndarray:
    """Count the patients (or images) of each class, or of each of several labels, int64 (K,)."""
    has = images.labels.astype(bool) if images.multilabel else images.labels[:, None] == np.arange(images.n_classes)
    if images.groups is None:
        return has.sum(0).astype(np.int64)
    return np.array([len(np.unique(images.groups[members])) for members in has.T], np.int64)


def too_small(images: ImageSet, least: int) -> frozenset[int]:
    """Return the classes with fewer than `least` patients (or images), empty ones included; none if `least` is below 2.

    Of several labels an image may have one that is too rare and one that is not. Without that image the second has
    fewer: so labels are left out until all that are left have enough without the images that go.
    """
    small: frozenset[int] = frozenset()
    while least > 1:
        left = without(images, small)
        more = small | frozenset(np.flatnonzero(per_class(left) < least).tolist())
        if more == small:
            break
        small = more
    return small


def without(images: ImageSet, classes: frozenset[int]) -> ImageSet:
    """Return the images that have none of these classes; the same object if there are none to remove."""
    if not classes:
        return images
    at = sorted(classes)
    gone = images.labels[:, at].any(1) if images.multilabel else np.isin(images.labels, at)
    return images.take(np.flatnonzero(~gone)) if gone.any() else images
