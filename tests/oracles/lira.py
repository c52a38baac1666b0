"""LiRA as its paper writes it, a shadow and a record at a time, in float64."""

import numpy as np
from scipy.stats import norm


def references(membership, target, record):
    """Shadows that an attack on this one may use, those that hold the record and those that do not."""
    partner = target + 1 if target % 2 == 0 else target - 1
    others = [s for s in range(len(membership)) if s not in (target, partner)]
    return [s for s in others if membership[s, record]], [s for s in others if not membership[s, record]]


def spread(values, membership, target, side):
    """One variance for all records: squares around each record's own mean, over their degrees of freedom."""
    squares, freedom = 0.0, 0
    for record in range(values.shape[1]):
        chosen = [float(values[s, record]) for s in references(membership, target, record)[side]]
        mean = sum(chosen) / len(chosen)
        squares += sum((v - mean) ** 2 for v in chosen)
        freedom += len(chosen) - 1
    return squares / freedom


def lira(values, membership, *, online=True, own_variance=False):
    """Log likelihood ratios (online), or deviations in standard units (offline), (S, N); values (S, N, A)."""
    shadows, records, queries = values.shape
    scores = np.zeros((shadows, records))
    for target in range(shadows):
        for query in range(queries):
            v = values[:, :, query]
            fixed = [spread(v, membership, target, side) for side in (0, 1)]
            for record in range(records):
                inside, outside = (v[chosen, record] for chosen in references(membership, target, record))
                s_in = np.std(inside, ddof=1) if own_variance else fixed[0] ** 0.5
                s_out = np.std(outside, ddof=1) if own_variance else fixed[1] ** 0.5
                x = v[target, record]
                if online:
                    score = norm.logpdf(x, inside.mean(), s_in) - norm.logpdf(x, outside.mean(), s_out)
                else:
                    score = (x - outside.mean()) / s_out
                scores[target, record] += score / queries
    return scores


def shrunk(values, membership):
    """LiRA with each record's two means taken from the normal model of shifts, by conditioning on what was seen.

    A record's mean outside is unknown (a prior of variance 1e6); its shift is drawn from a normal distribution whose
    mean and variance are those of all records' shifts, less what their errors explain.
    """
    shadows, records = values.shape
    scores = np.zeros((shadows, records))
    for target in range(shadows):
        s_in, s_out = (spread(values, membership, target, side) for side in (0, 1))
        n = shadows // 2 - 1
        means = np.array(
            [[values[chosen, r].mean() for chosen in references(membership, target, r)] for r in range(records)]
        )
        shifts = means[:, 0] - means[:, 1]
        common = shifts.mean()
        scatter = max(((shifts - common) ** 2).mean() - (s_in + s_out) / n, 0.0)
        prior, noise = np.diag([1e6, scatter]), np.diag([s_in / n, s_out / n])
        design = np.array([[1.0, 1.0], [1.0, 0.0]])  # inside: mean + shift; outside: mean
        gain = prior @ design.T @ np.linalg.inv(design @ prior @ design.T + noise)
        for r in range(records):
            start = np.array([means.mean(), common])
            mean, shift = start + gain @ (means[r] - design @ start)
            x = values[target, r]
            scores[target, r] = norm.logpdf(x, mean + shift, s_in**0.5) - norm.logpdf(x, mean, s_out**0.5)
    return scores
