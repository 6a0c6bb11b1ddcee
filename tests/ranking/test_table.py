"""Best-of-n, gap closed, intervals and the table made of them."""

import itertools
import math

import numpy as np
import pytest
from rich.console import Console

from roles.ranking import table
from roles.ranking.report import ranking_records, show_ranking, table_records
from roles.ranking.rewards import rankings
from roles.ranking.statistics import Bootstrap, Pool, gap_closed, pass_at_k
from roles.ranking.table import EvaluatedPolicy


def test_best_takes_the_top_score_and_draws_ties_by_lot():
    pool = Pool(np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]]))
    scores = np.array([[0.1, 0.9, 0.2], [5.0, 5.0, 1.0]])
    assert pool.best(scores).tolist() == [0.0, 0.5]
    assert pool.best(np.zeros((2, 3))).tolist() == pool.mean.tolist()
    assert pool.best(pool.passed).tolist() == pool.oracle.tolist()


def test_gap_closed_is_a_ratio_of_averages():
    best, mean, oracle = np.array([1.0, 0.0]), np.array([0.5, 0.0]), np.array([1.0, 1.0])
    assert gap_closed(best, mean, oracle) == pytest.approx((0.5 - 0.25) / (1.0 - 0.25))
    assert math.isnan(gap_closed(oracle, oracle, oracle))


def test_pass_at_k_counts_subsets():
    outcomes = [1, 1, 0, 0, 0]
    subsets = list(itertools.combinations(outcomes, 3))
    assert pass_at_k(5, 2, 3) == pytest.approx(sum(map(max, subsets)) / len(subsets))
    with pytest.raises(ValueError, match="k = 6"):
        pass_at_k(5, 2, 6)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        interval = Bootstrap(60, draws=300, seed=trial).mean((rng.random(60) < 0.3).astype(float))
        covered += interval.low <= 0.3 <= interval.high
    assert 175 <= covered <= 199


def test_a_difference_is_paired():
    rng = np.random.default_rng(1)
    passed = (rng.random((80, 10)) < 0.4).astype(float)
    good = passed + 2 * rng.random((80, 10))
    slightly_better = np.where(rng.random((80, 1)) < 0.1, passed, good)
    bootstrap = Bootstrap(80, seed=0)
    interval = bootstrap.gap_difference(Pool(passed), slightly_better, slightly_better)
    assert (interval.value, interval.low, interval.high) == (0, 0, 0)
    alone = bootstrap.gap_closed(Pool(passed), good)
    paired = bootstrap.gap_difference(Pool(passed), slightly_better, good)
    assert paired.high - paired.low < alone.high - alone.low


def evaluated(name: str, version: int, rate: float) -> EvaluatedPolicy:
    rng = np.random.default_rng(version)
    passed = (rng.random((50, 10)) < rate).astype(float)
    noise = rng.random((50, 10))
    lengths = rng.integers(5, 50, (50, 10)).astype(float)
    scores = {
        table.LOG_PROBABILITY: noise,
        table.reward_model(1): passed + 2 * noise,
        table.reward_model(2): passed + 0.1 * noise,
        table.CONTROL: noise,
    }
    pass_rates = np.maximum(passed, 0.5 * (noise > 0.5))
    return EvaluatedPolicy(name, version, passed, pass_rates, lengths, scores, {table.reward_model(2): 0.1})


def test_the_table_has_a_row_for_each_policy_and_ranker_and_the_bounds_hold():
    policies = [evaluated("sft", 1, 0.3), evaluated("iteration 1", 9, 0.4)]
    rows = table.rows(policies, Bootstrap(50), seed=0)
    assert len(rows) == 2 * 7
    for row in rows:
        assert row.pass_at_1 <= row.oracle
        assert row.best_of_n <= row.oracle
    by_ranker = {row.ranker: row for row in rows if row.policy == "sft"}
    assert by_ranker[table.ONE_SAMPLE].gap_closed == 0
    assert by_ranker[table.ORACLE].gap_closed == 1
    assert by_ranker[table.reward_model(2)].low > 0.8
    assert by_ranker[table.RANDOM].low < 0 < by_ranker[table.RANDOM].high


def test_the_differences_name_what_improved_and_what_did_not():
    policies = [evaluated("sft", 1, 0.3), evaluated("iteration 1", 9, 0.3)]
    found = {(d.what, d.policy, d.a, d.b): d.verdict for d in table.differences(policies, Bootstrap(50))}
    assert found["gap_closed", "sft", "reward model v2", "reward model v1"] == "better"
    assert found["gap_closed", "sft", "reward model v2", "positives only"] == "better"
    assert found["pass_at_1", "iteration 1", "iteration 1", "sft"] == "no difference shown"
    assert ("gap_closed", "sft", "reward model v1", "log-probability") in found


def test_a_figure_that_is_not_defined_is_null_in_the_report():
    nothing = np.zeros((4, 2))
    hopeless = EvaluatedPolicy("sft", 1, nothing, nothing, nothing, {table.LOG_PROBABILITY: nothing}, {})
    records, _ = table_records(table.rows([hopeless], Bootstrap(4), 0), [])
    assert records[0]["gap_closed"] is None


def test_every_reward_model_is_measured_on_the_samples_of_every_policy():
    found = ranking_records(rankings([evaluated("sft", 1, 0.3), evaluated("iteration 1", 9, 0.3)]))
    assert [(entry["policy"], entry["ranker"]) for entry in found] == [
        (policy, table.reward_model(version)) for policy in ("sft", "iteration 1") for version in (1, 2)
    ]
    noisy, sharp = found[:2]
    assert 0.7 < noisy["pair_accuracy"] < sharp["pair_accuracy"] == 1.0
    assert noisy["spearman"] < sharp["spearman"]
    assert abs(sharp["length_correlation"]) < 0.2


def test_no_temperature_is_fitted_to_the_samples_that_it_is_tested_on():
    uncalibrated, calibrated = ranking_records(rankings([evaluated("sft", 1, 0.3)]))
    assert (uncalibrated["temperature"], uncalibrated["calibration_error_scaled"]) == (None, None)
    assert calibrated["temperature"] == 0.1
    assert calibrated["calibration_error_scaled"] < calibrated["calibration_error"]
    console = Console(record=True, width=160)
    show_ranking([uncalibrated, calibrated], console)
    assert "0.100" in console.export_text()
