"""The builtins and operators of checks whose cost a program's value could drive up, each with a bound.

An honest check never comes near the bounds; beyond them a `ValueError` is raised, which is a no.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

from roles.sandbox.values import unlike

_ITEMS = 1_000_000  # items, bytes or bits of what is made
_WORK = 10**10  # product of the bits of two factors: a tenth of a second


def set_(items: Iterable[Any] = ()) -> set[Any]:
    return set(unlike(list(items)))


def frozenset_(items: Iterable[Any] = ()) -> frozenset[Any]:
    return frozenset(unlike(list(items)))


def dict_(items: Any = (), **named: Any) -> dict[Any, Any]:
    pairs = list(items.items()) if isinstance(items, dict) else [(key, value) for key, value in items]
    unlike([key for key, _ in pairs])
    return dict(pairs, **named)


def bytes_(source: Any = b"", *encoding: str) -> bytes:
    if isinstance(source, int) and source > _ITEMS:
        raise ValueError("too large")
    return bytes(source, *encoding)


def sum_(items: Iterable[Any], start: Any = 0) -> Any:
    """As `sum`, lists and tuples too."""
    values = list(items)
    if isinstance(start, list | tuple):
        if not all(type(value) is type(start) for value in values):
            raise TypeError("sum of unlike sequences")
        return type(start)(itertools.chain(start, *values))
    if len(values) * max(map(_bits, values), default=0) > _WORK:
        raise ValueError("too large")
    return sum(values, start)


def divmod_(left: Any, right: Any) -> Any:
    _limit(left, right)
    return divmod(left, right)


def gcd(*values: int) -> int:
    for left, right in itertools.pairwise(values):
        _limit(left, right)
    return math.gcd(*values)


def multiply(left: Any, right: Any) -> Any:
    for count, items in ((left, right), (right, left)):
        if isinstance(count, int) and isinstance(items, str | bytes | list | tuple) and count * len(items) > _ITEMS:
            raise ValueError("too large")
    _limit(left, right)
    return operator.mul(left, right)


def power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > _ITEMS:
        raise ValueError("too large")
    return operator.pow(left, right)


def dividing(divide: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`divide`, one of the operators / // and %, with a bound on its cost."""

    def divided(left: Any, right: Any) -> Any:
        if isinstance(left, str | bytes):
            raise ValueError("formatting is not allowed")
        _limit(left, right)
        return divide(left, right)

    return divided


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _limit(left: Any, right: Any) -> None:
    if _bits(left) * _bits(right) > _WORK:
        raise ValueError("too large")
