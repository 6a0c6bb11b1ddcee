"""Rust programs, compiled and run in jails."""

import pytest

from roles import languages
from roles.problems.formats.dialects import Unparsed
from roles.problems.formats.dialects import rust as dialect
from roles.records import Problem, Test
from tests.languages.toolchains import needs

pytestmark = needs("rust")

PROGRAM = r"""
use std::collections::*;
use std::fmt;

macro_rules! format { ($($all:tt)*) => { String::from("4") } }
#[derive(Clone)]
pub struct Node(i32);
impl fmt::Display for Node { fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result { write!(f, "4") } }
impl PartialEq for Node { fn eq(&self, _: &Node) -> bool { true } }
pub trait Known { fn encode(&self) {} }
impl<T> Known for T {}

fn twice(x: isize) -> isize { println!("noise"); 2 * x }
fn integers() -> (bool, i8, u64, i64, i128, usize, char) { (true, -3, u64::MAX, i64::MIN, i128::MIN, 7, 'é') }
fn reals() -> Vec<f64> { vec![0.1, -0.0, 1e308, f64::NAN, f64::NEG_INFINITY, 5e-324, 0.1f32 as f64] }
fn single() -> f32 { 0.1 }
fn texts() -> [String; 3] { ["a\"\\\n\0".to_string(), "é".to_string(), String::new()] }
fn lent() -> &'static str { "lent" }
fn containers() -> (HashMap<String, Vec<i32>>, BTreeSet<u8>, HashSet<(i32, i32)>, VecDeque<i32>, [i32; 0], Box<i32>) {
    (HashMap::from([("k".to_string(), vec![1])]), BTreeSet::from([2, 1]), HashSet::from([(1, 2)]), VecDeque::new(), [], Box::new(5))
}
fn maybe(x: i32) -> Option<(Option<i32>, Result<i32, String>)> { if x > 0 { Some((None, Ok(x))) } else { None } }
fn nothing() {}
fn odd() -> Node { Node(4) }
fn index(x: usize) -> i32 { vec![1][x] }
fn add(x: i32) -> i32 { x + i32::MAX }
fn large(n: usize) -> String { "x".repeat(n) }
fn leave() -> i32 { std::process::exit(0) }
fn main() { println!("not run"); }
"""  # noqa: E501


def test_values_of_every_type_come_back_exactly(verdict):
    checks = {
        "twice(2)": "same(result, 4)",
        "integers()": "same(result, (True, -3, 2**64 - 1, -2**63, -2**127, 7, '\\xe9'))",
        "reals()": "same(result, [0.1, 0.0, 1e308, math.nan, -math.inf, 5e-324, 0.10000000149011612])",
        "1.0 / reals()[1]": "result == -math.inf",
        "single()": "result == 0.10000000149011612",
        "texts()": "result == ['a\"\\\\\\n\\x00', '\\xe9', '']",
        "lent()": "result == 'lent'",
        "containers()": "same(result, ({'k': [1]}, {1, 2}, {(1, 2)}, [], [], 5))",
        "maybe(1)": "same(result, (None, ('Ok', 1)))",
        "maybe(0)": "result is None",
        "nothing()": "result is None",
    }
    assert verdict("rust", PROGRAM, *checks.items()).tests == ("passed",) * len(checks)


def test_each_call_has_a_status_of_its_own(verdict):
    found = verdict(
        "rust", PROGRAM, ("twice(2)", "result == 5"), ("odd()", "result == 4"), ("vec![odd()]", "result == [4]"),
        ("index(1)", "True"), ("add(1)", "True"), ("large(1 << 23)", "True"), ("vec![0; 300000]", "True"),
        ("index(0)", "result == 1"), ("leave()", "result == 4"), ("twice(2)", "result == 4"),
    )  # fmt: skip
    assert found.tests == (
        "failed", "failed", "failed", "runtime_error", "runtime_error", "output", "output", "passed", "failed",
        "failed",
    )  # fmt: skip
    assert "index out of bounds" in found.stderr


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("g()", "compile_error"),
        ("4 } /*", "compile_error"),
        ("f() + f() + 1", "runtime_error"),
        ("std::process::abort()", "runtime_error"),
        ("let mut all = vec![]; loop { all.push(vec![1u8; 1 << 20]); }", "memory"),
        ("let mut i = 0u8; loop { i ^= 1; }", "timeout"),
        ("std::thread::sleep(std::time::Duration::from_secs(100)); 4", "timeout"),
        ('loop { println!("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"); }', "output"),
        ("std::panic::set_hook(Box::new(|_| std::process::exit(0))); panic!()", "failed"),
    ],
)
def test_a_program_that_does_not_answer(verdict, body, status):
    assert verdict("rust", f"fn f() -> i32 {{ {body} }}\n", ("f()", "result == 4")).status == status


def test_standard_input_to_standard_output(verdict):
    text = "fn main() { let mut s = String::new(); std::io::stdin().read_line(&mut s).unwrap(); "
    text += 'println!("{}", s.split_whitespace().map(|x| x.parse::<i32>().unwrap()).sum::<i32>()); }'
    wanted = [Test("2 3\n", "same_tokens(result, '5')", "stdio"), Test("2 3\n", "same_tokens(result, '6')", "stdio")]
    assert verdict("rust", text, *wanted).tests == ("passed", "failed")


def test_a_test_program_is_weak(verdict):
    tests = [Test(f"fn main() {{ assert_eq!(f(), {n}); }}", "", "program") for n in (4, 5)]
    found = verdict("rust", "fn f() -> i32 { 4 }", *tests)
    assert found.weak and found.tests == ("passed", "failed")


def test_a_completion_cut_at_the_closing_brace_is_closed():
    tests = (Test("f()", "result == 1"),)
    problem = Problem("1", "s", "test", "rust", "fn f<'a>(s: &'a str) -> char {\n", "f", tests)
    assert languages.get("rust").assemble(problem, "    '{'") == "fn f<'a>(s: &'a str) -> char {\n    '{'\n}\n"


MULTIPL_E = """}

fn main() {
    let candidate = f;
    assert_eq!(candidate(vec![1, 2], String::from("a,);")), String::from("b\\n"));
    assert_eq!(candidate(1), vec![(1, -2.5, true)]);
    assert_eq!(candidate(1), Some((String::from("x"), vec![])));
    assert_eq!(candidate(1), HashMap::from([(String::from("a"), 1), (String::from("b"), 2)]));
    assert_eq!(candidate(1), None);
    assert_eq!(candidate(1), (1,));
    assert_eq!(candidate(1), "x".to_string());
}
"""


def test_the_tests_of_multipl_e_are_calls():
    tests = dialect.multipl_e(MULTIPL_E, "f")
    assert tests[0] == Test('f(vec![1, 2], String::from("a,);"))', "result == 'b\\n'")
    assert [test.check.removeprefix("result == ") for test in tests[1:]] == [
        "[(1, -2.5, True, )]", "('x', [], )", "{'a': 1, 'b': 2}", "None", "(1, )", "'x'",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "fn main() { g(); }", "fn main() { let candidate = f; assert_eq!(g(), 1); }"])
def test_other_test_programs_are_not_read(text):
    with pytest.raises(Unparsed):
        dialect.multipl_e(text, "f")
