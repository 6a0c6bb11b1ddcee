"""MultiPL-E (Cassano et al., 2022): HumanEval and MBPP in many languages, JSONL rows as its authors publish them.

A row's tests are a program. Where it is a list of calls with literal results it is read as such, once and here, so
that no expected value meets a candidate; any other becomes a weak test.
"""

from __future__ import annotations

import re
from pathlib import Path

from roles import languages
from roles.problems.files import Row, read_rows
from roles.problems.formats import dialects
from roles.records import Problem, Test

LANGUAGES = {
    "py": "python", "cpp": "cpp", "java": "java", "js": "javascript", "ts": "typescript", "php": "php", "cs": "csharp",
    "sh": "bash", "go": "go", "go_test.go": "go", "rb": "ruby", "rs": "rust", "lua": "lua", "pl": "perl",
}  # fmt: skip


def load(path: Path) -> list[Problem]:
    """The problems of `path` whose language we run; the others are left out. Raises `SuiteError`."""
    rows = (row for row in read_rows(path) if LANGUAGES.get(row.get("language", str)) in languages.names())
    return [_problem(row) for row in rows]


def _problem(row: Row) -> Problem:
    language = LANGUAGES[row.get("language", str)]
    name, tests = row.get("name", str), row.get("tests", str)
    entry_point = re.sub(r"^(mbpp|HumanEval)_\d+_", "", name)
    try:
        read: tuple[Test, ...] = dialects.of(language).multipl_e(tests, entry_point)
    except dialects.Unparsed:
        read = (Test(tests, "", "program"),)
    return Problem(
        id=f"{language}/{name}", suite="multipl_e", split="test", language=language, prompt=row.get("prompt", str),
        entry_point=entry_point, tests=read,
    )  # fmt: skip
