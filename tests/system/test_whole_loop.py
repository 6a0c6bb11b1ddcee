"""The whole loop made small, as a person meets it: begun, broken off by Ctrl-C, continued, finished, asked again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from safetensors import safe_open

from roles import run_folder
from roles.mining import ledger
from roles.ranking import report as reports
from roles.records import Candidate, Pair, Score, Verdict
from roles.reward import model as reward_model
from roles.tuning import sft

ROOT = Path(__file__).parent.parent.parent
SMALL = {
    "iterations": 2, "cluster.address": "local", "cluster.dashboard": "false",
    "sft.problems": 60, "sft.epochs": 1,
    "sampling.n": 6, "sampling.problems_per_batch": 4, "sampling.engine.max_num_seqs": 64,
    "reward.groups_per_iteration": 12, "reward.groups_per_step": 4,
    "policy.groups_per_step": 8, "policy.steps_per_iteration": 3,
    "evaluation.problems": 12, "evaluation.n": 4, "evaluation.control": "{epochs: 1, learning_rate: 1.0e-3}",
}  # fmt: skip


ANOTHER_WAY = {  # of training, each by one value; SMALL is hybrid, warm, PPO and all weights on plain torch
    "hard, fresh, adapters": {"mining.strategy": "hard", "reward.start": "fresh", "learning.lora": "{rank: 4}"},
    "random, AceCoder's pairs, expert iteration, DeepSpeed": {
        "mining.strategy": "random", "mining.rule": "acecoder", "reward.reference": "true",
        "policy.advantages": "passing", "learning.engine": "deepspeed", "learning.zero_stage": "2",
    },
}  # fmt: skip


def command(run_dir: Path, **other: object) -> list[str]:
    overrides = [f"--set={name}={value}" for name, value in {**SMALL, **other, "run_dir": run_dir}.items()]
    return [sys.executable, str(ROOT / "driver.py"), "run", str(ROOT / "configs" / "pocket.yaml"), *overrides]


def processes_of(run_dir: Path) -> list[str]:
    """Command lines of processes that carry the run's mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("RUN_UNDER_TEST") == str(run_dir) and process.status() != "zombie":
                found.append(" ".join(process.cmdline())[:200])
        except psutil.Error:
            continue
    return found


def shared_memory() -> set[str]:
    """Its files but for the semaphores, which the tests beside this one make and lose."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("sem.")}


def starts(run_dir: Path) -> list[str]:
    """Actors, one for each time that they came up."""
    events = json.loads((run_dir / "timeline.json").read_text())
    actors = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    return [actors[event["pid"]] for event in events if event["ph"] == "X" and event["name"] == "start"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that was interrupted once and continued to its end; what was seen on the way."""
    run_dir = tmp_path_factory.mktemp("runs") / "small"
    environment = {**os.environ, "RUN_UNDER_TEST": str(run_dir), "OMP_NUM_THREADS": "1"}
    before = shared_memory()
    first = subprocess.Popen(
        command(run_dir), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 240
    while not list((run_dir / "ledger").glob("*/pairs.parquet")) and time.monotonic() < deadline:
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.2)
    first.send_signal(signal.SIGINT)
    output, _ = first.communicate(timeout=60)
    seen = {
        "exit": first.returncode, "output": output,
        "left": processes_of(run_dir), "shared_memory": shared_memory() - before,
        "pairs": ledger.read(run_dir / "ledger", Pair),
    }  # fmt: skip
    second = subprocess.run(command(run_dir), env=environment, capture_output=True, text=True, timeout=400)
    assert second.returncode == 0, second.stdout + second.stderr
    return run_dir, seen, second.stdout, environment


def test_ctrl_c_leaves_nothing_behind_and_a_readable_ledger(finished):
    _, seen, _, _ = finished
    assert seen["exit"] == 130, seen["output"]
    assert seen["left"] == []
    assert seen["shared_memory"] == set()
    assert seen["pairs"]
    assert "Traceback" not in seen["output"]


def test_a_finished_run_says_that_it_is_complete_and_changes_nothing(finished):
    run_dir, _, _, environment = finished
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*") if path.is_file()}
    again = subprocess.run(command(run_dir), env=environment, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0
    assert "is complete" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*") if path.is_file()} == before


def test_the_table_has_every_policy_and_every_ranker(finished):
    run_dir, _, output, _ = finished
    report = reports.read(run_dir / "report.json")
    policies = ["base", "sft", "iteration 1", "iteration 2"]
    rankers = [
        "one sample", "random", "log-probability", "reward model v1", "reward model v2", "positives only", "oracle",
    ]  # fmt: skip
    assert {(row["policy"], row["ranker"]) for row in report.table} == {(p, r) for p in policies for r in rankers}
    assert set(report.table[0]) == {
        "policy", "policy_version", "ranker", "n", "pass_at_1", "best_of_n", "oracle", "gap_closed", "low", "high",
    }  # fmt: skip
    assert {row["policy_version"] for row in report.table} == {0, 1, 4, 7}
    assert "gap closed" in output
    assert any(entry["what"] == "pass_at_1" for entry in report.differences)


def test_the_report_has_the_documented_schema(finished):
    run_dir, _, _, _ = finished
    report = json.loads((run_dir / "report.json").read_text())
    assert set(report) >= {
        "wall_seconds", "peak_memory_bytes", "stages", "weights", "invariant", "table", "seed", "suite", "versions",
    }  # fmt: skip
    for stage in ("sample", "execute", "score", "mine", "train reward model", "train policy", "sample held-out"):
        assert report["stages"][stage]["busy_seconds"] > 0
        assert report["stages"][stage]["items"] > 0
    assert report["peak_memory_bytes"] > 1 << 30
    assert report["versions"]["ray"]


def test_the_status_says_what_the_job_did(finished):
    run_dir, _, _, _ = finished
    run = run_folder.existing(run_dir)
    report = reports.read(run.report)
    assert run.state == "complete"
    facts = run.noted.facts
    for stage, found in facts.stages.items():
        assert found.worker_seconds["busy"] > 0, stage
        assert sum(found.worker_seconds.values()) <= report.wall_seconds, stage  # each has one worker
        assert 0 < found.items <= report.stages[stage]["items"]
    assert all(stream.taken > 0 for stream in facts.streams.values())
    assert 0 < sum(facts.trained_by_lag.values()) <= 2 * 3 * 8 * 6
    assert 0 < facts.samples <= report.counts["samples"]
    assert 0 < facts.memory_bytes <= facts.peak_memory_bytes <= report.peak_memory_bytes


def test_every_group_was_trained_exactly_once(finished):
    run_dir, _, _, _ = finished
    invariant = reports.read(run_dir / "report.json").invariant
    assert invariant["submitted"] == invariant["trained"] + invariant["dropped"] + invariant["running"]
    assert invariant["trained"] == 2 * 3 * 8
    assert invariant["trained_twice"] == 0


def test_new_versions_reach_generators_and_scorers_in_flight(finished):
    run_dir, _, _, _ = finished
    report = reports.read(run_dir / "report.json")
    taken = {(entry["model"], entry["actor"], entry["version"]) for entry in report.weights}
    policy = [version for model, actor, version in taken if (model, actor) == ("policy", "generator 0")]
    assert len([version for version in policy if version > 1]) >= 3
    assert ("reward", "scorer 0", 1) in taken
    sampled_by = {version for c in ledger.read(run_dir / "ledger", Candidate) for version in c.policy_versions}
    assert max(sampled_by) > 1
    assert 0 not in sampled_by  # training samples never come from the base


def test_the_ledger_is_whole(finished):
    run_dir, _, _, _ = finished
    folder = run_dir / "ledger"
    candidates = {candidate.id for candidate in ledger.read(folder, Candidate)}
    verdicts = ledger.read(folder, Verdict)
    assert {verdict.candidate_id for verdict in verdicts} == candidates
    assert {score.candidate_id for score in ledger.read(folder, Score)} == candidates
    status = {verdict.candidate_id: verdict.status for verdict in verdicts}
    for pair in ledger.read(folder, Pair):
        assert status[pair.chosen_id] == "passed"
        assert status[pair.rejected_id] not in ("passed", "sandbox_fault")


def test_every_stage_and_every_start_is_in_the_trace(finished):
    run_dir, _, _, _ = finished
    events = json.loads((run_dir / "timeline.json").read_text())
    names = {event["name"] for event in events if event["ph"] == "X" and event["dur"] > 0}
    assert names >= {"sample", "execute", "score", "mine", "train reward model", "train policy"}
    assert set(starts(run_dir)) >= {
        "generator 0", "executor 0", "scorer 0", "policy learner", "reward learner",
    }  # fmt: skip


def test_the_models_left_behind_load(finished):
    run_dir, _, _, _ = finished
    assert reward_model.load(str(run_dir / "models" / "reward"))[0].head == "likelihood"
    sft.pretrained(str(run_dir / "models" / "policy"))


@pytest.mark.parametrize("way", [next(iter(ANOTHER_WAY)), pytest.param([*ANOTHER_WAY][1], marks=pytest.mark.long)])
def test_the_loop_trains_in_other_ways_by_one_value_each(way, tmp_path):
    run_dir = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    short = {
        "policy.steps_per_iteration": 1, "evaluation.problems": 2, "evaluation.n": 2, "sft.problems": 24,
        "reward.groups_per_iteration": 8, "evaluation.control": "{epochs: 1, learning_rate: 1.0e-3}",
    }  # fmt: skip
    done = subprocess.run(
        command(run_dir, **short, **ANOTHER_WAY[way]), env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = reports.read(run_dir / "report.json")
    assert {row["ranker"] for row in report.table} >= {"reward model v1", "reward model v2"}
    assert report.invariant["trained"] == 2 * 8
    kinds = {pair.kind for pair in ledger.read(run_dir / "ledger", Pair)}
    assert kinds == ({"random"} if way.startswith("random") else {"hard"})
    folder = run_dir / "models" / "reward"
    assert (folder / "reference").exists() == way.startswith("random")
    names = safe_open(folder / "model.safetensors", "pt").keys()
    assert not [name for name in names if "lora" in name or "base_layer" in name]
    sft.pretrained(str(run_dir / "models" / "policy"))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_workers_are_killed_and_scaled_five_times_and_nothing_is_lost(tmp_path):
    run_dir = tmp_path / "run"
    environment = {**os.environ, "RUN_UNDER_TEST": str(run_dir), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(
        command(run_dir, **{
            "evaluation.problems": 6, "policy.steps_per_iteration": 6, "reward.groups_per_iteration": 20,
        }), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    victims = iter(("Executor", "Scorer", "Generator"))
    for changes in 5 * (["executors=3", "scorers=2", "learners=2"], ["executors=1", "scorers=1", "learners=1"]):
        deadline, before = time.monotonic() + 240, len(ledger.batches(run_dir / "ledger"))
        while len(ledger.batches(run_dir / "ledger")) <= before and time.monotonic() < deadline:
            assert run.poll() is None, run.communicate()[0]
            time.sleep(0.1)
        if victim := next(victims, None):
            os.kill(worker_of(run_dir, victim), signal.SIGKILL)
        scale = [sys.executable, str(ROOT / "driver.py"), "scale", *changes, "--run-dir", str(run_dir)]
        done = subprocess.run(scale, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        executors, scorers, learners = (change[-1] for change in changes)
        assert f"{executors} executors, {scorers} scorers, {learners} learners are wanted now" in done.stdout
    output, _ = run.communicate(timeout=400)
    assert run.returncode == 0, output
    report = reports.read(run_dir / "report.json")
    assert report.counts["worker_deaths"] == {"executor": 1, "scorer": 1, "generator": 1}
    assert report.counts["learner_deaths"] == {}
    assert report.invariant["trained"] == report.invariant["submitted"] == 2 * 6 * 8
    assert report.invariant["trained_twice"] == report.invariant["dropped"] == 0
    for kind, name in ((Candidate, "id"), (Verdict, "candidate_id"), (Score, "candidate_id")):
        ids = [getattr(record, name) for record in ledger.read(run_dir / "ledger", kind)]
        assert len(ids) == len(set(ids))
    started = starts(run_dir)
    assert len([name for name in started if name.startswith("executor")]) >= 3
    assert len([name for name in started if name.startswith("scorer")]) >= 2
    assert min(started.count("policy learner"), started.count("reward learner")) >= 3
    assert processes_of(run_dir) == []


def worker_of(run_dir: Path, name: str) -> int:
    """The process of an actor of this run."""
    for process in psutil.process_iter():
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith(f"ray::{name}") and (
                process.environ().get("RUN_UNDER_TEST") == str(run_dir)
            ):
                return process.pid
        except psutil.Error:
            continue
    raise AssertionError(f"there is no {name}")
