import json
import re
from pathlib import Path

import pytest

from roles.problems import suites
from roles.problems.suites import SuiteError
from roles.sandbox.judging import judge_files, read_candidates

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The examples of docs/formats.md, each as a file."""
    blocks = re.findall(r"```jsonl (\w+)\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    paths = {}
    for name, text in blocks:
        paths[name] = tmp_path / f"{name}.jsonl"
        paths[name].write_text(text)
    return paths


def test_the_documented_example_is_judged_as_documented(files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    seen: list[tuple[int, int]] = []
    done = judge_files(str(files["problems"]), files["candidates"], out, progress=lambda *a: seen.append(a), workers=2)
    verdicts = [json.loads(line) for line in out.read_text().splitlines()]
    expected = [json.loads(line) for line in files["verdicts"].read_text().splitlines()]
    assert [
        {key: verdict[key] for key in wanted} for verdict, wanted in zip(verdicts, expected, strict=True)
    ] == expected
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert done.statuses == {"passed": 2, "failed": 1} and done.faults == 0 and done.isolation_tier >= 2


def test_the_document_names_every_field_of_a_verdict(files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    judge_files(str(files["problems"]), files["candidates"], out, workers=1)
    for field in json.loads(out.read_text().splitlines()[0]):
        assert f"`{field}`" in DOCUMENT.read_text() or f'"{field}"' in DOCUMENT.read_text()


def test_a_completion_follows_its_prompt(files: dict[str, Path]) -> None:
    problems = suites.load(str(files["problems"]))
    texts = [candidate.text for candidate in read_candidates(files["candidates"], problems)]
    assert texts[1] == problems[0].prompt + "    return [x, x]\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a", "problem_id": "none", "text": ""}', r"line 2, field 'problem_id': there is no problem 'none'"),
        ('{"id": "a", "problem_id": "double"}', r"line 2, field 'text': is missing"),
        ('{"id": "a", "problem_id": "double", "text": 1}', r"line 2, field 'text': expected str, got 1"),
        ('{"id": "ok", "problem_id": "double", "text": ""}', r"line 2, field 'id': 'ok' occurs twice"),
        (
            '{"id": "a", "problem_id": "double", "text": "", "kind": "x"}',
            r"field 'kind': 'x' is not known; allowed: program",
        ),
        ('{"id": "a", "problem_id": "double", "text": "", "n": 1}', r"line 2, field 'n': is not known"),
        ("{", r"line 2: not JSON"),
    ],
)
def test_a_malformed_candidate_is_named_and_nothing_is_written(
    files: dict[str, Path], tmp_path: Path, line: str, message: str
) -> None:
    path, out = tmp_path / "c.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"id": "ok", "problem_id": "double", "text": ""}\n' + line + "\n")
    with pytest.raises(SuiteError, match=message):
        judge_files(str(files["problems"]), path, out)
    assert not out.exists()


def test_an_output_folder_that_does_not_exist_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="does not exist"):
        judge_files(str(files["problems"]), files["candidates"], tmp_path / "no" / "out.jsonl")
