"""RMIA, an attack on networks that is strong with few references (Zarifzadeh et al., ICML 2024, arXiv 2312.03262).

A record x is held against records z of the population that no shadow held: its score is the share of them with
[p(x | network) / p(x)] / [p(z | network) / p(z)] > gamma, where p(. | network) is the probability the network gives
the label, and p(.) its mean over networks with and without the record. Offline, only networks without the record are
known, and p = ((1 + a) p_out + (1 - a)) / 2 stands for it, of x and of z alike, as in the authors' own tool.
"""

import numpy as np
from torch import Tensor

from fedistill.errors import SettingError
from fedistill.privacy.attacks.shadow_design import Design

A = 0.3
"""The authors' a; what suits best depends on the data and the network: near 0 where members are given nearly 1."""

_TINY = 1e-300


def true_probability(logits: Tensor, labels: Tensor) -> np.ndarray:
    """Compute the probability of the label, float64 (N,); multi-label: of all labels together.

    Args:
        logits: (N, K).
        labels: int64 (N,), or 0 and 1 (N, L).

    >>> import torch
    >>> true_probability(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).tolist()
    [0.5]
    """
    logits = logits.double()
    if labels.ndim == 2:
        return (logits * (2 * labels.double() - 1)).sigmoid().prod(1).numpy()
    return logits.softmax(1).gather(1, labels[:, None]).squeeze(1).numpy()


def rmia(
    probabilities: np.ndarray,
    population: np.ndarray,
    design: Design,
    *,
    online: bool = True,
    a: float = A,
    gamma: float = 1.0,
) -> np.ndarray:
    """Compute RMIA scores in 0..1, float64 (S, N); high means member.

    Args:
        probabilities: float (S, N) of `true_probability`, a row for each shadow's network on all records; or (S, N, A)
            for several queries of a record, whose scores are averaged.
        population: (S, Z) or (S, Z, A), of the same networks on records that no shadow held. A score is a share of Z.
        design: who was in which shadow.
        online: whether to use shadows that held the record.
        a: slope of the offline correction, if not `online`; in 0..1.
        gamma: how much more likely x must be than z.

    Raises:
        SettingError: arrays that do not fit, values outside 0..1, or a or gamma that cannot be.
    """
    x, z = _stacked(probabilities), _stacked(population)
    design.check(x, "probabilities")
    if z.ndim != 3 or len(z) != len(x) or z.shape[2] != x.shape[2] or not z.shape[1]:
        raise SettingError(
            "The population does not fit the records.",
            expected=f"({len(x)}, Z, {x.shape[2]}), Z at least 1",
            found=z.shape,
        )
    if not all(((p >= 0) & (p <= 1)).all() for p in (x, z)):
        raise SettingError("These are no probabilities.", expected="0 to 1", found="a value outside, or none")
    if not 0 <= a <= 1 or not gamma > 0:
        raise SettingError("RMIA cannot use this.", expected="a in 0..1, gamma above 0", found=f"a {a}, gamma {gamma}")
    scores = np.empty(x.shape[:2])
    for first in range(0, design.shadows, 2):
        refs = design.references(first)
        usual_x = _usual(x[refs], ~design.membership[refs], online, a)
        usual_z = _usual(z[refs], np.ones((int(refs.sum()), z.shape[1]), bool), online, a)
        for target in (first, first + 1):
            scores[target] = _share_below(z[target] / usual_z, x[target] / usual_x / gamma)
    return scores


def _usual(p: np.ndarray, without: np.ndarray, online: bool, a: float) -> np.ndarray:
    """Compute the marginal probability of each record over networks, float64 (N, A).

    Online, half of the networks held the record and half did not: it is the plain mean.
    """
    if online:
        return np.maximum(p.mean(0), _TINY)
    mean = np.where(without[:, :, None], p, 0.0).sum(0) / without.sum(0)[:, None]
    return np.maximum(((1 + a) * mean + (1 - a)) / 2, _TINY)


def _share_below(z: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Compute for each x (N, A) the share of z (Z, A) that is smaller, averaged over A."""
    columns = [np.searchsorted(np.sort(z[:, k]), x[:, k], side="left") for k in range(z.shape[1])]
    return np.mean(columns, axis=0) / len(z)


def _stacked(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[:, :, None] if values.ndim == 2 else values
