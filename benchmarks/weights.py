"""What a weight update costs generation: the pause against one copy of the bytes, and what others do meanwhile.

    python -m benchmarks.weights [--rounds N] [--sequences N]

Generators (vLLM on a CPU, one thread each) serve a random Llama of 135 M parameters in float32, on Ray, and follow the
versions that a publisher puts into the object store, as in a run. Requests run all the time.

- One generator. In turn, N times: a version is published and taken up, and its bytes are copied by one thread into
  memory that was written to before (the quickest of three copies). The pause is that of the generator's own record:
  from when the engine stood still, its last step done, until it was told to go on. The longest gap between two tokens
  of a running request also holds the computation of its keys and values anew, under the new weights.
- A second generator joins. Of each update, from handing the version over until its log-probabilities were checked:
  tokens by the generator that is updated, and by the other one, which is updated too.

The last line is one JSON object. Medians; seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import dataclasses
import json
import os
import statistics
import tempfile
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
from rich.console import Console

from actors.generator import Generator
from actors.weights import Followers, Versions
from benchmarks import learning_data as data
from roles import delta, parity, trunk, weights
from roles.sampling.settings import ENGINE_ENV, EngineSettings
from roles.sequences import TokenSequence
from roles.weights import Packed

MODEL, PROMPT, LENGTH = "llama-135m", 32, 128
ENGINE = EngineSettings(dtype="float32", max_model_len=LENGTH + 1, max_num_seqs=32, kv_cache_bytes=256 << 20)


@dataclasses.dataclass(frozen=True)
class Seen:
    """By one generator; times are seconds since the epoch."""

    tokens: list[float]  # when each came, in order
    gaps: list[tuple[float, float]]  # between two tokens of a request: when it began, and its length
    updates: list[tuple[float, float]]  # when one began and when it was done
    memory: int  # bytes that its processes have for themselves


class Watched(Generator):
    """A generator that notes when its tokens come."""

    def __init__(self, name: str, folder: str) -> None:
        super().__init__(name, folder, ENGINE, parity_limit=0.1)
        self._tokens: list[float] = []
        self._gaps: list[tuple[float, float]] = []
        self._updates: list[tuple[float, float]] = []
        self._running: list[asyncio.Task[None]] = []

    async def busy(self, sequences: int, seed: int) -> None:
        """Let so many requests run from now on, one after the other in each place."""
        self._running = [asyncio.create_task(self._serve(seed + place)) for place in range(sequences)]
        while len(self._tokens) < 4 * sequences:
            await asyncio.sleep(0.1)

    async def update(self, version: int, weights: Packed, base: Packed | None = None) -> None:
        start = time.time()
        await super().update(version, weights, base)
        self._updates.append((start, time.time()))

    async def seen(self) -> Seen:
        process = psutil.Process()
        memory = sum(each.memory_full_info().uss for each in (process, *process.children(recursive=True)))
        return Seen(self._tokens, self._gaps, self._updates, memory)

    async def _serve(self, seed: int) -> None:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        rng, number = np.random.default_rng(seed), 0
        while True:
            prompt = rng.integers(data.FIRST, 40_000, PROMPT).tolist()
            length = int(rng.integers(LENGTH // 4, LENGTH - PROMPT))
            wanted = SamplingParams(
                max_tokens=length, ignore_eos=True, detokenize=False, output_kind=RequestOutputKind.DELTA
            )
            last = None
            async for _ in self._sampler._engine.generate({"prompt_token_ids": prompt}, wanted, f"{seed}/{number}"):
                now = time.time()
                self._tokens.append(now)
                if last is not None:
                    self._gaps.append((last, now - last))
                last = now
            number += 1


class Publisher:
    """A learner without learning: every weight is a little different in each version."""

    def __init__(self, folder: str) -> None:
        from transformers import AutoModelForCausalLM

        self._model = AutoModelForCausalLM.from_pretrained(folder)
        self._version = 0
        tokens = np.random.default_rng(0).integers(data.FIRST, 40_000, (2, LENGTH)).tolist()
        self._probe = parity.choose([TokenSequence(tuple(row[:1]), tuple(row[1:])) for row in tokens])

    @ray.method(num_returns=2)
    def weights(self) -> tuple[int, Packed]:
        import torch

        self._version += 1
        with torch.no_grad():
            for parameter in self._model.parameters():
                parameter.mul_(1.002)
            row = trunk.forward(self._model.base_model, self._probe)
            found = row.log_probs(self._model.get_output_embeddings())
        log_probs = [tuple(each[kept].tolist()) for each, kept in zip(found, row.mask, strict=True)]
        noted = parity.Probe.of(self._probe, log_probs).metadata() | {delta.VERSION: str(self._version)}
        return self._version, weights.pack(self._model.state_dict(), noted)


@dataclasses.dataclass(frozen=True)
class Round:
    copy: float
    pause: float
    gap: float  # the longest of a running request
    update: float  # from handing the version over until it was checked
    own: int  # tokens meanwhile, by the generator that is updated
    others: int  # and by the others
    mismatch: float


def folder_with_model(path: str) -> int:
    """Save the model in `path`; returns its parameters."""
    model = data.causal(MODEL, "cpu")
    model.save_pretrained(path)
    data.tokenizer().save_pretrained(path)
    return sum(parameter.numel() for parameter in model.parameters())


def copied(array: Packed, target: Packed) -> float:
    """Seconds for one copy."""
    start = time.perf_counter()
    np.copyto(target, array)
    return time.perf_counter() - start


async def measure(folder: str, rounds: int, sequences: int, console: Console) -> dict[str, Any]:
    options = {"num_cpus": 0, "max_concurrency": 16, "runtime_env": {"env_vars": {**ENGINE_ENV, "PYTHONPATH": "."}}}
    kind = ray.remote(**options)(Watched)
    first, second = (kind.remote(f"generator {number}", folder) for number in range(2))
    publisher = ray.remote(num_cpus=0)(Publisher).remote(folder)
    versions = Versions("policy")
    followers = Followers(versions, version=0)
    for generator in (first, second):
        await generator.start.remote(0)
    following: list[asyncio.Task[Any]] = []

    async def join(generator: Any, seed: int) -> None:
        follower = await followers.join(generator)
        await generator.busy.remote(sequences, seed)
        following.append(asyncio.create_task(follower.run()))

    async def turns(generators: Sequence[Any], count: int) -> list[Round]:
        found, target = [], np.zeros(0, np.uint8)
        for number in range(count + 1):
            published = await versions.publish(publisher)
            array = await published.packed
            target = target if len(target) == len(array) else np.zeros(len(array), np.uint8)
            await reached(followers.reached(published.version), following)
            await asyncio.sleep(2.0)  # tokens after the update
            copy = min(copied(array, target) for _ in range(3))
            if number:  # the first one warms up
                found += [await one(each, generators, copy) for each in generators]
        return found

    async def one(generator: Any, generators: Sequence[Any], copy: float) -> Round:
        own = await generator.seen.remote()
        start, end = own.updates[-1]
        others = [await each.seen.remote() for each in generators if each is not generator]
        taken = (await generator.drain.remote()).taken_up[-1]
        return Round(
            copy=copy,
            pause=taken.pause_seconds,
            gap=max(length for began, length in own.gaps if start - 1 <= began <= end),
            update=end - start,
            own=between(own.tokens, start, end),
            others=sum(between(each.tokens, start, end) for each in others),
            mismatch=taken.mismatch,
        )

    await join(first, 100)
    console.print("one generator: copy, pause, longest gap of a request, whole update, own tokens meanwhile")
    alone = await turns([first], rounds)
    for turn in alone:
        console.print(f"  {turn.copy:.3f} s  {turn.pause:.3f} s  {turn.gap:.2f} s  {turn.update:.2f} s  {turn.own}")
    before = await first.seen.remote()
    usual = statistics.median(length for _, length in before.gaps)
    await join(second, 200)
    console.print("two generators, each updated: pause, whole update, tokens meanwhile by itself and by the other")
    both = await turns([first, second], max(2, rounds // 2))
    for turn in both:
        console.print(f"  {turn.pause:.3f} s  {turn.update:.2f} s  {turn.own}  {turn.others}")
    after = await first.seen.remote()
    for task in following:
        task.cancel()
    for generator in (first, second):
        await generator.close.remote()
    return figures(alone, both, usual) | {"memory_growth_megabytes": round((after.memory - before.memory) / 1e6, 1)}


async def reached(waiting: Coroutine[Any, Any, Any], following: Sequence[asyncio.Task[Any]]) -> None:
    """Wait for it, or raise what a follower raises."""
    task = asyncio.ensure_future(waiting)
    done, _ = await asyncio.wait([task, *following], return_when=asyncio.FIRST_COMPLETED)
    for each in done:
        each.result()


def between(times: Sequence[float], start: float, end: float) -> int:
    return bisect.bisect_right(times, end) - bisect.bisect_left(times, start)


def figures(alone: Sequence[Round], both: Sequence[Round], usual_gap: float) -> dict[str, Any]:
    def median(turns: Sequence[Round], name: str) -> float:
        return round(statistics.median(getattr(turn, name) for turn in turns), 4)

    pause, copy = median(alone, "pause"), median(alone, "copy")
    return {
        "pause_over_copy": round(pause / copy, 2),
        "pause_seconds": pause,
        "copy_seconds": copy,
        "usual_gap_seconds": round(usual_gap, 4),
        "longest_gap_seconds": median(alone, "gap"),
        "update_seconds": median(alone, "update"),
        "tokens_by_others_during_update": median(both, "others"),
        "own_tokens_during_update": median(both, "own"),
        "two_generators_update_seconds": median(both, "update"),
        "two_generators_pause_seconds": median(both, "pause"),
        "mismatch": max(turn.mismatch for turn in (*alone, *both)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sequences", type=int, default=8, help="that run at once in a generator")
    arguments = parser.parse_args()
    os.environ.update(ENGINE_ENV)
    console = Console(width=140)
    with tempfile.TemporaryDirectory() as folder:
        parameters = folder_with_model(folder)
        size = (Path(folder) / "model.safetensors").stat().st_size
        console.print(f"{MODEL}: {parameters / 1e6:.0f} M parameters, {size / 1e6:.0f} MB")
        ray.init(
            address="local", num_cpus=os.cpu_count(), include_dashboard=False, logging_level="ERROR",
            object_store_memory=int(3.5 * size), log_to_driver=False,
        )  # fmt: skip
        found = asyncio.run(measure(folder, arguments.rounds, arguments.sequences, console))
        ray.shutdown()
    print(json.dumps({"model": MODEL, "bytes": size, "rounds": arguments.rounds, **found}))


if __name__ == "__main__":
    main()
