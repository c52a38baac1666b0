"""Pooling rules: how often networks train on each image of a pool.

``concat`` uses every image once. ``balanced`` repeats the images of every class up to the size of the largest class, so
that a class of few sites keeps its weight. ``weighted`` repeats every site's images in proportion to the real images
behind them, as federated averaging weights its sites: ten images of a large hospital count for more than ten of a small
one. Repetition equals weighting, and needs no change of the training. Nobody can check how many real images a deployed
site has, so none counts for more than all others together. ``taught`` repeats every Release's images in proportion to
how well they teach the others' (`fedistill.schemes.server.teaching`), and leaves out those that teach nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

MOST = 50
"""Most repetitions of an image: a site of twenty thousand beside one of ten would otherwise fill the memory."""


def pool_positions(by: str, labels: Tensor, site_of: Tensor, draw: Tensor | None, examples: Sequence[int]) -> Tensor:
    """Return the positions to train on, int64 (M,), M at least N.

    Args:
        by: ``concat``, ``balanced``, ``weighted`` or ``taught``.
        labels: int64 (N,), or float32 (N, L) of a multi-label task, whose images cannot be balanced by class.
        site_of: int64 (N,), number of each image's site.
        draw: int64 (N,), number of each image's draw, or None; each draw is weighted by itself.
        examples: number of real images at each site; for ``taught`` how often each image of a Release is taken.

    >>> y, sites = torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1])
    >>> pool_positions("balanced", y, sites, None, ()).tolist()
    [0, 1, 2, 2]
    >>> pool_positions("weighted", y, sites, None, (10, 30)).tolist()
    [0, 1, 2, 2, 2, 2, 2, 2]
    >>> pool_positions("taught", y, sites, None, (2, 1)).tolist()
    [0, 0, 1, 1, 2]
    """
    everything = torch.arange(len(labels))
    if by == "concat" or (by == "balanced" and labels.ndim == 2):
        return everything
    if by == "taught":  # draws keep equal sizes: each has as many images of every Release
        return everything.repeat_interleave(torch.tensor(examples)[site_of])
    draws = [everything] if draw is None else [torch.nonzero(draw == d).flatten() for d in range(int(draw.max()) + 1)]
    if by == "balanced":
        taken = [_balance(at, labels[at]) for at in draws]
    else:
        taken = [_weight(at, site_of[at], examples) for at in draws]
    return torch.cat(taken).sort().values  # in the pool's order: equal weights change nothing


def cap_counts(examples: Sequence[int]) -> list[int]:
    """Cap unverified counts so that no site counts for more than all others together.

    >>> cap_counts([500, 300, 10**7]), cap_counts([546, 300, 273]), cap_counts([546])
    ([500, 300, 800], [546, 300, 273], [546])
    """
    total = sum(examples)
    return [min(one, total - one) if len(examples) > 1 else one for one in examples]


def _balance(at: Tensor, labels: Tensor) -> Tensor:
    groups = [at[labels == c] for c in labels.unique()]
    most = max(map(len, groups))
    return torch.cat([_repeat(group, most) for group in groups])


def _weight(at: Tensor, site_of: Tensor, examples: Sequence[int]) -> Tensor:
    groups = {int(s): at[site_of == s] for s in site_of.unique()}
    # Real images per released image; the site with the fewest has its images once.
    stands_for = {s: max(1, examples[s]) / len(group) for s, group in groups.items()}
    least = min(stands_for.values())
    return torch.cat(
        [_repeat(group, round(len(group) * min(MOST, stands_for[s] / least))) for s, group in groups.items()]
    )


def _repeat(group: Tensor, count: int) -> Tensor:
    """Return the group, repeated to ``count`` positions."""
    return group[torch.arange(count) % len(group)]
