"""Tokens per second and peak memory of our reward-model and PPO steps, and of TRL's.

    python -m benchmarks.learning [--device cpu|cuda] [--rounds N] [--threads N] [--model pocket|llama-135m|FOLDER ...]

In every round each arm makes one step on the same batch, in turn, and beside them a large matrix product shows what the
machine can do; printed are medians, and ratios are those of two steps of one round. All arms have the same model, data,
batch, precision, optimiser (AdamW) and number of threads, and a process of their own. Tokens are useful ones: prompt
and completion of every sequence that was handed over, without padding, counted alike for both. Memory is the peak less
what was in use before the first step: resident on a CPU, allocated by torch on a GPU.

- reward: `RewardTrainer` with a scalar head against TRL's, on one pair of each problem; its two programs share the
  prompt, as pairs always do. "4 x 4" is the loop's way, all pairs of 4 passing and 4 failing programs: TRL encodes each
  program once per pair, so many at a time as in the other.
- PPO: `PolicyTrainer` against TRL's `PPOTrainer` without its sampling (see `learning_arms`), one completion of each
  prompt. Both compute log-probabilities under policy and reference, values, advantages, and 4 updates. Both critics
  have a trunk of their own; "head" is ours with a head on the policy's. "4 samples" of each prompt is the loop's way.

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
        self._connection.send("go")
        return self._receive()

    def _receive(self) -> Any:
        try:
            message = self._connection.recv()
        except EOFError:
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
    rows = {}
    for name, turns in found.items():
        ratios = [other.seconds / own.seconds for own, other in zip(turns, found[theirs], strict=True)]
        rows[name] = {
            "tokens_per_second": round(statistics.median(n / t.seconds for n, t in zip(tokens, turns, strict=True)), 1),
            "seconds": round(statistics.median(turn.seconds for turn in turns), 3),
            "tokens_over_trl": round(statistics.median(ratios), 2),
            "lowest": round(min(ratios), 2),
            "highest": round(max(ratios), 2),
            "peak_megabytes": round(turns[-1].peak / 1e6, 1),
            "memory_over_trl": round(turns[-1].peak / found[theirs][-1].peak, 2),
        }
    return rows


def benchmark(name: str, device: str, rounds: int, threads: int, console: Console) -> dict[str, Any]:
    """All figures of one model."""
    from benchmarks import learning_data as data
    from benchmarks.learning_arms import MATMULS, Work

    case, shape = data.case(name), data.config(name)
    size, number = MATMULS[device]
    total: dict[str, Any] = {}
    shares: dict[str, float] = {}
    console.print(f"{name}, {device}, {threads} threads, {rounds} rounds")
    for title, arms, grouped in (
        ("reward", ["reward", "reward, TRL"], False),
        ("reward, 4 x 4", ["reward", "reward, TRL"], True),
        ("ppo", ["ppo", "ppo, TRL", "ppo, head"], False),
        ("ppo, 4 samples", ["ppo", "ppo, TRL"], True),
    ):
        work = Work(case, device, rounds + 1, grouped)
        found = measure([*arms, "matmul"], work, threads)
        rates = [number * 2.0 * size**3 / turn.seconds for turn in found.pop("matmul")]
        if title.startswith("reward"):
            pairs = data.pair_batches(case, shape.vocab_size, rounds + 1, grouped)[1:]
            sequences = [[program for group in batch for program in group.programs] for batch in pairs]
            needed = {"reward": [data.reward_operations(shape, batch) for batch in pairs]}
        else:
            batches = data.rollout_batches(case, shape.vocab_size, rounds + 1, grouped)[1:]
            sequences = [[rollout.sequence for rollout in batch] for batch in batches]
            needed = {
                arm: [data.ppo_operations(shape, batch, own_trunk=arm == "ppo") for batch in batches]
                for arm in arms if arm != "ppo, TRL"
            }  # fmt: skip
        rows = compare(found, arms[1], [data.useful_tokens(batch) for batch in sequences])
        for arm, operations in needed.items():
            turns = zip(operations, found[arm], rates, strict=True)
            shares[arm] = statistics.median(work / turn.seconds / rate for work, turn, rate in turns)
            rows[arm]["share_of_matmul_rate"] = round(shares[arm], 3)
        total[title] = {"arms": rows, "matmul_gigaflops": round(statistics.median(rates) / 1e9, 1)}
        show(console, title, total[title])
    total["reward_tokens_over_trl"] = total["reward"]["arms"]["reward"]["tokens_over_trl"]
    total["ppo_tokens_over_trl"] = total["ppo"]["arms"]["ppo"]["tokens_over_trl"]
    total["reward_memory_over_trl"] = total["reward"]["arms"]["reward"]["memory_over_trl"]
    total["ppo_memory_over_trl"] = total["ppo"]["arms"]["ppo"]["memory_over_trl"]
    total["reward_share_of_matmul_rate"] = total["reward"]["arms"]["reward"]["share_of_matmul_rate"]
    total["ppo_share_of_matmul_rate"] = total["ppo"]["arms"]["ppo"]["share_of_matmul_rate"]
    total["share_of_matmul_rate"] = min(total["reward_share_of_matmul_rate"], total["ppo_share_of_matmul_rate"])
    total["ppo_head_tokens_over_trl"] = total["ppo"]["arms"]["ppo, head"]["tokens_over_trl"]
    total["ppo_head_memory_over_trl"] = total["ppo"]["arms"]["ppo, head"]["memory_over_trl"]
    total["reward_4x4_tokens_over_trl"] = total["reward, 4 x 4"]["arms"]["reward"]["tokens_over_trl"]
    total["ppo_4_samples_tokens_over_trl"] = total["ppo, 4 samples"]["arms"]["ppo"]["tokens_over_trl"]
    return total


def show(console: Console, title: str, part: dict[str, Any]) -> None:
    console.print(f"  {title}; a large matrix product: {part['matmul_gigaflops']} GFLOP/s")
    for name, row in part["arms"].items():
        share = f"   {row['share_of_matmul_rate']:.1%} of the product's rate" if "share_of_matmul_rate" in row else ""
        console.print(
            f"    {name:<14}{row['tokens_per_second']:>9} tokens per second {row['tokens_over_trl']:>6} x  "
            f"[{row['lowest']} to {row['highest']}]{row['peak_megabytes']:>10} MB {row['memory_over_trl']:>6} x{share}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each arm, in turn")
    parser.add_argument("--model", nargs="+", help="default: pocket and llama-135m; with cuda llama-1.3b")
    arguments = parser.parse_args()
    os.environ.update(_ENVIRONMENT, OMP_NUM_THREADS=str(arguments.threads))
    import torch

    console = Console(width=140)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        console.print("--device cuda: torch finds no CUDA device here; nothing was measured")
        sys.exit(2)
    models = arguments.model or (["llama-1.3b"] if arguments.device == "cuda" else ["pocket", "llama-135m"])
    found = {
        name: benchmark(name, arguments.device, arguments.rounds, arguments.threads, console) for name in models
    }
    headline = {key: value for key, value in found[models[-1]].items() if not isinstance(value, dict)}
    print(json.dumps({"model": models[-1], "device": arguments.device, **headline, "models": found}))


if __name__ == "__main__":
    main()
