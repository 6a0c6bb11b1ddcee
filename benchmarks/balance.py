"""What `autobalance: true` is worth: a simulated run whose executors are too few, with and without it.

    python -m benchmarks.balance [--batches 120] [--out FOLDER]

Eight workers, a batch takes five times as long to execute as to sample. Throughput is that of the last third of the
batches, by when workers have moved. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import traces
from benchmarks.traces import ROOT, show

SAMPLE_SECONDS, EXECUTE_SECONDS, SCORE_SECONDS = 0.3, 1.5, 0.05
BATCHES_PER_STEP = 4


def measure(folder: Path, batches: int, autobalance: bool) -> dict[str, Any]:
    times = {
        "sample_seconds": [SAMPLE_SECONDS], "execute_seconds": EXECUTE_SECONDS, "score_seconds": SCORE_SECONDS,
        "policy_step_seconds": 0.05, "reward_batch_seconds": 0, "workers_per_process": 8,
    }  # fmt: skip
    trace = traces.run(
        folder / f"autobalance-{autobalance}".lower(),
        {
            "simulate": json.dumps(times), "autobalance": str(autobalance).lower(), "iterations": 1,
            "policy.steps_per_iteration": batches // BATCHES_PER_STEP, "policy.groups_per_step": BATCHES_PER_STEP,
            "policy.max_staleness": 5, "sampling.problems_per_batch": 1, "sampling.n": 4,
            "reward.groups_per_iteration": 1, "evaluation.problems": 2, "evaluation.n": 2, "sft.problems": 2,
            "workers.generators": 6, "workers.executors": 1, "workers.scorers": 1,
        },
    )  # fmt: skip
    ends = [span.end for span in trace.of("execute")]
    last = ends[-len(ends) // 3 :]
    return {
        "batches_per_second": round((len(last) - 1) / (last[-1] - last[0]), 2),
        "seconds": round(ends[-1] - ends[0], 1),
        "moves": trace.report["counts"]["moves"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=120)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-balance")
    arguments = parser.parse_args()
    found = {}
    for autobalance in (False, True):
        name = "with" if autobalance else "without"
        found[name] = measure(arguments.out, arguments.batches, autobalance)
        show(f"{name} autobalance: {found[name]}")
    gain = found["with"]["batches_per_second"] / found["without"]["batches_per_second"]
    print(json.dumps({**found, "gain": round(gain, 2)}))


if __name__ == "__main__":
    main()
