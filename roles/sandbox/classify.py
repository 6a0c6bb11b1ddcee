"""From what happened in a jail to the status of each test. Silence is never a pass: `passed` needs an answer."""

from __future__ import annotations

from collections.abc import Sequence

from roles.records import Status, Test
from roles.sandbox.check import holds
from roles.sandbox.limits import Limits
from roles.sandbox.outcome import Outcome, Oversized, Raised, Reply, Returned, Undefined, cpu_limit_reached


def statuses(outcome: Outcome, tests: Sequence[Test], limits: Limits) -> list[Status]:
    """One status for each of `tests`, whose calls were those of the job, in order."""
    if outcome.ended in ("output", "reply"):  # how much came before depends on timing, so none of it counts
        return ["output"] * len(tests)
    answered = [of_reply(reply, test.check) for reply, test in zip(outcome.replies, tests, strict=False)]
    return answered + [of_silence(outcome, limits)] * (len(tests) - len(answered))


def of_reply(reply: Reply, check: str) -> Status:
    match reply:
        case Returned(value):
            return "passed" if holds(check, value) else "failed"
        case Raised():
            return of_exception(reply)
        case Oversized():
            return "output"
        case Undefined():
            return "failed"


def of_exception(raised: Raised) -> Status:
    if raised.exception == "MemoryError":
        return "memory"
    if raised.exception == "SystemExit" and raised.status == 0:
        return "failed"  # left without an answer, pretending that all is well
    return "runtime_error"


def of_silence(outcome: Outcome, limits: Limits) -> Status:
    """The status of a call that was not answered."""
    if outcome.ended == "memory":
        return "memory"
    if outcome.ended == "wall" or cpu_limit_reached(outcome, limits):
        return "timeout"
    if outcome.ended in ("output", "reply"):
        return "output"
    if not outcome.compiled and (outcome.refused or outcome.ended == "signal"):
        return "compile_error"
    if outcome.refused:
        return of_exception(outcome.refused)
    return "failed" if outcome.ended == "exit" and outcome.status == 0 else "runtime_error"


def overall(tests: Sequence[Status]) -> Status:
    """`passed` when every test passed, else the status of the first that did not."""
    return next((status for status in tests if status != "passed"), "passed")
