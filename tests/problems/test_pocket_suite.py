import ast
import collections
import random

import pyarrow.parquet as pq
import pytest

from roles.problems.pocket import load, suite
from roles.problems.pocket.hidden_tests import mutation_score
from roles.problems.pocket.mutants import LAZY, agrees, guarded, passes
from roles.problems.pocket.pipeline import PRIMITIVES, Pipeline
from roles.problems.pocket.screen import fingerprint, outputs
from roles.records import Problem

SMALL = {"train": {2: 6, 3: 6, 4: 2}, "validation": {2: 2}, "test": {2: 3, 3: 3}}


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return load()


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Pipeline]:
    return {name: Pipeline.parse(stages) for name, stages in suite.stages_of().items()}


def cases_of(problem: Problem) -> list[tuple[tuple, object]]:
    """The tests read back from their records: the arguments of the call and the literal of the check."""
    cases = []
    for test in problem.tests:
        call = ast.parse(test.call, mode="eval").body
        assert isinstance(call, ast.Call) and ast.unparse(call.func) == problem.entry_point
        check = ast.parse(test.check, mode="eval").body
        assert isinstance(check, ast.Compare) and ast.unparse(check.left) == "result"
        expected = ast.literal_eval(check.comparators[0])
        assert isinstance(check.ops[0], ast.Is if isinstance(expected, bool) else ast.Eq)
        cases.append((tuple(ast.literal_eval(argument) for argument in call.args), expected))
    return cases


def of_split(problems: list[Problem], split: str) -> list[Problem]:
    return [problem for problem in problems if problem.split == split]


def test_the_splits_have_their_sizes_and_are_stratified_by_length(problems, pipelines):
    lengths = {
        split: collections.Counter(len(pipelines[p.id].stages) for p in of_split(problems, split))
        for split in suite.SPLITS
    }
    assert lengths["train"].total() >= 4000
    assert lengths["validation"] == {2: 60, 3: 100, 4: 40}
    assert lengths["test"] == {2: 90, 3: 150, 4: 60}


def test_the_file_is_small_and_its_problems_are_whole(problems):
    assert suite.PARQUET.stat().st_size <= 5_000_000
    assert len({problem.id for problem in problems}) == len(problems)
    for problem in problems:
        assert len(problem.tests) >= 10
        assert len({test.call for test in problem.tests}) == len(problem.tests)
        assert 1 <= len(set(problem.references)) == len(problem.references) <= 4
        assert all(text.startswith(problem.prompt) for text in problem.references)
        assert problem.prompt.endswith("\n") and problem.prompt.count("\n") == 2


def test_every_held_out_problem_contains_a_pair_of_primitives_that_training_never_shows(problems, pipelines):
    shown = {pair for problem in of_split(problems, "train") for pair in pipelines[problem.id].pairs}
    for split in ("validation", "test"):
        assert all(pipelines[problem.id].pairs - shown for problem in of_split(problems, split))


def test_every_primitive_of_a_held_out_problem_occurs_in_training(problems, pipelines):
    shown = {stage.name for problem in of_split(problems, "train") for stage in pipelines[problem.id].stages}
    assert shown == set(PRIMITIVES)


def test_no_two_problems_compute_the_same_function_on_the_probe_inputs(pipelines):
    marks = [fingerprint(pipeline.source, outputs(pipeline)) for pipeline in pipelines.values()]
    assert len(set(marks)) == len(marks)


def test_the_stages_in_the_file_are_those_that_the_tests_ask_for(problems, pipelines):
    for problem in of_split(problems, "test"):
        assert passes(pipelines[problem.id], cases_of(problem))


def test_every_reference_of_a_held_out_problem_passes_its_tests(problems):
    for problem in of_split(problems, "test"):
        cases = cases_of(problem)
        assert all(passes(guarded(reference), cases) for reference in problem.references), problem.id


def test_the_hidden_tests_have_edge_and_random_inputs(problems):
    for problem in of_split(problems, "test"):
        sizes = [len(arguments[0]) for arguments, _ in cases_of(problem)]
        assert min(sizes) <= 3 < max(sizes)


def test_fresh_mutants_of_held_out_solutions_fail_their_tests(problems, pipelines):
    killed = total = 0
    for problem in of_split(problems, "test")[::10]:
        score = mutation_score(
            pipelines[problem.id], problem.references[0], cases_of(problem), random.Random(f"fresh/{problem.id}"), 40
        )
        killed, total = killed + score[0], total + score[1]
    assert total > 500
    assert killed >= 0.99 * total


def test_no_constant_and_no_copy_of_the_input_passes_a_problem(problems):
    for problem in of_split(problems, "test"):
        cases = cases_of(problem)
        assert not any(passes(program, cases) for program in LAZY), problem.id


def test_truth_values_are_checked_by_identity():
    assert agrees(True, True)
    assert not agrees(True, 1)


def test_a_seed_makes_the_same_suite_twice_and_another_seed_makes_another(tmp_path):
    first, again = suite.make(5, SMALL), suite.make(5, SMALL, workers=2)
    assert first == again
    assert first != suite.make(6, SMALL)
    suite.write(first, tmp_path / "a.parquet")
    suite.write(again, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert pq.read_table(tmp_path / "a.parquet").column_names[-1] == "stages"


def test_the_shipped_problems_are_those_that_the_code_makes_of_their_stages(problems, pipelines):
    for problem in problems[::400]:
        assert suite.make_entry(1, (problem.id, problem.split, pipelines[problem.id])).problem == problem


def test_load_takes_a_split_and_names_the_splits_when_it_is_wrong():
    assert {problem.split for problem in load("validation")} == {"validation"}
    with pytest.raises(ValueError, match="'held-out' is not one of train, validation, test"):
        load("held-out")
