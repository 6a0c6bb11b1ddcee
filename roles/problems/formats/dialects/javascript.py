"""Test programs in JavaScript: calls whose results are compared deeply with literals."""

from __future__ import annotations

import re
from typing import Any

from roles.problems.formats.dialects import declared, scanning
from roles.problems.formats.dialects.scanning import Unparsed
from roles.records import Test
from roles.sandbox.tester import literal

_MULTIPL_E = re.compile(
    r"\s*(?:declare var require: any;\s*)?const assert = require\('node:assert'\);\s*"
    r"function test\(\) \{\s*let candidate = (?P<name>[\w$]+);(?P<body>.*)\}\s*test\(\);\s*",
    re.DOTALL,
)
_COMPARE = r"function compare\(object1, object2\)\{\s*return _\.isEqual\(object1, object2\)\s*\}"
_MBXP_HEAD = re.compile(rf'\s*const _ = require\("lodash"\)\s*{_COMPARE}')
_MBXP_TEST = re.compile(
    r"(?P<given>.*?)\bif\(!compare\((?P<result>\w+), (?P<expected>\w+)\)\)\{"
    r"\s*throw '[^']*' \+ JSON\.stringify\(x\)\s*\}",
    re.DOTALL,
)
ASSIGNED = re.compile(r"(?:var|let|const) (\w+) = (.*)", re.DOTALL)
_CALL = re.compile(r"([\w$]+)\s*(?=\()")
_TOKEN = re.compile(
    r"\s*(?P<token>-?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)n?|-?[A-Za-z_$][\w$]*|\"|'|`|[\[\]{}(),:<>])"
)
_CONSTANTS: dict[str, Any] = {
    "true": True, "false": False, "null": None, "undefined": None, "NaN": float("nan"), "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": ""}
_ESCAPE = re.compile(r"\\(u\{[0-9a-fA-F]+\}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_INTEGER = re.compile(r"-?(0[xX][0-9a-fA-F]+|0|[1-9]\d*)")
_LARGEST_INTEGER = 2**53


def multipl_e(tests: str, entry_point: str) -> tuple[Test, ...]:
    program = _MULTIPL_E.fullmatch(tests)
    if not program:
        raise Unparsed(f"not a test program: {tests[:80]!r}")
    read = []
    for statement in scanning.split(program["body"], ";"):
        if not statement:
            continue
        if not statement.startswith("assert.deepEqual("):
            raise Unparsed(f"not a test: {statement[:80]!r}")
        parts = scanning.split(statement[len("assert.deepEqual(") : -1])
        if len(parts) != 2 or not statement.endswith(")"):
            raise Unparsed(f"not a call and a result: {statement[:80]!r}")
        read.append(Test(call(parts[0], {"candidate": program["name"]}), deep_equal(parts[1])))
    if not read:
        raise Unparsed("no tests")
    return tuple(read)


def mbxp(test: str, entry_point: str, prompt: str) -> tuple[Test, ...]:
    functions = {entry_point: entry_point}
    return tuple(
        Test(call(result, functions, names), f"same(result, {literal(value(expected))})")
        for result, expected, names in declared.comparisons(test, _MBXP_HEAD, _MBXP_TEST, ASSIGNED)
    )


def deep_equal(expected: str) -> str:
    """The check of `assert.deepEqual(result, expected)`."""
    return f"deep_equal(result, {literal(value(expected))})"


def call(text: str, functions: dict[str, str], names: dict[str, str] | None = None) -> str:
    """The call in `text`, of one of `functions` under its other name, with `names` replaced by what they stand for."""
    found = _CALL.match(text)
    if not found or found[1] not in functions or scanning.end_of_group(text, found.end()) != len(text):
        raise Unparsed(f"not a call of {' or '.join(functions)}: {text[:80]!r}")
    arguments = scanning.split(text[found.end() + 1 : -1])
    return f"{functions[found[1]]}({', '.join((names or {}).get(argument, argument) for argument in arguments)})"


def value(text: str) -> Any:
    """The Python value of a literal; lists are tuples where they have to be hashed. Raises `Unparsed`."""
    reader = _Reader(text)
    read = reader.value(hashed=False)
    if text[reader.position :].strip():
        raise Unparsed(f"not a literal: {text[:80]!r}")
    return read


class _Reader:
    def __init__(self, text: str) -> None:
        self.position = 0
        self._text = text

    def value(self, hashed: bool) -> Any:
        token = self._token()
        if token in _CONSTANTS:
            return _CONSTANTS[token]
        if token in ('"', "'", "`"):
            return self._string(token)
        if token == "[":
            items = self._items("]", hashed)
            return tuple(items) if hashed else items
        if token == "{" and not hashed:
            return self._object()
        if token == "new":
            return self._built(hashed)
        if token[-1:].isdigit() or token[-1:] in (".", "n") or token[:2] in ("0x", "0X"):
            return _number(token)
        raise Unparsed(f"not a literal: {self._text[:80]!r}")

    def _token(self) -> str:
        found = _TOKEN.match(self._text, self.position)
        if not found:
            raise Unparsed(f"not a literal: {self._text[self.position : self.position + 80]!r}")
        self.position = found.end()
        return found["token"]

    def _peek(self) -> str:
        position = self.position
        token = self._token()
        self.position = position
        return token

    def _expect(self, *wanted: str) -> str:
        token = self._token()
        if token not in wanted:
            raise Unparsed(f"{token!r} where {' or '.join(wanted)} was expected: {self._text[:80]!r}")
        return token

    def _items(self, closing: str, hashed: bool) -> list[Any]:
        items: list[Any] = []
        while True:
            if self._peek() == closing:
                self._token()
                return items
            items.append(self.value(hashed))
            if self._expect(",", closing) == closing:
                return items

    def _object(self) -> dict[str, Any]:
        read: dict[str, Any] = {}
        while True:
            token = self._token()
            if token == "}":
                return read
            if token in ('"', "'"):
                key = self._string(token)
            elif token == "[":
                key = _as_key(self.value(hashed=True))
                self._expect("]")
            else:
                key = token if re.fullmatch(r"[A-Za-z_$][\w$]*", token) else _as_key(_number(token))
            self._expect(":")
            read[key] = self.value(hashed=False)
            if self._expect(",", "}") == "}":
                return read

    def _built(self, hashed: bool) -> Any:
        """What `new Map<K, V>([...])` or `new Set<T>([...])` makes."""
        kind = self._expect("Map", "Set")
        if self._peek() == "<":
            self.position = self._text.index(">", self.position) + 1
        self._expect("(")
        items = [] if self._peek() == ")" else self._members(kind)
        self._expect(")")
        if kind == "Map" and not hashed:
            return dict(items)
        if kind == "Map":
            raise Unparsed("a map in a set")
        return frozenset(items) if hashed else set(items)

    def _members(self, kind: str) -> list[Any]:
        self._expect("[")
        if kind == "Set":
            return self._items("]", hashed=True)
        pairs: list[tuple[Any, Any]] = []
        while True:
            token = self._expect("[", "]", ",")
            if token == "]":
                return pairs
            if token == "[":
                key = self.value(hashed=True)
                self._expect(",")
                pairs.append((key, self.value(hashed=False)))
                self._expect("]")

    def _string(self, quote: str) -> str:
        start = self.position - 1
        self.position = scanning.end_of_string(self._text, start)
        body = self._text[start + 1 : self.position - 1]
        if quote == "`" and "${" in body:
            raise Unparsed(f"a text that is computed: {body[:80]!r}")
        return unescape(body)


def unescape(body: str) -> str:
    def character(found: re.Match[str]) -> str:
        escape = found[1]
        if escape[0] in "ux" and len(escape) > 1:
            return chr(int(escape[1:].strip("{}"), 16))
        return _ESCAPES.get(escape, escape)

    text = _ESCAPE.sub(character, body)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # pairs written one by one


def number(token: str) -> int | float:
    """The number that `token` writes. Raises `Unparsed`."""
    try:
        return int(token, 0) if _INTEGER.fullmatch(token) else float(token)
    except ValueError as error:
        raise Unparsed(f"not a number: {token!r}") from error


def _number(token: str) -> int | float:
    if token.endswith("n"):
        return int(number(token[:-1]))
    read = number(token)
    return float(read) if abs(read) > _LARGEST_INTEGER else read


def _as_key(key: Any) -> str:
    """The name of a property, which is always a text."""
    if isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise Unparsed(f"not a key: {key!r}")
