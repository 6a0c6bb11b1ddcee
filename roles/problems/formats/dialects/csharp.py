"""Test programs in C#: calls whose results are compared with `==`, `Equals` or CompareNetObjects."""

from __future__ import annotations

import re
from typing import Any

from roles.problems.formats.dialects import literals, objects
from roles.problems.formats.dialects.objects import Objects
from roles.problems.formats.dialects.scanning import Unparsed
from roles.records import Test

_ASSERT = re.compile(r"Debug\.Assert\((?P<call>(?P<name>\w+)\(.*)\);")
_COMPARED = re.compile(r" == (?P<value>.*)|\.Equals\((?P<object>.*)\)")
_BODY = "public static void Main(string[] args) {"
_RESULT = re.compile(r"var actual(?P<number>\d+) = (?P<call>\w+\(.*\));")
_EXPECTED = re.compile(r"var expected(?P<number>\d+) = (?P<value>.*);")
_CLASS = re.compile(r"namespace (?P<namespace>\w+)\s*\{\s*public class (?P<type>\w+)")


class Reader(Objects):
    def made(self, name: str, arguments: list[Any]) -> Any:
        kind = name.removeprefix("new ")
        if name == "Tuple.Create" or (name == "new Tuple" and arguments):
            return tuple(arguments)
        if len(arguments) > 1 or not name.startswith("new ") or (arguments and self.peek() == "{"):
            raise self.unparsed(f"{name!r} is not known")
        if kind == "Dictionary" and not arguments:
            return dict(self.items("{", "}", self._entry)) if self.peek() == "{" else {}
        given = arguments[0] if arguments else self.items("{", "}", self.value) if self.peek() == "{" else []
        if isinstance(given, list):
            if kind == "List":
                return given
            if kind == "HashSet":
                return {literals.key(item) for item in given}
        raise self.unparsed(f"{name!r} is not known")

    def _entry(self) -> tuple[Any, Any]:
        match self.items("{", "}", self.value):
            case [name, value]:
                return literals.key(name), value
        raise self.unparsed("no key and value")


def multipl_e(tests: str, entry_point: str) -> tuple[Test, ...]:
    calls = objects.asserted_calls(tests, _BODY, _ASSERT, _COMPARED)
    return tuple(_test(f"Problem.{call}", expected) for call, expected in calls)


def mbxp(test: str, entry_point: str, prompt: str) -> tuple[Test, ...]:
    place = _CLASS.search(prompt)
    lines = [line.strip() for line in test.split("\n")]
    results = {found["number"]: found["call"] for found in map(_RESULT.fullmatch, lines) if found}
    expected = {found["number"]: found["value"] for found in map(_EXPECTED.fullmatch, lines) if found}
    compared = re.findall(r"var result(\d+) = compareLogic\.Compare\(actual(\d+), expected(\d+)\);", test)
    checked = re.findall(r"if \(!result(\d+)\.AreEqual\)", test)
    numbers = list(results)
    if not place or not numbers or numbers != list(expected) or numbers != checked:
        raise Unparsed(f"not calls and comparisons: {test[-200:]!r}")
    if compared != [(number,) * 3 for number in numbers]:
        raise Unparsed(f"an unknown comparison: {test[:80]!r}")
    prefix = f"{place['namespace']}.{place['type']}."
    return tuple(_test(f"{prefix}{results[number]}", expected[number]) for number in numbers)


def _test(call: str, expected: str) -> Test:
    return Test(call, f"same(result, {literals.source(Reader.read(expected))})")
