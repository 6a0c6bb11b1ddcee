import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from roles.problems import suites
from roles.problems.files import SuiteError
from roles.problems.formats import evalplus
from roles.records import Candidate, Problem
from roles.sandbox.check import holds
from roles.sandbox.judge import Judge
from roles.sandbox.limits import Limits

ROWS: list[dict[str, Any]] = [
    {
        "task_id": "Mbpp/9001",
        "prompt": '"""\nWrite a function to halve numbers.\nassert halves([1]) == [0.5]\n"""\n',
        "entry_point": "halves",
        "canonical_solution": "\ndef halves(xs):\n    return [x / 2 for x in xs]\n",
        "base_input": [[[1, 2]], [[]]],
        "plus_input": [[[0.1, 10.0]], [[1e308]]],
        "atol": 0,
        "contract": "",
        "assertion": "",
    },
    {
        "task_id": "Mbpp/2",
        "prompt": '"""\nWrite a function to find the shared elements.\n"""\n',
        "entry_point": "similar_elements",
        "canonical_solution": "\ndef similar_elements(a, b):\n    return tuple(set(a) & set(b))\n",
        "base_input": [[[3, 4, 5], [5, 4, 10]]],
        "plus_input": {},
        "atol": 0,
        "contract": "",
        "assertion": "",
    },
    {
        "task_id": "HumanEval/9002",
        "prompt": "def first(xs):\n",
        "entry_point": "first",
        "canonical_solution": '    """First."""\n    while xs == [0]: pass\n    return xs[0] if xs else object()\n',
        "base_input": [[[1, 2]], [[True]]],
        "plus_input": [[["\ud83d\ude00"]], [[]], [[0]], [[[2]]]],
        "atol": 0,
        "contract": "",
        "assertion": "",
    },
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows with the expected outputs."""
    folder = tmp_path_factory.mktemp("evalplus")
    told = list(evalplus.add_expected(write(folder / "in.jsonl", ROWS), folder / "out.jsonl", Limits(cpu_seconds=1)))
    assert told == [("Mbpp/9001", 4, 4), ("Mbpp/2", 1, 1), ("HumanEval/9002", 6, 4)]  # an object, an endless loop
    return folder / "out.jsonl"


def passed(problem: Problem, text: str) -> list[bool]:
    with Judge(Limits(cpu_seconds=1)) as judge:
        tests = judge.judge(problem, [Candidate("c", problem.id, "g", text)])[0].tests
    return [status == "passed" for status in tests]


def test_references_pass_the_tests_that_they_made(answered: Path) -> None:
    problems = suites.load(f"evalplus:{answered}")
    assert [(problem.id, len(problem.tests)) for problem in problems] == [
        ("Mbpp/9001", 4),
        ("Mbpp/2", 1),
        ("HumanEval/9002", 4),
    ]
    for problem in problems:
        assert all(passed(problem, problem.references[0]))


def test_outputs_are_compared_as_evalplus_does(answered: Path) -> None:
    halves, similar, first = suites.load(f"evalplus:{answered}")
    near = "def halves(xs):\n    return [x / 2 * (1 + 1e-7) for x in xs]\n"
    assert passed(halves, near) == [True, True, True, True]
    assert passed(halves, near.replace("1e-7", "1e-4")) == [False, True, False, False]
    assert passed(halves, "def halves(xs):\n    return tuple(x / 2 for x in xs)\n") == [False] * 4
    assert passed(similar, "def similar_elements(a, b):\n    return [x for x in b if x in a] * 2\n") == [True]
    assert passed(first, "def first(xs):\n    return xs.pop(0) == 1 and 1\n") == [True, True, False, False]


def test_arguments_that_json_cannot_hold_are_restored() -> None:
    for number, given, wanted in (
        (2, [[1], [2]], [(1,), (2,)]),
        (63, [[[1, 2], [3]]], [[(1, 2), (3,)]]),
        (75, [[[1]], 2], [[(1,)], 2]),
        (106, [[1], [2]], [[1], (2,)]),
        (115, [[[1, 1], [], 3]], [[{1}, {}, {}]]),
        (124, ["1", "2j"], [1.0, 2j]),
        (250, [[1], 2], [(1,), 2]),
        (252, ["(1+2j)"], [1 + 2j]),
        (259, [[[1]], [[2]]], [((1,),), ((2,),)]),
        (278, [[1, [2]]], [(1, (2,))]),
        (307, [[1], 2, 3], [(1,), 2, 3]),
        (580, [[1, [2, [3]]]], [(1, (2, (3,)))]),
        (722, [{"a": [1, 2]}, 3], [{"a": (1, 2)}, 3]),
        (3, [[1]], [[1]]),
    ):
        shape = evalplus._SHAPES.get(number, list)
        assert shape(given) == wanted


def check(value: Any, name: str = "f", task: str = "Mbpp/1", atol: float = 0, arguments: tuple[Any, ...] = ()) -> str:
    return evalplus._check(suites_row(task, atol), name, arguments, value)


def suites_row(task: str, atol: float) -> Any:
    from roles.problems.files import Row

    return Row(Path("x"), 1, {"task_id": task, "atol": atol})


def test_tolerances() -> None:
    assert holds(check(1.0), 1.0000009) and holds(check(1.0), 1) and not holds(check(1.0), 1.00001)
    assert not holds(check(1.0000001), 1)  # another type
    assert holds(check(1.0, atol=0.01), 1.009) and not holds(check(1.0, atol=0.01), 1.011)
    assert holds(check(1e9), 1e9 + 90) and not holds(check(1e9), 1e9 + 110)
    assert holds(check([1.0, 2.0]), [1.0000009, 2.0]) and not holds(check([1.0]), [1.0, 1.0])
    assert not holds(check([1.0, "a"]), [1.0000009, "a"]) and holds(check([1.0, "a"]), [1, "a"])
    assert holds(check(1), True) and not holds(check(1, atol=0.1), 1.01)
    assert holds(check({"a": 1.0}, atol=0.1), {"a": 1.0}) and not holds(check({"a": 1.0}, atol=0.1), {"a": 1.01})
    assert holds(check(math.inf), math.inf) and not holds(check(math.inf), 1.0) and not holds(check(1.0), math.nan)


def test_tasks_with_rules_of_their_own() -> None:
    assert holds(check(False, "are_equivalent"), None)
    assert holds(check(5, "sum_div"), 0) and not holds(check(5, "sum_div"), 1)
    assert holds(check(True, "check_str"), "match") and not holds(check(True, "check_str"), None)
    assert holds(check(True, "check_str"), True) and not holds(check(True, "check_str"), False)
    assert holds(check(False, "check_str"), None) and not holds(check(False, "check_str"), 0)
    surface = check(33, "surface_Area", arguments=(3, 4))
    assert holds(surface, 33) and holds(surface, round(9 + 6 * math.sqrt(2.25 + 16))) and not holds(surface, 30)
    distance = check(1, "digit_distance_nums", arguments=(1, 23))
    assert holds(distance, 1) and holds(distance, 4) and not holds(distance, 5)
    zero = check(None, "find_zero", "HumanEval/32", 1e-4, ([-6, 11, -6, 1],))
    assert all(holds(zero, x) for x in (1, 2.0, 3.00001)) and not holds(zero, 4.0) and not holds(zero, None)
    assert not holds(check(5, "sum_div", "HumanEval/1"), 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, r"line 1, field 'expected': is missing; `python -m roles.problems.formats.evalplus"),
        ({"expected": [None]}, r"line 1, field 'expected': has 1 items for 4 inputs"),
        ({"expected": [None] * 4}, r"line 1, field 'expected': has no output"),
        ({"expected": [5] * 4}, r"line 1, field 'expected': each item must be"),
        ({"expected": [[["?"]]] * 4}, r"line 1, field 'expected': not an encoded value"),
        ({"expected": [[["o", "Node"]]] * 4}, r"line 1, field 'expected': not plain data: a Node object"),
        ({"expected": [[1.5]] * 4}, r"line 1, field 'expected': not an encoded value"),
        ({"expected": [[True]] * 4, "atol": "0"}, r"line 1, field 'atol': expected a number"),
        ({"base_input": 5}, r"line 1, field 'base_input': expected a list of lists"),
        ({"plus_input": [5]}, r"line 1, field 'plus_input': expected a list of lists"),
        ({"base_input": [], "plus_input": []}, r"line 1, field 'base_input': is empty"),
        ({"task_id": "Mbpp/2"}, r"line 1, field 'base_input': not what task 2 takes"),
        ({"entry_point": None}, r"line 1, field 'entry_point': expected str, got null"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    row = {**ROWS[0], "base_input": [[1], [2]], "plus_input": [[3], [4]], **change}
    with pytest.raises(SuiteError, match=message):
        suites.load(f"evalplus:{write(tmp_path / 'in.jsonl', [row])}")


def test_the_command_adds_the_expected_outputs(tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", ROWS[:2]), tmp_path / "out.jsonl"
    command = [sys.executable, "-m", evalplus.__name__, str(source), str(target)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert "2 tasks, 5 of 5 outputs" in done.stdout
    assert len(suites.load(f"evalplus:{target}")) == 2
