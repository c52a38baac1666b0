"""How the server puts Releases together: which image of a pool is trained on how often.

``concat`` takes every image once. ``balanced`` repeats the images of every class until it has as many as the largest,
so that a class few sites hold is not drowned. ``weighted`` repeats every site's images in proportion to the real images
they stand for, as federated averaging weights its sites: ten images of a large hospital count for more than ten of a
small one. Repeating is the same as weighting, and needs nothing of the training. How many real images a deployed site
has is what it says, and nobody can look: there none counts for more than all the others together.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

MOST = 50
"""Times an image may be repeated: a site of twenty thousand beside one of ten would otherwise fill the memory."""


def chosen(by: str, labels: Tensor, site_of: Tensor, draw: Tensor | None, examples: Sequence[int]) -> Tensor:
    """Positions to train on, int64 (M,), M at least N.

    Args:
        by: ``concat``, ``balanced`` or ``weighted``.
        labels: int64 (N,), or float32 (N, L) of a multi-label task, whose images cannot be balanced by class.
        site_of: int64 (N,), number of the site an image comes from.
        draw: int64 (N,), which draw it belongs to, or None; each draw is weighed by itself.
        examples: real images at each site.

    >>> y, sites = torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1])
    >>> chosen("balanced", y, sites, None, ()).tolist()
    [0, 1, 2, 2]
    >>> chosen("weighted", y, sites, None, (10, 30)).tolist()
    [0, 1, 2, 2, 2, 2, 2, 2]
    """
    everything = torch.arange(len(labels))
    if by == "concat" or (by == "balanced" and labels.ndim == 2):
        return everything
    draws = [everything] if draw is None else [torch.nonzero(draw == d).flatten() for d in range(int(draw.max()) + 1)]
    if by == "balanced":
        taken = [_balanced(at, labels[at]) for at in draws]
    else:
        taken = [_weighted(at, site_of[at], examples) for at in draws]
    return torch.cat(taken).sort().values  # in the order of the pool: one that needs no weighing is left as it is


def cap_counts(examples: Sequence[int]) -> list[int]:
    """Counts that nobody can check, cut so that no site counts for more than all the others together.

    >>> cap_counts([500, 300, 10**7]), cap_counts([546, 300, 273]), cap_counts([546])
    ([500, 300, 800], [546, 300, 273], [546])
    """
    total = sum(examples)
    return [min(one, total - one) if len(examples) > 1 else one for one in examples]


def _balanced(at: Tensor, labels: Tensor) -> Tensor:
    groups = [at[labels == c] for c in labels.unique()]
    most = max(map(len, groups))
    return torch.cat([_repeated(group, most) for group in groups])


def _weighted(at: Tensor, site_of: Tensor, examples: Sequence[int]) -> Tensor:
    groups = {int(s): at[site_of == s] for s in site_of.unique()}
    # Real images that each released one stands for; the site with the fewest has its images once.
    stands_for = {s: max(1, examples[s]) / len(group) for s, group in groups.items()}
    least = min(stands_for.values())
    return torch.cat(
        [_repeated(group, round(len(group) * min(MOST, stands_for[s] / least))) for s, group in groups.items()]
    )


def _repeated(group: Tensor, count: int) -> Tensor:
    """The group over and over, so many in all."""
    return group[torch.arange(count) % len(group)]
