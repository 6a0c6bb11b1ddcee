import math
from typing import Any

import pytest

from roles.sandbox.equality import close, lists, same, same_text, same_tokens
from roles.sandbox.values import Opaque

NAN, INF = math.nan, math.inf
HUGE = 10**400


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (1, 1.0),
        (1 + 0j, 1),
        (True, True),
        (None, None),
        (float("nan"), NAN),
        (INF, INF),
        (HUGE, HUGE),
        (0.0, -0.0),
        ("\ud800", "\ud800"),
        (b"a", b"a"),
        ([1, (2, [float("nan")])], [1.0, (2, [NAN])]),
        ({"a": [1]}, {"a": [1.0]}),
        ({1: 2, (1, 2): 3}, {(1, 2): 3, 1.0: 2}),
        ({1, 2.0}, {2, 1}),
        ({1.0, float("nan")}, {NAN, 1}),
        (frozenset([(1, "a")]), frozenset([(1, "a")])),
        ([set(), ()], [set(), ()]),
    ],
)
def test_the_same(result: Any, expected: Any) -> None:
    assert same(result, expected)
    assert close(result, expected, 1e-9)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (True, 1),
        (1, True),
        (0, False),
        (0, None),
        ("", None),
        ("1", 1),
        ([1], (1,)),
        ((1,), [1]),
        ([True], [1]),
        ([1], [1, 1]),
        ([1, 1], [1]),
        ({1: 1}, {True: 1}),
        ({1: True}, {1: 1}),
        ({1: 1}, {2: 1}),
        ({1: 1}, {1: 1, 2: 2}),
        ({1, 2}, frozenset([1, 2])),
        ({True}, {1}),
        ({(True,)}, {(1,)}),
        ({1, 2}, {1, 3}),
        ({1, "a"}, {1, "b"}),
        ({1, None}, {"b", 1}),
        ([1, 2], {1, 2}),
        ("a", b"a"),
        (NAN, 0.0),
        (0.0, NAN),
        (INF, -INF),
        (INF, 1e308),
        (1.0, INF),
        (HUGE, INF),
        (INF, HUGE),
        (HUGE, 1.5),
        (1.5, HUGE),
        (HUGE + 1, HUGE),
        (complex(NAN, 1), 1j),
        (complex(INF, 1), 1j),
        (complex(1e308, 1e308), -complex(1e308, 1e308)),
        (3, 4),
        (Opaque("Node"), None),
        ([Opaque("Node")], [1]),
        ({"a": Opaque("Node")}, {"a": 1}),
    ],
)
def test_neither_the_same_nor_close(result: Any, expected: Any) -> None:
    assert not same(result, expected)
    assert not close(result, expected, 1e-6)


def test_an_opaque_object_is_not_even_itself() -> None:
    thing = Opaque("Node")
    assert not same(thing, thing) and not same([thing], [thing]) and not close({1: thing}, {1: thing})


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (1.0000001, 1.0),
        (1e6 + 0.5, 1e6),
        (-1e6 - 0.5, -1e6),
        (1.0000001, 1),
        (1, 1.0000001),
        (1 + 1e-8j, 1),
        ([0.1 + 0.2, ["x", 1e-9]], [0.3, ["x", 0.0]]),
        ({"a": 0.1 + 0.2}, {"a": 0.3}),
        ({0.1 + 0.2, 5.0, "x"}, {"x", 5.0, 0.3}),
        ({(1.0000001, "b"), (1.0, "a")}, {(1.0, "a"), (1.0, "b")}),
    ],
)
def test_close_but_not_the_same(result: Any, expected: Any) -> None:
    assert close(result, expected, 1e-6)
    assert not same(result, expected)


def test_tolerances_bound_the_difference() -> None:
    assert not close(1.00001, 1.0, 1e-6)
    assert not close(0.00001, 0.0, 1e-6)
    assert not close([1.0, 2.1], [1.0, 2.0], 1e-3)
    assert not close({0.31}, {0.3}, 1e-3)
    assert not close({0.30001: 1}, {0.3: 1}, 1e-3)
    assert not close(10**7 + 1, 10**7, 1e-3)
    assert close(100.0009, 100.0, 1e-3) and close(100.09, 100.0, 1e-3)
    assert close(100.0009, 100.0, 1e-3, 0) and not close(100.09, 100.0, 1e-3, 0)
    assert close(100.0, 100.00001, 1e-6, 1e-7) and not close(100.0, 100.00002, 1e-6, 1e-7)
    assert not close(1.0, INF, 1e-6, 1e-7)


def test_a_tuple_is_a_list_after_a_trip_through_json() -> None:
    assert lists(((1, (2,)), "ab", {(1,): (2,)})) == [[1, [2]], "ab", {(1,): (2,)}]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("1 2\n3\n", "1 2\n3"),
        ("1 2  \r\n3\t\r\n\r\n \n", "1 2\n3\n"),
        ("", "\n"),
        ("\n\na", "\n\na\n"),
        ("\u2003a\u2028b", "\u2003a\u2028b\n"),
        ("\ud800\n", "\ud800"),
    ],
)
def test_the_same_text(result: str, expected: str) -> None:
    assert same_text(result, expected) and same_text(expected, result)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("1  2", "1 2"),
        (" 1", "1"),
        ("\n1", "1"),
        ("1\n\n2", "1\n2"),
        ("a\u2003", "a"),
        ("a\u2028", "a"),
        ("a", "A"),
        (None, ""),
        (b"1", "1"),
        (1, "1"),
        (["1"], "1"),
    ],
)
def test_not_the_same_text(result: Any, expected: str) -> None:
    assert not same_text(result, expected)


@pytest.mark.parametrize(
    ("result", "expected", "tolerance"),
    [
        ("1 2\n3", " 1\t2 3\n\n", 0),
        ("", "\n", 0),
        ("\x0b1\x0c\r\n", "1", 0),
        ("YES 0.3000001", "YES 0.3", 1e-6),
        ("3", "3.0", 1e-6),
        ("3.0000001", "3", 1e-6),
        ("1e3 +.5 -2.", "1000.0 0.5 -2", 1e-6),
        ("1000000.4", "1000000.0", 1e-6),
        ("007", "7", 1e-6),
        ("nan inf", "nan inf", 1e-6),
    ],
)
def test_the_same_tokens(result: str, expected: str, tolerance: float) -> None:
    assert same_tokens(result, expected, tolerance)


@pytest.mark.parametrize(
    ("result", "expected", "tolerance"),
    [
        ("1 2", "1 2 3", 0),
        ("1 2 3", "1 2", 0),
        ("12", "1 2", 0),
        ("0.3000001", "0.3", 0),
        ("3", "3.0", 0),
        ("1.1", "1.0", 1e-6),
        ("10000001", "10000000", 1e-6),
        ("nan", "1.0", 1e6),
        ("1.0", "nan", 1e6),
        ("inf", "1.0", 1e6),
        ("NaN", "nan", 1e-6),
        ("1e999", "1.0", 1e6),
        ("1.0", "1e999", 1e6),
        ("1_0.0", "10.0", 1e-6),
        ("\u0661.0", "1.0", 1e-6),
        ("1\u20032", "1 2", 0),
        ("0x10", "16", 1e-6),
        ("1.0f", "1.0", 1e-6),
        ("yes", "YES", 1e-6),
        ("\ud800", "\ud801", 1e-6),
        (None, "", 0),
        (b"1", "1", 0),
        (1, "1", 0),
    ],
)
def test_not_the_same_tokens(result: Any, expected: str, tolerance: float) -> None:
    assert not same_tokens(result, expected, tolerance)


def test_hostile_output_is_compared_in_linear_time() -> None:
    """Each of these would take minutes if a number were read or a list compared in quadratic time."""
    digits = "1" * 8_000_000
    assert not same_tokens(digits, "1.5", 1e-6)
    assert not same_tokens("0." + digits, "0.5", 1e-6)
    assert not same_tokens("1.5", digits, 1e-6)
    assert not same_tokens("1 " * 4_000_000, "1 1", 1e-6)
    assert not same_tokens("1e" + "9" * 900, "1.5", 1e-6)
    assert not same_text("\n" * 4_000_000 + "x", "x")
    assert same_text(" " * 4_000_000, "")


def test_hostile_values_are_compared_in_linear_time() -> None:
    numbers = list(range(50_000))
    assert same(numbers, list(numbers)) and not close(numbers, [0.5] * 50_000)
    assert close({number / 3 for number in numbers}, {number / 3 + 1e-12 for number in numbers}, 1e-6)
    assert same({number: [number] for number in numbers}, {number: [number] for number in numbers})
    assert not close(1 << 16_000_000, 1.5, 1e-6)


def test_an_integer_is_not_rounded_to_a_float_before_it_is_compared() -> None:
    assert not same(2**53 + 1, 2.0**53) and same(2**53, 2.0**53)
