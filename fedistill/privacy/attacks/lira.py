"""LiRA, the likelihood-ratio attack on a network (Carlini et al., S&P 2022, arXiv 2112.03570).

The number that tells of a record is the network's confidence in its label on the logit scale, log(p / (1 - p)), which
is about normally distributed over networks. Online, networks that were trained with the record and without it are both
at hand; offline, only those without.
"""

import numpy as np
import torch
from torch import Tensor

from fedistill.privacy.attacks.likelihood import Shift, Variance, deviation, log_ratio
from fedistill.privacy.attacks.shadow_design import Design


def logit_confidence(logits: Tensor, labels: Tensor) -> np.ndarray:
    """Compute log(p / (1 - p)) of the label's probability p, float64 (N,).

    Multi-label: of each label's decision, (N, L).

    Args:
        logits: (N, K), as `training.fit.predict` gives them.
        labels: int64 (N,), or 0 and 1 (N, L).

    Taken from the logits and not from p, which rounds to 1 where a network is sure.

    >>> logit_confidence(torch.tensor([[0.0, 100.0], [2.0, 0.0]]), torch.tensor([1, 1])).tolist()
    [100.0, -2.0]
    """
    logits = logits.double()
    if labels.ndim == 2:
        return (logits * (2 * labels.double() - 1)).numpy()
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    return (own - others).numpy()


def lira(
    confidences: np.ndarray,
    design: Design,
    *,
    online: bool = True,
    variance: Variance = "fixed",
    shift: Shift = "own",
) -> np.ndarray:
    """Compute LiRA scores, float64 (S, N); high means member.

    Args:
        confidences: float (S, N) of `logit_confidence`, a row for each shadow's network on all records; or (S, N, A)
            for several queries of a record or several labels, whose scores are averaged. Where a shadow trained several
            networks, take the mean of their confidences.
        design: who was in which shadow.
        online: whether to use shadows that held the record.
        variance: ``fixed``, one for all records, for fewer than 64 shadows; or each record's ``own``.
        shift: ``own``, as published, or ``shrunk``; see `fedistill.privacy.attacks.likelihood`. Online only.

    Raises:
        SettingError: confidences that do not fit the design or are not finite.
    """
    if online:
        return log_ratio(confidences, design, variance=variance, shift=shift)
    return deviation(confidences, design, variance=variance)
