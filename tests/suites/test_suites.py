import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from roles.problems import suites
from roles.problems.suites import SuiteError
from roles.records import Candidate, Problem, Test, to_batch
from roles.sandbox.judge import Judge
from roles.sandbox.limits import Limits

MBPP: list[dict[str, Any]] = [
    {
        "task_id": 7,
        "text": 'Write a function to add """two""" numbers \\.',
        "code": "def add(a, b):\r\n  return a + b\r\n",
        "test_list": ["assert add(1, 2) == 3", "assert add(2, b=-2) == 0", "assert add('a', 'b') == 'ab'"],
        "test_setup_code": "",
        "challenge_test_list": ["assert add([1], [2]) == [1, 2, 3]"],
    },
    {
        "task_id": 311,
        "text": "Write a function to find the height of a tree.",
        "code": "class Node:\r\n  def __init__(self, left):\r\n    self.left = left\r\n"
        "def height(n):\r\n  return 0 if n is None else 1 + height(n.left)\r\n",
        "test_list": ["assert (height(root)) == 2", "assert height(Node(None)) == 1", "assert int(height(None)) == 0"],
        "test_setup_code": "root = Node(Node(None))\r\n",
        "challenge_test_list": [],
    },
    {
        "task_id": 601,
        "text": "Write a function to find the size of a tuple in bytes.",
        "code": "import sys\r\ndef size(t):\r\n  return sys.getsizeof(t)\r\n",
        "test_list": ["assert size((1, 2)) == sys.getsizeof((1, 2))", "assert size(()) < size((1,))"],
        "test_setup_code": "",
        "challenge_test_list": [],
    },
    {
        "task_id": 555,
        "text": "Write a function to find the mean.",
        "code": "def mean(x):\n  return sum(x) / len(x)\n",
        "test_list": [
            "assert math.isclose(mean([1, 2]), 1.5, rel_tol=0.001)",
            "assert set([mean([4])]) == {4}",
            "assert mean([1, 1]) in (1, 2)",
            "assert not mean([0])",
            "import math\nassert mean([math.pi]) > 3",
        ],
        "test_setup_code": "",
        "challenge_test_list": [],
    },
]

HUMANEVAL: list[dict[str, Any]] = [
    {
        "task_id": "HumanEval/0",
        "entry_point": "twice",
        "prompt": 'def twice(x: int) -> int:\n    """Twice x.\n    >>> twice(2)\n    4\n    """\n',
        "canonical_solution": "    return 2 * x\n",
        "test": "\n\nMETADATA = {'author': 'us'}\n\n\ndef check(candidate):\n"
        "    # plain\n    assert candidate(2) == 4, 'no'\n"
        "    assert abs(candidate(0.5) - 1.0) < 1e-6\n    assert True, 'nothing'\n    print('x')\n",
    },
    {
        "task_id": "HumanEval/1",
        "entry_point": "encode",
        "prompt": "def decode(s):\n    return s[::-1]\n\ndef encode(s):\n",
        "canonical_solution": "    return s[::-1]\n",
        "test": "def helper(s):\n    return ''.join(reversed(s))\n"
        "def check(candidate):\n    from random import randint, choice\n"
        "    import string\n    for _ in range(6):\n"
        "        s = ''.join(choice(string.ascii_lowercase) for _ in range(4))\n"
        "        assert candidate(s) == helper(s)\n    assert encode('ab') == 'ba'\n",
    },
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with gzip.open(path, "wt") if path.suffix == ".gz" else open(path, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def statuses(problems: list[Problem], texts: list[str]) -> list[tuple[str, ...]]:
    with Judge(Limits(wall_seconds=5, cpu_seconds=2)) as judge:
        pairs = [(p, Candidate(p.id, p.id, "g", text)) for p, text in zip(problems, texts, strict=True)]
        return [verdict.tests for verdict in judge.judge_all(pairs)]


@pytest.mark.parametrize("name", ["mbpp.jsonl", "mbpp.jsonl.gz"])
def test_mbpp_is_read_as_published(tmp_path: Path, name: str) -> None:
    problems = suites.load(f"mbpp:{write(tmp_path / name, MBPP)}")
    assert [(p.id, p.split, p.entry_point) for p in problems] == [
        ("7", "prompt", "add"),
        ("311", "test", "height"),
        ("601", "train", "size"),
        ("555", "validation", "mean"),
    ]
    add, tree, size, mean = problems
    assert add.tests[0] == Test("add(1, 2)", "result == 3") and len(add.tests) == 3
    assert tree.setup == "root = Node(Node(None))\n"
    assert tree.tests == (
        Test("height(root)", "result == 2"),
        Test("height(Node(None))", "result == 1"),
        Test("height(None)", "int(result) == 0"),
    )
    assert [bool(test.call) for test in size.tests] == [False, False]
    assert [bool(test.call) for test in mean.tests] == [True, True, True, True, False]
    assert mean.tests[0].check == "math.isclose(result, 1.5, rel_tol=0.001)"
    assert all("\r" not in reference for problem in problems for reference in problem.references)


def test_mbpp_references_pass_and_empty_programs_do_not(tmp_path: Path) -> None:
    problems = suites.load(f"mbpp:{write(tmp_path / 'mbpp.jsonl', MBPP)}")
    for tests in statuses(problems, [problem.references[0] for problem in problems]):
        assert set(tests) == {"passed"}
    for tests in statuses(problems, ["def f(): pass"] * len(problems)):
        assert "passed" not in tests


def test_an_mbpp_prompt_and_a_program_are_a_program(tmp_path: Path) -> None:
    problems = suites.load(f"mbpp:{write(tmp_path / 'mbpp.jsonl', MBPP)}")
    assert "assert add(1, 2) == 3" in problems[0].prompt
    for tests in statuses(problems, [problem.prompt + problem.references[0] for problem in problems]):
        assert set(tests) == {"passed"}


def test_humaneval_is_read_as_published(tmp_path: Path) -> None:
    twice, encode = suites.load(f"humaneval:{write(tmp_path / 'he.jsonl', HUMANEVAL)}")
    assert (twice.id, twice.split) == ("HumanEval/0", "test")
    assert twice.tests == (Test("twice(2)", "result == 4"), Test("twice(0.5)", "abs(result - 1.0) < 1e-06"))
    assert [test.call for test in encode.tests] == [""]
    right = [twice.references[0], encode.references[0]]
    assert statuses([twice, encode], right) == [("passed", "passed"), ("passed",)]
    wrong = [twice.prompt + "    return 4\n", encode.prompt + "    return s\n"]
    assert statuses([twice, encode], wrong) == [("passed", "failed"), ("failed",)]
    assert statuses([encode], ["def encode(s):\n    raise KeyError"]) == [("runtime_error",)]
    assert statuses([encode], ["def encode(s):\n    while True: pass"]) == [("timeout",)]


def test_a_script_may_catch_what_the_program_raises() -> None:
    script = (
        "def check(candidate):\n    try:\n        candidate(0)\n"
        "    except ZeroDivisionError:\n        return\n    assert False\n"
    )
    problem = Problem("1", "own", "test", "python", "", "f", (Test("", script, "script"),))
    assert statuses([problem], ["def f(x):\n    return 1 / x"]) == [("passed",)]
    assert statuses([problem], ["def f(x):\n    return x"]) == [("failed",)]


def test_parquet_and_jsonl_hold_the_same_problems(tmp_path: Path) -> None:
    problems = suites.load(f"mbpp:{write(tmp_path / 'mbpp.jsonl', MBPP)}")
    import pyarrow as pa

    parquet = tmp_path / "own.parquet"
    pq.write_table(pa.Table.from_batches([to_batch(Problem, problems)]), parquet)
    jsonl = write(tmp_path / "own.jsonl", [dataclasses.asdict(problem) for problem in problems])
    assert suites.load(str(parquet)) == suites.load(str(jsonl)) == problems


def test_a_split_is_chosen_or_named(tmp_path: Path) -> None:
    spec = f"mbpp:{write(tmp_path / 'mbpp.jsonl', MBPP)}"
    assert [problem.id for problem in suites.load(spec, "train")] == ["601"]
    with pytest.raises(SuiteError, match=r"no problem of the split 'dev'; it has: prompt, test, train, validation"):
        suites.load(spec, "dev")


OWN = {"id": "a", "prompt": "", "entry_point": "f", "tests": [{"call": "f()", "check": "result == 1"}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 5}, r"line 2, field 'id': expected str, got 5"),
        ({"id": ""}, r"line 2, field 'id': is empty"),
        ({"prompt": None}, r"line 2, field 'prompt': expected str, got null"),
        ({"language": "cobol"}, r"line 2, field 'language': 'cobol' is not known; allowed: .*python"),
        ({"tests": []}, r"line 2, field 'tests': is empty"),
        ({"tests": ["f()"]}, r"line 2, field 'tests': each test must be"),
        ({"tests": [{"call": "f(", "check": "result"}]}, r"line 2, field 'tests': problem '.*', test 1, line 1"),
        (
            {"tests": [{"call": "f()", "check": "result.x"}]},
            r"line 2, field 'tests'.*attribute 'result.x' is not allowed",
        ),
        ({"tests": [{"call": "", "check": "def check("}]}, r"line 2, field 'tests': problem '.*', test 1, line 1"),
        ({"tests": [{"call": "", "check": "x = 1"}]}, r"line 2, field 'tests'.*check\(candidate\)"),
        ({"entry_point": "a b"}, r"line 2, field 'entry_point': 'a b' is not a name"),
        ({"test": 1}, r"line 2, field 'test': is not known; allowed: id, suite"),
        ({"references": [1]}, r"line 2, field 'references': expected a list of strings, got the item 1"),
    ],
)
def test_a_malformed_problem_is_named_by_file_line_and_field(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "own.jsonl", [OWN, {**OWN, "id": "b", **change}])
    with pytest.raises(SuiteError, match=message) as error:
        suites.load(str(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task_id": "7"}, r"line 1, field 'task_id': expected int"),
        ({"test_list": []}, r"line 1, field 'test_list': is empty"),
        ({"test_list": ["assert add(1"]}, r"line 1, field 'test_list': not Python"),
        ({"test_list": ["assert other(1)"]}, r"line 1, field 'test_list': calls nothing that the code defines"),
        ({"code": "def f(:"}, r"line 1, field 'code': not Python"),
    ],
)
def test_a_malformed_mbpp_row_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        suites.load(f"mbpp:{write(tmp_path / 'mbpp.jsonl', [{**MBPP[0], **change}])}")


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    row = {key: value for key, value in HUMANEVAL[0].items() if key != "entry_point"}
    with pytest.raises(SuiteError, match=r"he.jsonl, line 1, field 'entry_point': is missing"):
        suites.load(f"humaneval:{write(tmp_path / 'he.jsonl', [row])}")


def test_files_that_are_no_suite_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    for content, message in (
        (b'{"id": "a"\n', r"broken.jsonl, line 1: not JSON"),
        (b"[1]\n", r"broken.jsonl, line 1: expected an object"),
        (b"\n\xff\xfe\n", r"broken.jsonl, line 2: not UTF-8"),
        (b"", r"no problems"),
    ):
        broken.write_bytes(content)
        with pytest.raises(SuiteError, match=message):
            suites.load(str(broken))
    for name in ("x.jsonl.gz", "x.parquet"):
        (tmp_path / name).write_bytes(b"neither")
        with pytest.raises(SuiteError, match=rf"{name}: cannot be read"):
            suites.load(str(tmp_path / name))
    with pytest.raises(SuiteError, match=r"there is no file 'nowhere.jsonl'.*apps, codecontests"):
        suites.load("nowhere.jsonl")
    with pytest.raises(SuiteError, match=r"the format 'none' is not known; allowed: apps, codecontests"):
        suites.load("none:x.jsonl")
    twice = write(tmp_path / "twice.jsonl", [OWN, OWN])
    with pytest.raises(SuiteError, match=r"the problem id 'a' occurs twice"):
        suites.load(str(twice))
