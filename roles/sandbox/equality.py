"""What "equal" means between a value that came back and the expected one, beyond Python's own `==`.

The values are a program's: whatever they are, each function here answers in time that grows with their size, no
faster than n log n, and its memory with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

Numbers = Callable[[Any, Any], bool]
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LONGEST_NUMBER = 1000  # a longer token is text: every double prints in less with hundreds of digits to spare
_MISSING = object()


def same(result: Any, expected: Any) -> bool:
    """Equal with types respected: True is not 1, a tuple is not a list. 1 is 1.0, and nan is nan."""
    return _alike(result, expected, _same_number)


def close(result: Any, expected: Any, tolerance: float = 1e-6, relative: float | None = None) -> bool:
    """As `same`, but numbers may differ by `tolerance` + `relative` times the expected one.

    Without `relative`, by `tolerance` or by `tolerance` times the expected one, whichever is more. Two integers must
    be equal, an infinity is close to itself only. Keys of a dict have to be the same.
    """
    return _alike(result, expected, lambda here, there: _close_number(here, there, tolerance, relative))


def lists(value: Any) -> Any:
    """`value` with a list in the place of each tuple in lists and tuples, as after a trip through JSON."""
    return [lists(item) for item in value] if isinstance(value, list | tuple) else value


def same_text(result: Any, expected: str) -> bool:
    """The same lines, up to blanks at the end of each and empty lines at the end of all."""
    return isinstance(result, str) and _lines(result) == _lines(expected)


def same_tokens(result: Any, expected: str, tolerance: float = 0.0) -> bool:
    """The same text between ASCII whitespace.

    With a `tolerance`, where both sides have a decimal number they may differ by that, absolute or relative to the
    expected one, unless both are integers. "nan" and "inf" are texts.
    """
    if not isinstance(result, str):
        return False
    wanted = _bytes(expected).split()
    given = _bytes(result).split(None, len(wanted))
    return len(given) == len(wanted) and all(
        here == there or (tolerance > 0 and _close_token(here, there, tolerance))
        for here, there in zip(given, wanted, strict=True)
    )


def _alike(result: Any, expected: Any, equal: Numbers) -> bool:
    if _is_number(result) and _is_number(expected):
        return equal(result, expected)
    if type(result) is not type(expected):
        return False
    match expected:
        case list() | tuple():
            return len(result) == len(expected) and all(
                _alike(here, there, equal) for here, there in zip(result, expected, strict=True)
            )
        case dict():
            return len(result) == len(expected) and all(
                _alike(key, there, _same_number) and _alike(result[key], expected[there], equal)
                for key, there in _partners(result, expected)
            )
        case set() | frozenset():
            return len(result) == len(expected) and _paired(result, expected, equal)
    return bool(result == expected)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | complex) and not isinstance(value, bool)


def _same_number(result: Any, expected: Any) -> bool:
    return bool(result == expected or (result != result and expected != expected))


def _close_number(result: Any, expected: Any, tolerance: float, relative: float | None) -> bool:
    if _same_number(result, expected):
        return True
    if isinstance(result, int) and isinstance(expected, int):
        return False
    try:
        size = abs(expected)
        bound = tolerance * max(1.0, size) if relative is None else tolerance + relative * size
        return math.isfinite(bound) and bool(abs(result - expected) <= bound)
    except OverflowError:  # an integer beyond every float
        return False


def _partners(result: Iterable[Any], expected: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Each item of `expected` behind the item of `result` that hashes and compares as it does, if there is one."""
    known = {item: item for item in result}
    return [(known.get(item, _MISSING), item) for item in expected]


def _paired(result: Any, expected: Any, equal: Numbers) -> bool:
    """Whether two sets of one size agree item by item, those that hashing does not find in sorted order."""
    found = [(here, there) for here, there in _partners(result, expected) if here is not _MISSING]
    if not all(_alike(here, there, equal) for here, there in found):
        return False
    try:
        rest = sorted(result.difference(here for here, _ in found), key=_nan_last)
        wanted = sorted(expected.difference(there for _, there in found), key=_nan_last)
    except TypeError:
        return False
    return all(_alike(here, there, equal) for here, there in zip(rest, wanted, strict=True))


def _nan_last(item: Any) -> tuple[bool, Any]:
    return item != item, item


def _lines(text: str) -> list[str]:
    return [line.rstrip(" \t\r") for line in text.rstrip(" \t\r\n").split("\n")]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _close_token(result: bytes, expected: bytes, tolerance: float) -> bool:
    if max(len(result), len(expected)) > _LONGEST_NUMBER:
        return False
    here, there = _NUMBER.fullmatch(result), _NUMBER.fullmatch(expected)
    if here is None or there is None:
        return False
    return _close_number(_number(result), _number(expected), tolerance, None)


def _number(token: bytes) -> int | float:
    try:
        return int(token)
    except ValueError:
        return float(token)
