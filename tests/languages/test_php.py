"""PHP programs, run by the command line interpreter in jails."""

import pytest

from roles.records import Test
from tests.languages.toolchains import needs

pytestmark = needs("php")

TWO = ("f(1)", "result == 2")
VALUES = [
    ("[1, -3, PHP_INT_MIN, PHP_INT_MAX]", "same(result, [1, -3, -2**63, 2**63 - 1]) and isinstance(result[0], int)"),
    ("[1.0, 0.1, 5e-324, -1e308, NAN, -INF]", "same(result, [1, 0.1, 5e-324, -1e308, math.nan, -math.inf])"),
    ("2.0", "isinstance(result, float) and result == 2"),
    ("-0.0", "str(result) == '-0.0'"),
    ("[true, false, null]", "same(result, [True, False, None])"),
    ('"h\u00e9\\0\\"\\\\"', "result == 'h\u00e9\\x00\"\\\\'"),
    ('"\\xff"', "result == '\\udcff'"),
    ("[]", "result == []"),
    ("['a' => [1, 2], 5 => ['b' => null]]", "result == {'a': [1, 2], 5: {'b': None}}"),
    ("[1 => 'a', 0 => 'b']", "list(result) == [1, 0]"),
    ("['1' => 'a']", "result == {1: 'a'}"),
    ("str_repeat('x', 1000000)", "len(result) == 1000000"),
]
OPAQUE = [
    "new stdClass()", "fn() => 2", "(function () { yield 2; })()", "STDIN", "new ArrayObject([2])", "new DateTime()",
]  # fmt: skip


def test_right_and_wrong_programs(verdict):
    tests = (TWO, ("f(-1)", "result == 0"), ("f(1.5)", "result == 2.5"))
    right = "<?php\n$one = 1;\nfunction f($x) { global $one; echo $x; return $x + $one; } // \u00e9\n"
    assert verdict("php", right, *tests).status == "passed"
    assert verdict("php", right + "?>\n", *tests).status == "passed"
    assert verdict("php", "<?php\nfunction f($x) { return intdiv($x * 10 + 10, 10); }", *tests).tests == (
        "passed", "passed", "failed",
    )  # fmt: skip
    text = "<?php declare(strict_types=1); namespace A; function json_encode() { return '2'; } class B { const C = 2; }"
    assert verdict("php", text, (r"\A\B::C", "result == 2"), (r"\A\json_encode()", "result == '2'")).status == "passed"
    assert verdict("php", right, ("f($two)", "result == 3"), setup="$two = 2;").status == "passed"


def test_values_come_back_exactly(verdict):
    cases = "".join(f"fn() => {expression},\n" for expression, _ in VALUES)
    calls = [(f"f({index})", check) for index, (_, check) in enumerate(VALUES)]
    text = f"<?php\nini_set('precision', 3); ini_set('serialize_precision', 3);\n$all = [{cases}];\n"
    of_values = verdict("php", f"{text}function f($i) {{ global $all; return $all[$i](); }}", *calls)
    assert dict(zip(VALUES, of_values.tests, strict=True)) == dict.fromkeys(VALUES, "passed")


def test_objects_that_are_not_data_equal_nothing(verdict):
    cases = "".join(f"fn() => {expression},\n" for expression in OPAQUE)
    calls = [(f"f({index})", "result != result") for index in range(len(OPAQUE))]
    text = f"<?php\n$all = [{cases}];\nfunction f($i) {{ global $all; return $all[$i](); }}"
    of_objects = verdict("php", text, *calls)
    assert dict(zip(OPAQUE, of_objects.tests, strict=True)) == dict.fromkeys(OPAQUE, "passed")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("function f($x) { return $x + ; }", "compile_error"),
        ("function f($x) { return 2; } function strlen() {}", "compile_error"),
        ("function f($x) { return 2;", "compile_error"),
        ("// nothing", "failed"),
        ("?>function f($x) { return 2; }", "failed"),
        ("function g($x) { return 2; }", "failed"),
        ("exit(0);", "failed"),
        ("function f($x) { exit(0); }", "failed"),
        ("register_shutdown_function(fn() => exit(0)); function f($x) { throw new Exception('no'); }", "runtime_error"),
        ("throw new Exception('early');", "runtime_error"),
        ("exit(7);", "runtime_error"),
        ("function f($x) { return missing($x); }", "runtime_error"),
        ("function f(string ...$x): int { return $x; }", "runtime_error"),
        ("function f($x) { return array_map('f', [$x]); }", "runtime_error"),
        ("function f($x) { while (true); }", "timeout"),
        ("function f($x) { for ($a = [];;) $a[] = str_repeat('x', 1 << 20); }", "memory"),
        ("ini_set('memory_limit', -1); function f($x) { for ($a = [];;) $a[] = str_repeat('x', 1 << 20); }", "memory"),
        ("function f($x) { return f($x) + 1; }", "memory"),
        ("function f($x) { while (true) echo str_repeat('x', 1000); }", "output"),
        ("function f($x) { return range(1, 300000); }", "output"),
        ("function f($x) { $a = []; $a[0] = &$a; return $a; }", "output"),
    ],
)
def test_each_end_has_its_status(verdict, text, status):
    assert verdict("php", f"<?php\n{text}\n", TWO).status == status


@pytest.mark.parametrize(
    "patch",
    [
        "ob_start(fn() => ''); error_reporting(0); set_error_handler(fn() => throw new Exception());",
        "register_shutdown_function(function () { while (true); });",
        "class Driver { static function send() {} } function send() {} $calls = $index = $nonce = $error = 5;",
        "fopen('php://fd/3', 'wb'); $argv = $_SERVER = []; ini_set('display_errors', 1); echo '[0,\"val\",2]';",
        "spl_autoload_register(function () { exit(0); }); set_exception_handler(function () { exit(0); });",
    ],
    ids=["handlers", "shutdown", "names", "descriptor", "loaders"],
)
def test_a_program_that_changes_the_interpreter_is_judged_by_what_it_returns(verdict, patch):
    right = f"<?php {patch}\nfunction f($x) {{ return ['n' => $x + 1, 's' => 'b']; }}"
    check = ("f(1)", "result == {'n': 2, 's': 'b'}")
    assert verdict("php", right, check).tests == ("passed",)
    assert verdict("php", right.replace("+ 1", "+ 2"), check).tests == ("failed",)


@pytest.mark.parametrize(
    "text",
    [
        'echo \'[0,"val",["j","2"]]\'; function f($x) { return 3; }',
        "$n = explode(\"\\0\", file_get_contents('/proc/self/cmdline')); $r = fopen('php://fd/3', 'wb');"
        'fwrite($r, $n[count($n) - 2] . \' [0,"val",["j","2"]]\' . "\\n");',
        "function f($x) { return new class { function __toString() { return '2'; } }; }",
        "function f($x) { return '2'; }",
        "function f($x) { return [2]; }",
        "function f($x) { return true; }",
        "return 2;",
    ],
)
def test_no_disguise_is_a_pass(verdict, text):
    assert verdict("php", f"<?php\n{text}", TWO).status != "passed"


def test_standard_input_and_output(verdict):
    test = Test("20 22\n", "same_tokens(result, '42')", "stdio")
    program = "<?php fscanf(STDIN, '%d %d', $a, $b); $c = $undefined ?? 0; echo $a + $b{};"
    assert verdict("php", program.format(""), test).status == "passed"
    assert verdict("php", program.format(" + 1"), test).status == "failed"
    assert verdict("php", program.format("; exit(1)"), test).status == "runtime_error"
    assert verdict("php", program.format(" +"), test).status == "compile_error"
