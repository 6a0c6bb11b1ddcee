"""Go programs, compiled and run in jails."""

import pytest

from roles import languages
from roles.problems.formats.dialects import Unparsed
from roles.problems.formats.dialects import go as dialect
from roles.records import Problem, Test
from tests.languages.toolchains import needs

pytestmark = needs("go")

START = 'package f_test\n\nimport (\n\t"testing"\n\t"fmt"\n)\n'
PROGRAM = (
    START
    + r"""
import "math"
import "os"
type Color int
type Node struct { value int; next *Node }
func (n Node) String() string { return "4" }
func (n Node) MarshalJSON() ([]byte, error) { return []byte("4"), nil }
func (c Color) String() string { return "red" }
type any string
func twice(x int) int { fmt.Println("noise"); return 2 * x }
func values() []interface{} {
	return []interface{}{true, -3, uint64(math.MaxUint64), int64(math.MinInt64), byte(65), 'c', Color(2), "a\"\\\n\x00", "é\xff", nil}
}
func reals() []float64 { return []float64{0.1, math.Copysign(0, -1), 1e308, math.NaN(), math.Inf(-1), 5e-324, float64(float32(0.1))} }
func containers() []interface{} {
	var none []int
	return []interface{}{[]string{"x"}, [2]bool{true}, map[string][]int{"k": {1}}, map[int]bool{1: true}, none, complex(1, -2)}
}
func two() (int, error) { return 4, nil }
func odd() []interface{} { return []interface{}{Node{}, &Node{}, twice} }
func pointer() *Node { return nil }
func deep(levels int) interface{} { if levels == 0 { return 1 }; return []interface{}{deep(levels - 1)} }
func raise() int { panic(fmt.Errorf("why")) }
func index(x int) int { return []int{1}[x] }
func large(n int) string { return string(make([]byte, n)) }
func leave() int { os.Exit(0); return 4 }
func main() { fmt.Println("not run") }
"""  # noqa: E501
)


def test_values_of_every_type_come_back_exactly(verdict):
    checks = {
        "twice(2)": "same(result, 4)",
        "values()": "same(result, [True, -3, 2**64 - 1, -2**63, 65, 99, 2, 'a\"\\\\\\n\\x00', '\\xe9\\udcff', None])",
        "reals()": "same(result, [0.1, 0.0, 1e308, math.nan, -math.inf, 5e-324, 0.10000000149011612])",
        "1 / reals()[1]": "result == -math.inf",
        "containers()": "same(result, [['x'], [True, False], {'k': [1]}, {1: True}, [], 1-2j])",
        "two()": "same(result, (4, None))",
        "pointer()": "result is None",
        "deep(50)": "len(result) == 1",
    }
    assert verdict("go", PROGRAM, *checks.items()).tests == ("passed",) * len(checks)


def test_each_call_has_a_status_of_its_own(verdict):
    found = verdict(
        "go", PROGRAM, ("twice(2)", "result == 5"), ("odd()", "result == [4, 4, 4]"), ("raise()", "True"),
        ("index(1)", "True"), ("large(1 << 23)", "True"), ("deep(200)", "True"), ("index(0)", "result == 1"),
        ("leave()", "result == 4"), ("twice(2)", "result == 4"),
    )  # fmt: skip
    assert found.tests == (
        "failed", "failed", "runtime_error", "runtime_error", "output", "output", "passed", "failed", "failed",
    )  # fmt: skip
    assert "index out of range" in found.stderr


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("return g()", "compile_error"),
        ("return 4 } /*", "compile_error"),
        ("return f() + f() + 1", "runtime_error"),
        ("go func() { panic(1) }(); select {}", "runtime_error"),
        ("var all [][]int; for { all = append(all, make([]int, 1<<16)) }", "memory"),
        ("for i := 0; ; i++ {}", "timeout"),
        ("time.Sleep(time.Hour); return 4", "timeout"),
        ('for { fmt.Println("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx") }', "output"),
        ('r := os.NewFile(3, ""); fmt.Fprintln(r, os.Args[0], `[0,"val",["j","4"]]`); os.Exit(0); return 4', "failed"),
    ],
)
def test_a_program_that_does_not_answer(verdict, body, status):
    text = f'package main\nimport ("fmt"; "os"; "time")\nvar _, _ = time.Now, os.Exit\nfunc f() int {{ {body} }}\n'
    assert verdict("go", text, ("f()", "result == 4")).status == status


def test_leaving_while_the_program_loads_is_no_pass(verdict):
    text = 'package main\nimport "os"\nfunc f() int { return 4 }\nfunc init() { os.Exit(0) }\n'
    assert verdict("go", text, ("f()", "result == 4")).status == "failed"


def test_standard_input_to_standard_output(verdict):
    text = 'package main\nimport "fmt"\nfunc main() { var a, b int; fmt.Scan(&a, &b); fmt.Print(a + b) }'
    wanted = [Test("2 3\n", "same_tokens(result, '5')", "stdio"), Test("2 3\n", "same_tokens(result, '6')", "stdio")]
    assert verdict("go", text, *wanted).tests == ("passed", "failed")


def test_a_test_program_is_weak(verdict):
    check = "func TestF(t *testing.T) { if f() != %d { t.Errorf(fmt.Sprint(f())) } }"
    found = verdict("go", f"{START}func f() int {{ return 4 }}", *(Test(check % n, "", "program") for n in (4, 5)))
    assert found.weak and found.tests == ("passed", "failed")


def test_a_completion_is_closed():
    tests = (Test("f()", "result == 1"),)
    problem = Problem("1", "s", "test", "go", "func f() string {\n", "f", tests)
    assert languages.get("go").assemble(problem, "  return `}`") == "func f() string {\n  return `}`\n}\n"


MULTIPL_E = """func TestF(t *testing.T) {
  candidate := f
	type test struct {
		actual   interface{}
		expected interface{}
	}
   tests := []test{
     { actual: candidate([]int{1, 2}, "a,}"), expected: "b\\n" },
     { actual: candidate(1), expected: []interface{}{1, 2.5, true, "x", []string{}} },
     { actual: candidate(1), expected: map[string][]int{"a": []int{-1}, "b": {2}} },
     { actual: candidate(1), expected: [][]int{{1}, {}} },
     { actual: candidate(1), expected: nil },
   }

	for i, tc := range tests {
	}
}
"""


def test_the_tests_of_multipl_e_are_calls():
    tests = dialect.multipl_e(MULTIPL_E, "f")
    assert tests[0] == Test('f([]int{1, 2}, "a,}")', "same(result, 'b\\n')")
    expected = ["[1, 2.5, True, 'x', []]", "{'a': [-1], 'b': [2]}", "[[1], []]", "None"]
    assert [test.check for test in tests[1:]] == [f"same(result, {value})" for value in expected]


def test_the_tests_of_mbxp_are_calls():
    text = """
func main() {
	actual_1 := f([]int{1, 2},2)
	expected_1 := map[int][]string{
 1: []string{"a"},
 }
	deepCompare(actual_1, expected_1, "Exception --- test case 0 failed to pass")

}
"""
    assert dialect.mbxp(text, "f", "") == (Test("f([]int{1, 2},2)", "same(result, {1: ['a']})"),)


@pytest.mark.parametrize(
    "text", ["", "func main() { g() }", "func TestF(t *testing.T) { tests := []test{ {g(): 1} } }"]
)
def test_other_test_programs_are_not_read(text):
    for read in (lambda: dialect.multipl_e(text, "f"), lambda: dialect.mbxp(text, "f", "")):
        with pytest.raises(Unparsed):
            read()
