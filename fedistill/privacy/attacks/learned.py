"""The learned attack: one score from the scores of all others, by a logistic regression.

No single attack sees everything that a Release tells: class means lean, some image lies near a record, a network is
sure of it. An attacker with shadows need not choose. He fits a logistic regression on his reference shadows, whose
members he knows, with the scores of the single attacks as features, and applies it to the shadow under attack.

The shadow under attack and its partner take no part in the fit, not even as references of the references: the scores
that the regression is fitted on are computed anew without them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from fedistill.privacy.attacks.shadow_design import FEWEST, Design

FEWEST_LEARNED = FEWEST + 2
"""Shadows at least: without one pair, as many as every attack needs."""

FARTHEST = 5.0
"""Standard deviations at which a score is cut off, so that one infinite score does not rule the fit."""

Scores = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""``scores(chosen)``: the scores of every single attack, float64 (S', N), on the chosen shadows, bool (S,), alone."""


def learned(scores: Scores, design: Design) -> np.ndarray:
    """Compute learned scores, float64 (S, N); high means member.

    Args:
        scores: of the single attacks.
        design: the members of each shadow, at least `FEWEST_LEARNED`.
    """
    from sklearn.linear_model import LogisticRegression

    of_all = scores(np.ones(design.shadows, bool))
    result = np.empty(design.membership.shape)
    for first in range(0, design.shadows, 2):
        refs = design.references(first)
        fitted_on, members = scores(refs), replace(design, membership=design.membership[refs]).membership
        centres = {name: _centre(values) for name, values in fitted_on.items()}
        features = np.stack([_scaled(fitted_on[name], *centres[name]) for name in fitted_on], -1)
        model = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000)
        model.fit(features.reshape(-1, features.shape[-1]), members.ravel())
        for target in (first, first + 1):
            seen = np.stack([_scaled(of_all[name][target], *centres[name]) for name in fitted_on], -1)
            result[target] = seen @ model.coef_[0]
    return result


def _centre(values: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation of the finite scores; 1 where all are alike."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    return float(finite.mean()), float(finite.std()) or 1.0


def _scaled(values: np.ndarray, mean: float, spread: float) -> np.ndarray:
    """Return scores in standard deviations from the mean, cut off at `FARTHEST`."""
    return np.clip((values - mean) / spread, -FARTHEST, FARTHEST)
