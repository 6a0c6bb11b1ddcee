"""The comparisons of published test programs in other languages."""

import math

import pytest

from roles.sandbox.check import holds
from roles.sandbox.published import deep_equal, identical, loosely_equal
from roles.sandbox.values import Opaque

NAN, OBJECT = math.nan, Opaque("Date")


@pytest.mark.parametrize(
    ("result", "expected", "equal"),
    [
        ([1, {"a": "x"}], [1, {"a": "x"}], True),
        ([1.0, True], [1, 1], True),
        ("101", 101, True),
        (" 0x10 ", 16, True),
        ("", 0, True),
        ("1,", 1, False),
        ("1", "01", False),
        ("true", True, False),
        (None, None, True),
        (None, 0, False),
        (NAN, NAN, True),
        ("NaN", NAN, False),
        ([1], 1, False),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}, True),
        ([], {}, False),
        (OBJECT, OBJECT, False),
        (OBJECT, None, False),
        ({"a": OBJECT}, {"a": None}, False),
        ({(1, 2), 3}, {3, (1, 2)}, True),
        ({1}, [1], False),
        ("9" * 5000, 1, False),
    ],
)
def test_deep_equal_is_that_of_node(result, expected, equal) -> None:
    assert deep_equal(result, expected) is equal


@pytest.mark.parametrize(
    ("result", "expected", "equal"),
    [
        ([1, {"a": "x"}], [1, {"a": "x"}], True),
        (1, 1.0, False),
        (1.0, 1.0, True),
        (True, 1, False),
        ("1", 1, False),
        (NAN, NAN, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
        ({1: "a"}, {1: "a"}, True),
        (OBJECT, OBJECT, False),
        (None, None, True),
        (["a", None], ["a", None], True),
    ],
)
def test_identical_is_that_of_php(result, expected, equal) -> None:
    assert identical(result, expected) is equal


@pytest.mark.parametrize(
    ("result", "expected", "equal"),
    [
        ("123", 123, True),
        ("1e3", "1000", True),
        ("abc", 0, False),
        ("abc", "abc", True),
        (1, 1.0, True),
        (["1", 0], [1.0, 0.0], True),
        ([1, 2], {1: 2, 0: 1}, True),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}, True),
        (True, 8, False),
        (True, [1], False),
        (True, True, True),
        (None, [], False),
        (None, None, True),
        (0, False, False),
        (OBJECT, OBJECT, False),
        ([OBJECT], [OBJECT], False),
    ],
)
def test_loosely_equal_is_that_of_php_where_no_boolean_is_concerned(result, expected, equal) -> None:
    assert loosely_equal(result, expected) is equal


def test_checks_may_use_them() -> None:
    assert holds("deep_equal(result, [1])", ["1"]) and not holds("identical(result, [1])", ["1"])
    assert holds("loosely_equal(result, [1])", ["1"])
