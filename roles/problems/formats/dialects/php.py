"""Test programs in PHP: calls whose results are compared with literals."""

from __future__ import annotations

import re
from typing import Any

from roles.problems.formats.dialects import declared, scanning
from roles.problems.formats.dialects.javascript import call, number
from roles.problems.formats.dialects.scanning import Unparsed
from roles.records import Test
from roles.sandbox.tester import literal

_MULTIPL_E = re.compile(
    r"\s*function candidate\(\.\.\.\$args\) \{\s*return (?P<name>\w+)\(\.\.\.\$args\);\s*\}\s*"
    r"function test\(\): void \{(?P<body>.*)\}\s*test\(\);\s*",
    re.DOTALL,
)
_MULTIPL_E_TEST = re.compile(r"\s*if ")
_THROWN = re.compile(r'\s*\{ throw new Exception\("Test failed!"\); \}\s*')
_MBXP_HEAD = re.compile(r"\s*function compare\(\$x, \$y\) \{\s*return \$x == \$y;\s*\}")
_MBXP_TEST = re.compile(
    r"(?P<given>.*?)\bif \(!compare\((?P<result>\$\w+), (?P<expected>\$\w+)\)\) \{\s*"
    r'throw new Exception\("[^"]*"\);\s*\}',
    re.DOTALL,
)
_ASSIGNED = re.compile(r"(\$\w+) = (.*)", re.DOTALL)
_TOKEN = re.compile(
    r"\s*(?P<token>-?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|[A-Za-z_]\w*|\"|'|=>|[\[\](),])"
)
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None, "nan": float("nan"), "inf": float("inf")}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "e": "\x1b", "f": "\f", "\\": "\\", "$": "$", '"': '"'}
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|u\{[0-9A-Fa-f]+\}|[ntrvef\\$\"])")
_INTERPOLATED = re.compile(r"(?<!\\)(?:\\\\)*(?:\$[A-Za-z_{]|\{\$)")
_INTEGERS = range(-(2**63), 2**63)


def multipl_e(tests: str, entry_point: str) -> tuple[Test, ...]:
    program = _MULTIPL_E.fullmatch(tests)
    if not program:
        raise Unparsed(f"not a test program: {tests[:80]!r}")
    body, position = program["body"].rstrip(), 0
    read = []
    while position < len(body):
        start = _MULTIPL_E_TEST.match(body, position)
        if not start:
            raise Unparsed(f"not a test: {body[position : position + 80]!r}")
        end = scanning.end_of_group(body, start.end())
        parts = scanning.split(body[start.end() + 1 : end - 1], "!==")
        thrown = _THROWN.match(body, end)
        if len(parts) != 2 or not thrown:
            raise Unparsed(f"not a call and a result: {body[position : position + 80]!r}")
        expected = literal(value(parts[1]))
        read.append(Test(call(parts[0], {"candidate": program["name"]}), f"identical(result, {expected})"))
        position = thrown.end()
    if not read:
        raise Unparsed("no tests")
    return tuple(read)


def mbxp(test: str, entry_point: str, prompt: str) -> tuple[Test, ...]:
    functions = {entry_point: entry_point}
    return tuple(
        Test(call(result, functions, names), f"loosely_equal(result, {literal(value(expected))})")
        for result, expected, names in declared.comparisons(test, _MBXP_HEAD, _MBXP_TEST, _ASSIGNED)
    )


def value(text: str) -> Any:
    """The Python value of a literal: an array is a list if its keys are 0, 1, ... in order. Raises `Unparsed`."""
    reader = _Reader(text)
    read = reader.value()
    if text[reader.position :].strip():
        raise Unparsed(f"not a literal: {text[:80]!r}")
    return read


class _Reader:
    def __init__(self, text: str) -> None:
        self.position = 0
        self._text = text

    def value(self) -> Any:
        token = self._token()
        if token.lower() in _CONSTANTS:
            return _CONSTANTS[token.lower()]
        if token in ('"', "'"):
            return self._string(token)
        if token == "[":
            return self._array("]")
        if token.lower() == "array" and self._token() == "(":
            return self._array(")")
        if token[-1:].isdigit() or token[-1:] == "." or token[:2] in ("0x", "0X"):
            return _number(token)
        raise Unparsed(f"not a literal: {self._text[:80]!r}")

    def _token(self) -> str:
        found = _TOKEN.match(self._text, self.position)
        if not found:
            raise Unparsed(f"not a literal: {self._text[self.position : self.position + 80]!r}")
        self.position = found.end()
        return found["token"]

    def _array(self, closing: str) -> list[Any] | dict[Any, Any]:
        read: dict[Any, Any] = {}
        following = 0  # the key of an item without one
        while True:
            position = self.position
            if self._token() == closing:
                break
            self.position = position
            key: int | str = following
            item = self.value()
            token = self._token()
            if token == "=>":
                key, item = _key(item), self.value()
                token = self._token()
            read[key] = item
            following = max(following, key + 1) if isinstance(key, int) else following
            if token == closing:
                break
            if token != ",":
                raise Unparsed(f"not an array: {self._text[:80]!r}")
        return list(read.values()) if list(read) == list(range(len(read))) else read

    def _string(self, quote: str) -> str:
        start = self.position - 1
        self.position = scanning.end_of_string(self._text, start)
        body = self._text[start + 1 : self.position - 1]
        if quote == "'":
            return re.sub(r"\\([\\'])", r"\1", body)
        if _INTERPOLATED.search(body):
            raise Unparsed(f"a text that is computed: {body[:80]!r}")
        return _ESCAPE.sub(_escaped, body)


def _escaped(found: re.Match[str]) -> str:
    escape = found[1]
    if escape[0] == "u":
        return chr(int(escape[2:-1], 16))
    if escape[0] == "x" or escape[0].isdigit():
        code = int(escape[1:], 16) if escape[0] == "x" else int(escape, 8) & 0xFF
        if code > 0x7F:
            raise Unparsed("a byte that is no character")
        return chr(code)
    return _ESCAPES[escape]


def _number(token: str) -> int | float:
    read = number(token)
    return read if isinstance(read, float) or read in _INTEGERS else float(read)


def _key(key: Any) -> int | str:
    """A key as PHP keeps it: decimal texts, booleans and floats are integers."""
    if isinstance(key, str):
        return int(key) if re.fullmatch(r"0|-?[1-9]\d*", key) and int(key) in _INTEGERS else key
    if key is None:
        return ""
    if isinstance(key, int | float):
        return int(key)
    raise Unparsed(f"not a key: {key!r}")
