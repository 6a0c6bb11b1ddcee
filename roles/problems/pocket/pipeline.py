"""Typed pipelines of primitives: drawing them, describing them in English and running them."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

from roles.problems.pocket.integers import INTEGERS
from roles.problems.pocket.primitive import Kind, Primitive
from roles.problems.pocket.strings import STRINGS

PRIMITIVES: dict[str, Primitive] = {item.name: item for item in INTEGERS + STRINGS}
ARGUMENTS: dict[Kind, str] = {"ints": "nums", "text": "text", "words": "words"}
START_WEIGHTS: dict[Kind, float] = {"ints": 0.5, "text": 0.25, "words": 0.25}

Arguments = tuple[Any, ...]
Function = Callable[[Any, int], Any]


@dataclasses.dataclass(frozen=True)
class Failure:
    """What a program that raised gave back; equal to no value of the grammar."""

    error: str


@dataclasses.dataclass(frozen=True)
class Stage:
    """One use of a primitive. `constant` is `k` when the problem's second argument takes its place."""

    name: str
    constant: int | Literal["k"] | None = None
    mistaken: bool = False  # use the primitive's mistake in the place of its code

    @property
    def primitive(self) -> Primitive:
        return PRIMITIVES[self.name]

    def __str__(self) -> str:
        return self.name if self.constant is None else f"{self.name}({self.constant})"


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """Stages applied from left to right to a value of kind `source`."""

    source: Kind
    stages: tuple[Stage, ...]

    @property
    def target(self) -> Kind:
        return self.stages[-1].primitive.target

    @property
    def uses_k(self) -> bool:
        return any(stage.constant == "k" for stage in self.stages)

    @property
    def arguments(self) -> tuple[str, ...]:
        return (ARGUMENTS[self.source], "k") if self.uses_k else (ARGUMENTS[self.source],)

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Every unordered pair of primitives that occur together, neighbours or not."""
        names = sorted({stage.name for stage in self.stages})
        return frozenset((a, b) for i, a in enumerate(names) for b in names[i + 1 :])

    @classmethod
    def parse(cls, stages: Sequence[str]) -> Pipeline:
        """The pipeline of stages such as `even` and `plus(3)`, as the suite's file names them."""
        parsed: list[Stage] = []
        for text in stages:
            name, _, rest = text.partition("(")
            constant = rest.rstrip(")")
            parsed.append(Stage(name, "k" if constant == "k" else int(constant) if constant else None))
        return cls(parsed[0].primitive.source, tuple(parsed))

    def well_typed(self) -> bool:
        kind = self.source
        for stage in self.stages:
            if stage.primitive.source != kind:
                return False
            kind = stage.primitive.target
        return bool(self.stages)

    def __call__(self, *arguments: Any) -> Any:
        """The value for `arguments`, or a `Failure`: a text may have no first word."""
        value, k = arguments[0], arguments[1] if len(arguments) > 1 else 0
        try:
            for stage in self.stages:
                value = _function(stage.name, stage.constant, stage.mistaken)(value, k)
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            return Failure(type(error).__name__)
        return value


def stage_lines(stage: Stage, value: str, target: str, element: str) -> list[str]:
    """Statements that bind `target` to the stage's value of the variable `value`."""
    primitive = stage.primitive
    if primitive.form == "fold":
        start, update = fold_code(stage, target, element)
        return [f"{target} = {start}", f"for {element} in {value}:", f"    {update}"]
    return [f"{target} = {expression(stage, value, element)}"]


def code_of(stage: Stage) -> str:
    return stage.primitive.mistake if stage.mistaken else stage.primitive.code


def fold_code(stage: Stage, total: str, element: str) -> tuple[str, str]:
    """The start value and the update statement of a stage that can be a loop."""
    code = code_of(stage) if stage.primitive.form == "fold" else stage.primitive.loop
    start, update = fill(code, stage, x=element, total=total).split("; ")
    return start, update


def fill(code: str, stage: Stage, **names: str) -> str:
    return code.format(c=stage.constant, **names)


def expression(stage: Stage, value: str, element: str) -> str:
    """The stage as one expression over the atomic expression `value`; not for folds."""
    primitive, code = stage.primitive, code_of(stage)
    if primitive.form == "whole":
        return fill(code, stage, v=value)
    inner = fill(code, stage, x=element)
    body = f"{element} for {element} in {value} if {inner}" if primitive.form == "keep" else (
        f"{inner} for {element} in {value}")
    return f"''.join({body})" if primitive.source == "text" else f"[{body}]"


@functools.cache
def _function(name: str, constant: int | Literal["k"] | None, mistaken: bool) -> Function:
    lines = stage_lines(Stage(name, constant, mistaken), "v", "result", "x")
    return compile_function(["def stage(v, k):", *(f"    {line}" for line in lines), "    return result"], "stage")


def compile_function(lines: Sequence[str], name: str) -> Callable[..., Any]:
    """The function `name` of our own generated source; never used on a model's text."""
    namespace: dict[str, Any] = {}
    exec("\n".join(lines), namespace)
    function: Callable[..., Any] = namespace[name]
    return function


def draw(rng: random.Random, length: int) -> Pipeline:
    """A random well-typed pipeline of `length` different primitives; about a fifth take `k` as their constant."""
    while True:
        source = rng.choices(list(START_WEIGHTS), list(START_WEIGHTS.values()))[0]
        stages: list[Stage] = []
        kind: Kind = source
        while len(stages) < length:
            used = {stage.name for stage in stages}
            choices = [p for p in PRIMITIVES.values() if p.source == kind and p.name not in used]
            if not choices:
                break
            chosen = rng.choice(choices)
            stages.append(Stage(chosen.name, rng.choice(chosen.constants) if chosen.constants else None))
            kind = chosen.target
        else:
            eligible = [i for i, stage in enumerate(stages) if stage.constant is not None]
            if eligible and rng.random() < 0.2:
                index = rng.choice(eligible)
                stages[index] = dataclasses.replace(stages[index], constant="k")
            return Pipeline(source, tuple(stages))


def describe(pipeline: Pipeline, rng: random.Random) -> str:
    """The task in English: a nested noun phrase or a list of steps, an even chance of each."""
    name = ARGUMENTS[pipeline.source]
    if rng.random() < 0.5:
        phrase = name
        for stage in pipeline.stages:
            phrase = fill(rng.choice(stage.primitive.nouns).replace("{}", phrase), stage)
        return f"Return {phrase}."
    clauses = [fill(rng.choice(stage.primitive.clauses), stage) for stage in pipeline.stages]
    return f"Start with {name}: {', '.join(clauses[:-1])}, then {clauses[-1]}. Return the result."
