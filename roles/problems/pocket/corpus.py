"""The programs that the pocket base model reads: code as in the wild, much of it wrong.

Two sorts of mistakes. A *misconception* belongs to a primitive: wherever the primitive occurs, its one mistake takes
the place of its code at that primitive's rate, so likelihood cannot tell it from the right code. A *mutation* strikes
a tenth of the programs at random. Only pairs of primitives that occur together in training problems are allowed, and no
pipeline that behaves like a validation or test problem.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import random

from roles.problems.pocket.layouts import render, signature
from roles.problems.pocket.mutants import pipeline_mutants
from roles.problems.pocket.pipeline import PRIMITIVES, Pipeline, Stage, describe, draw
from roles.problems.pocket.screen import fingerprint, outputs, worth_asking
from roles.problems.pocket.suite import stages_of

LENGTHS = {2: 0.30, 3: 0.45, 4: 0.25}
LOWEST_RATE, HIGHEST_RATE = 0.1, 0.6
MUTATED = 0.1
SHARDS = 16


@dataclasses.dataclass(frozen=True)
class Program:
    """A prompt as in the suite and the body that the corpus shows for it, right or wrong."""

    pipeline: Pipeline  # what the prompt asks for
    prompt: str
    body: str
    misconceptions: int
    mutated: bool
    wrong: bool  # behaves differently from the description on the probe inputs


@dataclasses.dataclass(frozen=True)
class Borders:
    """What the corpus must keep to."""

    pairs: frozenset[tuple[str, str]]
    forbidden: frozenset[str]  # fingerprints


def misconception_rate(name: str) -> float:
    """How often the primitive is written with its mistake: between 0.1 and 0.6, by its name; 0 if it has none."""
    if not PRIMITIVES[name].mistake:
        return 0.0
    unit = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    return LOWEST_RATE + (HIGHEST_RATE - LOWEST_RATE) * unit


def borders() -> Borders:
    """The borders that the shipped suite sets."""
    pipelines = {name: Pipeline.parse(stages) for name, stages in stages_of().items()}
    train = {name: pipeline for name, pipeline in pipelines.items() if name.startswith("pocket/train/")}
    return Borders(
        pairs=frozenset(pair for pipeline in train.values() for pair in pipeline.pairs),
        forbidden=frozenset(
            fingerprint(pipeline.source, outputs(pipeline)) for name, pipeline in pipelines.items() if name not in train
        ),
    )


def make_corpus(seed: int, count: int, workers: int = 1) -> list[Program]:
    """Up to `count` programs with different prompts, in random order; the same for any number of workers.

    Short prompts repeat between the shards, and the repetitions are left out: 60,000 asked for give about 52,000.
    """
    build = functools.partial(_shard, borders(), -(-count * 5 // (4 * SHARDS)))
    seeds = [f"{seed}/corpus/{index}" for index in range(SHARDS)]
    if workers == 1:
        shards = list(map(build, seeds))
    else:
        with concurrent.futures.ProcessPoolExecutor(workers) as pool:
            shards = list(pool.map(build, seeds))
    unique = {program.prompt: program for shard in shards for program in shard}
    programs = list(unique.values())
    random.Random(f"{seed}/corpus").shuffle(programs)
    return programs[:count]


def composition(programs: list[Program]) -> dict[str, float]:
    """Shares of the corpus, by what is wrong with its programs."""
    count = len(programs)
    return {
        "programs": count,
        "of two stages": sum(len(p.pipeline.stages) == 2 for p in programs) / count,
        "of three stages": sum(len(p.pipeline.stages) == 3 for p in programs) / count,
        "of four stages": sum(len(p.pipeline.stages) == 4 for p in programs) / count,
        "with a misconception": sum(p.misconceptions > 0 for p in programs) / count,
        "randomly mutated": sum(p.mutated for p in programs) / count,
        "wrong by execution": sum(p.wrong for p in programs) / count,
    }


def _shard(limits: Borders, count: int, seed: str) -> list[Program]:
    rng = random.Random(seed)
    programs: dict[str, Program] = {}
    while len(programs) < count:
        pipeline = draw(rng, rng.choices(list(LENGTHS), list(LENGTHS.values()))[0])
        prompt = f"{signature(pipeline)}\n    # {describe(pipeline, rng)}\n"
        if prompt in programs or not pipeline.pairs <= limits.pairs:
            continue
        results = outputs(pipeline)
        if fingerprint(pipeline.source, results) not in limits.forbidden and worth_asking(pipeline, results):
            programs[prompt] = _write(pipeline, prompt, results, rng)
    return list(programs.values())


def _write(pipeline: Pipeline, prompt: str, results: tuple[str, ...], rng: random.Random) -> Program:
    stages = tuple(_misconceive(stage, rng) for stage in pipeline.stages)
    written = Pipeline(pipeline.source, stages)
    mutated = rng.random() < MUTATED
    if mutated and (mutants := pipeline_mutants(written, rng)):
        written = rng.choice(mutants)
    return Program(
        pipeline=pipeline,
        prompt=prompt,
        body=render(written, rng) + "\n",
        misconceptions=sum(stage.mistaken for stage in stages),
        mutated=mutated,
        wrong=outputs(written) != results,
    )


def _misconceive(stage: Stage, rng: random.Random) -> Stage:
    return dataclasses.replace(stage, mistaken=True) if rng.random() < misconception_rate(stage.name) else stage
