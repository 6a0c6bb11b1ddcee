import pytest

from roles.problems.formats.dialects import Unparsed, python
from roles.records import Candidate, Problem, Test
from roles.sandbox.judge import Judge

MULTIPL_E = """def check(candidate):
    assert candidate([1, 2]) == (1, 2)
    assert candidate([]) == None

def test_check():
    check(f)

test_check()
"""
MBXP = """

METADATA = {}


def check(candidate):
    assert candidate(Pair(1, 2), -1) == 3, "no"
    assert abs(candidate(root) - 0.5) < 0.001
"""


def test_asserts_become_calls_and_checks() -> None:
    assert python.multipl_e(MULTIPL_E, "f") == (
        Test("f([1, 2])", "result == (1, 2)"),
        Test("f([])", "result == None"),
    )


def test_names_that_the_test_does_not_define_are_the_programs() -> None:
    tests = python.mbxp(MBXP, "f", "def f(a):\n")
    assert tests == (Test("f(Pair(1, 2), -1)", "result == 3"), Test("f(root)", "abs(result - 0.5) < 0.001"))
    problem = Problem("1", "mbxp", "test", "python", "", "f", tests)
    defining = "class Pair:\n    def __init__(self, a, b):\n        self.a, self.b = a, b\nroot = Pair(0.1, 0.4)\n"
    with Judge() as judge:
        right, wrong = judge.judge(problem, [
            Candidate("a", "1", "g", defining + "def f(p, by=0):\n    return p.a + p.b\n"),
            Candidate("b", "1", "g", "def f(p, by=0):\n    return p.a + p.b\n"),
        ])  # fmt: skip
    assert right.tests == ("passed", "passed") and wrong.status != "passed" and not right.weak


def test_what_does_not_stand_alone_is_one_script() -> None:
    source = "import math\ndef check(candidate):\n    for n in range(3):\n        assert candidate(n) == math.sqrt(n)\n"
    assert python.mbxp(source, "f", "") == (Test("", source, "script"),)
    helper = "def twice(x):\n    return 2 * x\ndef check(candidate):\n    assert candidate(twice(1)) == twice(1)\n"
    assert [test.kind for test in python.mbxp(helper, "f", "")] == ["script"]


@pytest.mark.parametrize("source", ["def check(", "x = 1", "def check(a, b):\n    assert a(1)", "def check(c): pass"])
def test_anything_else_is_not_understood(source: str) -> None:
    with pytest.raises(Unparsed):
        python.multipl_e(source, "f")


def test_a_weak_test_of_mbxp_calls_check() -> None:
    (test,) = python.mbxp("def check(a, b=1):\n    assert a(1) == b\n", "f", "")
    assert test.kind == "program" and test.call.endswith("\ncheck(f)\n")
