"""Broken neighbours of a Python program: one operator, constant, condition, statement or result changed."""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

Change = Callable[[Any], None]

_SWAPS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt,), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt,),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.Add: (ast.Sub, ast.Mult), ast.Sub: (ast.Add,), ast.Mult: (ast.Add, ast.FloorDiv),
    ast.Div: (ast.FloorDiv, ast.Mult), ast.FloorDiv: (ast.Div,), ast.Mod: (ast.FloorDiv,), ast.Pow: (ast.Mult,),
    ast.And: (ast.Or,), ast.Or: (ast.And,), ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitXor,),
    ast.BitXor: (ast.BitAnd,), ast.LShift: (ast.RShift,), ast.RShift: (ast.LShift,),
}  # fmt: skip
_RESULTS = ("None", "not ({})", "[{}]", "({}, {})", "str({})", "iter([{}])", "object()")


def mutants(source: str, rng: random.Random, count: int) -> list[str]:
    """At most `count` different programs, each one change away from `source`, drawn at random."""
    tree = ast.parse(source)
    places = [(index, change) for index, node in enumerate(ast.walk(tree)) for change in _changes(node)]
    rng.shuffle(places)
    found: dict[str, None] = {}
    for index, change in places:
        if len(found) == count:
            break
        twin = copy.deepcopy(tree)
        change(list(ast.walk(twin))[index])
        found.setdefault(ast.unparse(ast.fix_missing_locations(twin)))
    return list(found)


def _changes(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                for other in _SWAPS.get(type(op), ()):
                    yield lambda twin, index=index, other=other: twin.ops.__setitem__(index, other())  # type: ignore[misc]
        case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op):
            for other in _SWAPS.get(type(op), ()):
                yield lambda twin, other=other: setattr(twin, "op", other())  # type: ignore[misc]
        case ast.Constant(value=bool(value)):
            yield _set("value", not value)
        case ast.Constant(value=int(value) | float(value)):
            yield _set("value", value + 1)
            yield _set("value", value - 1)
        case ast.Constant(value=str(value)):
            yield _set("value", value[1:] if value else "x")
        case ast.If() | ast.While() | ast.IfExp():
            yield _negate
        case ast.Break():
            yield lambda twin: setattr(twin, "__class__", ast.Continue)
        case ast.Return(value=ast.expr()):
            for form in _RESULTS:
                yield lambda twin, form=form: setattr(twin, "value", _within(form, twin.value))  # type: ignore[misc]
        case ast.FunctionDef():
            yield lambda twin: twin.body.insert(0, ast.parse("raise ValueError('broken')").body[0])
            yield lambda twin: twin.body.insert(0, ast.parse("print('x' * 9)").body[0])
    for name in ("body", "orelse"):
        statements = getattr(node, name, None)
        if isinstance(statements, list) and not isinstance(node, ast.Module):
            for index in range(len(statements)):
                yield lambda twin, name=name, index=index: getattr(twin, name).__setitem__(index, ast.Pass())  # type: ignore[misc]


def _set(name: str, value: Any) -> Change:
    return lambda twin: setattr(twin, name, value)


def _negate(twin: Any) -> None:
    twin.test = ast.UnaryOp(ast.Not(), twin.test)


def _within(form: str, value: ast.expr) -> ast.expr:
    text = ast.unparse(value)
    return ast.parse(form.format(text, text), mode="eval").body
