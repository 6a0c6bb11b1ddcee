"""Tokens per second and peak memory of our reward-model and PPO steps, and of TRL's.

    python -m benchmarks.learning [--device cpu|cuda] [--rounds N] [--threads N] [--model pocket|llama-135m|FOLDER ...]

In every round each arm makes one step on the same batch, in turn, and beside them a large matrix product shows what the
machine can do; printed are medians, and ratios are those of two steps of one round. All arms have the same model, data,
batch, precision, optimiser (AdamW) and number of threads, and a process of their own. Tokens are useful ones: prompt
and completion of every sequence that was handed over, without padding, counted alike for both. Beside the ratio of
seconds is that of the processors' seconds, which hardly changes on a machine that is busy with something else. Memory
is the peak less what was in use before the first step: resident on a CPU, allocated by torch on a GPU.

- reward: `RewardTrainer` with a scalar head against TRL's, on one pair of each problem; its two programs share the
  prompt, as pairs always do. "4 x 4" is the loop's way, all pairs of 4 passing and 4 failing programs: TRL encodes each
  program once per pair, so many at a time as in the other.
- PPO: `PolicyTrainer` against TRL's `PPOTrainer` without its sampling (see `learning_arms`), one completion of each
  prompt. Both compute log-probabilities under policy and reference, values, advantages, and 4 updates. Both critics
  have a trunk of their own; "head" is ours with a head on the policy's. "samples" is the loop's way: 4 of each
  prompt, or as many as leave the batch 4 prompts.

Lengths, models and the operations that `share_of_matmul_rate` counts are in `learning_data`. The last line is one JSON
object; its first figures are those of the last model.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

from rich.console import Console

_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE", "TRL_EXPERIMENTAL_SILENCE": "1", "TRANSFORMERS_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1",
}  # fmt: skip


# Arms, and whether several programs share a prompt; what a part compares with is its second arm.
PARTS = {
    "reward": (("reward", "reward, TRL"), False),
    "reward, 4 x 4": (("reward", "reward, TRL"), True),
    "ppo": (("ppo", "ppo, TRL", "ppo, head"), False),
    "ppo, samples": (("ppo", "ppo, TRL"), True),
}


class ArmFailed(RuntimeError):
    """An arm did not come to the end of its steps."""


class Arm:
    """A process that makes a step when told to."""

    def __init__(self, name: str, work: Any, threads: int) -> None:
        from benchmarks import learning_arms

        self.name = name
        here, there = multiprocessing.Pipe()
        self._connection: Connection = here
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=learning_arms.run, args=(name, work, threads, there), daemon=True)
        self._process.start()
        there.close()

    def __enter__(self) -> Arm:
        self._receive()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join(30)
        self._process.kill()

    def step(self) -> Any:
        """Its `Measured`. Raises `ArmFailed`."""
        return self._receive("go")

    def _receive(self, asked: str = "") -> Any:
        try:
            if asked:
                self._connection.send(asked)
            message = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join(30)
            raise ArmFailed(f"{self.name}: ended with exit code {self._process.exitcode}") from None
        if isinstance(message, str) and message != "ready":
            raise ArmFailed(f"{self.name}:\n{message}")
        return message


def measure(names: Sequence[str], work: Any, threads: int) -> dict[str, list[Any]]:
    """What each arm measured in each round, without the first, which warms up."""
    with ExitStack() as stack:
        arms = [stack.enter_context(Arm(name, work, threads)) for name in names]
        rounds = [[arm.step() for arm in arms] for _ in range(work.steps)][1:]
        return {name: [turn[place] for turn in rounds] for place, name in enumerate(names)}


def compare(found: dict[str, list[Any]], theirs: str, tokens: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Of every arm: tokens per second and peak memory, and how many times those of `theirs` they are."""
    rows, reference = {}, found[theirs]
    for name, turns in found.items():
        both = list(zip(turns, reference, strict=True))
        ratios = [other.seconds / own.seconds for own, other in both]
        rows[name] = {
            "tokens_per_second": round(statistics.median(n / t.seconds for n, t in zip(tokens, turns, strict=True)), 1),
            "seconds": round(statistics.median(turn.seconds for turn in turns), 3),
            "tokens_over_trl": round(statistics.median(ratios), 2),
            "lowest": round(min(ratios), 2),
            "highest": round(max(ratios), 2),
            "processor_over_trl": round(statistics.median(other.processor / own.processor for own, other in both), 2),
            "peak_megabytes": round(turns[-1].peak / 1e6, 1),
            "memory_over_trl": round(turns[-1].peak / reference[-1].peak, 2),
        }
    return rows


def part(title: str, case: Any, device: str, rounds: int, threads: int) -> dict[str, Any]:
    """Figures of the arms of one of `PARTS`, and of the matrix product beside them."""
    from benchmarks import learning_data as data
    from benchmarks.learning_arms import MATMULS, Work

    arms, grouped = PARTS[title]
    found = measure([*arms, "matmul"], Work(case, device, rounds + 1, grouped), threads)
    size, number = MATMULS[device]
    rates = [number * 2.0 * size**3 / turn.seconds for turn in found.pop("matmul")]
    shape = data.config(case.name)
    if title.startswith("reward"):
        pairs = data.pair_batches(case, shape.vocab_size, rounds + 1, grouped)[1:]
        batches = [[program for group in batch for program in group.programs] for batch in pairs]
    else:
        rollouts = data.rollout_batches(case, shape.vocab_size, rounds + 1, grouped)[1:]
        batches = [[rollout.sequence for rollout in batch] for batch in rollouts]
    rows = compare(found, arms[1], [sum(map(len, batch)) for batch in batches])
    for arm in (arm for arm in arms if "TRL" not in arm):
        needed = [data.OPERATIONS[arm](shape, batch) for batch in batches]
        shares = [work / turn.seconds / rate for work, turn, rate in zip(needed, found[arm], rates, strict=True)]
        rows[arm]["share_of_matmul_rate"] = round(statistics.median(shares), 3)
    return {"arms": rows, "matmul_gigaflops": round(statistics.median(rates) / 1e9, 1)}


def benchmark(name: str, device: str, rounds: int, threads: int | None, console: Console) -> dict[str, Any]:
    """All figures of one model."""
    from benchmarks import learning_data as data

    threads = threads or data.case(name).threads or len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of the processes to come
    console.print(f"{name}, {device}, {threads} threads, {rounds} rounds")
    parts = {}
    for title in PARTS:
        parts[title] = part(title, data.case(name), device, rounds, threads)
        show(console, title, parts[title])
    reward, ppo, head = (parts[arm.partition(",")[0]]["arms"][arm] for arm in ("reward", "ppo", "ppo, head"))
    return {
        "reward_tokens_over_trl": reward["tokens_over_trl"],
        "ppo_tokens_over_trl": ppo["tokens_over_trl"],
        "reward_memory_over_trl": reward["memory_over_trl"],
        "ppo_memory_over_trl": ppo["memory_over_trl"],
        "share_of_matmul_rate": min(reward["share_of_matmul_rate"], ppo["share_of_matmul_rate"]),
        "reward_share_of_matmul_rate": reward["share_of_matmul_rate"],
        "ppo_share_of_matmul_rate": ppo["share_of_matmul_rate"],
        "ppo_head_tokens_over_trl": head["tokens_over_trl"],
        "ppo_head_memory_over_trl": head["memory_over_trl"],
        "reward_4x4_tokens_over_trl": parts["reward, 4 x 4"]["arms"]["reward"]["tokens_over_trl"],
        "ppo_samples_tokens_over_trl": parts["ppo, samples"]["arms"]["ppo"]["tokens_over_trl"],
        "parts": parts,
    }


def show(console: Console, title: str, found: dict[str, Any]) -> None:
    console.print(f"  {title}; a large matrix product: {found['matmul_gigaflops']} GFLOP/s")
    for name, row in found["arms"].items():
        share = f"{row['share_of_matmul_rate']:>8.1%} of the product's rate" if "share_of_matmul_rate" in row else ""
        seconds = f"{row['tokens_over_trl']:>6} x [{row['lowest']} to {row['highest']}]"
        memory = f"{row['peak_megabytes']:>9} MB {row['memory_over_trl']:>5} x"
        console.print(
            f"    {name:<12}{row['tokens_per_second']:>8} tokens per second {seconds:<22}"
            f"{row['processor_over_trl']:>6} x{memory}{share}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of each arm, in turn; by default all, for the pocket model one")
    parser.add_argument("--model", nargs="+", help="default: pocket and llama-135m; with cuda llama-1.3b")
    arguments = parser.parse_args()
    os.environ.update(_ENVIRONMENT)
    import torch

    console = Console(width=140)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        console.print("--device cuda: torch finds no CUDA device here; nothing was measured")
        sys.exit(2)
    models = arguments.model or (["llama-1.3b"] if arguments.device == "cuda" else ["pocket", "llama-135m"])
    found = {
        name: benchmark(name, arguments.device, arguments.rounds, arguments.threads, console) for name in models
    }
    headline = {key: value for key, value in found[models[-1]].items() if key != "parts"}
    print(json.dumps({"model": models[-1], "device": arguments.device, **headline, "models": found}))


if __name__ == "__main__":
    main()
