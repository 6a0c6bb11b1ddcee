"""A reader of literal values that Java and C# share: typed numbers, casts, and constructors with arguments."""

from __future__ import annotations

import re
import struct
from typing import Any

from roles.problems.formats.dialects import literals
from roles.problems.formats.dialects.scanning import Unparsed, end_of_group

_NUMBER = re.compile(r"(?P<digits>[+-]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)(?P<suffix>[lLfFdDmM]?)(?![\w.])")
_CAST = re.compile(r"\(\s*(?P<type>[A-Za-z_][\w.<>,\[\]? ]*?)\s*\)(?=\s*[\w\"'(+-])")
_TYPE = re.compile(r"[A-Za-z_][\w.]*")


class Objects(literals.Literals):
    """Subclasses say in `words` what names mean, in `made` what calls and constructors do."""

    words = {"true": True, "false": False, "null": None}  # noqa: RUF012 - never changed

    def value(self) -> Any:
        here = self.peek()
        if here and (here.isdigit() or here in "+-."):
            return self.number()
        return super().value()

    def bracket(self, here: str) -> Any:
        if here == "{":
            return self.items("{", "}", self.value)
        cast = _CAST.match(self.text, self.position)
        if cast:
            self.position = cast.end()
            return self._converted(cast["type"], self.value())
        if here == "(":
            values = self.items("(", ")", self.value)
            return values[0] if len(values) == 1 else tuple(values)
        raise self.unparsed("no literal")

    def word(self, name: str) -> Any:
        if name == "new":
            self.peek()
            name = f"new {self._match(_TYPE, 'a type') if self.peek() != '[' else ''}"
        elif name in self.words:
            return self.words[name]
        self._generics()
        if self.peek() == "[":
            self._dimensions()
            return self.items("{", "}", self.value)
        if self.peek() not in ("(", "{"):
            raise self.unparsed(f"{name!r} is no literal")
        arguments = self.items("(", ")", self.value) if self.peek() == "(" else []
        return self.made(name, arguments)

    def made(self, name: str, arguments: list[Any]) -> Any:
        """The value of `name(arguments)`, or of `new X(arguments)`; what follows in braces is still to be read."""
        raise self.unparsed(f"{name!r} is not known")

    def string(self, quoted: str) -> str:
        return literals.escaped(quoted)

    def number(self) -> int | float:
        found = _NUMBER.match(self.text, self.position)
        digits = found["digits"] if found else ""
        if not found or re.match(r"[+-]?0\d", digits):
            raise self.unparsed("a number is missing")
        self.position = found.end()
        suffix = found["suffix"].lower()
        if suffix == "f":
            return self._single(float(digits))
        return int(digits) if suffix in ("", "l") and re.fullmatch(r"[+-]?\d+", digits) else float(digits)

    def _converted(self, kind: str, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            if kind in ("float", "Float"):
                return self._single(value)
            if kind in ("double", "Double"):
                return float(value)
        return value

    def _single(self, value: float) -> float:
        """The nearest number of 32 bits."""
        try:
            return float(struct.unpack("f", struct.pack("f", value))[0])
        except OverflowError:
            raise self.unparsed("a number beyond its type") from None

    def _generics(self) -> None:
        """Passes `<...>`."""
        if self.peek() != "<":
            return
        depth = 0
        for position in range(self.position, len(self.text)):
            depth += (self.text[position] == "<") - (self.text[position] == ">")
            if depth == 0:
                self.position = position + 1
                return
        raise self.unparsed("a bracket does not close")

    def _dimensions(self) -> None:
        while self.skip("["):
            while self.skip(","):
                pass
            self.expect("]")


def asserted_calls(
    tests: str, beginning: str, asserted: re.Pattern[str], compared: re.Pattern[str]
) -> list[tuple[str, str]]:
    """Calls and expected values of the assertions after `beginning`, which must be all that there is but brackets.

    `asserted` finds in a line a `call` of a function `name` and what follows it, `compared` in that the expected
    `value` or `object`. Raises `Unparsed`.
    """
    _, found, body = tests.partition(beginning)
    read = []
    for line in filter(None, map(str.strip, body.split("\n"))):
        if line == "}":
            continue
        statement = asserted.fullmatch(line)
        if not statement:
            raise Unparsed(f"not an assertion: {line[:80]!r}")
        text = statement["call"]
        end = end_of_group(text, len(statement["name"]))
        comparison = compared.fullmatch(text, end)
        if not comparison:
            raise Unparsed(f"not a comparison: {line[:80]!r}")
        read.append((text[:end], comparison["value"] or comparison["object"]))
    if not found or not read:
        raise Unparsed(f"no tests: {tests[:80]!r}")
    return read
