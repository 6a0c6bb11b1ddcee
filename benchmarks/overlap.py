"""Continuous against phased: the same actors, models and work; how much of the possible overlap is there?

    python -m benchmarks.overlap [--rounds 2] [--steps 12] [--out FOLDER] [--only simulated | real]

First with simulated service times: sampling against the policy's step, 1:1, 1:3 and 1:10, whose bound is sum / max.
Then the pocket job with its real models and programs: processes are pinned so that the two cores stand for two kinds
of hardware, one for generators and scorers, one for executors and learners. A stage has its core to itself when
schedules are phased, so the seconds that it is busy then are its T; stages of one core count as one, because they
cannot overlap. Measured over the last three quarters of the PPO steps, which train on equally many samples; what comes
before the first and after the last one is the same in both schedules. They run alternately, a seed in each round. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks import traces
from benchmarks.traces import POLICY_STEP, ROOT, Trace, show

RATIOS = (1, 3, 10)
LONGEST_SECONDS = 2.0  # of the simulated stages, for a step
CORES = (  # stages, and the actors' classes that do them
    (("sample", "sample held-out", "score", "rank held-out"), ("Generator", "Scorer")),
    (
        ("execute", "mine", "train reward model", "train control", POLICY_STEP),
        ("Executor", "Miner", "PolicyLearner", "RewardLearner"),
    ),
)
BATCHES_PER_STEP = 4
Work = Sequence[Sequence[str]]


def window(trace: Trace) -> tuple[float, float, int]:
    """End of a PPO step by which the loop is in its stride, end of the last one, and the steps in between."""
    steps = trace.of(POLICY_STEP)
    first = len(steps) // 4
    return steps[first].end, steps[-1].end, len(steps) - 1 - first


def seconds_per_step(trace: Trace) -> float:
    start, end, steps = window(trace)
    return (end - start) / steps


def busy_per_step(trace: Trace, work: Work) -> list[float]:
    start, end, steps = window(trace)
    return [trace.busy(stages, start, end) / steps for stages in work]


def compare(phased: Sequence[Trace], continuous: Sequence[Trace], work: Work) -> dict[str, Any]:
    """`work`: stages that could each overlap all the others; those of one entry cannot overlap each other."""
    busy = [statistics.mean(times) for times in zip(*(busy_per_step(trace, work) for trace in phased), strict=True)]
    seconds = {
        "phased": statistics.mean(map(seconds_per_step, phased)),
        "continuous": statistics.mean(map(seconds_per_step, continuous)),
    }
    speedup, bound = seconds["phased"] / seconds["continuous"], sum(busy) / max(busy)
    return {
        "seconds_per_step": {name: round(value, 3) for name, value in seconds.items()},
        "busy_seconds_per_step": [round(value, 3) for value in busy],
        "speedup": round(speedup, 3),
        "bound": round(bound, 3),
        "ratio_to_bound": round(speedup / bound, 3),
    }


def simulated(folder: Path, ratio: int, steps: int) -> dict[str, Any]:
    times = {
        "sample_seconds": [round(LONGEST_SECONDS / ratio / BATCHES_PER_STEP, 4)],
        "policy_step_seconds": LONGEST_SECONDS, "execute_seconds": 0.01, "score_seconds": 0.01,
        "reward_batch_seconds": 0,
    }  # fmt: skip
    common = {
        "simulate": json.dumps(times), "iterations": 1, "policy.steps_per_iteration": steps, "sampling.n": 4,
        "sampling.problems_per_batch": 2, "policy.groups_per_step": 2 * BATCHES_PER_STEP, "policy.max_staleness": 2,
        "reward.groups_per_iteration": 4, "evaluation.problems": 2, "evaluation.n": 2, "sft.problems": 2,
    }  # fmt: skip
    found = {
        schedule: [traces.run(folder / f"simulated-{ratio}-{schedule}", {**common, "schedule": schedule})]
        for schedule in ("phased", "continuous")
    }
    work = [("sample",), ("execute",), ("score",), ("mine",), (POLICY_STEP,)]
    return compare(found["phased"], found["continuous"], work)


def real(folder: Path, rounds: int, steps: int) -> dict[str, Any]:
    found: dict[str, list[Trace]] = {"phased": [], "continuous": []}
    for seed in range(rounds):
        for schedule, runs in found.items():
            settings = {
                "seed": seed, "schedule": schedule, "policy.steps_per_iteration": steps, "policy.max_staleness": 2,
                "iterations": 1, "reward.groups_per_iteration": 120, "evaluation.problems": 60, "evaluation.n": 5,
            }  # fmt: skip
            runs.append(traces.run(folder / f"real-{schedule}-{seed}", settings, pin))
            show(f"{schedule}, seed {seed}: {describe(runs[-1])}")
    compared = compare(found["phased"], found["continuous"], [stages for stages, _ in CORES])
    return {**compared, "pass_at_1": {schedule: [rewards(run) for run in runs] for schedule, runs in found.items()}}


def rewards(trace: Trace) -> float:
    """Mean pass@1 on held-out problems of the policy after the last step."""
    rows = [row for row in trace.report["table"] if row["policy"].startswith("iteration")]
    return round(float(rows[-1]["pass_at_1"]), 4)


def describe(trace: Trace) -> str:
    start, end, steps = window(trace)
    stages = sorted({span.stage for span in trace.spans if span.end > start and span.start < end})
    busy = ", ".join(f"{stage} {trace.busy([stage], start, end) / steps:.2f}" for stage in stages)
    return f"{(end - start) / steps:.2f} s a step; busy: {busy}; pass@1 {rewards(trace)}"


def pin(running: subprocess.Popen[str]) -> None:
    """Keep the processes of every actor, with all their threads and children, on the core of its kind."""

    def watch() -> None:
        while running.poll() is None:
            _pin_once(running.pid)
            threading.Event().wait(1.0)

    threading.Thread(target=watch, daemon=True).start()


def _pin_once(driver: int) -> None:
    for process in _children(driver):
        try:
            title = "".join(process.cmdline()[:1])
            for core, (_, classes) in enumerate(CORES):
                if any(title == f"ray::{kind}" or title.startswith(f"ray::{kind}.") for kind in classes):
                    for one in [process, *process.children(recursive=True)]:
                        _move(one.pid, core)
        except psutil.Error:
            continue  # it ended meanwhile


def _children(driver: int) -> list[psutil.Process]:
    try:
        return psutil.Process(driver).children(recursive=True)
    except psutil.Error:
        return []


def _move(process: int, core: int) -> None:
    try:
        for thread in os.listdir(f"/proc/{process}/task"):
            os.sched_setaffinity(int(thread), {core})
    except OSError:
        pass  # it ended meanwhile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="of phased and continuous, each with a seed of its own")
    parser.add_argument("--steps", type=int, default=12, help="of PPO")
    parser.add_argument("--only", choices=("simulated", "real"))
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-overlap")
    arguments = parser.parse_args()
    result: Mapping[str, Any] = {}
    if arguments.only != "real":
        by_ratio = {f"1:{ratio}": simulated(arguments.out, ratio, arguments.steps) for ratio in RATIOS}
        for name, found in by_ratio.items():
            show(f"simulated, sampling : policy step = {name}: {found}")
        result = {"simulated": by_ratio}
    if arguments.only != "simulated":
        if (os.cpu_count() or 1) < len(CORES):
            raise SystemExit("two kinds of hardware need two cores")
        result = {**result, **real(arguments.out, arguments.rounds, arguments.steps)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
