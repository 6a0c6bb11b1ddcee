import ast
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.mutating import mutants
from benchmarks.plain_harness import LIMITS, Case, asserts_of, cases_of, plain, reason
from roles.records import Candidate, Problem, Test
from roles.sandbox.judge import Judge

SOURCE = """def f(xs, n=2):
    total = 0
    for x in xs:
        if x > n and x != 7:
            total += x * n
        else:
            break
    return total
"""
ROW = {
    "task_id": 601,
    "text": "Add.",
    "code": "def add(a, b):\r\n  return a + b\r\n",
    "test_list": ["assert add(one, 2) == 3", "assert add('a', 'b') == 'ab'"],
    "test_setup_code": "one = 1",
}


@pytest.fixture
def suite(tmp_path: Path) -> str:
    path = tmp_path / "mbpp.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    return f"mbpp:{path}"


def test_mutants_are_different_programs_one_change_away() -> None:
    found = mutants(SOURCE, random.Random(0), 1000)
    assert len(found) > 25 and len(set(found)) == len(found)
    assert ast.unparse(ast.parse(SOURCE)) not in found
    for text in found:
        compile(text, "mutant", "exec")
    assert mutants(SOURCE, random.Random(1), 5) == mutants(SOURCE, random.Random(1), 5)
    assert mutants(SOURCE, random.Random(1), 5) != mutants(SOURCE, random.Random(2), 5)


def test_the_plain_harness_runs_the_published_asserts(suite: str) -> None:
    assert asserts_of(suite) == {"601": "\n".join([ROW["test_setup_code"], *ROW["test_list"]])}  # type: ignore[misc]
    reference, *broken = cases_of(suite, 4, 0, 10, random.Random(0))
    assert len(broken) == 4
    assert plain(reference).status == "passed"


def test_both_tell_the_same_ends_apart() -> None:
    problem = Problem("1", "own", "test", "python", "", "f", (Test("f(1)", "result == 2"),))
    programs = {
        "passed": "def f(x): return x + 1",
        "failed": "def f(x): return x",
        "runtime_error": "def f(x): return x / 0",
        "compile_error": "def f(x: return x",
        "memory": "def f(x): return len(bytearray(1 << 40))",
        "timeout": "def f(x):\n    while True: pass",
    }
    with Judge(LIMITS) as judge:
        for status, text in programs.items():
            candidate = Candidate(status, "1", "g", text)
            assert plain(Case(problem, candidate, "result = f(1)\nassert result == 2")).status == status
            assert judge.judge(problem, [candidate])[0].status == status


def test_the_command_counts_and_lists(suite: str) -> None:
    command = [sys.executable, "-m", "benchmarks.plain_harness", suite, "--mutants", "3", "--workers", "1"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["programs"] == 4 and found["disagreements"] == 0
    assert "judge passed         plain passed" in done.stdout


@pytest.mark.parametrize(
    ("text", "asserts", "why"),
    [
        ("def f(x): exit()", "assert f(1) == 2", "the program leaves with status 0 before the last assert"),
        (
            "class Any:\n    def __eq__(self, other): return True\ndef f(x): return Any()",
            "assert f(1) == 2",
            "the result is an object that is no plain data",
        ),
    ],
)
def test_a_program_that_only_the_plain_harness_passes_is_explained(text: str, asserts: str, why: str) -> None:
    problem = Problem("1", "own", "test", "python", "", "f", (Test("f(1)", "result == 2"),))
    case = Case(problem, Candidate("c", "1", "g", text), asserts)
    with Judge(LIMITS) as judge:
        verdict = judge.judge(problem, [case.candidate])[0]
    assert plain(case).status == "passed" and verdict.status == "failed"
    assert reason(case, verdict, plain(case)) == why
