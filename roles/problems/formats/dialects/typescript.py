"""Test programs in TypeScript: calls whose results are compared with literals by `assert.deepEqual`."""

from __future__ import annotations

import re

from roles.problems.formats.dialects import scanning
from roles.problems.formats.dialects.declared import assignments
from roles.problems.formats.dialects.javascript import ASSIGNED, call, deep_equal, multipl_e
from roles.problems.formats.dialects.scanning import Unparsed
from roles.records import Test

_HEAD = re.compile(r"\s*import \* as assert from 'assert'\s")
_ASSERT = re.compile(r"assert\.deepEqual\((\w+), (\w+), \"[^\"]*\"\)")


def mbxp(test: str, entry_point: str, prompt: str) -> tuple[Test, ...]:
    head = _HEAD.match(test)
    if not head:
        raise Unparsed(f"not a test program: {test[:80]!r}")
    names: dict[str, str] = {}
    read = []
    for statement in scanning.split(test[head.end() :], ";"):
        found = _ASSERT.fullmatch(statement)
        if not found:
            names |= assignments(statement, ASSIGNED)
        elif found[1] in names and found[2] in names:
            read.append(Test(call(names[found[1]], {entry_point: entry_point}), deep_equal(names[found[2]])))
        else:
            raise Unparsed(f"not a call and a result: {statement[:80]!r}")
    if not read:
        raise Unparsed("no tests")
    return tuple(read)


__all__ = ["mbxp", "multipl_e"]
