"""TypeScript programs: types checked and translated in a jail, run by Node.js in another."""

import pytest

from roles import languages
from roles.languages import MissingRuntime, typescript
from roles.records import Test
from tests.languages.toolchains import needs

TWO = ("f(1)", "result == 2")
pytestmark = needs("typescript")
PROGRAM = """
import * as fs from 'fs';
enum Colour { Red = 1 }
interface Named { name: string; tags?: string[] }
class Box<T> { constructor(private value: T) {} get(): T { return this.value } }
export function f(x: number): number { const m = {}; m['loose'] = null; console.log(x); return new Box<number>(x + Colour.Red).get() }
const group = function (all: Array<string>): Map<string, number[]> { return new Map(all.map((s, i) => [s, [i]])) }
const unique = <T>(all: T[]): Set<T> => new Set(all);
function named(n: Named): Named { return { ...n, tags: [n.name, typeof fs] } }
function nothing(): void {}
"""  # noqa: E501
VALUES = [
    TWO,
    ("group(['a', 'b'])", "result == {'a': [0], 'b': [1]}"),
    ("unique<number>([1, 1, 2.5])", "result == set([1, 2.5])"),
    ("named({name: 'n'})", "result == {'name': 'n', 'tags': ['n', 'object']}"),
    ("nothing()", "result is None"),
    ("[NaN, 10n, 'h\u00e9']", "same(result, [math.nan, 10, 'h\u00e9'])"),
    ("-0", "str(result) == '-0.0'"),
]


def test_right_and_wrong_programs(verdict):
    of_right = verdict("typescript", PROGRAM, *VALUES)
    assert dict(zip(VALUES, of_right.tests, strict=True)) == dict.fromkeys(VALUES, "passed")
    of_wrong = verdict("typescript", PROGRAM.replace("+ Colour.Red", "+ 2 * Colour.Red"), *VALUES)
    assert of_wrong.tests == ("failed", *["passed"] * (len(VALUES) - 1))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("function f(x: number): number { return x + }", "compile_error"),
        ("function f(x: number): string { return x + 1 }", "compile_error"),
        ("function f(x: string): number { return 2 }", "compile_error"),
        ("function g(x: number): number { return 2 }", "compile_error"),
        ("// nothing", "compile_error"),
        ("process.exit(0); function f(x: number): number { return 2 }", "failed"),
        ("function f(x: number): any { return '3' }", "failed"),
        ("function f(x: number): number { throw new Error('no') }", "runtime_error"),
        ("function f(x: number): number { process.abort(); return 2 }", "runtime_error"),
        ("function f(x: number): number { for (;;); }", "timeout"),
        ("function f(x: number) { for (const a = [];;) a.push(new Array(1e6).fill(x)) }", "memory"),
        ("function f(x: number) { for (;;) require('fs').writeSync(1, 'x'.repeat(1000)) }", "output"),
    ],
)
def test_each_end_has_its_status(verdict, text, status):
    assert verdict("typescript", text, TWO).status == status


@pytest.mark.parametrize(
    "text",
    [
        "export const f = (x: number): number => x + 1;",
        "function f(x: number): number { return x + 1 }\nexport = f;",
        "export default function f(x: number): number { return x + 1 }",
        "let name = 1, status = 'a'; function parseInt(s: string) { return 7 } function f(x) { return x + name }",
        "JSON.stringify = () => '1'; Array.isArray = null as any; function f(x: number): number { return x + 1 }",
    ],
)
def test_every_way_to_define_a_function_is_reached(verdict, text):
    assert verdict("typescript", text, TWO).status == "passed"
    assert verdict("typescript", text.replace("x + 1", "x + 2").replace("x + name", "x"), TWO).status == "failed"


def test_standard_input_and_output(verdict):
    test = Test("21", "same_tokens(result, '42')", "stdio")
    program = "import * as fs from 'fs'; const n: number = parseInt(fs.readFileSync(0, 'utf8')); console.log(n * {})"
    assert verdict("typescript", program.format(2), test).status == "passed"
    assert verdict("typescript", program.format(3), test).status == "failed"
    assert verdict("typescript", program.format("'2'"), test).status == "compile_error"


def test_a_missing_compiler_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(typescript, "_FOLDERS", (tmp_path,))
    typescript._installed.cache_clear()
    try:
        expected = f"typescript: no compiler in {tmp_path}; `make languages` installs it"
        with pytest.raises(MissingRuntime, match=expected):
            languages.get("typescript").runtime(True)
    finally:
        typescript._installed.cache_clear()
