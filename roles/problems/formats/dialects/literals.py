"""A reader of literal values that the small scripting languages share: numbers, strings, lists and maps."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from roles.problems.formats.dialects.scanning import Unparsed, end_of_string

_NUMBER = re.compile(r"[+-]?(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+)(?![\w.])")
_WORD = re.compile(r"[A-Za-z_][\w.:]*")
_BLANK = re.compile(r"\s*")
_SIMPLE_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "0": "\0"}


class Literals(ABC):
    """Reads one language's literals from `text`. Subclasses say what its brackets, words and strings mean.

    All methods raise `Unparsed` for anything that is not a literal.
    """

    words: dict[str, Any]  # literals that are names, as `true`

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    @classmethod
    def read(cls, text: str) -> Any:
        """The value of `text` as a whole."""
        reader = cls(text)
        value = reader.value()
        if reader.peek():
            raise reader.unparsed("more than a value")
        return value

    def value(self) -> Any:
        here = self.peek()
        if here in ("'", '"'):
            return self.string(self._quoted())
        if here and (here.isdigit() or here in "+-"):
            return self._number()
        if here and (here.isalpha() or here == "_"):
            return self.word(self._match(_WORD, "a name"))
        return self.bracket(here)

    def bracket(self, here: str) -> Any:
        raise self.unparsed("no literal")

    def word(self, name: str) -> Any:
        if name in self.words:
            return self.words[name]
        raise self.unparsed(f"{name!r} is no literal")

    @abstractmethod
    def string(self, quoted: str) -> Any:
        """The value of a string with its quotes."""

    def integer(self, digits: str) -> Any:
        return int(digits)

    def decimal(self, digits: str) -> Any:
        return float(digits)

    def items(self, opening: str, closing: str, item: Callable[[], Any]) -> list[Any]:
        """What stands between brackets and commas, one `item` each."""
        self.expect(opening)
        read: list[Any] = []
        while not self.skip(closing):
            read.append(item())
            if not self.skip(","):
                self.expect(closing)
                break
        return read

    def peek(self) -> str:
        """The next character that is not blank, empty at the end."""
        blank = _BLANK.match(self.text, self.position)
        self.position = blank.end() if blank else self.position
        return self.text[self.position : self.position + 1]

    def skip(self, token: str) -> bool:
        """Whether `token` comes next; then it is passed."""
        self.peek()
        if not self.text.startswith(token, self.position):
            return False
        self.position += len(token)
        return True

    def expect(self, token: str) -> None:
        if not self.skip(token):
            raise self.unparsed(f"{token!r} is missing")

    def unparsed(self, why: str) -> Unparsed:
        return Unparsed(f"{why}: {self.text[self.position : self.position + 40]!r}")

    def _match(self, pattern: re.Pattern[str], what: str) -> str:
        found = pattern.match(self.text, self.position)
        if not found:
            raise self.unparsed(f"{what} is missing")
        self.position = found.end()
        return found.group()

    def _number(self) -> Any:
        digits = self._match(_NUMBER, "a number")
        if len(digits.lstrip("+-")) > 1 and re.match(r"[+-]?0\d", digits):
            raise self.unparsed("an octal number")
        return self.integer(digits) if re.fullmatch(r"[+-]?\d+", digits) else self.decimal(digits)

    def _quoted(self) -> str:
        start = self.position
        self.position = end_of_string(self.text, start)
        return self.text[start : self.position]


def plain(quoted: str) -> str:
    """What single quotes hold where they keep every backslash that escapes neither a quote nor a backslash."""
    return re.sub(r"\\([\\'])", r"\1", quoted[1:-1])


def escaped(quoted: str, others: dict[str, str] | None = None) -> str:
    """What quotes with C's escapes hold; `others` are a language's own. Raises `Unparsed` for unknown ones."""
    meanings = {**_SIMPLE_ESCAPES, **(others or {})}

    def meaning(found: re.Match[str]) -> str:
        character = found[1]
        if character[0] == "x" and len(character) > 1:
            return chr(int(character[1:], 16))
        if character[0] == "u" and len(character) > 1:
            return chr(int(character[1:].strip("{}"), 16))
        if character in meanings:
            return meanings[character]
        if character.isalnum():
            raise Unparsed(f"an unknown escape: {found[0]!r}")
        return character

    pattern = r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]+\}|.)"
    return re.sub(pattern, meaning, quoted[1:-1], flags=re.DOTALL)


def key(value: Any) -> Any:
    """`value` as a key or a member of a set, where drivers write lists as tuples."""
    if isinstance(value, list | tuple):
        return tuple(map(key, value))
    if isinstance(value, dict | set):
        raise Unparsed(f"a map or set as a key: {value!r}")
    return value


def source(value: Any) -> str:
    """A Python expression for `value`, as checks may hold it."""
    match value:
        case float() if not math.isfinite(value):
            return "math.nan" if value != value else "math.inf" if value > 0 else "-math.inf"
        case str():
            return ascii(value)
        case list():
            return f"[{', '.join(map(source, value))}]"
        case tuple():
            return f"({''.join(source(item) + ', ' for item in value)})"
        case set():
            return f"set([{', '.join(map(source, value))}])"
        case dict():
            return "{" + ", ".join(f"{source(name)}: {source(item)}" for name, item in value.items()) + "}"
    return repr(value)
