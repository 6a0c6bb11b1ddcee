"""Test programs in Perl, whose modules compare scalars as text: an expected number is the text that Perl prints.

Calls are written with an ampersand, so that a function which is named like one of Perl's own is the program's.
"""

from __future__ import annotations

import re
from typing import Any

from roles.problems.formats.dialects import literals
from roles.problems.formats.dialects.scanning import Unparsed, end_of_group, split
from roles.records import Test

_CASES = re.compile(
    r"\s*use Test::Deep;\s*sub testhumaneval \{\s*my \$candidate = \\&(?P<name>\w+);(?P<body>.*)\}\s*"
    r"testhumaneval\(\);\s*",
    re.DOTALL,
)
_CASE = re.compile(r"\s*if\(eq_deeply\(")
_PASSED_OR_NOT = re.compile(r'\) \{\s*print "ok!" \}else\{\s*exit 1;\s*\}')
_COMPARISON = re.compile(
    r"\s*(?P<assigned>(?:my \$\w+ = [^\n]*;\s*)+)unless\(Compare\(\$(?P<result>\w+), \$(?P<expected>\w+)\)\) \{"
    r'\s*die "[^"]*";\s*\}'
)
_ASSIGNED = re.compile(r"my \$(?P<name>\w+) = (?P<value>.*);")
_COMPUTED = re.compile(r"(?<!\\)(?:\\\\)*(?:[$@](?=[\w{:$&])|\\[uUlLQENxc0-9])")


class Reader(literals.Literals):
    words = {"undef": None}  # noqa: RUF012 - never changed

    def bracket(self, here: str) -> Any:
        if here == "[":
            return self.items("[", "]", self.value)
        if here == "{":
            return dict(self.items("{", "}", self._pair))
        raise self.unparsed("no literal")

    def integer(self, digits: str) -> str:
        value = int(digits)
        return str(value) if -(2**63) <= value < 2**64 else self.decimal(digits)

    def decimal(self, digits: str) -> str:
        return f"{float(digits) or 0.0:.15g}"

    def string(self, quoted: str) -> str:
        if quoted[0] == "'":
            return literals.plain(quoted)
        if _COMPUTED.search(quoted):
            raise self.unparsed("a string that is computed")
        return literals.escaped(quoted)

    def _pair(self) -> tuple[str, Any]:
        name = self.value()
        if not isinstance(name, str):
            raise self.unparsed("a reference as a key")
        self.expect("=>")
        return name, self.value()


def multipl_e(tests: str, entry_point: str) -> tuple[Test, ...]:
    found = _CASES.fullmatch(tests)
    if not found or found["name"] != entry_point:
        raise Unparsed(f"no test case: {tests[:80]!r}")
    body, position = found["body"], 0
    read: list[Test] = []
    while body[position:].strip():
        opening = _CASE.match(body, position)
        if not opening:
            raise Unparsed(f"not a comparison: {body[position : position + 80]!r}")
        end = end_of_group(body, opening.end() - 1)
        ending = _PASSED_OR_NOT.match(body, end)
        parts = split(body[opening.end() : end - 1])
        if not ending or len(parts) != 2 or not parts[0].startswith("$candidate->("):
            raise Unparsed(f"not a call: {body[opening.start() : end]!r}")
        read.append(_test(f"&{entry_point}{parts[0].removeprefix('$candidate->')}", parts[1]))
        position = ending.end()
    return tuple(read)


def mbxp(test: str, entry_point: str, prompt: str) -> tuple[Test, ...]:
    body = test.strip().removeprefix("use Data::Compare;")
    read: list[Test] = []
    position = 0
    while body[position:].strip():
        found = _COMPARISON.match(body, position)
        if not found:
            raise Unparsed(f"not a comparison: {body[position : position + 80]!r}")
        assigned = {each["name"]: each["value"] for each in _ASSIGNED.finditer(found["assigned"])}
        call = re.fullmatch(rf"{entry_point}\((?P<names>[\w$, ]*)\)", assigned.get(found["result"], ""))
        names = [name.removeprefix("$") for name in split(call["names"])] if call else []
        if not call or found["expected"] not in assigned or any(name not in assigned for name in names):
            raise Unparsed(f"not a call: {found['assigned'][:80]!r}")
        given = " ".join(f"my ${name} = {assigned[name]};" for name in names)
        read.append(_test(f"do {{ {given} scalar(&{call[0]}) }}", assigned[found["expected"]]))
        position = found.end()
    return tuple(read)


def _test(call: str, expected: str) -> Test:
    return Test(call, f"same(result, {literals.source(Reader.read(expected))})")
