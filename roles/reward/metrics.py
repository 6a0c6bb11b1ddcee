"""How well rewards rank the programs of a problem, and how far their differences can be taken as probabilities."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_BINS = 10


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The programs of one problem: rewards, pass rates (1.0 is a pass) and lengths in tokens, in the same order."""

    rewards: Sequence[float]
    pass_rates: Sequence[float]
    lengths: Sequence[int]


@dataclasses.dataclass(frozen=True)
class PairMetrics:
    """Means over problems, so that one with many programs does not count for more. NaN where nothing can be said."""

    pair_accuracy: float  # share of pairs that are in order; ties count half
    problems: int  # that have pairs
    temperature: float  # by which differences of rewards are to be divided; 1 is calibrated
    calibration_error: float  # of sigmoid(difference), as it is
    calibration_error_scaled: float  # after division by `temperature`


@dataclasses.dataclass(frozen=True)
class RewardMetrics(PairMetrics):
    """Over all (passing, failing) pairs of each problem, so that `pair_accuracy` is also the area under the curve."""

    spearman: float  # of reward and pass rate within a problem
    length_correlation: float  # Spearman of reward and length within a problem


def measure(judgements: Sequence[Judgement], temperature: float | None = None) -> RewardMetrics:
    """Metrics over `judgements`; `temperature` as in `measure_pairs`."""
    pairs = measure_pairs([_differences(judgement) for judgement in judgements], temperature)
    return RewardMetrics(
        **vars(pairs),
        spearman=_mean([spearman(judgement.rewards, judgement.pass_rates) for judgement in judgements]),
        length_correlation=_mean([spearman(judgement.rewards, judgement.lengths) for judgement in judgements]),
    )


def measure_pairs(differences: Sequence[Array], temperature: float | None = None) -> PairMetrics:
    """Metrics over the rewards of the better program less those of the worse, one array for each problem.

    `temperature` is one that was fitted elsewhere, on validation problems; without it the best for these very pairs is
    used, which flatters `calibration_error_scaled`.
    """
    contested = [each for each in differences if each.size]
    fitted = temperature if temperature is not None else fit_temperature(contested)
    return PairMetrics(
        pair_accuracy=_mean([float(np.mean((each > 0) + 0.5 * (each == 0))) for each in contested]),
        problems=len(contested),
        temperature=fitted,
        calibration_error=calibration_error(contested, 1.0),
        calibration_error_scaled=calibration_error(contested, fitted),
    )


def fit_temperature(differences: Sequence[Array]) -> float:
    """The T that minimises the mean over problems of `-log sigmoid(difference / T)`; NaN without a pair.

    The loss is convex in 1 / T, so a search by thirds finds it, between 1/1000 and 1000.
    """
    if not differences:
        return math.nan
    pairs, weights = _weighted(differences)

    def loss(inverse: float) -> float:
        return float(np.dot(weights, np.logaddexp(0.0, -pairs * inverse)))

    low, high = 1e-3, 1e3
    for _ in range(200):
        third = (high - low) / 3
        if loss(low + third) < loss(high - third):
            high -= third
        else:
            low += third
    return 2 / (low + high)


def calibration_error(differences: Sequence[Array], temperature: float) -> float:
    """Expected calibration error of pairs shown in a random order: |share in order - confidence|, over equal bins.

    A pair's confidence is sigmoid(|difference| / T); bins hold equally many pairs; every problem weighs the same.
    """
    if not differences or math.isnan(temperature):
        return math.nan
    pairs, weights = _weighted(differences)
    confidences = 1 / (1 + np.exp(-np.clip(np.abs(pairs) / temperature, 0, 500)))
    right = (pairs > 0) + 0.5 * (pairs == 0)
    order = np.argsort(confidences, kind="stable")
    error = 0.0
    for part in np.array_split(order, _BINS):
        share = weights[part].sum()
        if share > 0:
            error += abs(float(((right - confidences)[part] * weights[part]).sum()))
    return error / float(weights.sum())


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation with mid-ranks for ties; NaN where one of the two is constant."""
    a, b = _ranks(first), _ranks(second)
    if not len(a) or a.std() == 0 or b.std() == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _weighted(differences: Sequence[Array]) -> tuple[Array, Array]:
    """All pairs, and weights by which every problem counts the same."""
    weights = [np.full(each.size, 1 / each.size) for each in differences]
    return np.concatenate(differences), np.concatenate(weights)


def _differences(judgement: Judgement) -> Array:
    """Reward of each passing program less that of each failing one."""
    rewards, passed = np.asarray(judgement.rewards, float), np.asarray(judgement.pass_rates, float) == 1.0
    differences: Array = (rewards[passed][:, None] - rewards[~passed][None, :]).ravel()
    return differences


def _ranks(values: Sequence[float]) -> Array:
    array = np.asarray(values, float)
    _, places, counts = np.unique(array, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    middles: Array = ends - (counts - 1) / 2
    return middles[places]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
