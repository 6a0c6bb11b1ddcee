"""What "equal" means in the test programs of other languages, as they are published.

Checks that stand for such a program use the comparison that it makes, so that both accept the same answers. Like
`equality`, each answers in time that grows with the values' size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from roles.sandbox.equality import same

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_RADIX = re.compile(r"0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+")
_JAVASCRIPT_SPACE = " \t\n\r\v\f\u00a0\u2028\u2029\ufeff"
_PHP_SPACE = " \t\n\r\v\f"
_LONGEST_NUMBER = 1000
_MISSING = object()


def deep_equal(result: Any, expected: Any) -> bool:
    """As `assert.deepEqual` of Node.js: containers of one kind, and in them whatever `==` of JavaScript accepts."""
    match result, expected:
        case list(), list():
            return _items(result, expected, deep_equal)
        case dict(), dict():
            return _values(result, expected, deep_equal)
    if isinstance(result, set | frozenset | tuple) or isinstance(expected, set | frozenset | tuple):
        return same(result, expected)
    if not (_is_plain(result) and _is_plain(expected)):
        return False
    if result is None or expected is None:
        return result is expected
    here, there = result, expected
    if not (isinstance(here, str) and isinstance(there, str)):
        here, there = (_javascript_number(value) if isinstance(value, str) else value for value in (here, there))
        if result != result and expected != expected:
            return True
    return bool(here == there)


def identical(result: Any, expected: Any) -> bool:
    """As `===` of PHP: an integer is no float, and the keys of an array come in one order."""
    if type(result) is not type(expected):
        return False
    match expected:
        case list():
            return _items(result, expected, identical)
        case dict():
            return _items(list(result), list(expected), identical) and _values(result, expected, identical)
    return _is_plain(expected) and bool(result == expected)


def loosely_equal(result: Any, expected: Any) -> bool:
    """As `==` of PHP, but a boolean or null equals its like only: to PHP any value that is not empty is true."""
    match result, expected:
        case list() | dict(), list() | dict():
            here, there = (value if isinstance(value, dict) else dict(enumerate(value)) for value in (result, expected))
            return _values(here, there, loosely_equal)
    if not (_is_plain(result) and _is_plain(expected)):
        return False
    if any(value is None or isinstance(value, bool) for value in (result, expected)):
        return result is expected
    numbers = [_php_number(value) if isinstance(value, str) else value for value in (result, expected)]
    if None not in numbers:
        return bool(numbers[0] == numbers[1])
    return isinstance(result, str) and isinstance(expected, str) and result == expected


def _items(result: Any, expected: Any, equal: Callable[[Any, Any], bool]) -> bool:
    return len(result) == len(expected) and all(
        equal(here, there) for here, there in zip(result, expected, strict=True)
    )


def _values(result: dict[Any, Any], expected: dict[Any, Any], equal: Callable[[Any, Any], bool]) -> bool:
    return len(result) == len(expected) and all(
        equal(result.get(key, _MISSING), value) for key, value in expected.items()
    )


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _javascript_number(text: str) -> float | int:
    """As `Number` of JavaScript converts a text."""
    text = text.strip(_JAVASCRIPT_SPACE)
    if not text:
        return 0
    if len(text) > _LONGEST_NUMBER:
        return math.nan
    if _RADIX.fullmatch(text):
        return int(text, 0)
    if _DECIMAL.fullmatch(text):
        return float(text)
    return {"Infinity": math.inf, "+Infinity": math.inf, "-Infinity": -math.inf}.get(text, math.nan)


def _php_number(text: str) -> float | int | None:
    """The number that PHP takes `text` for, None for any other text."""
    text = text.strip(_PHP_SPACE)
    if len(text) > _LONGEST_NUMBER or not _DECIMAL.fullmatch(text):
        return None
    return int(text) if text.lstrip("+-").isdigit() else float(text)
