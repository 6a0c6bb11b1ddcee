import ast
import math
from collections.abc import Callable

import pytest

from roles.sandbox.check import CheckError, compile_check, holds
from roles.sandbox.values import Opaque


@pytest.mark.parametrize(
    ("check", "result"),
    [
        ("result == 3", 3),
        ("result == -3", -3),
        ("3 == result", 3.0),
        ("result is True", True),
        ("result is None", None),
        ("not result", []),
        ("result", 1),
        ("math.isclose(result, 1.5, rel_tol=0.001)", 1.5001),
        ("abs(result - math.pi) < 1e-9", math.pi),
        ("set(result) == {1, 2}", [2, 1, 1]),
        ("sorted(result) == [1, 2, 3]", (3, 1, 2)),
        ("result in (1, 2) and 1 <= result < 3", 2),
        ("result == {'a': [1], 'b': ()}", {"a": [1], "b": ()}),
        ("result[0] == 1 and result[-2:] == [2, 3]", [1, 2, 3]),
        ("len(result) == 2 or result == []", []),
        ("result == (1 if result else 0)", 0),
        ("isinstance(result, int) and int(result) == 7", 7),
        ("result == [1] * 3 + list((0,))", [1, 1, 1, 0]),
        ("result == 2 ** 10 % 1000", 24),
        ("result != 4 and result is not None and result not in [5]", 3),
        ("same(result, [True, (1.0, None)])", [True, (1, None)]),
        ("close(result, {'a': [0.3, -2]}, 1e-9, 0)", {"a": [0.1 + 0.2, -2]}),
        ("lists(result) in [[[1, 2], 3], 4]", ((1, 2), 3)),
        ("same_text(result, 'a\\n b')", "a \n b\n"),
        ("same_tokens(result, 'x 0.5', 1e-6)", " x\n0.50000001"),
        ("sum(result, []) == [1, 2, 3] and sum([(1,), ()], ()) == (1,)", [[1], [2, 3]]),
        ("dict(result) == {1: 2} and dict(result, a=3) == {1: 2, 'a': 3}", [(1, 2)]),
        ("set(result) == frozenset(result) == {1, 2}", [1, 2, 2]),
        ("isinstance(result, (set, frozenset)) and not isinstance(result, dict)", {1}),
        ("divmod(result, 7) == (1, 3) and math.gcd(result, 4) == 2 and sum([result], 1) == 11", 10),
        ("result == [float('inf'), -math.inf]", [math.inf, -math.inf]),
        ("result == bytes([1, 2]) + b'c' * 2", b"\1\2cc"),
    ],
)
def test_checks_that_hold(check: str, result: object) -> None:
    assert holds(check, result)


@pytest.mark.parametrize(
    ("check", "result"),
    [
        ("result == 3", 4),
        ("result is True", 1),
        ("result == 1", Opaque("A")),
        ("result == [1]", (1,)),
        ("math.isclose(result, 1.5)", math.nan),
        ("abs(result - 1) < 1e-6", math.nan),
        ("result < 3", "text"),
        ("result[5] == 1", [1]),
        ("len(result) == 1", 5),
        ("sorted(result) == [1]", [1, None]),
        ("result / 0 == 1", 1),
        ("result ** 10 ** 9 == 1", 3),
        ("result * 10 ** 9 == 1", "text"),
        ("10 ** 9 * result == 1", (1,)),
        ("sum(result, []) == 1", [[1], (2,)]),
        ("'%0999999999d' % result == 1", 1),
        ("result % (1,) == 1", b"%d"),
        ("result == 1.5", Opaque("float")),
        ("same(result, 1.0) or close(result, 1.0, 1e9, 1e9)", "1"),
    ],
)
def test_checks_that_do_not_hold_or_cannot_be_evaluated(check: str, result: object) -> None:
    assert not holds(check, result)


@pytest.mark.parametrize(
    "check",
    [
        "result.real == 1",
        "().__class__",
        "result.__class__.__bases__",
        "math.__loader__",
        "math.isclose.__self__",
        "__import__('os')",
        "eval('1')",
        "open('x')",
        "getattr(result, 'x')",
        "print(1)",
        "f(1) == 2",
        "expected == 1",
        "lambda: 1",
        "[x for x in result]",
        "(x := 1)",
        "f'{result}'",
        "result == 1; 2",
        "result = 1",
        "",
        "await result",
        "max(*result)",
        "dict(**result)",
        "(int)(1)(2)",
        "'{0.real}'.format(result)",
        "len",
        "math.isclose",
        "yield",
        "[" * 130 + "]" * 130,
        "+".join(["1"] * 500),
        "sum",
        "\0",
    ],
)
def test_everything_outside_the_allow_list_is_refused(check: str) -> None:
    with pytest.raises(CheckError):
        compile_check(check)
    with pytest.raises(CheckError):
        holds(check, 1)


COLLIDING = [number * (2**61 - 1) for number in range(200_000)]
LONG = 3 << 16_000_000


@pytest.mark.parametrize(
    ("check", "make"),
    [
        ("set(result) == {1}", lambda: COLLIDING),
        ("frozenset(result) == {1}", lambda: COLLIDING),
        ("dict(result) == {1: 1}", lambda: [(number, 0) for number in COLLIDING]),
        ("sum(result, []) == [1]", lambda: [[1]] * 200_000),
        ("sum(result) == 1", lambda: [1 << 8_000_000] + [1] * 200_000),
        ("result * result == 1", lambda: LONG),
        ("result ** 3 == 1", lambda: LONG),
        ("result % (result + 1) // 2 == 5", lambda: LONG),
        ("result / (result // 3) == 1", lambda: LONG),
        ("divmod(result, result // 3) == 1", lambda: LONG),
        ("math.gcd(result, result - 1) == 2", lambda: LONG),
        ("len(bytes(result)) == 1", lambda: 1 << 40),
        ("int(result) == 1", lambda: "1" * 4_000_000),
        ("str(result) == '1'", lambda: LONG),
        ("float(result) == 1", lambda: "1" * 4_000_000),
    ],
)
def test_a_value_that_would_take_minutes_or_gigabytes_is_not_what_was_expected(
    check: str, make: Callable[[], object]
) -> None:
    assert not holds(check, make())


def test_a_large_expected_value_is_one_constant() -> None:
    tree = compile_check(f"result == {[[number, -number, {number}] for number in range(1000)]}")
    assert len(list(ast.walk(tree))) < 10
    assert holds("result == [1, (-2, {3}), {'a': [-1.5]}]", [1, (-2, {3}), {"a": [-1.5]}])


def test_checks_share_no_state() -> None:
    check = "sorted(result + [3]) == [1, 3] and sum([[1], result], []) == [1, 1] and result == [1]"
    assert all(holds(check, [1]) for _ in range(3))
