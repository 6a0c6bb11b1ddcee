"""Which drawn pipelines make a problem, and when two of them are the same problem."""

from __future__ import annotations

import collections
import functools
import hashlib
import random

from roles.problems.pocket.inputs import argument_pool
from roles.problems.pocket.pipeline import Arguments, Failure, Pipeline
from roles.problems.pocket.primitive import Kind

PROBES = 48
LONGEST_TEXT = 400  # characters of a probe's output


@functools.cache
def probes(kind: Kind) -> tuple[Arguments, ...]:
    """The fixed probe inputs of a kind, each with a `k`; the same for every suite."""
    return tuple(argument_pool(kind, True, random.Random(f"probes/{kind}"), PROBES))


def outputs(pipeline: Pipeline) -> tuple[str, ...]:
    """What the pipeline gives on the probe inputs; two pipelines are the same function if these are equal."""
    return tuple(repr(pipeline(*arguments)) for arguments in probes(pipeline.source))


def fingerprint(source: Kind, results: tuple[str, ...]) -> str:
    """A digest of the behaviour on the probe inputs of `source`."""
    return hashlib.sha256("\n".join((source, *results)).encode()).hexdigest()[:24]


def worth_asking(pipeline: Pipeline, results: tuple[str, ...]) -> bool:
    """Neither almost constant, nor often undefined, nor with huge values, nor with a stage that changes nothing."""
    if max(map(len, results)) > LONGEST_TEXT:
        return False
    failures = sum(result.startswith(Failure.__name__) for result in results)
    commonest = collections.Counter(results).most_common(1)[0][1]
    if failures > PROBES // 4 or commonest > PROBES * (0.75 if pipeline.target == "bool" else 0.5):
        return False
    for i in range(len(pipeline.stages)):
        shorter = Pipeline(pipeline.source, pipeline.stages[:i] + pipeline.stages[i + 1 :])
        if shorter.well_typed() and shorter.target == pipeline.target:
            changed = sum(a != b for a, b in zip(results, outputs(shorter), strict=True))
            if changed < PROBES // 12:
                return False
    return True
