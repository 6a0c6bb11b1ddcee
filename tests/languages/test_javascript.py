"""JavaScript programs, run by Node.js in jails."""

import pytest

from roles.records import Test
from tests.languages.toolchains import needs

pytestmark = needs("javascript")

TWO = ("f(1)", "result == 2")
VALUES = [
    ("[1, 2**53, -3]", "result == [1, 2**53, -3] and isinstance(result[1], int)"),
    ("[0.1, NaN, -Infinity, 5e-324, 1e21, 2.5]", "same(result, [0.1, math.nan, -math.inf, 5e-324, 1e21, 2.5])"),
    ("-0", "str(result) == '-0.0'"),
    ("[true, false, null, undefined]", "same(result, [True, False, None, None])"),
    ("[123456789012345678901234567890n, -255n, 0n]", "result == [123456789012345678901234567890, -255, 0]"),
    ("'h\u00e9\\ud800\\u0000\u2028\"\\\\'", "result == 'h\u00e9\\ud800\\x00\u2028\"\\\\'"),
    ("{a: {b: []}, 5: 'x', ['k']: new Map()}", "result == {'5': 'x', 'a': {'b': []}, 'k': {}}"),
    ("new Map([[1, 'a'], ['1', 'b'], [[2, [3]], 'c']])", "result == {1: 'a', '1': 'b', (2, (3,)): 'c'}"),
    ("new Set([1, 'a', [2], new Set([3])])", "result == set([1, 'a', (2,), frozenset([3])])"),
    ("Object.assign(Object.create(null), {a: 1})", "result == {'a': 1}"),
    ("[, 1]", "result == [None, 1]"),
    ("new Proxy([1, 2], {})", "result == [1, 2]"),
    ("{get a() { return 5 }}", "result == {'a': 5}"),
    ("'\u00e9'.repeat(1e6)", "result == '\u00e9' * 1000000"),
]
OPAQUE = [
    "new Date()", "/x/", "new Error('x')", "Symbol('x')", "() => 1", "new (class A {})()", "new Number(2)",
    "Promise.resolve(2)", "new Uint8Array(2)", "new WeakMap()", "(function* () {})()",
]  # fmt: skip


def test_right_and_wrong_programs(verdict):
    tests = (TWO, ("f(-1)", "result == 0"), ("f(1.5)", "result == 2.5"))
    assert verdict("javascript", "function f(x) { console.log(x); return x + 1 } // \u00e9", *tests).status == "passed"
    assert verdict("javascript", "'use strict';\nconst f = x => x < 1.2 ? x + 1 : x", *tests).tests == (
        "passed", "passed", "failed",
    )  # fmt: skip
    of_class = verdict("javascript", "class A { static g(x) { return x + 1 } }", ("A.g(1)", "result == 2"))
    assert of_class.status == "passed"


def test_values_come_back_exactly(verdict):
    cases = "".join(f"() => ({expression}),\n" for expression, _ in VALUES)
    calls = [(f"f({index})", check) for index, (_, check) in enumerate(VALUES)]
    of_values = verdict("javascript", f"const all = [{cases}];\nfunction f(i) {{ return all[i]() }}", *calls)
    assert dict(zip(VALUES, of_values.tests, strict=True)) == dict.fromkeys(VALUES, "passed")


def test_objects_that_are_not_data_equal_nothing(verdict):
    cases = "".join(f"() => ({expression}),\n" for expression in OPAQUE)
    calls = [(f"f({index})", "result != result") for index in range(len(OPAQUE))]
    of_objects = verdict("javascript", f"const all = [{cases}];\nfunction f(i) {{ return all[i]() }}", *calls)
    assert dict(zip(OPAQUE, of_objects.tests, strict=True)) == dict.fromkeys(OPAQUE, "passed")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("function f(x) { return x + }", "compile_error"),
        ("/* open", "compile_error"),
        ("}); function f(x) { return 2 }; ({", "compile_error"),
        ("export default x => x + 1", "compile_error"),
        ("// nothing", "failed"),
        ("function g(x) { return 2 }", "failed"),
        ("async function f(x) { return 2 }", "failed"),
        ("process.exit(0)", "failed"),
        ("function f(x) { process.exit(0) }", "failed"),
        ("process.on('exit', () => { process.exitCode = 0 }); function f(x) { throw 5 }", "runtime_error"),
        ("throw new Error('early')", "runtime_error"),
        ("process.exit(7)", "runtime_error"),
        ("function f(x) { return f(x) + 1 }", "runtime_error"),
        ("function f(x) { return missing(x) }", "runtime_error"),
        ("process.kill(process.pid, 'SIGKILL')", "runtime_error"),
        ("function f(x) { process.abort() }", "runtime_error"),
        ("function f(x) { for (;;); }", "timeout"),
        ("function f(x) { for (const a = [];;) a.push(new Array(1e6).fill(x)) }", "memory"),
        ("function f(x) { for (const a = [];;) a.push(Buffer.alloc(1e7, 1)) }", "memory"),
        ("function f(x) { for (;;) require('fs').writeSync(1, 'x'.repeat(1000)) }", "output"),
        ("function f(x) { return new Array(1e9) }", "output"),
        ("function f(x) { const a = []; a.push(a); return a }", "output"),
    ],
)
def test_each_end_has_its_status(verdict, text, status):
    assert verdict("javascript", text, TWO).status == status


def test_what_a_program_leaves_behind_does_not_keep_it_alive(verdict):
    text = "setInterval(() => 0, 10); Promise.reject(5); process.exitCode = 3; function f(x) { return x + 1 }"
    assert verdict("javascript", text, TWO).status == "passed"


@pytest.mark.parametrize(
    "patch",
    [
        """JSON.stringify = () => '1'; JSON.parse = null; Array.isArray = () => false; Array.from = null;
        Array.prototype.toJSON = Object.prototype.toJSON = String.prototype.toJSON = () => 2;
        Function.prototype.call = Function.prototype.apply = Function.prototype.bind = null;
        for (const name of ['forEach', 'map', 'push', 'join']) Array.prototype[name] = null;
        String.prototype.slice = RegExp.prototype.exec = Map.prototype.entries = Object.keys = null;
        Number.isInteger = Object.is = Object.getPrototypeOf = Symbol.iterator = null;
        Object.defineProperty(Array.prototype, '0', {set() { throw 1 }, get() { return 7 }, configurable: true});""",
        "process.exit = process.reallyExit = process.argv = null; globalThis.process = Buffer = String = null;",
        "var require = null, module = 5, exports = 6; Error = Symbol = globalThis = null;",
        "class Map {} class Set {} function eval() {} const JSON = 1, Array = 2, Object = 3;",
        "require('fs').writeSync = require('vm').compileFunction = require('util').types = null;",
    ],
    ids=["prototypes", "process", "names of the module", "names of globals", "modules"],
)
def test_a_program_that_patches_globals_is_judged_by_what_it_returns(verdict, patch):
    right = "function f(x) { const a = {}; a.n = x + 1; a.s = 'b'; return a }"
    check = ("f(1)", "result == {'n': 2, 's': 'b'}")
    assert verdict("javascript", f"{patch}\n{right}", check).status == "passed"
    assert verdict("javascript", f"{patch}\n{right.replace('+ 1', '+ 2')}", check).status == "failed"


@pytest.mark.parametrize(
    "text",
    [
        'console.log(\'2\'); console.log(\'[0,"val",["j","2"]]\'); function f(x) { return 3 }',
        'const a = process.argv; require(\'fs\').writeSync(3, a[a.length - 1] + \' [0,"val",["j","2"]]\\n\')',
        "function f(x) { return {valueOf() { return 2 }, toString() { return '2' }, toJSON() { return 2 }} }",
        "function f(x) { return new Proxy({}, {get: () => 2, getPrototypeOf() { return Number.prototype }}) }",
        "function f(x) { return [2] }",
        "function f(x) { return '2' }",
        "function f(x) { return true }",
    ],
)
def test_no_disguise_is_a_pass(verdict, text):
    assert verdict("javascript", text, TWO).status != "passed"


def test_standard_input_and_output(verdict):
    test = Test("20\n22\n", "same_tokens(result, '42')", "stdio")
    program = "const [a, b] = require('fs').readFileSync(0, 'utf8').split('\\n').map(Number); console.log(a + b{})"
    assert verdict("javascript", program.format(""), test).status == "passed"
    assert verdict("javascript", program.format(" + 1"), test).status == "failed"
    assert verdict("javascript", program.format("); process.exit(1"), test).status == "runtime_error"
    assert verdict("javascript", "Promise.reject(new Error('late')); console.log(42)", test).status == "runtime_error"
    assert verdict("javascript", "console.log(42", test).status == "compile_error"
