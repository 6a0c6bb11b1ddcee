"""Wrong programs that want to be passed, in every language, against calls, standard output and test programs.

`cheats/<language>.txt` holds them. None passes calls. Those marked `[fools]` go for the end of the process instead of
a value: none of them passes standard output either, and all pass a test program, which is why that kind is weak.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from roles import languages
from roles.records import Candidate, Problem, Test, Verdict
from roles.sandbox.judge import Judge
from roles.sandbox.limits import MIB, Limits
from tests.languages.toolchains import missing
from tests.sandbox import corpus, traces
from tests.sandbox.corpus import Program

NUMBERS = (1, 41, -1)


@dataclasses.dataclass(frozen=True)
class Forms:
    """How a language says things about f. `echo` stands behind a program and turns it into one for standard input."""

    honest: str
    echo: str
    assertion: str  # of one number, `{x}`, and of one more, `{y}`
    before: str = ""  # in front of all assertions
    behind: str = ""
    call: str = "f({x})"
    expected: str = "{y}"


_NODE_INPUT = 'console.log(f(Number(require("fs").readFileSync(0, "utf8"))));'
FORMS = {
    "javascript": Forms(
        "function f(x) { return x + 1; }", _NODE_INPUT, 'require("assert").deepEqual(f({x}), {y});',
    ),
    "typescript": Forms(
        "function f(x: number): any { return x + 1; }", _NODE_INPUT, 'require("assert").deepEqual(f({x}), {y});',
    ),
    "php": Forms(
        "<?php\nfunction f($x) { return $x + 1; }", "echo f((int) fgets(STDIN));", "if (f({x}) != {y}) exit(1);",
    ),
    "ruby": Forms("def f(x) = x + 1", "puts f(gets.to_i)", "exit(1) unless f({x}) == {y}"),
    "cpp": Forms(
        "#include <bits/stdc++.h>\nusing namespace std;\nlong f(long x) { return x + 1; }",
        "int main() { long x; cin >> x; cout << f(x) << endl; }", "assert(f({x}) == {y});", "int main() {", "}",
    ),
    "java": Forms(
        "class Problem { static int f(int x) { return x + 1; } }",
        "class Main { public static void main(String[] a) throws Exception {"
        " System.out.println(Problem.f(new java.util.Scanner(System.in).nextInt())); } }",
        "if (!((Object) {y}).equals(Problem.f({x}))) throw new AssertionError();",
        "class Main { public static void main(String[] a) throws Exception {", "} }", "Problem.f({x})",
    ),
    "csharp": Forms(
        "class Problem { public static int f(int x) { return x + 1; } }",
        "class Program { public static void Main() {"
        " System.Console.WriteLine(Problem.f(int.Parse(System.Console.ReadLine()))); } }",
        "if (!((object) {y}).Equals(Problem.f({x}))) throw new System.Exception();",
        "class Program { public static void Main() {", "} }", "Problem.f({x})",
    ),
    "bash": Forms(
        "f() { echo $(($1 + 1)); }", "read x; f $x", '[ "$(f {x})" = {y} ] || exit 1', call="f {x}", expected="'{y}'",
    ),
    "lua": Forms(
        "function f(x) return x + 1 end", 'print(f(io.read("n")))', "if f({x}) ~= {y} then os.exit(1) end",
    ),
    "perl": Forms(
        "sub f { return $_[0] + 1 }", "print f(<STDIN> + 0);", "exit(1) unless f({x}) == {y};", expected="'{y}'",
    ),
    "go": Forms(
        'package main\nimport ("fmt"; "os")\nvar _ = os.Exit\nvar _ = fmt.Sprint\nfunc f(x int) int { return x + 1 }',
        "func main() { var x int; fmt.Scan(&x); fmt.Println(f(x)) }",
        'if fmt.Sprint(f({x})) != "{y}" { os.Exit(1) }', "func main() {", "}",
    ),
    "rust": Forms(
        "fn f(x: i64) -> i64 { x + 1 }",
        "fn main() { let mut line = String::new(); std::io::stdin().read_line(&mut line).unwrap();"
        ' println!("{}", f(line.trim().parse().unwrap())); }',
        "assert_eq!(f({x}), {y});", "fn main() {", "}",
    ),
}  # fmt: skip
PRESENT = [name for name in FORMS if name in languages.names() and not missing(name)]
CHEATS = [(name, cheat) for name in PRESENT for cheat in corpus.of_language(name)]
LEAVING = [pair for pair in CHEATS if pair[1].fools]  # they go for the end of the process, not for a value


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(Limits(wall_seconds=5, cpu_seconds=2, memory_bytes=256 * MIB, output_bytes=65536)) as judge:
        yield judge


@pytest.fixture(scope="module")
def idle(judge: Judge) -> Callable[[], dict[str, Any]]:
    """What there is while the jails that are running have nothing to do."""
    known: dict[tuple[str, ...], dict[str, Any]] = {}

    def of_these_jails() -> dict[str, Any]:
        running = tuple(sorted(worker.language.name for worker in judge._all))
        if running not in known:
            known[running] = traces.settled(judge)
        return known[running]

    return of_these_jails


def problem(language: str, kind: str) -> Problem:
    forms = FORMS[language]
    fill = [{"x": str(x), "y": str(x + 1)} for x in NUMBERS]

    def filled(form: str) -> list[str]:
        return [form.replace("{x}", each["x"]).replace("{y}", each["y"]) for each in fill]

    tests = {
        "call": [
            Test(call, f"result == {expected}")
            for call, expected in zip(filled(forms.call), filled(forms.expected), strict=True)
        ],
        "stdio": [Test(f"{each['x']}\n", f"same_tokens(result, '{each['y']}')", "stdio") for each in fill[1:]],
        "program": [Test("\n".join([forms.before, *filled(forms.assertion), forms.behind]), "", "program")],
    }
    return Problem(f"{language} {kind}", "own", "test", language, "", "f", tuple(tests[kind]))


def verdict_on(judge: Judge, language: str, kind: str, text: str) -> Verdict:
    if kind == "stdio":
        text += f"\n{FORMS[language].echo}\n"
    wanted = problem(language, kind)
    return judge.judge(wanted, [Candidate("c", wanted.id, "g", text)])[0]


@pytest.mark.parametrize("kind", ["call", "stdio", "program"])
@pytest.mark.parametrize("language", PRESENT)
def test_an_honest_program_passes_every_kind(judge: Judge, language: str, kind: str) -> None:
    verdict = verdict_on(judge, language, kind, FORMS[language].honest)
    assert (verdict.status, verdict.weak) == ("passed", kind == "program"), verdict


@pytest.mark.parametrize(("language", "cheat"), CHEATS, ids=lambda item: getattr(item, "name", item))
def test_no_cheat_passes_calls_and_none_leaves_a_trace(
    judge: Judge, idle: Callable[[], dict[str, Any]], language: str, cheat: Program
) -> None:
    faults = judge.faults
    verdict_on(judge, language, "call", FORMS[language].honest)  # its jail has started
    before = idle()
    verdict = verdict_on(judge, language, "call", cheat.text)
    assert verdict.status in cheat.statuses, verdict
    assert verdict.pass_rate < 1 and not verdict.weak
    assert judge.faults == faults
    assert traces.until(lambda: traces.of(judge) == before), (before, traces.of(judge))


@pytest.mark.parametrize(("language", "cheat"), LEAVING, ids=lambda item: getattr(item, "name", item))
def test_no_cheat_passes_by_what_it_prints(judge: Judge, language: str, cheat: Program) -> None:
    verdict = verdict_on(judge, language, "stdio", cheat.text)
    assert verdict.status not in ("passed", "sandbox_fault"), verdict
    assert verdict.pass_rate < 1


@pytest.mark.parametrize(("language", "cheat"), LEAVING, ids=lambda item: getattr(item, "name", item))
def test_a_verdict_that_a_cheat_can_forge_is_labelled_weak(judge: Judge, language: str, cheat: Program) -> None:
    verdict = verdict_on(judge, language, "program", cheat.text)
    assert (verdict.status, verdict.weak) == ("passed", True), verdict


def test_every_language_has_its_cheats() -> None:
    assert {*FORMS, "python"} == set(languages.names())
    assert all(len(corpus.of_language(name)) >= 10 for name in languages.names())
