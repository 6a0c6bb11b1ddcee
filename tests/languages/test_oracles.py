"""The programs that `benchmarks/` makes: right ones pass, wrong ones do not, by calls and as published."""

from collections.abc import Callable

import pytest

from benchmarks import oracles
from benchmarks.breaking import broken
from roles import languages
from roles.problems.formats.dialects import of
from roles.records import Candidate, Problem, Test, Verdict
from roles.sandbox.judge import Judge
from tests.languages.toolchains import missing

PUBLISHED = {
    "bash": (
        "#!/bin/bash\nf() {\n",
        '}\n\ncandidate() {\n    f "$@"\n}\n\nset -e\nrun_test() {\n    [[ $(candidate "1 2" "3") = "4" ]]\n'
        '    [[ $(candidate "5") = "a b" ]]\n}\n\nrun_test',
    ),
    "lua": (
        "local function f(x)\n",
        "lu = require('luaunit')\n\nfunction test_humaneval()\nlocal candidate = f\n"
        "    lu.assertEquals(candidate({1, 2}), {1, {['a'] = 2.5}})\n    lu.assertEquals(candidate('x'), nil)\nend\n\n"
        "os.exit(lu.LuaUnit.run())",
    ),
    "perl": (
        "sub f {\n",
        "use Test::Deep;\n\nsub testhumaneval {\n    my $candidate = \\&f;\n"
        '        if(eq_deeply($candidate->([1]),[1, {"a" => 2.5}])) {\n        print "ok!" }else{\n        exit 1;\n'
        '        }\n        if(eq_deeply($candidate->("x"),undef)) {\n        print "ok!" }else{\n        exit 1;\n'
        "        }\n}\n\n"
        "testhumaneval();",
    ),
    "ruby": (
        "def f(x)\n",
        "require 'test/unit'\nclass TestHumanEval < Test::Unit::TestCase\n  def test_f\n    candidate = method(:f)\n"
        '    assert_equal([1, {"a" => 2.5}], candidate.call([1]))\n'
        '    assert_equal(nil, candidate.call("x"))\n  end\nend\n',
    ),
}


@pytest.mark.parametrize("language", PUBLISHED)
def test_programs_that_know_the_answers_pass_and_their_changed_forms_do_not(language: str, judge: Judge) -> None:
    if reason := missing(language):
        pytest.skip(reason)
    prompt, tests = PUBLISHED[language]
    problem = Problem("1", "own", "test", language, prompt, "f", of(language).multipl_e(tests, "f"))
    known = oracles.cases(language, tests)
    others = oracles.shifted(known)
    assert others is not None
    right, wrong = (
        languages.get(language).assemble(problem, oracles.body(language, "f", each)) for each in (known, others)
    )
    changed = broken(language, right, "f")
    assert changed is not None
    texts = [right, wrong, changed]
    verdicts = judge.judge(problem, [Candidate(text, "1", "", text) for text in texts])
    assert [verdict.status for verdict in verdicts] == ["passed", "failed", "failed"]


@pytest.mark.parametrize(
    ("language", "text", "call"),
    [
        ("javascript", "function f(x) { return x }", "[f(1), f('a'), f(true), f([1]), f(null)]"),
        ("php", "<?php\nfunction f($x) { return $x; }", "[f(1), f('a'), f(true), f([1]), f(null)]"),
        ("python", "def f(x): return x", "[f(1), f('a'), f(True), f([1]), f(None)]"),
        ("ruby", "def f(x) = x", "[f(1), f('a'), f(true), f([1]), f(nil)]"),
    ],
)
def test_each_type_of_result_is_changed(language: str, text: str, call: str, verdict: Callable[..., Verdict]) -> None:
    if reason := missing(language):
        pytest.skip(reason)
    changed = broken(language, text, "f")
    check = "result == [2, 'ax', False, [1, 'broken'], 'broken'] and result[2] is False"
    assert verdict(language, str(changed), Test(call, check)).status == "passed"


def test_a_typed_function_is_replaced_by_one_of_its_signature() -> None:
    text = "class A {\n    public static boolean f(int a, List<Integer> b) {\n        return a > 1;\n    }\n}\n"
    changed = broken("java", text, "f")
    assert changed is not None
    assert "public static boolean f(int a, List<Integer> b) { return !f__(a, b); }" in changed
    assert "public static boolean f__(int a, List<Integer> b) {\n" in changed
