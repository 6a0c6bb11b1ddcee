import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from roles.problems import suites
from roles.problems.files import SuiteError
from roles.records import Candidate, Problem, Verdict
from roles.sandbox.judge import Judge
from roles.sandbox.limits import Limits

MEANS = {
    "problem_id": "train/1",
    "question": "Print the mean of n numbers for each of t lines.\n\\(n\\) is at most 9.",
    "input_output": {
        "inputs": ["2\n2 1 2\n3 1 1 2\n", ["1", "1 5", ""]],
        "outputs": ["1.5\n1.333333333\n", ["5.0", ""]],
    },
    "solutions": [
        "for _ in range(int(input())):\n    n, *xs = map(int, input().split())\n    print(sum(xs) / n)\n",
        "for _ in range(input()):\n    print sum(map(int, raw_input().split()[1:]))\n",
    ],
}
MISSING = {
    "problem_id": 7,
    "split": "train",
    "question": "Find the first missing number.",
    "starter_code": "class Solution:\n    def first(self, xs: List[int]) -> int:\n        ",
    "input_output": json.dumps({"fn_name": "first", "inputs": [[[1, 2]], [[2, 1, 4]]], "outputs": [3, 3]}),
    "solutions": json.dumps(
        ["class Solution:\n    def first(self, xs: List[int]) -> int:\n        return min({*range(1, 9)} - {*xs})\n"]
    ),
}
PAIRS = {
    "problem_id": "3",
    "question": "Sort the pairs.",
    "starter_code": "def pairs(xs, names):\n\t",
    "input_output": {
        "fn_name": "pairs",
        "inputs": [[[[2, 1], [1, 2]], {"1": "a"}], [[], {}]],
        "outputs": [[[["a", [1, 2]], [None, [2, 1]]]], [[]]],
    },
    "solutions": "",
}
UNTESTED = {"problem_id": "4", "question": "?", "input_output": "", "solutions": ""}
CONTEST = {
    "name": "1_A. Sum",
    "description": "Add two numbers.",
    "source": 2,
    "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
    "private_tests": {"input": [], "output": []},
    "generated_tests": {"input": ["5 -5\n", "1 1\n"], "output": ["0\n", "2\n"]},
    "solutions": {
        "language": [2, 1, 3, 3],
        "solution": ["int main() {}", "print 1", "print(1", "print(sum(map(int, input().split())))"],
    },
    "input_file": "",
    "output_file": "",
    "time_limit": {"seconds": 1, "nanos": 0},
}
LISTED = {
    **CONTEST,
    "source": "AIZU",
    "public_tests": [{"input": "1 2\n", "output": "3\n"}],
    "private_tests": None,
    "solutions": [{"language": "PYTHON3", "solution": "print(1)"}],
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def judge() -> Any:
    with Judge(Limits(wall_seconds=5, cpu_seconds=1, output_bytes=100_000)) as judge:
        yield judge


@pytest.fixture
def means(tmp_path: Path) -> Problem:
    return suites.load(f"apps:{write(tmp_path / 'apps.jsonl', [MEANS])}")[0]


def verdict(judge: Judge, problem: Problem, text: str) -> Verdict:
    return judge.judge(problem, [Candidate("c", problem.id, "g", text)])[0]


def test_apps_is_read_as_published(tmp_path: Path) -> None:
    rows = [MEANS, MISSING, PAIRS, UNTESTED]
    means, missing, pairs = suites.load(f"apps:{write(tmp_path / 'apps.jsonl', rows)}")
    assert [test.kind for test in means.tests] == ["stdio", "stdio"]
    assert means.tests[1].call == "1\n1 5\n" and "5.0" in means.tests[1].check and not means.weak
    assert (means.id, means.split, missing.id, missing.split) == ("train/1", "test", "7", "train")
    assert len(means.references) == 1  # the other one is of Python 2
    assert missing.tests[1].call == "Solution().first([2, 1, 4])" and missing.tests[1].check == "lists(result) in [3]"
    assert pairs.tests[0].call == "pairs([[2, 1], [1, 2]], {1: 'a'})"


def test_apps_references_pass_and_starters_lead_to_programs(judge: Judge, tmp_path: Path) -> None:
    means, missing, pairs = suites.load(f"apps:{write(tmp_path / 'apps.jsonl', [MEANS, MISSING, PAIRS])}")
    for problem in (means, missing):
        assert verdict(judge, problem, problem.references[0]).status == "passed"
    right = missing.prompt + "return next(n for n in range(1, 9) if n not in xs)\n"
    assert verdict(judge, missing, right).status == "passed"
    assert verdict(judge, missing, missing.prompt + "return len(xs) + 1\n").tests == ("passed", "failed")
    assert verdict(judge, missing, "def first(xs): return 3").tests == ("failed", "failed")
    for result in ("[(names.get(x[0]), tuple(x)) for x in sorted(xs)]", "[[[names.get(x[0]), x] for x in sorted(xs)]]"):
        assert verdict(judge, pairs, f"{pairs.prompt}return {result}\n").status == "passed"
    assert verdict(judge, pairs, pairs.prompt + "return [[names.get(x[0]), x] for x in xs]\n").tests[0] == "failed"


@pytest.mark.parametrize("name", ["contests.jsonl", "contests.parquet"])
def test_codecontests_is_read_as_published(judge: Judge, tmp_path: Path, name: str) -> None:
    in_files = {**CONTEST, "name": "files", "input_file": "in.txt"}
    (problem,) = suites.load(f"codecontests:{write(tmp_path / name, [CONTEST, in_files])}")
    assert problem.id == "2/1_A. Sum"
    assert [test.call for test in problem.tests] == ["1 2\n", "5 -5\n", "1 1\n"]
    assert problem.references == ("print(sum(map(int, input().split())))",)
    assert verdict(judge, problem, problem.references[0]).status == "passed"
    assert verdict(judge, problem, problem.prompt + "print(3)").tests == ("passed", "failed", "failed")


def test_codecontests_in_lists_of_objects(tmp_path: Path) -> None:
    (problem,) = suites.load(f"codecontests:{write(tmp_path / 'c.jsonl', [LISTED])}")
    assert (problem.id, len(problem.tests), problem.references) == ("AIZU/1_A. Sum", 3, ("print(1)",))


RIGHT = "t = int(input())\nfor _ in range(t):\n    n, *xs = map(float, input().split())\n"


@pytest.mark.parametrize(
    ("text", "tests"),
    [
        (RIGHT + "    print(sum(xs) / n, end='  \\n\\n')\n", ("passed", "passed")),
        (RIGHT + "    print('%.9f' % (sum(xs) / n))\n", ("passed", "passed")),
        (RIGHT + "    print('%.3f' % (sum(xs) / n))\n", ("failed", "passed")),
        (RIGHT + "    print(int(sum(xs) / n))\n", ("failed", "passed")),
        (RIGHT + "    print(sum(xs) / n)\nprint('done')\n", ("failed", "failed")),
        (RIGHT + "    print('nan')\n", ("failed", "failed")),
        (RIGHT + "    print(sum(xs) / n)\nraise SystemExit\n", ("passed", "passed")),
        (RIGHT + "    print(sum(xs) / n)\nraise SystemExit(3)\n", ("runtime_error", "runtime_error")),
        (RIGHT + "    print(sum(xs) / n)\n1 / 0\n", ("runtime_error", "runtime_error")),
        (RIGHT + "    print(sum(xs) / n)\n    t = input()\n", ("runtime_error", "runtime_error")),
        (RIGHT + "    print(sum(xs) / n)\nwhile True: pass\n", ("timeout", "timeout")),
        (RIGHT + "    print(sum(xs) / n)\nwhile True: print()\n", ("output", "output")),
        (RIGHT + "    print(sum(xs) / n)\nx = ' ' * (1 << 40)\n", ("memory", "memory")),
        (RIGHT + "    print(sum(xs) / n\n", ("compile_error", "compile_error")),
        ("print(5.0)\n", ("failed", "passed")),
        ("", ("failed", "failed")),
        ("import sys\nsys.stdout.buffer.write(b'\\xff' + b'5.0')\n", ("failed", "failed")),
        ("import sys\nsys.stderr.write('5.0')\n", ("failed", "failed")),
        ("import os\nos.write(1, b'5.0\\n')\nos._exit(0)\n", ("failed", "passed")),
    ],
)
def test_programs_are_judged_by_their_output(judge: Judge, means: Problem, text: str, tests: tuple[str, ...]) -> None:
    assert verdict(judge, means, text).tests == tests


def test_tests_share_no_state(judge: Judge, means: Problem) -> None:
    text = "import os\nos.mkdir('/tmp/seen')\n" + RIGHT + "    print(sum(xs) / n)\n"
    assert verdict(judge, means, text).status == "passed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_output": "{"}, r"line 1, field 'input_output': not JSON"),
        ({"input_output": [1]}, r"line 1, field 'input_output': expected an object"),
        ({"input_output": {"inputs": ["1"], "outputs": []}}, r"expected as many inputs as outputs"),
        ({"input_output": {"inputs": [1], "outputs": ["1"]}}, r"standard input and output must be"),
        ({"input_output": {"fn_name": "f", "inputs": [1], "outputs": [1]}}, r"expected a list of arguments, got 1"),
        ({"input_output": {"fn_name": 5, "inputs": [1], "outputs": [1]}}, r"fn_name is no text: 5"),
        ({"question": None}, r"line 1, field 'question': expected str"),
        ({"solutions": "["}, r"line 1, field 'solutions': not JSON"),
    ],
)
def test_a_malformed_row_of_apps_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        suites.load(f"apps:{write(tmp_path / 'apps.jsonl', [{**MEANS, **change}])}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"public_tests": 5}, r"line 1, field 'public_tests': expected as many input as output"),
        ({"private_tests": {"input": ["1"], "output": []}}, r"line 1, field 'private_tests': expected as many"),
        ({"generated_tests": [{"input": "1"}]}, r"line 1, field 'generated_tests': inputs and outputs must be texts"),
        ({"solutions": [1]}, r"line 1, field 'solutions': expected as many language as solution"),
        ({"name": 5}, r"line 1, field 'name': expected str, got 5"),
        ({"description": None}, r"line 1, field 'description': expected str"),
    ],
)
def test_a_malformed_row_of_codecontests_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        suites.load(f"codecontests:{write(tmp_path / 'c.jsonl', [{**CONTEST, **change}])}")
