"""Wrong neighbours of a right solution: changed pipelines and changed code.

They decide which tests a problem gets and, drawn afresh with another seed, how good those tests are.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import random
from collections.abc import Callable
from typing import Any, Literal

from roles.problems.pocket.pipeline import PRIMITIVES, Arguments, Failure, Pipeline, Stage, compile_function

Program = Callable[..., Any]

OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt,), ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt,),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Add,), ast.Mod: (ast.FloorDiv,), ast.FloorDiv: (ast.Mod,),
}

LAZY: tuple[Program, ...] = (  # programs that do nothing with their input, or one thing
    lambda *_: 0, lambda *_: 1, lambda *_: [], lambda *_: "", lambda *_: True, lambda *_: False, lambda *_: None,
    lambda value, *_: value, lambda value, *_: len(value), lambda value, *_: sorted(value),
)


def pipeline_mutants(pipeline: Pipeline, rng: random.Random) -> list[Pipeline]:
    """Every one change that keeps the types: a stage dropped, swapped, misconceived or replaced, a constant moved."""
    stages = pipeline.stages
    changed: list[tuple[Stage, ...]] = []
    for i, stage in enumerate(stages):
        before, after = stages[:i], stages[i + 1 :]
        changed.append(before + after)
        if after:
            changed.append((*before, after[0], stage, *after[1:]))
        if stage.primitive.mistake:
            changed.append((*before, dataclasses.replace(stage, mistaken=True), *after))
        if isinstance(stage.constant, int):
            changed += [
                (*before, dataclasses.replace(stage, constant=stage.constant + step), *after)
                for step in (-1, 1) if stage.constant + step > 0
            ]
        changed += [(*before, other, *after) for other in _alternatives(stage, rng)]
    mutants = [Pipeline(pipeline.source, change) for change in changed]
    return [m for m in mutants if m.well_typed() and m.target == pipeline.target]


def _alternatives(stage: Stage, rng: random.Random) -> list[Stage]:
    own = stage.primitive
    return [
        Stage(other.name, _constant(stage, other.constants, rng))
        for other in PRIMITIVES.values()
        if (other.source, other.target) == (own.source, own.target) and other.name != own.name
    ]


def _constant(stage: Stage, constants: tuple[int, ...], rng: random.Random) -> int | Literal["k"] | None:
    if not constants:
        return None
    return stage.constant if stage.constant == "k" or stage.constant in constants else rng.choice(constants)


def code_mutants(source: str) -> list[str]:
    """Every program with one operator or one integer constant changed."""
    tree = ast.parse(source)
    mutants: list[str] = []
    for index, node in enumerate(ast.walk(tree)):
        for change in _changes(node):
            twin = copy.deepcopy(tree)
            change(list(ast.walk(twin))[index])
            mutants.append(ast.unparse(twin))
    return mutants


def _changes(node: ast.AST) -> list[Callable[[Any], None]]:
    if isinstance(node, ast.Compare):
        return [_set_comparison(new) for new in OPERATORS.get(type(node.ops[0]), ())]
    if isinstance(node, ast.BinOp | ast.AugAssign):
        return [_set_operator(new) for new in OPERATORS.get(type(node.op), ())]
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return [_set_value(node.value + step) for step in (-1, 1)]
    return []


def _set_comparison(new: type[ast.AST]) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        node.ops = [new()]
    return change


def _set_operator(new: type[ast.AST]) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        node.op = new()
    return change


def _set_value(value: int) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        node.value = value
    return change


def mutant_programs(pipeline: Pipeline, source: str, rng: random.Random, limit: int) -> list[Program]:
    """Up to `limit` mutants of each sort of the solution `source` of `pipeline`, as functions of its arguments."""
    pipelines, codes = pipeline_mutants(pipeline, rng), code_mutants(source)
    rng.shuffle(pipelines)
    rng.shuffle(codes)
    return [*pipelines[:limit], *(guarded(code) for code in codes[:limit])]


def guarded(source: str) -> Program:
    """`solve` of our own generated source, raising nothing: what it raises becomes a `Failure`."""
    function = compile_function([source], "solve")

    def program(*arguments: Any) -> Any:
        try:
            return function(*copy.deepcopy(arguments))
        except Exception as error:  # a mutant may raise anything; that is its answer
            return Failure(type(error).__name__)

    return program


def passes(program: Program, tests: list[tuple[Arguments, Any]]) -> bool:
    """Whether `program` gives the expected value of every test, judged as the shipped checks judge it."""
    return all(agrees(expected, program(*arguments)) for arguments, expected in tests)


def agrees(expected: Any, got: Any) -> bool:
    """`result == expected`, and identity for booleans, where equality would let 1 pass for True."""
    if isinstance(expected, bool):
        return got is expected
    return bool(got == expected)
