"""Metrics of a reward model against cases whose answer is known."""

import math

import numpy as np
import pytest

from roles.reward.metrics import Judgement, calibration_error, measure, spearman


def test_pairs_in_order_are_counted_by_problem():
    right = Judgement([3.0, 2.0, 1.0, 0.0], [1.0, 1.0, 0.5, 0.0], [5, 5, 5, 5])
    half = Judgement([1.0, 1.0], [1.0, 0.0], [5, 9])
    alike = Judgement([9.0, 8.0], [1.0, 1.0], [1, 2])
    found = measure([right, half, alike])
    assert (found.pair_accuracy, found.problems) == ((1.0 + 0.5) / 2, 2)
    assert math.isnan(measure([alike]).pair_accuracy)


def middle_ranks(values):
    """By counting: how many are smaller, and half of those that are equal."""
    return [sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values]


def test_rank_correlation_is_the_correlation_of_middle_ranks():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 6, 12).tolist(), rng.integers(0, 6, 12).tolist()
        assert math.isclose(spearman(a, b), np.corrcoef(middle_ranks(a), middle_ranks(b))[0, 1])
    assert math.isnan(spearman([1.0, 1.0], [1.0, 2.0]))


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_the_temperature_undoes_a_scale(scale):
    """Labels are drawn with probability sigmoid(difference): only T = scale makes them calibrated."""
    rng = np.random.default_rng(1)
    judgements = []
    for _ in range(4000):
        difference = rng.normal(scale=2.0)
        first_passes = rng.random() < 1 / (1 + math.exp(-difference))
        rewards = [difference * scale, 0.0]
        judgements.append(Judgement(rewards, [float(first_passes), float(not first_passes)], [1, 1]))
    assert abs(measure(judgements).temperature / scale - 1) < 0.1
    found = measure(judgements)
    assert found.calibration_error_scaled < 0.03
    if scale != 1.0:
        assert found.calibration_error > 0.05


def test_certainty_that_is_wrong_half_the_time_is_an_error_of_a_half():
    pairs = [np.array([100.0]), np.array([-100.0])] * 50
    assert math.isclose(calibration_error(pairs, 1.0), 0.5, abs_tol=1e-6)
    assert math.isnan(calibration_error([], 1.0))


def test_a_ruler_of_lengths_is_seen():
    judgements = [Judgement([10.0, 20.0, 30.0], [1.0, 0.0, 1.0], [1, 2, 3])] * 3
    assert math.isclose(measure(judgements).length_correlation, 1.0)
