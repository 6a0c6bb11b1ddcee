"""How many generator workers one driver feeds, and what gives way first.

    python -m benchmarks.scaling [--workers 1 10 100 300 1000] [--seconds 30] [--out FOLDER]

The whole loop with simulated service times: streams, admission, staleness, weights, learners, miner and ledger are
real, many workers share a process. A generator takes 0.8 to 1.2 times `--seconds` for a batch. Linear is what that
many workers sample if they never wait. Then the same with 1,000 workers that are ten times as fast, so that something
must give way: what did, and how many batches a second it carries, is the bottleneck. Last, references through a stream
against Ray's own queue, which is an actor. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.util.queue import Queue

from actors.miner import MINED_AT_ONCE
from actors.streams import Stream
from benchmarks import traces
from benchmarks.traces import POLICY_STEP, ROOT, Trace, show

SAMPLES = 8  # of a batch, which is one problem
SPREAD = (0.8, 1.2, 0.9, 1.1, 1.0, 0.95, 1.05)  # of the service times, so that workers do not keep step
ROUNDS = 5  # batches of each worker
REFERENCES = 20_000


class Sampler:
    """CPU seconds of the driver's process and of the whole machine, once a second."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float, float]] = []  # seconds since the epoch, CPU seconds of the two

    def __call__(self, running: subprocess.Popen[str]) -> None:
        def watch() -> None:
            process = psutil.Process(running.pid)
            while running.poll() is None:
                try:
                    times = process.cpu_times()
                except psutil.Error:
                    return
                everything = psutil.cpu_times()
                busy = sum(everything) - everything.idle - everything.iowait
                self.points.append((time.time(), times.user + times.system, busy))
                threading.Event().wait(1.0)

        threading.Thread(target=watch, daemon=True).start()


def settings(workers: int, seconds: float) -> dict[str, Any]:
    step = max(1, workers // 2)
    others = max(2, workers // 20)
    times = {
        "sample_seconds": [round(seconds * share, 4) for share in SPREAD], "execute_seconds": 0.05,
        "score_seconds": 0.05, "policy_step_seconds": 0.1, "reward_batch_seconds": 0, "workers_per_process": 250,
    }  # fmt: skip
    return {
        "simulate": json.dumps(times), "iterations": 1, "policy.steps_per_iteration": ROUNDS * workers // step,
        "policy.groups_per_step": step, "policy.max_staleness": 5, "policy.checkpoint_every": 1000,
        "sampling.problems_per_batch": 1, "sampling.n": SAMPLES, "reward.groups_per_iteration": 1,
        "evaluation.problems": 2, "evaluation.n": 2, "sft.problems": 2, "stream_capacity": 64,
        "workers.generators": workers, "workers.executors": others, "workers.scorers": others,
    }  # fmt: skip


def measure(folder: Path, workers: int, seconds: float) -> dict[str, Any]:
    sampler = Sampler()
    trace = traces.run(folder / f"{workers}-{seconds:g}", settings(workers, seconds), sampler)
    samples = [span for span in trace.of("sample") if span.items]
    first, last = len(samples) // ROUNDS, len(samples) - 2 * len(samples) // ROUNDS
    start, end = samples[first - 1].end, samples[last].end
    inside = [span for span in samples if span.end > start and span.start < end]
    parts = [(min(span.end, end) - max(span.start, start)) / (span.end - span.start) for span in inside]  # of a batch
    rate = sum(part * span.items for part, span in zip(parts, inside, strict=True)) / (end - start)
    linear = workers * SAMPLES / seconds / (sum(SPREAD) / len(SPREAD))
    shares = utilisation(trace, sampler, start, end, settings(workers, seconds))
    busiest = max(shares, key=shares.__getitem__)
    return {
        "workers": workers,
        "seconds_per_batch": seconds,
        "samples_per_second": round(rate, 2),
        "batches_per_second": round(rate / SAMPLES, 2),
        "efficiency": round(rate / linear, 3),
        "busy": {name: round(share, 3) for name, share in shares.items()},
        "busiest": busiest,
    }


def utilisation(trace: Trace, sampler: Sampler, start: float, end: float, of: dict[str, Any]) -> dict[str, float]:
    """Share of the time between `start` and `end`, in seconds of the trace, that each part of the loop is busy."""

    def share(stage: str, workers: int) -> float:
        spans = [span for span in trace.of(stage) if span.end > start and span.start < end]
        return sum(min(span.end, end) - max(span.start, start) for span in spans) / (end - start) / workers

    inside = [point for point in sampler.points if start <= point[0] - trace.start <= end]
    if len(inside) < 2:
        raise SystemExit(f"{end - start:.1f} s of full load are too few to be measured: more --seconds")
    seconds, driver, machine = (last - first for first, last in zip(inside[0], inside[-1], strict=True))
    return {
        "driver": driver / seconds,
        "cores": machine / seconds / (os.cpu_count() or 1),
        "ledger": share("mine", MINED_AT_ONCE),
        "executors": share("execute", of["workers.executors"]),
        "scorers": share("score", of["workers.scorers"]),
        "policy learner": share(POLICY_STEP, 1),
        "generators": share("sample", of["workers.generators"]),
    }


def references_per_second(
    put: Callable[[Any], Awaitable[Any]], take: Callable[[], Awaitable[Any]], count: int
) -> float:
    """One that puts and one that takes, both in this process."""

    async def both() -> float:
        reference = ray.put(b"")

        async def produce() -> None:
            for _ in range(count):
                await put(reference)

        async def consume() -> None:
            for _ in range(count):
                await take()

        start = time.perf_counter()
        await asyncio.gather(produce(), consume())
        return count / (time.perf_counter() - start)

    return asyncio.run(both())


def streams() -> dict[str, float]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        stream: Stream[Any] = Stream("references", 64)
        queue = Queue(maxsize=64)
        ours = references_per_second(stream.put, lambda: stream.take(1), REFERENCES)
        rays = references_per_second(queue.put_async, queue.get_async, REFERENCES // 20)
    finally:
        ray.shutdown()
    return {"stream_per_second": round(ours), "ray_queue_per_second": round(rays), "times": round(ours / rays, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 300, 1000])
    parser.add_argument("--seconds", type=float, default=30.0, help="that a generator takes for a batch, on average")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-scaling")
    arguments = parser.parse_args()
    passing = streams()
    show(f"references per second: {passing}; {os.cpu_count()} cores")
    found = []
    for workers in arguments.workers:
        found.append(measure(arguments.out, workers, arguments.seconds))
        show(str(found[-1]))
    saturated = measure(arguments.out, arguments.workers[-1], arguments.seconds / 10)
    show(f"saturated: {saturated}")
    print(json.dumps({
        "workers": found,
        "saturated": saturated,
        f"efficiency_{arguments.workers[-1]}": found[-1]["efficiency"],
        "bottleneck": saturated["busiest"],
        "bottleneck_batches_per_second": saturated["batches_per_second"],
        "stream_over_ray_queue": passing["times"],
        "references": passing,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
