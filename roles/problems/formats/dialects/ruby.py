"""Test programs in Ruby."""

from __future__ import annotations

import re
from typing import Any

from roles.problems.formats.dialects import literals
from roles.problems.formats.dialects.scanning import Unparsed, end_of_group, split
from roles.records import Test

_METHOD = re.compile(r"\s*candidate = method\(:(?P<name>[\w?!]+)\)(?P<body>.*?)\n  end\nend\s*\Z", re.DOTALL)
_ASSIGNED = re.compile(r"(?P<name>[a-z]+\d+) = (?P<value>.*)")
_BLOCK = re.compile(r"if (?P<result>x\d+) != (?P<expected>v\d+)\s*raise StandardError, \"[^\"]*\"\s*end\s*\Z")


class Reader(literals.Literals):
    words = {"true": True, "false": False, "nil": None}  # noqa: RUF012 - never changed

    def bracket(self, here: str) -> Any:
        if here == "[":
            return self.items("[", "]", self.value)
        if here == "{":
            return dict(self.items("{", "}", self._pair))
        if self.skip(":"):
            return self._match(re.compile(r"\w+[?!]?"), "a symbol").encode()
        raise self.unparsed("no literal")

    def word(self, name: str) -> Any:
        if name == "Set":
            return {literals.key(item) for item in self.items("[", "]", self.value)}
        if name == "Set.new":
            self.expect("(")
            members = {literals.key(item) for item in self.items("[", "]", self.value)}
            self.expect(")")
            return members
        return super().word(name)

    def string(self, quoted: str) -> str:
        if quoted[0] == "'":
            return literals.plain(quoted)
        if re.search(r"(?<!\\)(?:\\\\)*#[{$@]", quoted):
            raise self.unparsed("a string that is computed")
        return literals.escaped(quoted, {"s": " "})

    def _pair(self) -> tuple[Any, Any]:
        name = literals.key(self.value())
        self.expect("=>")
        return name, self.value()


def multipl_e(tests: str, entry_point: str) -> tuple[Test, ...]:
    _, _, cases = tests.partition(f"def test_{entry_point}")
    found = _METHOD.match(cases)
    if not found or found["name"] != entry_point:
        raise Unparsed(f"no test case: {tests[:80]!r}")
    body, position = found["body"], 0
    read: list[Test] = []
    while body[position:].strip():
        opening = re.compile(r"\s*assert_equal\(").match(body, position)
        if not opening:
            raise Unparsed(f"not an assertion: {body[position : position + 80]!r}")
        position = end_of_group(body, opening.end() - 1)
        match split(body[opening.end() : position - 1]):
            case [expected, call] if call.startswith("candidate.call("):
                read.append(_test(f"{entry_point}({call.removeprefix('candidate.call(')}", expected))
            case _:
                raise Unparsed(f"not a call: {body[opening.start() : position]!r}")
    return tuple(read)


def mbxp(test: str, entry_point: str, prompt: str) -> tuple[Test, ...]:
    read: list[Test] = []
    for block in re.split(r"(?<=\nend)\n", f"{test.strip()}\n"):
        if not block.strip():
            continue
        end = block.find("\nif ")
        assigned = {name: value for name, value in _assignments(block[:end])}
        compared = _BLOCK.match(block[end:].strip())
        if not compared:
            raise Unparsed(f"not a comparison: {block[end:][:80]!r}")
        call, expected = assigned.get(compared["result"], ""), assigned.get(compared["expected"])
        names = re.fullmatch(rf"{re.escape(entry_point)}\((?P<names>[\w, ]*)\)", call)
        if not names or expected is None:
            raise Unparsed(f"not a call: {call!r}")
        arguments = [assigned.get(name, "") for name in split(names["names"])]
        if not all(arguments):
            raise Unparsed(f"an unknown argument: {call!r}")
        read.append(_test(f"{entry_point}({', '.join(arguments)})", expected))
    return tuple(read)


def _assignments(text: str) -> list[tuple[str, str]]:
    found = [_ASSIGNED.fullmatch(line.strip()) for line in text.strip().split("\n")]
    if not all(found):
        raise Unparsed(f"not assignments: {text[:80]!r}")
    return [(each["name"], each["value"].strip()) for each in found if each]


def _test(call: str, expected: str) -> Test:
    return Test(call, f"same(result, {literals.source(Reader.read(expected))})")
