"""The Go test programs of MultiPL-E and MBXP, read as calls and expected values.

MultiPL-E compares what both sides print, MBXP what both are as JSON: a nil slice and an integer of type float64 are
like an empty slice and an int, `true` and 1 are not alike.
"""

from __future__ import annotations

import re
from typing import Any

from roles.problems.formats.dialects.literals import Literals
from roles.problems.formats.dialects.scanning import Unparsed, end_of_group, split
from roles.records import Test
from roles.sandbox.tester import literal

_QUOTES = "\"'`"
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[0-7]{3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_CASES = re.compile(r"\btests\s*:=\s*\[\]test\s*(?=\{)")
_CANDIDATE = re.compile(r"\bcandidate\s*:=\s*(\w+)")
_ACTUAL = re.compile(r"actual_(\d+)\s*:=\s*(.*)", re.DOTALL)
_EXPECTED = re.compile(r"expected_(\d+)\s*:=\s*(.*)", re.DOTALL)
_COMPARED = re.compile(r"deepCompare\(actual_(\d+), expected_(\d+),.*\)", re.DOTALL)


class _Go(Literals):
    words = {"true": True, "false": False, "nil": None}  # noqa: RUF012

    def value(self) -> Any:
        here = self.peek()
        if here == "`":
            return self._quoted()[1:-1]
        if here == "'":
            return ord(_unescaped(self._quoted()[1:-1]))
        return super().value()

    def bracket(self, here: str) -> Any:
        if here == "{":  # of an element whose type is that of its siblings
            return self._elements(":" in split(self.text[self.position + 1 :], ",", _QUOTES)[0])
        self._type()
        return self._elements(False)

    def word(self, name: str) -> Any:
        if name != "map":
            return super().word(name)
        self._key()
        return self._elements(True)

    def string(self, quoted: str) -> Any:
        return _unescaped(quoted[1:-1])

    def _key(self) -> None:
        self.expect("[")
        self._type()
        self.expect("]")
        self._type()

    def _type(self) -> None:
        if self.skip("["):
            self._match(re.compile(r"\s*\d*\s*\]"), "]")
            self._type()
        elif self.skip("map"):
            self._key()
        else:
            self._match(re.compile(r"\s*(interface\s*\{\s*\}|\*?[\w.]+)"), "a type")

    def _elements(self, keyed: bool) -> Any:
        if not keyed:
            return self.items("{", "}", self.value)
        try:
            return dict(self.items("{", "}", self._entry))
        except TypeError as error:
            raise self.unparsed("not a key") from error

    def _entry(self) -> tuple[Any, Any]:
        key = self.value()
        self.expect(":")
        return key, self.value()


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        code = found.group(1)
        if code[0] in "uU":
            return chr(int(code[1:], 16))
        if code[0] == "x" or len(code) == 3:
            return bytes([int(code.lstrip("x"), 16 if code[0] == "x" else 8)]).decode("ascii")
        return _ESCAPED.get(code, code)

    try:
        return _ESCAPE.sub(one, text)
    except ValueError as error:
        raise Unparsed(f"not text: {text[:80]!r}") from error


def multipl_e(tests: str, entry_point: str) -> tuple[Test, ...]:
    """The tests of a row of MultiPL-E. Raises `Unparsed`."""
    named, cases = _CANDIDATE.search(tests), _CASES.search(tests)
    if named is None or cases is None:
        raise Unparsed(f"no cases: {tests[:80]!r}")
    listed = tests[cases.end() + 1 : end_of_group(tests, cases.end(), _QUOTES) - 1]
    read = [_case(case, named.group(1)) for case in split(listed, ",", _QUOTES) if case]
    if not read:
        raise Unparsed("no tests")
    return tuple(read)


def _case(text: str, entry_point: str) -> Test:
    fields = split(text[1:-1], ",", _QUOTES) if text.startswith("{") else []
    if len(fields) != 2:
        raise Unparsed(f"not a case: {text[:80]!r}")
    actual, expected = fields
    if not actual.startswith("actual: candidate(") or not expected.startswith("expected: "):
        raise Unparsed(f"not a case: {text[:80]!r}")
    return _test(entry_point + actual.removeprefix("actual: candidate"), expected.removeprefix("expected: "))


def mbxp(test: str, entry_point: str, prompt: str) -> tuple[Test, ...]:
    """The tests of a row of MBXP. Raises `Unparsed`."""
    start = re.search(r"\bfunc main\(\)\s*(?=\{)", test)
    if start is None:
        raise Unparsed(f"no main: {test[:80]!r}")
    body = test[start.end() + 1 : end_of_group(test, start.end(), _QUOTES) - 1]
    calls: dict[str, str] = {}
    values: dict[str, str] = {}
    read = []
    for statement in split(body, "\n", _QUOTES):
        actual, expected = _ACTUAL.fullmatch(statement), _EXPECTED.fullmatch(statement)
        compared = _COMPARED.fullmatch(statement)
        if actual:
            calls[actual.group(1)] = actual.group(2)
        elif expected:
            values[expected.group(1)] = expected.group(2)
        elif compared and compared.group(1) in calls and compared.group(2) in values:
            read.append(_test(calls.pop(compared.group(1)), values.pop(compared.group(2))))
        elif statement:
            raise Unparsed(f"neither a call nor a comparison: {statement[:80]!r}")
    if not read or calls:
        raise Unparsed("no tests")
    return tuple(read)


def _test(call: str, expected: str) -> Test:
    return Test(call, f"same(result, {literal(_Go.read(expected))})")
