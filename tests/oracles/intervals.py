"""The bootstrap of `study.tables.intervals`, replicate by replicate, seed by seed, as its docstring tells it."""

from collections.abc import Mapping

import numpy as np


def interval_means(one: Mapping[int, np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """Return the mean in each replicate, float64 (replicates,)."""
    seeds, replicates = sorted(one), next(iter(one.values())).shape[1]
    means = np.empty(replicates)
    for r in range(replicates):
        drawn = [seeds[i] for i in generator.integers(len(seeds), size=len(seeds))]
        means[r] = _mean_of(one, drawn, r, generator)
    return means


def difference_means(
    one: Mapping[int, np.ndarray], other: Mapping[int, np.ndarray], generator: np.random.Generator
) -> np.ndarray:
    """Return the difference of the means in each replicate, float64 (replicates,)."""
    several = [set(side) for side in (one, other) if len(side) > 1]
    seeds = sorted(set.intersection(*several)) if several else [0]
    replicates = next(iter(one.values())).shape[1]
    means = np.empty(replicates)
    for r in range(replicates):
        drawn = [seeds[i] for i in generator.integers(len(seeds), size=len(seeds))]
        means[r] = _mean_of(one, drawn, r, generator) - _mean_of(other, drawn, r, generator)
    return means


def _mean_of(side: Mapping[int, np.ndarray], seeds: list[int], r: int, generator: np.random.Generator) -> float:
    chosen = [side[seed] for seed in seeds] if len(side) > 1 else list(side.values())
    means = [values[generator.integers(len(values), size=len(values)), r].mean() for values in chosen]
    return float(np.mean(means))
