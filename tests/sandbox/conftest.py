from collections.abc import Callable, Iterator

import pytest

from roles.records import Candidate, Problem, Test, Verdict
from roles.sandbox.judge import Judge
from roles.sandbox.limits import MIB, Limits


@pytest.fixture(scope="session")
def limits() -> Limits:
    return Limits(wall_seconds=3, cpu_seconds=1, memory_bytes=256 * MIB, output_bytes=65536)


@pytest.fixture(scope="session")
def judge(limits: Limits) -> Iterator[Judge]:
    with Judge(limits) as judge:
        yield judge


@pytest.fixture(scope="session")
def successor() -> Problem:
    tests = (Test("f(1)", "result == 2"), Test("f(41)", "result == 42"), Test("f(-1)", "result == 0"))
    return Problem("1", "own", "test", "python", "", "f", tests)


@pytest.fixture(scope="session")
def verdict_of(judge: Judge, successor: Problem) -> Callable[..., Verdict]:
    """The verdict on a program text, for the successor function or another problem."""

    def verdict(text: str, problem: Problem = successor) -> Verdict:
        return judge.judge(problem, [Candidate("c", problem.id, "g", text)])[0]

    return verdict
