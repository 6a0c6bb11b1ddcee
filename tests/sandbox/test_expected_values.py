"""Expected values never enter the jail: a program that searches everything it can reach does not find them."""

import re
from collections.abc import Callable

from roles.records import Problem, Test, Verdict

SECRET = 73_914_655_021
SCRIPT = f"EXPECTED = {SECRET}\ndef check(candidate):\n    assert candidate(1) == EXPECTED\n"

# Patterns in which every character stands in brackets, so that they do not find themselves.
PATTERNS = [
    "".join(f"[{digit}]" for digit in str(SECRET)),
    "".join(f"[{digit}]" for digit in f"{SECRET:x}"),
    "".join(f"[\\x{byte:02x}]" for byte in SECRET.to_bytes(5, "little")),
]

# Looks through all of its memory, its files and its open descriptors, for the value as text and as a number.
SEARCH = f"""
import os, re

def places():
    for number in range(256):
        try: yield os.pread(number, 1 << 22, 0)
        except OSError: pass
    for item in ("cmdline", "environ"):
        yield open("/proc/self/" + item, "rb").read()
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            if "r" in mode and "[v" not in line:
                start, end = (int(x, 16) for x in span.split("-"))
                try:
                    memory.seek(start)
                    yield memory.read(end - start)
                except OSError:
                    pass

def found():
    patterns = [re.compile(p.encode()) for p in {PATTERNS!r}]
    seen = 0
    for place in places():
        seen += len(place)
        if any(p.search(place) for p in patterns):
            return True
    if seen < 1 << 20:
        raise OSError("saw nothing")
    return False
"""


def problem(*tests: Test) -> Problem:
    return Problem("1", "own", "test", "python", "", "f", tests)


def test_no_trace_of_the_expected_value_is_in_the_jail(verdict_of: Callable[..., Verdict]) -> None:
    search = SEARCH + "\ndef f(x):\n    return found()\n"
    tests = (
        Test("f(1)", f"result is False and result != {SECRET}"),
        Test("f(2)", f"not (result == {SECRET} or result)"),
    )
    verdict = verdict_of(search, problem(*tests))
    assert verdict.tests == ("passed", "passed"), verdict


def test_the_search_finds_what_is_in_the_jail(verdict_of: Callable[..., Verdict]) -> None:
    search = SEARCH + "\ndef f(x, secret):\n    return found()\n"
    verdict = verdict_of(search, problem(Test(f"f(1, {SECRET})", "result is True")))
    assert verdict.status == "passed", verdict


def test_the_script_of_a_test_is_not_in_the_jail_of_the_program(verdict_of: Callable[..., Verdict]) -> None:
    searching = f"def check(candidate):\n    assert candidate(1) is False and {SECRET}\n"
    finds = SEARCH + "\ndef f(x):\n    return found()\n"
    assert verdict_of(finds, problem(Test("", searching, "script"))).status == "passed"
    assert verdict_of("def f(x):\n    return x", problem(Test("", SCRIPT, "script"))).status == "failed"
    assert re.search(PATTERNS[0], SCRIPT)
