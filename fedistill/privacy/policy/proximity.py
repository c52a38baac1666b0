"""A rule for a site's policy: no synthetic image may come nearer to a patient's image than other patients' images do.

How near is too near is read off images that nothing was made from. For each held-out image: its distance to the closest
training image over that to the closest other held-out one. The rule's threshold is a low quantile of these ratios; a
synthetic image whose own ratio, closest training over closest held-out, lies below it is too near.

It is a ratio because the distance alone accuses the wrong images. The mean of many is near to all: on pneumonia images
in pixels, 15 % of the means of twenty, and all of them on drawn ones, came nearer to a training image than 99 % of the
held-out ones do; by the ratio none did, while of images that started from real ones and took 50 steps the distance
found 30 % and the ratio 65 %.

Like every screen it finds copies and proves nothing (see `fedistill.privacy.attacks.screens`). Its outcome depends on
the private images: a release under differential privacy must not be sent or held back by it.
"""

from dataclasses import dataclass

import numpy as np

from fedistill.data.imageset import ImageSet
from fedistill.errors import DataError, SettingError
from fedistill.methods.engine.method import SyntheticSet
from fedistill.privacy.attacks.nearest import Space, coordinates, nearest_of_class
from fedistill.privacy.attacks.screens import LABEL, closest, relative

QUANTILE = 0.01


@dataclass(frozen=True, eq=False)
class Proximity:
    """Which synthetic images are too near.

    Args:
        space: where distances were taken.
        quantile, threshold: of the held-out images' ratios.
        ratio: float64 (M,), of the synthetic images; NaN where their class has no image to compare with.
        flagged: int64, positions of those below the threshold.
        label: what every table and message says of it.
    """

    space: Space
    quantile: float
    threshold: float
    ratio: np.ndarray
    flagged: np.ndarray
    label: str = LABEL

    @property
    def too_near(self) -> bool:
        """Return whether any image is too near: one copied patient is one too many."""
        return bool(len(self.flagged))

    def __str__(self) -> str:
        return (
            f"{len(self.flagged)} of {len(self.ratio)} synthetic images come nearer to a training image than "
            f"{100 * (1 - self.quantile):g} % of held-out images do, in {self.space} ({self.label})"
        )


def proximity(
    synthetic: SyntheticSet,
    training: ImageSet,
    held_out: ImageSet,
    *,
    space: Space,
    quantile: float = QUANTILE,
) -> Proximity:
    """Apply the rule.

    Args:
        synthetic: the images to screen.
        training: what the synthetic images were made from.
        held_out: images of the same site that no method saw. From fewer than 1 / quantile of them the threshold is
            about their smallest ratio.
        space: ``pixels`` or ``features``.
        quantile: share of real images that the rule would accuse, 0 to 0.5. What is distilled from noise is seldom
            accused at all.

    Raises:
        SettingError: a quantile outside that.
        DataError: no class with a training and two held-out images.
    """
    if not 0 <= quantile <= 0.5:
        raise SettingError("This quantile draws no line.", expected="0 to 0.5", found=quantile)
    own, others = closest(synthetic, training, held_out, space=space, seed=0)
    x, y = coordinates(held_out.pixels(), space, seed=0), held_out.targets()
    to_training = nearest_of_class(x, y, coordinates(training.pixels(), space, seed=0), training.targets())
    to_others = nearest_of_class(x, y, x, y, others=True)
    usual = relative(to_training.distance, to_others.distance)
    if np.isnan(usual).all():
        raise DataError(
            "There are too few held-out images to say what is near.",
            expected="a class with a training and two held-out images",
            found=f"{len(training)} training and {len(held_out)} held-out images",
        )
    threshold = float(np.nanquantile(usual, quantile))
    ratio = relative(own.distance, others.distance)
    # An exact copy is too near even where so many held-out images are copies that the line is at 0.
    flagged = np.flatnonzero((ratio < threshold) | (ratio == 0))
    return Proximity(space, quantile, threshold, ratio, flagged)
