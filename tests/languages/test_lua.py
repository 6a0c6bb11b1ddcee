import math
from collections.abc import Callable

import pytest

from roles.problems.formats.dialects import Unparsed, lua
from roles.records import Test, Verdict
from tests.languages.toolchains import needs

pytestmark = needs("lua")
SUCCESSOR = (("f(1)", "result == 2"), ("f(41)", "result == 42"))


def status(verdict: Callable[..., Verdict], text: str) -> str:
    return verdict("lua", text, *SUCCESSOR).status


@pytest.mark.parametrize(
    "text",
    [
        "local function f(x)\n  return x + 1\nend\n", "function f(x) return x + 1, 'more' end",
        "local f = function(x) return x + 1 end -- no newline", "\ufefffunction f(x) return x + 1 end",
        "#!/usr/bin/lua\nfunction f(x) return x + 1 end", "function f(x) return x + 1 end\nreturn f",
    ],
)  # fmt: skip
def test_a_right_program_passes(text: str, verdict: Callable[..., Verdict]) -> None:
    assert status(verdict, text) == "passed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local function f(x) return x end", "failed"),
        ("local function f(x) return x +", "compile_error"),
        ("--[[ function f(x) return x + 1 end", "compile_error"),
        ("error('no')", "runtime_error"),
        ("function f(x) error({}) end", "runtime_error"),
        ("function f(x) return x.y.z end", "runtime_error"),
        ("function f(x) return 1 + f(x) end", "runtime_error"),
        ("function f(x) os.exit(3) end", "runtime_error"),
        ("function g(x) return x end", "failed"),
        ("function f(x) while true do end end", "timeout"),
        ("function f(x) return ('x'):rep(1 << 30) end", "memory"),
        ("function f(x) while true do print(('x'):rep(1000)) end end", "output"),
        ("function f(x) return ('x'):rep(10 << 20) end", "output"),
        ("function f(x) local t = {} t[1] = t return t end", "output"),
    ],
)
def test_status_of(text: str, expected: str, verdict: Callable[..., Verdict]) -> None:
    assert status(verdict, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "os.exit(0)", "os.exit(true)", "function f(x) os.exit(0) end",
        "print(2) print(42) function f(x) print(x + 1) end",
        "local two = function() return 2 end function f(x) return setmetatable({}, {__eq = two, __index = two}) end",
        "getmetatable('').__index = function() return 2 end function f(x) return tostring(x) end",
        "io.open('/dev/fd/3', 'w'):write('x [-1,\"ok\"]\\nx [0,\"val\",[\"i\",\"2\"]]\\n') function f(x) return x end",
        "do return {function() return nil end} end", "load = function() return function() return 2 end end",
    ],
)  # fmt: skip
def test_a_cheat_does_not_pass(text: str, verdict: Callable[..., Verdict]) -> None:
    assert status(verdict, text) != "passed"


def test_what_a_program_redefines_does_not_fail_it(verdict: Callable[..., Verdict]) -> None:
    names = ("next", "type", "pcall", "rawget", "load", "tostring", "string.format", "string.gsub", "table.concat")
    text = "\n".join(f"{name} = nil" for name in names) + "\nfunction f(x) return {x, {x}} end"
    assert verdict("lua", text, ("f('a')", "same(result, ['a', ['a']])")).status == "passed"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("{true, false}", [True, False]),
        ("{0, -255, math.maxinteger, math.mininteger, 3 // 1}", [0, -255, 2**63 - 1, -(2**63), 3]),
        ("{1.5, 0.1, 1e300, 5e-324, 2^53}", [1.5, 0.1, 1e300, 5e-324, 2.0**53]),
        ("{math.huge, -math.huge}", [math.inf, -math.inf]),
        ("{'', 'é\\n\"\\\\\\0', 'a b'}", ["", 'é\n"\\\0', "a b"]),
        ("{{}, {1, {2}}, {[1] = 1, [2] = 2}, {1, 2, nil}}", [[], [1, [2]], [1, 2], [1, 2]]),
        ("{a = 1, [2] = {3}, [{1, 2}] = 'x'}", {"a": 1, 2: [3], (1, 2): "x"}),
        ("{1, nil, 3}", {1: 1, 3: 3}),
        ("nil", None),
    ],
)  # fmt: skip
def test_values_cross_exactly(call: str, expected: object, verdict: Callable[..., Verdict]) -> None:
    check = f"same(result, {expected!r})".replace("inf", "math.inf")
    assert verdict("lua", "", (call, check)).status == "passed"


def test_number_types_and_signs_cross(verdict: Callable[..., Verdict]) -> None:
    checks = [
        ("-0.0", "str(result) == '-0.0'"), ("0/0", "math.isnan(result)"), ("4 / 2", "str(result) == '2.0'"),
        ("4 // 2", "str(result) == '2'"), ("true", "result is True"), ("1", "result is not True"),
    ]  # fmt: skip
    assert verdict("lua", "", *checks).status == "passed"


@pytest.mark.parametrize("call", ["print", "coroutine.create(print)", "io.stdout"])
def test_an_object_equals_nothing(call: str, verdict: Callable[..., Verdict]) -> None:
    assert verdict("lua", "", (call, "not result == result")).status == "passed"


def test_a_call_that_is_none_does_not_take_the_others_along(verdict: Callable[..., Verdict]) -> None:
    tests = (("f(1)", "result == 2"), ("f(", "result == 2"))
    assert verdict("lua", "function f(x) return x + 1 end", *tests).tests == ("passed", "runtime_error")


def test_standard_input_to_standard_output(verdict: Callable[..., Verdict]) -> None:
    tests = [Test("41\n", "same_text(result, '42')", "stdio"), Test("1\n", "same_text(result, '3')", "stdio")]
    assert verdict("lua", "print(io.read('n') + 1)", *tests).tests == ("passed", "failed")


def suite(*assertions: str) -> str:
    lines = "".join(f"    lu.assertEquals({assertion})\n" for assertion in assertions)
    head = "lu = require('luaunit')\n\nfunction test_humaneval()\nlocal candidate = f\n"
    return f"{head}{lines}end\n\nos.exit(lu.LuaUnit.run())"


def test_assertions_are_read_as_calls() -> None:
    tests = suite("candidate({1, 'a)'}, nil), {['a, b'] = {}, [2] = -1.5}", "candidate(1), {2, 'it\\'s', true}")
    assert lua.multipl_e(tests, "f") == (
        Test("f({1, 'a)'}, nil)", "same(result, {'a, b': [], 2: -1.5})"),
        Test("f(1)", "same(result, [2, \"it's\", True])"),
    )


@pytest.mark.parametrize("assertion", ["candidate(1) + 1, 2", "candidate(1), g(2)", "1, 1"])
def test_anything_else_is_not_read(assertion: str) -> None:
    with pytest.raises(Unparsed):
        lua.multipl_e(suite(assertion), "f")
