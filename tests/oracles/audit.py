"""What an attack that was seen to succeed says of epsilon, with confidence (Nasr et al., IEEE S&P 2021)."""

import math


def below(successes, n, p):
    """P(at most so many successes), of n with chance p each."""
    log = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(successes + 1)]
    return sum(math.exp(c + k * math.log(p) + (n - k) * math.log1p(-p)) for k, c in enumerate(log))


def clopper_pearson(successes, n, alpha):
    """Two-sided interval for the chance of success, by bisection of the binomial distribution."""

    def solve(holds):
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return low

    low = 0.0 if successes == 0 else solve(lambda p: p == 0 or 1 - below(successes - 1, n, p) < alpha / 2)
    high = 1.0 if successes == n else solve(lambda p: below(successes, n, p) > alpha / 2)
    return low, high


def epsilon_at_least(hits, false_alarms, n, *, delta, alpha=0.05):
    """Lower bound on epsilon from n trials with and n without; 0 where nothing is shown."""
    hit, _ = clopper_pearson(hits, n, alpha / 2)
    _, alarm = clopper_pearson(false_alarms, n, alpha / 2)
    return max(0.0, math.log(max(hit - delta, 1e-300) / alarm))
