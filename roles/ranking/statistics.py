"""Best-of-n over one pool of samples, with intervals from a bootstrap over problems."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Pool:
    """The same n samples of each of P problems: `passed` is (P, n), of 0 and 1."""

    passed: Floats

    @property
    def mean(self) -> Floats:
        """(P,) expected result of one sample."""
        return self.passed.mean(axis=1)  # type: ignore[no-any-return]

    @property
    def oracle(self) -> Floats:
        """(P,) result of a perfect ranker."""
        return self.passed.max(axis=1)  # type: ignore[no-any-return]

    def best(self, scores: Floats) -> Floats:
        """(P,) expected result of taking the sample with the highest score; ties are drawn by lot."""
        top = scores == scores.max(axis=1, keepdims=True)
        return (self.passed * top).sum(axis=1) / top.sum(axis=1)  # type: ignore[no-any-return]


def gap_closed(best: Floats, mean: Floats, oracle: Floats) -> float:
    """`(best - mean) / (oracle - mean)` of the averages over problems; NaN where there is no gap."""
    gap = oracle.mean() - mean.mean()
    return float((best.mean() - mean.mean()) / gap) if gap > 0 else float("nan")


class Bootstrap:
    """Resamples of problems; one instance serves all rankers of a pool, so that differences are paired."""

    def __init__(self, problems: int, draws: int = 2000, seed: int = 0) -> None:
        self._indexes = np.random.default_rng(seed).integers(problems, size=(draws, problems))

    def mean(self, values: Floats) -> Interval:
        """Interval of the mean of (P,) values, such as pass@1 or a paired difference."""
        return _interval(float(values.mean()), values[self._indexes].mean(axis=1))

    def gap_closed(self, pool: Pool, scores: Floats) -> Interval:
        best, mean, oracle = pool.best(scores), pool.mean, pool.oracle
        return _interval(gap_closed(best, mean, oracle), self._gaps(best, mean, oracle))

    def gap_difference(self, pool: Pool, scores: Floats, baseline: Floats) -> Interval:
        """How much more of the gap `scores` closes than `baseline` does on the same pool."""
        mean, oracle = pool.mean, pool.oracle
        best, base = pool.best(scores), pool.best(baseline)
        value = gap_closed(best, mean, oracle) - gap_closed(base, mean, oracle)
        return _interval(value, self._gaps(best, mean, oracle) - self._gaps(base, mean, oracle))

    def _gaps(self, best: Floats, mean: Floats, oracle: Floats) -> Floats:
        averages = [values[self._indexes].mean(axis=1) for values in (best, mean, oracle)]
        gap = averages[2] - averages[1]
        gaps: Floats = np.divide(averages[0] - averages[1], gap, out=np.full_like(gap, np.nan), where=gap > 0)
        return gaps


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased pass@k from n samples (Codex, arXiv 2107.03374): 1 - C(n - c, k) / C(n, k)."""
    if not 1 <= k <= n:
        raise ValueError(f"k = {k}: must be between 1 and n = {n}")
    if n - correct < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(n - correct + 1, n + 1)))


def _interval(value: float, draws: Floats) -> Interval:
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(value, float(low), float(high))
