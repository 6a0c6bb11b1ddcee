"""MBXP (Athiwaratkun et al., 2022): MBPP in many languages, JSONL rows as its authors publish them.

A row's test is a program; it is read as calls with expected values where it is that, as in `multipl_e`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from roles import languages
from roles.problems.files import Row, read_rows
from roles.problems.formats import dialects, mbpp
from roles.records import Problem, Test


def load(path: Path) -> list[Problem]:
    """The problems of `path` whose language we run; the others are left out. Raises `SuiteError`."""
    return [_problem(row) for row in read_rows(path) if row.get("language", str) in languages.names()]


def _problem(row: Row) -> Problem:
    language = row.get("language", str)
    task, prompt, test = row.get("task_id", str), row.get("prompt", str), row.get("test", str)
    entry_point = row.get("entry_point", str)
    number = int(task.rpartition("/")[2]) if task.rpartition("/")[2].isdigit() else 0
    try:
        read: tuple[Test, ...] = dialects.of(language).mbxp(test, entry_point, prompt)
    except dialects.Unparsed:
        read = (Test(test, "", "program"),)
    problem = Problem(
        id=f"{language}/{task}", suite="mbxp",
        split=next((name for name, numbers in mbpp.SPLITS.items() if number in numbers), "other"),
        language=language, prompt=prompt, entry_point=entry_point, tests=read,
    )  # fmt: skip
    reference = row.values.get("canonical_solution")
    if not isinstance(reference, str) or not reference.strip():
        return problem
    text = languages.get(language).assemble(problem, reference)
    return dataclasses.replace(problem, references=(text,))
