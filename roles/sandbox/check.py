"""Evaluates a test's check over a value that came back, outside the jail.

A check is one Python expression over `result`. It is walked, not evaluated: the nodes and functions below are all
there is, so neither a suite nor a value can reach an attribute, a method or an import.
"""

from __future__ import annotations

import ast
import cmath
import functools
import math
import operator
from collections.abc import Callable
from typing import Any

from roles.sandbox import bounded
from roles.sandbox.equality import close, lists, same, same_text, same_tokens
from roles.sandbox.published import deep_equal, identical, loosely_equal

_MAX_LEVELS = 120  # a value has 100 at most


class CheckError(ValueError):
    """The check uses something that checks may not use; the message names it."""


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        abs, all, any, bool, bytes, complex, dict, divmod, float, frozenset, int, isinstance, len, list, max, min, ord,
        round, set, sorted, str, sum, tuple, same, close, lists, same_text, same_tokens,
        deep_equal, identical, loosely_equal,
    )
}  # fmt: skip
_TYPES = {name: value for name, value in _FUNCTIONS.items() if isinstance(value, type)}
_FUNCTIONS |= {
    "bytes": bounded.bytes_, "dict": bounded.dict_, "divmod": bounded.divmod_, "frozenset": bounded.frozenset_,
    "set": bounded.set_, "sum": bounded.sum_,
}  # fmt: skip
_MATH: dict[str, Any] = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module, names in (
        (math, "isclose isnan isinf isfinite floor ceil sqrt fabs trunc gcd pi e inf nan tau"),
        (cmath, "isclose phase"),
    )
    for name in names.split()
} | {"math.gcd": bounded.gcd}
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: bounded.multiply, ast.Pow: bounded.power,
    ast.Div: bounded.dividing(operator.truediv), ast.FloorDiv: bounded.dividing(operator.floordiv),
    ast.Mod: bounded.dividing(operator.mod), ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda item, items: item in items, ast.NotIn: lambda item, items: item not in items,
}  # fmt: skip
_SIGNS: dict[type, Callable[[Any], Any]] = {
    ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert
}


def compile_check(check: str) -> ast.expr:
    """The checked form of `check`. Raises `CheckError` for anything outside the allow-list."""
    return _compile(check)


@functools.lru_cache(maxsize=65536)
def _compile(check: str) -> ast.expr:
    try:
        tree = ast.parse(check.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CheckError(f"not an expression: {check[:80]!r}") from error
    _admit(tree, _MAX_LEVELS)
    return _fold(tree)


def holds(check: str, result: Any) -> bool:
    """Whether `check` is true of `result`. An error on the way (a wrong type, say) is a no, as in an assert."""
    tree = compile_check(check)
    try:
        return bool(_value(tree, result))
    except Exception as error:  # the value is a program's: whatever comparing it raises, it is not what was expected
        if isinstance(error, CheckError):
            raise
        return False


def _admit(node: ast.expr, levels: int) -> None:
    if not levels:
        raise CheckError(f"more than {_MAX_LEVELS} levels")
    match node:
        case ast.Constant():
            return
        case ast.Name(id=name):
            if name != "result" and name not in _TYPES:
                raise CheckError(f"name {name!r} is not allowed")
            return
        case ast.Attribute():
            if _dotted(node) not in _MATH or callable(_MATH[_dotted(node)]):
                raise CheckError(f"attribute {ast.unparse(node)!r} is not allowed")
            return
        case ast.Call(func=function, keywords=keywords):
            name = _dotted(function)
            if name not in _FUNCTIONS and not callable(_MATH.get(name)):
                raise CheckError(f"function {ast.unparse(function)!r} is not allowed")
            if any(keyword.arg is None for keyword in keywords):
                raise CheckError("** is not allowed")
            parts = [*node.args, *(keyword.value for keyword in keywords)]
        case ast.Compare(ops=ops) if all(type(op) in _OPERATORS for op in ops):
            parts = [node.left, *node.comparators]
        case ast.BinOp(op=op) if type(op) in _OPERATORS:
            parts = [node.left, node.right]
        case ast.UnaryOp(operand=operand):
            parts = [operand]
        case ast.BoolOp(values=values):
            parts = values
        case ast.IfExp():
            parts = [node.test, node.body, node.orelse]
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            parts = items
        case ast.Dict(keys=keys, values=values) if all(key is not None for key in keys):
            parts = [*(key for key in keys if key is not None), *values]
        case ast.Subscript(value=value, slice=index):
            bounds = [index.lower, index.upper, index.step] if isinstance(index, ast.Slice) else [index]
            parts = [value, *(bound for bound in bounds if bound is not None)]
        case _:
            raise CheckError(f"{type(node).__name__} is not allowed")
    for part in parts:
        _admit(part, levels - 1)


def _fold(node: ast.expr) -> ast.expr:
    """`node` with each display of constants as one constant: a fraction of the memory and of the time."""
    for name, part in ast.iter_fields(node):
        if isinstance(part, ast.expr):
            setattr(node, name, _fold(part))
        elif isinstance(part, list):
            part[:] = [_fold(item) if isinstance(item, ast.expr) else item for item in part]
    parts = [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
    display = isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict | ast.UnaryOp)
    if not display or not all(isinstance(part, ast.Constant) for part in parts):
        return node
    try:
        return ast.copy_location(ast.Constant(_value(node, None)), node)
    except Exception:  # what cannot be made is no value of a program either: the check will not hold
        return node


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return ""


def _value(node: ast.expr, result: Any) -> Any:
    value = functools.partial(_value, result=result)
    match node:
        case ast.Constant(value=constant):
            return constant
        case ast.Name(id="result"):
            return result
        case ast.Name(id=name):
            return _TYPES[name]
        case ast.Attribute():
            return _MATH[_dotted(node)]
        case ast.Call(func=function, args=arguments, keywords=keywords):
            name = _dotted(function)
            call = _FUNCTIONS.get(name) or _MATH[name]
            return call(*map(value, arguments), **{str(word.arg): value(word.value) for word in keywords})
        case ast.Compare(left=left, ops=ops, comparators=others):
            here = value(left)
            for op, other in zip(ops, others, strict=True):
                there = value(other)
                if not _OPERATORS[type(op)](here, there):
                    return False
                here = there
            return True
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](value(left), value(right))
        case ast.UnaryOp(op=sign, operand=operand):
            return _SIGNS[type(sign)](value(operand))
        case ast.BoolOp(op=ast.And(), values=values):
            return all(value(part) for part in values)
        case ast.BoolOp(values=values):
            return any(value(part) for part in values)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return value(body) if value(test) else value(orelse)
        case ast.List(elts=items):
            return [value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(value(item) for item in items)
        case ast.Set(elts=items):
            return {value(item) for item in items}
        case ast.Dict(keys=keys, values=values):
            return {value(key): value(item) for key, item in zip(keys, values, strict=True) if key is not None}
        case ast.Subscript(value=whole, slice=ast.Slice(lower=lower, upper=upper, step=step)):
            return value(whole)[slice(*(value(bound) if bound else None for bound in (lower, upper, step)))]
        case ast.Subscript(value=whole, slice=index):
            return value(whole)[value(index)]
    raise CheckError(f"{type(node).__name__} is not allowed")
