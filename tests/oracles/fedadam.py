"""FedAdam (Reddi et al., ICLR 2021, algorithm 2), written down once more: NumPy, float64, one loop."""

import numpy as np


def fedadam(start, rounds, *, eta, beta_1, beta_2, tau):
    """Return the global network after each round.

    Args:
        start: parameters, a list of arrays.
        rounds: of each round, (image count, parameters) of every site.
    """
    now = [np.asarray(p, np.float64) for p in start]
    m, v = [np.zeros_like(p) for p in now], [np.zeros_like(p) for p in now]
    after = []
    for number, replies in enumerate(rounds, 1):
        total = sum(count for count, _ in replies)
        for i, p in enumerate(now):
            mean = sum(count / total * np.asarray(params[i], np.float64) for count, params in replies)
            delta = mean - p
            m[i] = beta_1 * m[i] + (1 - beta_1) * delta
            v[i] = beta_2 * v[i] + (1 - beta_2) * delta**2
            # Adam's correction of both moments' bias, as Flower's FedAdam has it: from the second round's on.
            step = eta * np.sqrt(1 - beta_2 ** (number + 1)) / (1 - beta_1 ** (number + 1))
            now[i] = p + step * m[i] / (np.sqrt(v[i]) + tau)
        after.append([p.copy() for p in now])
    return after
