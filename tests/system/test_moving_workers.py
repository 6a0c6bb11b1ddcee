"""A simulated run whose executors are too few moves workers to them by itself, and loses nothing by it."""

import json

import pytest

from benchmarks import traces

SIMULATED = {
    "sample_seconds": [0.2], "execute_seconds": 1.0, "score_seconds": 0.02, "policy_step_seconds": 0.02,
    "reward_batch_seconds": 0, "workers_per_process": 4,
}  # fmt: skip


@pytest.mark.long
def test_workers_move_to_the_stage_that_starves_the_others(tmp_path):
    trace = traces.run(
        tmp_path / "run",
        {
            "simulate": json.dumps(SIMULATED), "autobalance": "true", "iterations": 1, "policy.max_staleness": 5,
            "policy.steps_per_iteration": 20, "policy.groups_per_step": 4, "sampling.problems_per_batch": 1,
            "sampling.n": 4, "reward.groups_per_iteration": 1, "evaluation.problems": 2, "evaluation.n": 2,
            "sft.problems": 2, "workers.generators": 4,
        },
    )  # fmt: skip
    report = trace.report
    moves = report["counts"]["moves"]
    assert moves
    assert all(move.startswith("a generator becomes one of the executors: executors (") for move in moves), moves
    assert len({span.actor for span in trace.of("execute")}) == 1 + len(moves)
    assert report["invariant"] == {"submitted": 80, "trained": 80, "dropped": 0, "running": 0, "trained_twice": 0}
    assert report["counts"]["worker_deaths"] == {}
