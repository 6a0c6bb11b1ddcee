import math

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
        "\0",
    ],
)
def test_everything_outside_the_allow_list_is_refused(check: str) -> None:
    with pytest.raises(CheckError):
        compile_check(check)
    with pytest.raises(CheckError):
        holds(check, 1)
