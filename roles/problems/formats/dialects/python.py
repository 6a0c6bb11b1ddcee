"""Python's test programs define `check(candidate)`; every assert in it is a call and a check, or all are a script."""

from __future__ import annotations

from roles.problems.formats import asserts
from roles.problems.formats.dialects.scanning import Unparsed
from roles.records import Test


def multipl_e(tests: str, entry_point: str) -> tuple[Test, ...]:
    try:
        return asserts.from_check(tests, entry_point, program=True)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise Unparsed(str(error)) from error


def mbxp(test: str, entry_point: str, prompt: str) -> tuple[Test, ...]:
    try:
        return multipl_e(test, entry_point)
    except Unparsed:  # a program test: the published text leaves the call of `check` to the harness
        return (Test(f"{test}\ncheck({entry_point})\n", "", "program"),)
