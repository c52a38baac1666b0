"""Tracing in one space, a shadow, a record and an axis at a time, and the learned attack by plain Newton steps."""

import math

import numpy as np

SMOOTH = 15


def smoothed(values):
    """Mean of fifteen neighbours; beyond the ends the last value is repeated."""
    k, reach = len(values), SMOOTH // 2
    return [sum(values[min(max(i + d, 0), k - 1)] for d in range(-reach, reach + 1)) / SMOOTH for i in range(k)]


def tracing(points, extra, released, membership):
    """Scores (S, N) of one class in one space.

    points: (N, D) of the records; extra: (M, D) of the population; released: S lists of points.
    """
    known = np.concatenate([points, extra])
    centre = known.mean(0)
    values, vectors = np.linalg.eigh((known - centre).T @ (known - centre))
    order = [i for i in np.argsort(-values) if values[i] > 1e-10 * values.max()]
    axes = vectors[:, order]
    shadows, records = membership.shape
    scores = np.zeros((shadows, records))
    deviation = (points - centre) @ axes
    lean = np.array([(np.mean(each, 0) - centre) @ axes for each in released])
    held = np.array([deviation[membership[s]].mean(0) for s in range(shadows)])
    for target in range(shadows):
        partner = target + 1 if target % 2 == 0 else target - 1
        refs = [s for s in range(shadows) if s not in (target, partner)]
        upper, lower, left, moves = [], [], [], []
        for axis in range(len(order)):
            z = [lean[s, axis] - np.mean(lean[refs, axis]) for s in refs]
            g = [held[s, axis] - np.mean(held[refs, axis]) for s in refs]
            upper.append(sum(a * b for a, b in zip(z, g, strict=True)))
            lower.append(sum(b * b for b in g))
            moves.append(sum(b * b for b in g) / len(refs))
        gain = [a / b for a, b in zip(smoothed(upper), smoothed(lower), strict=True)]
        for axis in range(len(order)):
            rest = 0.0
            for s in refs:
                z = lean[s, axis] - np.mean(lean[refs, axis])
                rest += (z - gain[axis] * (held[s, axis] - np.mean(held[refs, axis]))) ** 2
            left.append(rest / (len(refs) - 2))
        noise, moves = smoothed(left), smoothed(moves)
        for record in range(records):
            for axis in range(len(order)):
                weight = max(gain[axis], 0) / (gain[axis] ** 2 * moves[axis] + noise[axis])
                away = lean[target, axis] - np.mean(lean[refs, axis])
                scores[target, record] += weight * away * deviation[record, axis]
    return scores


def logistic(features, inside, *, weight=1.0, steps=50):
    """Coefficients of the logistic regression with half the squared norm as penalty, the intercept free."""
    x = np.hstack([features, np.ones((len(features), 1))])
    penalty = np.diag([1 / weight] * features.shape[1] + [0.0])
    b = np.zeros(x.shape[1])
    for _ in range(steps):
        p = np.array([1 / (1 + math.exp(-float(row @ b))) for row in x])
        gradient = x.T @ (p - inside) + penalty @ b
        curvature = x.T @ (x * (p * (1 - p))[:, None]) + penalty
        b = b - np.linalg.solve(curvature, gradient)
    return b[:-1]
