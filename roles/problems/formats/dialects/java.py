"""Test programs in Java: calls whose results are compared with `equals` or `==`."""

from __future__ import annotations

import re
from typing import Any

from roles.problems.formats.dialects import literals, objects
from roles.problems.formats.dialects.objects import Objects
from roles.problems.formats.dialects.scanning import Unparsed
from roles.records import Test

_TUPLES = ("Unit", "Pair", "Triplet", "Quartet", "Quintet", "Sextet", "Septet", "Octet", "Ennead", "Decade")
_ASSERT = re.compile(r"assert\((?P<call>(?P<name>\w+)\(.*)\);")
_COMPARED = re.compile(r" == (?P<value>.*)|\.equals\((?P<object>.*)\)")
_BODY = "public static void main(String[] args) {"
_RESULT = re.compile(r"(?P<type>[\w<>,.\[\] ]+) x(?P<number>\d+) = (?P<call>.*);")
_EXPECTED = re.compile(r"(?P<type>[\w<>,.\[\] ]+) v(?P<number>\d+) = (?P<value>.*);")
_EQUALS = "return obj1.equals(obj2);"


class Reader(Objects):
    def made(self, name: str, arguments: list[Any]) -> Any:
        kind = name.removeprefix("new ").rpartition(".")[2] if name.startswith("new ") else name
        if name in ("Arrays.asList", "List.of"):
            return arguments
        if name == "Optional.empty" and not arguments:
            return None
        if name in ("Optional.of", "Optional.ofNullable") and len(arguments) == 1:
            return arguments[0]
        if kind in _TUPLES or (kind.removesuffix(".with") in _TUPLES and kind.endswith(".with")):
            return tuple(arguments)
        if name == "Map.of" and len(arguments) % 2 == 0:
            return {literals.key(each): item for each, item in zip(arguments[::2], arguments[1::2], strict=True)}
        if name == "Set.of":
            return {literals.key(item) for item in arguments}
        given = arguments[0] if arguments else []
        if name.startswith("new ") and len(arguments) <= 1 and self.peek() != "{":
            if kind in ("ArrayList", "LinkedList") and isinstance(given, list | set):
                return list(given)
            if kind in ("HashSet", "TreeSet", "LinkedHashSet") and isinstance(given, list | set):
                return {literals.key(item) for item in given}
            if kind in ("HashMap", "TreeMap", "LinkedHashMap") and isinstance(given or {}, dict):
                return given or {}
        if name == "new HashMap" and not arguments:
            return self._puts()
        raise self.unparsed(f"{name!r} is not known")

    def _puts(self) -> dict[Any, Any]:
        """The map of `{{put(key, value);...}}`."""
        self.expect("{")
        self.expect("{")
        read: dict[Any, Any] = {}
        while not self.skip("}"):
            self.expect("put")
            match self.items("(", ")", self.value):
                case [name, value]:
                    read[literals.key(name)] = value
                case _:
                    raise self.unparsed("no key and value")
            self.expect(";")
        self.expect("}")
        return read


def multipl_e(tests: str, entry_point: str) -> tuple[Test, ...]:
    calls = objects.asserted_calls(tests, _BODY, _ASSERT, _COMPARED)
    return tuple(_test(f"Problem.{call}", expected) for call, expected in calls)


def mbxp(test: str, entry_point: str, prompt: str) -> tuple[Test, ...]:
    lines = [line.strip() for line in test.split("\n")]
    results = {found["number"]: found["call"] for found in map(_RESULT.fullmatch, lines) if found}
    expected = {found["number"]: found["value"] for found in map(_EXPECTED.fullmatch, lines) if found}
    compared = re.findall(r"if \(!\(compare\(x(\d+), v(\d+)\)\)\) \{", test)
    numbers = list(results)
    if not numbers or compared != [(number, number) for number in numbers] or numbers != list(expected):
        raise Unparsed(f"not calls and comparisons: {test[-200:]!r}")
    if _EQUALS not in test or test.count("throw") != len(numbers) + 1:
        raise Unparsed(f"an unknown comparison: {test[:80]!r}")
    return tuple(_test(results[number], expected[number]) for number in numbers)


def _test(call: str, expected: str) -> Test:
    return Test(call, f"same(result, {literals.source(Reader.read(expected))})")
