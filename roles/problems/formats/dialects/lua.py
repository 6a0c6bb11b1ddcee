"""Test programs in Lua, written for LuaUnit."""

from __future__ import annotations

import re
from typing import Any

from roles.problems.formats.dialects import literals
from roles.problems.formats.dialects.scanning import Unparsed, end_of_group, split
from roles.records import Test

_CASES = re.compile(
    r"\s*lu = require\('luaunit'\)\s*function test_humaneval\(\)\s*local candidate = (?P<name>\w+)(?P<body>.*)\nend\s*"
    r"os\.exit\(lu\.LuaUnit\.run\(\)\)\s*",
    re.DOTALL,
)
_ASSERTION = re.compile(r"\s*lu\.assertEquals\(")
_ESCAPE = re.compile(r"\\(?:z|\d)")


class Reader(literals.Literals):
    # A name that nothing defines, as the translation of None is, means nil.
    words = {"true": True, "false": False, "nil": None, "None": None, "math.huge": float("inf")}  # noqa: RUF012

    def bracket(self, here: str) -> Any:
        if here == "{":
            return self._table()
        raise self.unparsed("no literal")

    def integer(self, digits: str) -> int | float:
        value = int(digits)
        return value if -(2**63) < value < 2**63 else float(value)

    def string(self, quoted: str) -> str:
        if _ESCAPE.search(quoted):
            raise self.unparsed("a number as an escape")
        return literals.escaped(quoted)

    def _table(self) -> Any:
        """A list if its keys are 1 to n, as the driver writes it."""
        table: dict[Any, Any] = {}
        count = 0
        for key, value in self.items("{", "}", self._field):
            count += key is None
            name = count if key is None else key
            if value is not None:
                table[name] = value
        if all(index in table for index in range(1, len(table) + 1)):
            return [table[index] for index in range(1, len(table) + 1)]
        return table

    def _field(self) -> tuple[Any, Any]:
        """A key, None where it is the next number, and a value."""
        if self.skip("["):
            key = literals.key(self.value())
            self.expect("]")
            self.expect("=")
            return key, self.value()
        named = re.compile(r"([A-Za-z_]\w*)\s*=(?!=)").match(self.text, self.position)
        if named:
            self.position = named.end()
            return named[1], self.value()
        return None, self.value()


def multipl_e(tests: str, entry_point: str) -> tuple[Test, ...]:
    found = _CASES.fullmatch(tests)
    if not found or found["name"] != entry_point:
        raise Unparsed(f"no test case: {tests[:80]!r}")
    body, position = found["body"], 0
    read: list[Test] = []
    while body[position:].strip():
        opening = _ASSERTION.match(body, position)
        if not opening:
            raise Unparsed(f"not an assertion: {body[position : position + 80]!r}")
        position = end_of_group(body, opening.end() - 1)
        match split(body[opening.end() : position - 1]):
            case [call, expected] if call.startswith("candidate(") and end_of_group(call, 9) == len(call):
                value = literals.source(Reader.read(expected))
                read.append(Test(f"{entry_point}{call.removeprefix('candidate')}", f"same(result, {value})"))
            case _:
                raise Unparsed(f"not a call: {body[opening.start() : position]!r}")
    return tuple(read)
