"""Choosing the hidden tests of a problem, and measuring how well they tell right from wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from roles.problems.pocket.inputs import argument_pool
from roles.problems.pocket.mutants import LAZY, agrees, mutant_programs, passes
from roles.problems.pocket.pipeline import Arguments, Failure, Pipeline
from roles.records import Test

TESTS = 12
MOST_TESTS = 16
POOL = 60
EXTRA = 150  # inputs on which a surviving mutant must differ before it counts as one

Case = tuple[Arguments, Any]


def choose_tests(pipeline: Pipeline, source: str, rng: random.Random, limit: int) -> list[Case]:
    """12 to 16 cases: greedily those that refute most of the mutants still alive, then two edge inputs and random ones.
    Inputs on which the reference itself raises are left out."""
    cases = _cases(pipeline, rng, POOL)
    mutants = [*LAZY, *mutant_programs(pipeline, source, rng, limit)]
    refuted = [
        {i for i, mutant in enumerate(mutants) if not agrees(want, mutant(*arguments))} for arguments, want in cases
    ]
    alive = set[int]().union(*refuted)
    chosen: list[int] = []
    while alive and len(chosen) < MOST_TESTS:
        best = max(range(len(cases)), key=lambda i: len(refuted[i] & alive))
        chosen.append(best)
        alive -= refuted[best]
    rest = [i for i in range(len(cases)) if i not in chosen]
    rest = rest[:2] + rest[:1:-1]  # the pool starts with the edges
    chosen += rest[: max(0, TESTS - len(chosen))]
    return [cases[i] for i in sorted(chosen)]


def as_tests(cases: Sequence[Case]) -> tuple[Test, ...]:
    """The cases as records: the call enters the jail, the check with its literal never does."""
    return tuple(
        Test(
            f"solve({', '.join(map(repr, arguments))})",
            f"result is {want}" if isinstance(want, bool) else f"result == {want!r}",
        )
        for arguments, want in cases
    )


def mutation_score(
    pipeline: Pipeline, source: str, cases: list[Case], rng: random.Random, limit: int
) -> tuple[int, int]:
    """(killed, all) over fresh mutants; one that no test and none of 150 further inputs refutes is the same function
    and counts in neither."""
    killed = total = 0
    further = _cases(pipeline, rng, EXTRA)
    for mutant in mutant_programs(pipeline, source, rng, limit):
        if not passes(mutant, cases):
            killed += 1
            total += 1
        elif not passes(mutant, further):
            total += 1
    return killed, total


def _cases(pipeline: Pipeline, rng: random.Random, count: int) -> list[Case]:
    pool = argument_pool(pipeline.source, pipeline.uses_k, rng, count)
    cases = [(arguments, pipeline(*arguments)) for arguments in pool]
    return [case for case in cases if not isinstance(case[1], Failure)]
