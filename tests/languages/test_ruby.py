import math
from collections.abc import Callable

import pytest

from roles import languages
from roles.problems.formats.dialects import Unparsed, ruby
from roles.records import Problem, Test, Verdict
from tests.languages.toolchains import needs

pytestmark = needs("ruby")
SUCCESSOR = (("f(1)", "result == 2"), ("f(41)", "result == 42"))


def status(verdict: Callable[..., Verdict], text: str) -> str:
    return verdict("ruby", text, *SUCCESSOR).status


def test_a_right_program_passes_and_a_wrong_one_fails(verdict: Callable[..., Verdict]) -> None:
    assert status(verdict, "def f(x)\n  x + 1\nend\n") == "passed"
    assert status(verdict, "def f(x)\n  x\nend\n") == "failed"
    assert verdict("ruby", "def f(x) = 2", *SUCCESSOR).pass_rate == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(x)\n  x +", "compile_error"),
        ("raise 'no'", "runtime_error"),
        ("def f(x) = raise(ArgumentError)", "runtime_error"),
        ("def f(x) = f(x)", "runtime_error"),
        ("def f(x) = throw(:a)", "runtime_error"),
        ("def f(x) = Process.kill(:SEGV, $$)", "runtime_error"),
        ("def f(x) = exit!(3)", "runtime_error"),
        ("def g(x) = x", "failed"),
        ("def f(x)\n  loop {}\nend", "timeout"),
        ("def f(x)\n  a = []\n  loop { a << 'x' * 1000000 }\nend", "memory"),
        ("def f(x)\n  loop { puts 'x' * 1000 }\nend", "output"),
        ("def f(x) = 'x' * (10 << 20)", "output"),
        ("def f(x)\n  a = []\n  a << a\nend", "output"),
    ],
)
def test_status_of(text: str, expected: str, verdict: Callable[..., Verdict]) -> None:
    assert status(verdict, text) == expected


def test_what_was_raised_is_told(verdict: Callable[..., Verdict]) -> None:
    assert "no luck (ArgumentError)" in verdict("ruby", "def f(x) = raise(ArgumentError, 'no luck')", *SUCCESSOR).stderr


@pytest.mark.parametrize(
    "text",
    [
        "exit 0", "exit!(0)", "at_exit { exit!(0) }\nraise 'no'", "def f(x) = exit(0)", "def f(x) = exit!(0)",
        "def f(x) = Thread.exit", "puts 2\nputs 42\ndef f(x) = puts(x + 1)",
        "class Integer\n  def ==(other) = true\n  def to_s(*) = '2'\nend\ndef f(x) = x",
        "class Anything\n  def ==(other) = true\n  def to_s = '2'\nend\ndef f(x) = Anything.new",
        "module Kernel\n  def eval(*) = 2\nend\ndef f(x) = x",
        "IO.for_fd(3).write('x [-1,\"ok\"]\\nx [0,\"val\",[\"i\",\"2\"]]\\n')\ndef f(x) = x",
    ],
)  # fmt: skip
def test_a_cheat_does_not_pass(text: str, verdict: Callable[..., Verdict]) -> None:
    assert status(verdict, text) != "passed"


def test_what_a_program_redefines_does_not_fail_it(verdict: Callable[..., Verdict]) -> None:
    text = """
class Array
  def map = []
  def join(*) = ''
  def length = 0
end
class String
  def unpack1(*) = ''
end
class Hash
  def to_a = []
end
def f(x) = [x, { 'a' => [x] }]
"""
    assert verdict("ruby", text, ("f(1)", "same(result, [1, {'a': [1]}])")).status == "passed"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("[nil, true, false]", [None, True, False]),
        ("[0, -255, 2**100, -(2**70)]", [0, -255, 2**100, -(2**70)]),
        ("[1.5, 0.1, 1e300, 5e-324, Float::INFINITY]", [1.5, 0.1, 1e300, 5e-324, math.inf]),
        ('["", "é\\n\\"\\\\\\u0000", "a b"]', ["", 'é\n"\\\0', "a b"]),
        ("[:a, 'a']", [b"a", "a"]),
        ("{1 => [2, {}], 'a' => nil, [1, [2]] => 3}", {1: [2, {}], "a": None, (1, (2,)): 3}),
        ("(require 'set'; Set[1, [2, 'x']])", {1, (2, "x")}),
        ("[1r / 4, Class.new(Array).new([1])]", [0.25, [1]]),
    ],
)  # fmt: skip
def test_values_cross_exactly(call: str, expected: object, verdict: Callable[..., Verdict]) -> None:
    check = f"same(result, {expected!r})".replace("inf", "math.inf")
    assert verdict("ruby", "", (call, check)).status == "passed"


def test_signs_of_zero_and_nan_cross(verdict: Callable[..., Verdict]) -> None:
    checks = [("-0.0", "str(result) == '-0.0'"), ("Float::NAN", "math.isnan(result)")]
    assert verdict("ruby", "", *checks).status == "passed"


@pytest.mark.parametrize("call", ["Struct.new(:a).new(1)", "1..2", "[1].each", "Object.new", "method(:puts)"])
def test_an_object_equals_nothing(call: str, verdict: Callable[..., Verdict]) -> None:
    assert verdict("ruby", "", (call, "not result == result")).status == "passed"


def test_a_program_is_loaded_as_a_script_is(verdict: Callable[..., Verdict]) -> None:
    text = "require 'prime'\nif __FILE__ == $0\n  $n = 1\nend\ndef f(x) = x + $n\nreturn\nraise 'unreached'\n"
    assert status(verdict, text) == "passed"


def test_standard_input_to_standard_output(verdict: Callable[..., Verdict]) -> None:
    tests = [Test("41\n", "same_text(result, '42')", "stdio"), Test("1\n", "same_text(result, '3')", "stdio")]
    assert verdict("ruby", "puts gets.to_i + 1", *tests).tests == ("passed", "failed")


def test_a_completion_follows_the_prompt() -> None:
    problem = Problem("1", "own", "test", "ruby", "def f(x)\n", "f", ())
    assert languages.get("ruby").assemble(problem, "  x\nend\n") == "def f(x)\n  x\nend\n"


def test_assertions_are_read_as_calls() -> None:
    tests = """require 'test/unit'
class TestHumanEval < Test::Unit::TestCase
  def test_f
    candidate = method(:f)
    assert_equal([1, "a, \\"b\\""], candidate.call({"k" => [1, nil]}, "x)"))
    assert_equal(-1.5, candidate.call(true))
  end
end
"""
    assert ruby.multipl_e(tests, "f") == (
        Test('f({"k" => [1, nil]}, "x)")', "same(result, [1, 'a, \"b\"'])"),
        Test("f(true)", "same(result, -1.5)"),
    )


def test_compared_variables_are_read_as_calls() -> None:
    test = """
arg00 = [1, 2]
arg01 = "b"
x0 = f(arg00, arg01)
v0 = {"a"=>[1], [2]=>false}
if x0 != v0
    raise StandardError, "Error at test case 1"
end
"""
    assert ruby.mbxp(test, "f", "") == (Test('f([1, 2], "b")', "same(result, {'a': [1], (2, ): False})"),)


@pytest.mark.parametrize(
    "test", ["puts f(1)\n", 'x0 = f(1)\nv0 = g(2)\nif x0 != v0\n    raise StandardError, ""\nend\n']
)
def test_anything_else_is_not_read(test: str) -> None:
    with pytest.raises(Unparsed):
        ruby.mbxp(test, "f", "")
