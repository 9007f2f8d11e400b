"""Confidence of a count: bounds of shares and of rates, exact, in which 19 of 20 lie."""

import math
from collections.abc import Callable

DOUBT = 0.05
_STEPS = 60


def bound_share(count: int, of: int) -> tuple[float, float]:
    """Return the bounds of a share of which `count` of `of` were seen (Clopper and Pearson, 1934)."""
    if not of:
        return 0.0, 1.0
    low = _solve(lambda p: 1 - _sum_binomial(count - 1, of, p), DOUBT / 2) if count else 0.0
    high = _solve(lambda p: 1 - _sum_binomial(count, of, p), 1 - DOUBT / 2) if count < of else 1.0
    return low, high


def bound_count(count: int) -> tuple[float, float]:
    """Return the bounds of the number that is expected where `count` came (Garwood, 1936)."""
    most = count + 10 * math.sqrt(count + 1) + 10
    low = (
        most * _solve(lambda x: 1 - _sum_poisson(count - 1, most * x), DOUBT / 2) if count else 0.0
    )
    return low, most * _solve(lambda x: 1 - _sum_poisson(count, most * x), 1 - DOUBT / 2)


def _solve(rising: Callable[[float], float], value: float) -> float:
    """Return where a function that rises between 0 and 1 has a value."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return (low + high) / 2


def _sum_binomial(most: int, of: int, share: float) -> float:
    """Return the probability of at most `most` of `of`."""
    if share <= 0 or most >= of:
        return 1.0
    if share >= 1:
        return 0.0
    odds, rest = math.log(share), math.log1p(-share)
    whole = math.lgamma(of + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(of - k + 1) + k * odds + (of - k) * rest)
        for k in range(most + 1)
    )


def _sum_poisson(most: int, mean: float) -> float:
    """Return the probability of at most `most` where `mean` are expected."""
    if mean <= 0:
        return 1.0
    odds = math.log(mean)
    return math.fsum(math.exp(k * odds - mean - math.lgamma(k + 1)) for k in range(most + 1))
