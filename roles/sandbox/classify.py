"""From what happened in a jail to the status of each test. Silence is never a pass: `passed` needs an answer."""

from __future__ import annotations

from collections.abc import Sequence

from roles.records import Status, Test
from roles.sandbox.check import holds
from roles.sandbox.limits import Limits
from roles.sandbox.outcome import Outcome, Oversized, Raised, Reply, Returned, Undefined, cpu_limit_reached

_OUT_OF_MEMORY = ("MemoryError", "OutOfMemoryError", "OutOfMemoryException", "NoMemoryError", "std::bad_alloc")


def statuses(outcome: Outcome, tests: Sequence[Test], limits: Limits, memory_signs: Sequence[str] = ()) -> list[Status]:
    """One status for each of `tests`, whose calls were those of the job, in order."""
    if outcome.ended in ("output", "reply"):  # how much came before depends on timing, so none of it counts
        return ["output"] * len(tests)
    answered = [of_reply(reply, test.check) for reply, test in zip(outcome.replies, tests, strict=False)]
    return answered + [of_silence(outcome, limits, memory_signs)] * (len(tests) - len(answered))


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
    if raised.exception in _OUT_OF_MEMORY:
        return "memory"
    if raised.exception == "SystemExit" and raised.status == 0:
        return "failed"  # left without an answer, pretending that all is well
    return "runtime_error"


def of_silence(outcome: Outcome, limits: Limits, memory_signs: Sequence[str] = ()) -> Status:
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
    if outcome.ended == "exit" and outcome.status == 0:
        return "failed"
    return "memory" if any(sign in outcome.stderr for sign in memory_signs) else "runtime_error"


def of_compiler(outcome: Outcome, limits: Limits) -> Status:
    """The status of every test of a program that its compiler refused."""
    status = of_silence(outcome, limits)
    return status if status in ("memory", "timeout") else "compile_error"


def of_output(outcome: Outcome, check: str, limits: Limits, memory_signs: Sequence[str] = ()) -> Status:
    """The status of a program that was given standard input and is judged by its standard output."""
    if not ran_to_its_end(outcome):
        status = of_silence(outcome, limits, memory_signs)
        return "runtime_error" if status == "failed" else status
    return "passed" if holds(check, outcome.output.decode("utf-8", "replace")) else "failed"


def of_test_program(outcome: Outcome, limits: Limits, memory_signs: Sequence[str] = ()) -> Status:
    """The status of a program with test code behind it: all there is to go by is how it ended."""
    if ran_to_its_end(outcome):
        return "passed"
    if outcome.refused and outcome.compiled and outcome.refused.exception == "AssertionError":
        return "failed"
    status = of_silence(outcome, limits, memory_signs)
    return "failed" if status == "runtime_error" and outcome.ended == "exit" and not outcome.refused else status


def ran_to_its_end(outcome: Outcome) -> bool:
    """Whether the program ended by itself and reported no error."""
    if outcome.ended != "exit" or outcome.status != 0 or not outcome.compiled:
        return False
    return outcome.refused is None or (outcome.refused.exception == "SystemExit" and outcome.refused.status == 0)


def overall(tests: Sequence[Status]) -> Status:
    """`passed` when every test passed, else the status of the first that did not."""
    return next((status for status in tests if status != "passed"), "passed")
