"""Test programs that declare results and expected values by name and compare them, in JavaScript and in PHP."""

from __future__ import annotations

import re

from roles.problems.formats.dialects import scanning
from roles.problems.formats.dialects.scanning import Unparsed


def comparisons(
    test: str, head: re.Pattern[str], each: re.Pattern[str], assigned: re.Pattern[str]
) -> list[tuple[str, str, dict[str, str]]]:
    """Of every comparison the result's expression, the expected value's, and all that its declarations name.

    After `head` the program consists of `each`, with groups `given` (declarations, as `assigned`), `result` and
    `expected` (names). Raises `Unparsed`.
    """
    beginning = head.match(test)
    if not beginning:
        raise Unparsed(f"not a test program: {test[:80]!r}")
    read, position = [], beginning.end()
    while test[position:].strip():
        found = each.match(test, position)
        if not found:
            raise Unparsed(f"not a test: {test[position : position + 80]!r}")
        names = assignments(found["given"], assigned)
        if found["result"] not in names or found["expected"] not in names:
            raise Unparsed(f"not a call and a result: {found['given'][:80]!r}")
        read.append((names[found["result"]], names[found["expected"]], names))
        position = found.end()
    if not read:
        raise Unparsed("no tests")
    return read


def assignments(text: str, assigned: re.Pattern[str]) -> dict[str, str]:
    """The expressions that the statements in `text` name. Raises `Unparsed`."""
    named = {}
    for statement in filter(None, scanning.split(text, ";")):
        found = assigned.fullmatch(statement)
        if not found:
            raise Unparsed(f"not an assignment: {statement[:80]!r}")
        named[found[1]] = found[2].strip()
    return named
