"""Wrong programs that want to be passed, against every kind of test.

Calls, scripts and standard output decide by what came back, and none of the cheats passes. A test program decides by
its exit status: the ones marked in the file do pass it, and that is why its verdicts are labelled weak.
"""

import textwrap

import pytest

from roles.records import Candidate, Problem, Test, Verdict
from roles.sandbox.judge import Judge
from tests.sandbox import corpus
from tests.sandbox.corpus import Program

CHEATS = corpus.read("cheats/python.txt")
NUMBERS = (1, 41, -1)
ASSERTIONS = "".join(f"assert f({x}) == {x + 1}\n" for x in NUMBERS)
TESTS = {
    "call": tuple(Test(f"f({x})", f"result == {x + 1}") for x in NUMBERS),
    "typed call": tuple(Test(f"f({x})", f"same(result, {x + 1})") for x in NUMBERS),
    "close call": tuple(Test(f"f({x})", f"close(result, {x + 1}.0)") for x in NUMBERS),
    "script": (Test("", f"def check(candidate):\n    f = candidate\n{textwrap.indent(ASSERTIONS, '    ')}", "script"),),
    "stdio": tuple(Test(f"{x}\n", f"same_tokens(result, '{x + 1}')", "stdio") for x in NUMBERS),
    "program": (Test(ASSERTIONS, "", "program"),),
}
PROBLEMS = {name: Problem(name, "own", "test", "python", "", "f", tests) for name, tests in TESTS.items()}
HONEST = "def f(x):\n    return x + 1\n"


def verdict_on(judge: Judge, kind: str, text: str) -> Verdict:
    if kind == "stdio":
        text += "\nprint(f(int(input())))\n"
    return judge.judge(PROBLEMS[kind], [Candidate("c", kind, "g", text)])[0]


@pytest.mark.parametrize("kind", [name for name in TESTS if name != "program"])
@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_no_cheat_passes(judge: Judge, cheat: Program, kind: str) -> None:
    verdict = verdict_on(judge, kind, cheat.text)
    assert verdict.status in (cheat.statuses if "call" in kind else {"failed", "runtime_error"}), verdict
    assert verdict.pass_rate < 1 and not verdict.weak


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_a_verdict_that_a_cheat_could_forge_is_labelled_weak(judge: Judge, cheat: Program) -> None:
    verdict = verdict_on(judge, "program", cheat.text)
    assert verdict.weak
    assert (verdict.status == "passed") == cheat.fools, verdict


@pytest.mark.parametrize("kind", TESTS)
def test_an_honest_program_passes_every_kind(judge: Judge, kind: str) -> None:
    verdict = verdict_on(judge, kind, HONEST)
    assert (verdict.status, verdict.weak) == ("passed", kind == "program"), verdict
    assert judge.faults == 0
