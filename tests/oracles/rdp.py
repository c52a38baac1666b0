"""Privacy arithmetic from the papers' formulas, with nothing of `dp-accounting` in it."""

import math


def rdp(rate, sigma, order):
    """Renyi divergence of whole order of one Gaussian on a Poisson sample (Mironov, Talwar & Zhang 2019, eq. 5 f.)."""
    if rate == 1:
        return order / (2 * sigma**2)
    terms = [
        math.lgamma(order + 1)
        - math.lgamma(k + 1)
        - math.lgamma(order - k + 1)
        + (order - k) * math.log1p(-rate)
        + k * math.log(rate)
        + (k * k - k) / (2 * sigma**2)
        for k in range(order + 1)
    ]
    top = max(terms)
    return (top + math.log(sum(math.exp(t - top) for t in terms))) / (order - 1)


def epsilon_by_moments(rate, sigma, steps, delta, orders=range(2, 257)):
    """The moments accountant's conversion (Abadi et al., CCS 2016, theorem 2), used in tables for years."""
    return min(steps * rdp(rate, sigma, a) + math.log(1 / delta) / (a - 1) for a in orders)


def epsilon_by_rdp(rate, sigma, steps, delta, orders):
    """The conversion of today (Canonne, Kamath & Steinke, NeurIPS 2020, proposition 12)."""
    return min(
        steps * rdp(rate, sigma, a) + math.log1p(-1 / a) - (math.log(delta) + math.log(a)) / (a - 1) for a in orders
    )


def delta_of_gaussian(epsilon, sigma):
    """Exact delta of one Gaussian on a sum of sensitivity 1 (Balle & Wang, ICML 2018, theorem 8)."""

    def below(x):
        return math.erfc(-x / math.sqrt(2)) / 2

    return below(1 / (2 * sigma) - epsilon * sigma) - math.exp(epsilon) * below(-1 / (2 * sigma) - epsilon * sigma)
