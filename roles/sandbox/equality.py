"""What "equal" means between a value that came back and the expected one, beyond Python's own `==`."""

from __future__ import annotations

import itertools
from typing import Any


def same(result: Any, expected: Any) -> bool:
    """Equal with types respected: True is not 1, a tuple is not a list. 1 is 1.0, and nan is nan."""
    return _alike(result, expected, 0.0)


def close(result: Any, expected: Any, tolerance: float = 1e-6) -> bool:
    """As `same`, but numbers may differ by `tolerance`, absolute or relative to the expected one."""
    return _alike(result, expected, tolerance)


def _alike(result: Any, expected: Any, tolerance: float) -> bool:
    if _is_number(result) and _is_number(expected):
        if result == expected or (result != result and expected != expected):
            return True
        if not tolerance or (isinstance(expected, int) and isinstance(result, int)):
            return False
        difference = abs(result - expected)
        return bool(difference <= tolerance * max(1.0, abs(expected)))  # false for nan, and for one infinity
    if type(result) is not type(expected):
        return False
    match expected:
        case list() | tuple():
            return len(result) == len(expected) and all(
                _alike(here, there, tolerance) for here, there in zip(result, expected, strict=True)
            )
        case dict():
            return len(result) == len(expected) and all(
                key in result and _alike(result[key], value, tolerance) for key, value in expected.items()
            )
        case set() | frozenset() if tolerance:
            return len(result) == len(expected) and _matched(result, expected, tolerance)
    return bool(result == expected)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | complex) and not isinstance(value, bool)


def _matched(result: Any, expected: Any, tolerance: float) -> bool:
    """Whether sets of numbers or texts agree item by item when both are sorted."""
    try:
        pairs = zip(sorted(result), sorted(expected), strict=True)
    except TypeError:
        return bool(result == expected)
    return all(itertools.starmap(lambda here, there: _alike(here, there, tolerance), pairs))
