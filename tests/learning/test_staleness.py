"""A small version of `benchmarks/staleness.py`, whose docstring tells the task."""

import pytest

from benchmarks import staleness

STEPS = 40


@pytest.mark.parametrize("seed", range(2))
def test_the_decoupled_objective_learns_from_stale_samples_where_plain_ppo_hardly_does(seed):
    def learnt(objective: str, versions: int) -> float:
        curve = staleness.train(
            staleness.SETTINGS.model_copy(update={"objective": objective}), versions, seed, STEPS
        ).curve
        return curve[-1] - curve[0]

    fresh, plain, decoupled = learnt("plain", 0), learnt("plain", 8), learnt("decoupled", 8)
    assert min(fresh, decoupled) > 0.2
    assert plain < 0.5 * min(fresh, decoupled)


def test_fresh_samples_make_both_objectives_one():
    curves = [
        staleness.train(staleness.SETTINGS.model_copy(update={"objective": objective}), 0, 0, 8).curve
        for objective in ("plain", "decoupled")
    ]
    assert curves[0] == pytest.approx(curves[1], abs=0.02)


def test_an_interval_is_students():
    found = staleness.interval([1.0, 2.0, 4.0, 5.0])
    assert (found.value, found.high - found.value) == pytest.approx((3.0, 3.1824 * 1.8257 / 2), abs=1e-3)
