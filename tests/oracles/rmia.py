"""RMIA as its paper writes it: a shadow, a record and a member of the population at a time, in float64."""

import numpy as np


def rmia(probabilities, population, membership, *, online, a, gamma):
    """Scores (S, N) from probabilities (S, N) and those of the population (S, Z)."""
    shadows, records = probabilities.shape
    scores = np.zeros((shadows, records))
    for target in range(shadows):
        others = [s for s in range(shadows) if s // 2 != target // 2]
        for x in range(records):
            p_in = [probabilities[s, x] for s in others if membership[s, x]]
            p_out = [probabilities[s, x] for s in others if not membership[s, x]]
            usual = 0.5 * (np.mean(p_in) + np.mean(p_out)) if online else 0.5 * ((1 + a) * np.mean(p_out) + (1 - a))
            beaten = 0
            for z in range(population.shape[1]):
                usual_z = np.mean([population[s, z] for s in others])
                if not online:
                    usual_z = 0.5 * ((1 + a) * usual_z + (1 - a))
                likelier = (probabilities[target, x] / usual) / (population[target, z] / usual_z)
                beaten += likelier > gamma
            scores[target, x] = beaten / population.shape[1]
    return scores
