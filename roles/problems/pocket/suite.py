"""The pocket suite: its splits, made from a seed, and the Parquet file that ships.

Invariants, each proved by a test on the shipped file: every `test` problem contains an unordered pair of primitives
that no `train` problem contains anywhere; no two problems of the suite behave alike on the probe inputs, and none like
one primitive alone.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import itertools
import logging
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from roles.problems.pocket.hidden_tests import as_tests, choose_tests, mutation_score
from roles.problems.pocket.layouts import render, signature
from roles.problems.pocket.mutants import guarded, passes
from roles.problems.pocket.pipeline import PRIMITIVES, START_WEIGHTS, Pipeline, Stage, describe, draw
from roles.problems.pocket.screen import fingerprint, outputs, worth_asking
from roles.records import SCHEMAS, Problem, from_batch, to_batch

PARQUET = Path(__file__).with_name("pocket.parquet")
SPLITS = ("train", "validation", "test")
QUOTAS: dict[str, dict[int, int]] = {  # problems by split and number of stages
    "train": {2: 1300, 3: 1900, 4: 1000},
    "validation": {2: 60, 3: 100, 4: 40},
    "test": {2: 90, 3: 150, 4: 60},
}
RESERVED = {"test": 0.08, "validation": 0.04}  # shares of all primitive pairs
REFERENCES = 4
MUTANTS = 60  # of each sort, when tests are chosen

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A problem of the suite with what it was made from. `killed` of `mutants` fresh mutants fail its tests."""

    problem: Problem
    stages: tuple[str, ...]
    killed: int
    mutants: int


def load(split: str | None = None) -> list[Problem]:
    """The shipped problems of `split` (`train`, `validation` or `test`); all without. Raises `ValueError` otherwise."""
    if split is not None and split not in SPLITS:
        raise ValueError(f"split: {split!r} is not one of {', '.join(SPLITS)}")
    table = pq.read_table(PARQUET)
    schema = SCHEMAS[Problem]
    problems = from_batch(Problem, table.select(schema.names).cast(schema))
    return [problem for problem in problems if split in (None, problem.split)]


def stages_of(path: Path = PARQUET) -> dict[str, tuple[str, ...]]:
    """The stages of every problem in the file, such as `("even", "plus(3)")`, by problem id."""
    table = pq.read_table(path, columns=["id", "stages"])
    return {row["id"]: tuple(row["stages"]) for row in table.to_pylist()}


def write(entries: list[Entry], path: Path = PARQUET) -> None:
    """Ship `entries`: the columns of `Problem` and `stages`."""
    table = pa.Table.from_batches([to_batch(Problem, [entry.problem for entry in entries])])
    stages = pa.array([entry.stages for entry in entries], pa.list_(pa.string()))
    pq.write_table(table.append_column("stages", stages), path, compression="zstd", compression_level=19)


def reserve_pairs(seed: int) -> dict[tuple[str, str], str]:
    """The split that owns each reserved unordered pair of primitives."""
    pairs = list(itertools.combinations(sorted(PRIMITIVES), 2))
    random.Random(f"{seed}/pairs").shuffle(pairs)
    owners: dict[tuple[str, str], str] = {}
    for split, share in RESERVED.items():
        count = int(share * (len(PRIMITIVES) * (len(PRIMITIVES) - 1) // 2))
        owners.update(dict.fromkeys(pairs[:count], split))
        pairs = pairs[count:]
    return owners


def choose_pipelines(seed: int, quotas: dict[str, dict[int, int]]) -> dict[str, list[Pipeline]]:
    """Pipelines that fill `quotas`, no two of which behave alike."""
    rng = random.Random(f"{seed}/pipelines")
    owners = reserve_pairs(seed)
    seen = {fingerprint(pipeline.source, outputs(pipeline)) for pipeline in _singles()}
    chosen: dict[str, list[Pipeline]] = {split: [] for split in quotas}
    missing = {(split, length): count for split, lengths in quotas.items() for length, count in lengths.items()}
    draws = 0
    while missing:
        draws += 1
        length = rng.choice(sorted({length for _, length in missing}))
        pipeline = draw(rng, length)
        claims = {owners[pair] for pair in pipeline.pairs if pair in owners}
        split = next((owner for owner in ("test", "validation") if owner in claims), "train")
        if (split, length) not in missing:
            continue
        results = outputs(pipeline)
        mark = fingerprint(pipeline.source, results)
        if mark in seen or not worth_asking(pipeline, results):
            continue
        seen.add(mark)
        chosen[split].append(pipeline)
        missing[split, length] -= 1
        if not missing[split, length]:
            del missing[split, length]
    logger.info("%d pipelines chosen from %d draws", sum(map(len, chosen.values())), draws)
    return chosen


def _singles() -> list[Pipeline]:
    """Every pipeline of one stage: no problem is one of them in disguise."""
    starts = [item for item in PRIMITIVES.values() if item.source in START_WEIGHTS]
    stages = [Stage(item.name) for item in starts if not item.constants]
    stages += [Stage(item.name, constant) for item in starts for constant in item.constants]
    stages += [Stage(item.name, "k") for item in starts if item.constants]
    return [Pipeline(stage.primitive.source, (stage,)) for stage in stages]


def make(seed: int, quotas: dict[str, dict[int, int]] | None = None, workers: int = 1) -> list[Entry]:
    """The suite of `seed`, the same for any number of worker processes."""
    tasks = [
        (f"pocket/{split}/{index:05d}", split, pipeline)
        for split, pipelines in choose_pipelines(seed, quotas or QUOTAS).items()
        for index, pipeline in enumerate(_shuffled(pipelines, f"{seed}/{split}"))
    ]
    build = functools.partial(make_entry, seed)
    if workers == 1:
        return [build(task) for task in tasks]
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        return list(pool.map(build, tasks, chunksize=50))


def _shuffled(pipelines: list[Pipeline], seed: str) -> list[Pipeline]:
    return random.Random(seed).sample(pipelines, len(pipelines))


def make_entry(seed: int, task: tuple[str, str, Pipeline]) -> Entry:
    """The problem of `task`, which is its id, its split and its pipeline."""
    identifier, split, pipeline = task
    rng = random.Random(f"{seed}/{identifier}")
    prompt = f"{signature(pipeline)}\n    # {describe(pipeline, rng)}\n"
    source = prompt + render(pipeline, rng, "steps") + "\n"
    cases = choose_tests(pipeline, source, rng, MUTANTS)
    references: dict[str, None] = {}
    for _ in range(6 * REFERENCES):
        text = prompt + render(pipeline, rng) + "\n"
        if len(references) < REFERENCES and passes(guarded(text), cases):
            references[text] = None
    fresh = random.Random(f"{seed}/{identifier}/fresh")
    killed, mutants = mutation_score(pipeline, next(iter(references)), cases, fresh, MUTANTS)
    problem = Problem(
        id=identifier, suite="pocket", split=split, language="python", prompt=prompt, entry_point="solve",
        tests=as_tests(cases), references=tuple(references),
    )
    return Entry(problem, tuple(map(str, pipeline.stages)), killed, mutants)
