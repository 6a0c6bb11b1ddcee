from collections.abc import Callable, Iterator

import pytest

from roles.records import Candidate, Problem, Test, Verdict
from roles.sandbox.judge import Judge
from roles.sandbox.limits import MIB, Limits
from tests.languages.toolchains import needs

__all__ = ["needs"]


@pytest.fixture(scope="session")
def judge() -> Iterator[Judge]:
    with Judge(Limits(wall_seconds=8, cpu_seconds=2, memory_bytes=256 * MIB, output_bytes=65536)) as judge:
        yield judge


@pytest.fixture(scope="session")
def verdict(judge: Judge) -> Callable[..., Verdict]:
    """`verdict("ruby", text, Test(...), ...)`: the verdict on a program; a pair of strings is a call and its check."""

    def of(language: str, text: str, *tests: Test | tuple[str, str], setup: str = "") -> Verdict:
        wanted = tuple(test if isinstance(test, Test) else Test(*test) for test in tests)
        problem = Problem("1", "own", "test", language, "", "f", wanted, setup=setup)
        return judge.judge(problem, [Candidate("c", problem.id, "g", text)])[0]

    return of
