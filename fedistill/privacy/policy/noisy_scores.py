"""Scores with noise: histograms of what networks say of patients' images, from which an AUC follows.

A network made for the purpose isolates an image, and exact counts of a few thousand such networks read it out. Here a
site adds Gaussian noise to all counts of a question at once, calibrated to what one image (or patient) can change in
them, and its privacy budget pays for it. For each network and each class there are two histograms of the class's
probability, one of the class's images and one of the others; an image is in one bin of each class's pair. With two
classes one pair tells all.

The noise is that of the Gaussian mechanism (Dwork and Roth 2014, section A), counted as everything else is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedistill.core.accounting import Mechanism, PrivacyCost, epsilon_of, sigma_for
from fedistill.data.imageset import ImageSet
from fedistill.training.metrics import Tally
from fedistill.training.noise import Source

BINS = 10
DELTA = 1e-5
"""At which the epsilon of a study's scores is meant."""


@dataclass(frozen=True)
class ScoreNoise:
    """The noise of one question of a study.

    Args:
        epsilon: that all questions of the study spend together, at `DELTA`.
        questions: how many there are.
        networks: that this question scores.
        in_all: networks that all questions score; 0: as many in each as in this one.
    """

    epsilon: float
    questions: int
    networks: int = 1
    in_all: int = 0

    @property
    def scored(self) -> int:
        """Networks that the whole study scores."""
        return self.in_all or self.questions * self.networks

    @property
    def sigma(self) -> float:
        """Standard deviation in multiples of the sensitivity."""
        return sigma_for(epsilon=self.epsilon, delta=DELTA, steps=self.questions)

    @property
    def cost(self) -> PrivacyCost:
        """Return what a question spends."""
        mechanism = Mechanism(self.sigma)
        return PrivacyCost(mechanism, epsilon_of(mechanism, delta=DELTA), DELTA)


def sensitivity(networks: int, classes: int) -> float:
    """Return the L2 norm by which one image changes the histograms of these networks: one bin of each pair.

    >>> sensitivity(4, 2), sensitivity(1, 9)
    (2.0, 3.0)
    """
    return float(np.sqrt(networks * _pairs(classes)))


def histograms(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Count images by the probability of each class, float64 (pairs, 2, `BINS`): of others first, then of its own.

    Args:
        labels: int64 (N,), or (N, L) of 0 and 1.
        probabilities: float (N, K), in 0..1; what is no number counts as 0.

    >>> histograms(np.array([0, 1]), np.array([[0.95, 0.05], [0.2, 0.8]]))[0, :, [0, 8]].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    classes = probabilities.shape[1]
    truth = labels.astype(bool) if labels.ndim == 2 else labels[:, None] == np.arange(classes)
    kept = slice(1, 2) if _pairs(classes) == 1 else slice(None)
    bins = np.clip((np.nan_to_num(probabilities[:, kept]) * BINS).astype(int), 0, BINS - 1)
    counts = np.zeros((bins.shape[1], 2, BINS))
    for pair in range(bins.shape[1]):
        np.add.at(counts[pair], (truth[:, kept][:, pair].astype(int), bins[:, pair]), 1.0)
    return counts


def noisy_tallies(
    labels: np.ndarray, probabilities: Sequence[np.ndarray], noise: ScoreNoise, source: Source
) -> list[Tally]:
    """Return a tally for each network, from noisy counts; it has an AUC, and says nothing of right guesses.

    Args:
        labels: of one image a patient, as for `histograms`.
        probabilities: of each network.
        noise: of the question.
        source: of the noise.
    """
    classes = probabilities[0].shape[1]
    counts = np.stack([histograms(labels, each) for each in probabilities])
    drawn = source.normal(counts.shape, "scores").numpy()
    noisy = counts + noise.sigma * sensitivity(len(probabilities), classes) * drawn
    return [tally_of(each, classes) for each in noisy]


def one_each(images: ImageSet) -> ImageSet:
    """Return one image of each patient, where images say whose they are: so a patient changes no more than an image."""
    if images.groups is None:
        return images
    return images.take(np.sort(np.unique(images.groups, return_index=True)[1]))


def tally_of(noisy: np.ndarray, classes: int) -> Tally:
    """Return concordant pairs and all pairs of noisy histograms, none of them below 0."""
    others, own = np.clip(noisy[:, 0], 0, None), np.clip(noisy[:, 1], 0, None)
    below = np.cumsum(others, axis=1) - others
    concordant, pairs = (own * (below + others / 2)).sum(1), own.sum(1) * others.sum(1)
    if len(noisy) < classes:  # of two classes, the first is the mirror of the second
        concordant, pairs = np.repeat(concordant, classes), np.repeat(pairs, classes)
    nothing = np.zeros(classes)
    return Tally(np.minimum(concordant, pairs), pairs, nothing, nothing)


def _pairs(classes: int) -> int:
    return 1 if classes == 2 else classes
