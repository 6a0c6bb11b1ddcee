from collections.abc import Callable

import pytest

from roles import languages
from roles.problems.formats.dialects import Unparsed, bash
from roles.records import Problem, Test, Verdict
from tests.languages.toolchains import needs

pytestmark = needs("bash")
SUCCESSOR = (("f 1", "result == '2'"), ("f '41'", "result == '42'"))


def status(verdict: Callable[..., Verdict], text: str) -> str:
    return verdict("bash", text, *SUCCESSOR).status


def test_a_right_program_passes_and_a_wrong_one_fails(verdict: Callable[..., Verdict]) -> None:
    assert status(verdict, "f() {\n  echo $(($1 + 1))\n}\n") == "passed"
    assert status(verdict, "f() { echo $1; }") == "failed"
    assert verdict("bash", "f() { echo 2; }", *SUCCESSOR).pass_rate == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f() { echo $1;", "compile_error"),
        ("f() {\n  if [ $1 ]; echo 2; fi\n}", "compile_error"),
        ("exit 3", "runtime_error"),
        ("f() { exit 3; }", "runtime_error"),
        ("f() { kill -SEGV $BASHPID; }", "runtime_error"),
        ("f() { missing_command; }", "runtime_error"),
        ("f() { while :; do :; done; }", "timeout"),
        ("f() { : {1..20000000}; }", "memory"),
        ("f() { while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done; }", "output"),
        ("f() { yes; }", "output"),
        ("f() { yes >&2; }", "output"),
        ("yes", "output"),
    ],
)
def test_status_of(text: str, expected: str, verdict: Callable[..., Verdict]) -> None:
    assert status(verdict, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "exit 0", "f() { exit 0; }", "f() { kill -9 $PPID; }", "echo 2; echo 42; f() { :; }",
        "trap 'echo 2' EXIT; f() { :; }", "printf() { :; }; echo() { :; }; exec() { :; }; f() { builtin echo 1; }",
        "shopt -s expand_aliases; alias set='echo 2' exec='echo 2 >&4'; f() { echo 1; }",
        "exec bash -c 'echo loaded; echo 2' >&4", "echo loaded >&4; exit 0", "exec /bin/true",
        "set -e; f() { false; echo 3; }", "f() { echo '[0,\"val\",\"2\"]' >&3; }",
    ],
)  # fmt: skip
def test_a_cheat_does_not_pass(text: str, verdict: Callable[..., Verdict]) -> None:
    assert status(verdict, text) != "passed"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (r"f() { printf 'a\n\n b \n\n\n'; }", "a\n\n b "),
        (r"f() { printf 'é \x01 \\ \"'; }", 'é \x01 \\ "'),
        (r"f() { printf 'a\xffb\0c'; }", "a\udcffbc"),
        ("f() { :; }", ""),
        ("f() { echo 1; return 1; }", "1"),
        ("f() { echo 1; ls /missing; echo 2; }", "1\n2"),
        ("f() { echo 1 > /dev/stdout; echo 2 > /dev/stderr; }", "1"),
        ("f() { echo \"$#:$1:$2\"; }\nset -e", "2:a b:$x"),
        ("f() { echo 3 1 2 | tr ' ' '\\n' | sort -n | awk '{ s = s $1 } END { print s }' | sed s/2/x/; }", "1x3"),
        ("f() { local IFS=,; read -ra a <<< 1,2; echo \"${a[*]}\" | rev; }", "2,1"),
    ],
)
def test_what_a_call_prints_is_its_result(text: str, result: str, verdict: Callable[..., Verdict]) -> None:
    assert verdict("bash", text, ('f "a b" "\\$x"', f"result == {result!a}")).status == "passed"


def test_one_call_does_not_see_another(verdict: Callable[..., Verdict]) -> None:
    tests = [("f", "result == '1'"), ("f", "result == '1'")]
    assert verdict("bash", "n=0\nf() { n=$((n + 1)); echo $n; }", *tests).status == "passed"


def test_standard_input_to_standard_output(verdict: Callable[..., Verdict]) -> None:
    tests = [Test("41\n", "same_text(result, '42')", "stdio"), Test("1\n", "same_text(result, '3')", "stdio")]
    assert verdict("bash", "read x; echo $((x + 1))", *tests).tests == ("passed", "failed")
    assert verdict("bash", "echo 42; exit 1", *tests).status == "runtime_error"


@pytest.mark.parametrize(
    ("completion", "end"), [("  echo 1", "\n}\n"), ("  echo 1\n}\n", "\n}\n"), ("  if a; then b\n  fi", "fi\n}\n")]
)
def test_the_function_of_the_prompt_is_closed_once(completion: str, end: str) -> None:
    problem = Problem("1", "own", "test", "bash", "#!/bin/bash\nf() {\n", "f", ())
    text = languages.get("bash").assemble(problem, completion)
    assert text.endswith(end)
    assert text.count("}") == 1


def test_comparisons_are_read_as_calls() -> None:
    tests = r"""}

candidate() {
    f "$@"
}

set -e
run_test() {
    [[ $(candidate "1 2\n3" "\$a \"b\"") = "4\n\"5\" \\" ]]
    [[ $(candidate) = "" ]]
}

run_test"""
    assert bash.multipl_e(tests, "f") == (
        Test(r'f "1 2\n3" "\$a \"b\""', r"""result == '4\\n"5" \\'"""), Test("f", "result == ''")
    )  # fmt: skip


def test_anything_else_is_not_read() -> None:
    tests = 'candidate() {\n f "$@"\n}\nset -e\nrun_test() {\n    [[ $(candidate) = $(date) ]]\n}\nrun_test'
    with pytest.raises(Unparsed):
        bash.multipl_e(tests, "f")
