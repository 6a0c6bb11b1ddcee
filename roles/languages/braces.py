"""Programs that a stop string cut short: their open brackets, closed."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

_PAIRS = {"(": ")", "[": "]", "{": "}"}
_BRACKET = r"(?P<bracket>[()\[\]{}])"
_STRINGS = r"""
    (?P<string>
        \"\"\" (?:\\.|(?!\"\"\")[^\\])*+ (?P<end3>\"\"\")? | \" (?:\\.|[^"\\\n])*+ (?P<end2>\")?
        | ` (?:\\.|[^`\\])*+ (?P<end1>`)?
    )"""
_CHARACTER = r"'(?:\\[^\n']{1,10}|\\'|[^'\\\n])'"
_QUOTED = r"(?P<quoted>'(?:\\.|[^'\\\n])*+(?P<end>')?)"
_REGEX = r"(?<=[(,=:\[!&|?{};\n])[ ]*/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n]){0,60}\]|[^/\\\n\[])++/"
_ENDS = ("end", "end1", "end2", "end3")


def close(text: str, comments: Iterable[str] = ("//",), characters: bool = False) -> str:
    """`text`, and behind it what closes its open brackets, innermost first, on a line of its own.

    Brackets in strings, regular expressions and comments do not count: `comments` begin those to the end of a line.
    With `characters`, single quotes hold one character, as in C; a quote that holds more is then none.
    """
    missing = open_brackets(text, comments, characters)
    if not missing:
        return text
    return f"{text.rstrip()}\n{''.join(_PAIRS[bracket] for bracket in reversed(missing))}\n"


def open_brackets(text: str, comments: Iterable[str] = ("//",), characters: bool = False) -> list[str]:
    """The brackets that `text` opens and does not close, outermost first; a closing one too many is passed over."""
    opened: list[str] = []
    tokens, position = _tokens(tuple(comments), characters), 0
    while token := tokens.search(text, position):
        position = token.end()
        found = [token]
        if token.lastgroup in ("string", "quoted") and not any(map(token.groupdict().get, _ENDS)):
            found = list(_BRACKETS.finditer(text, token.start(), token.end()))  # it has no end, so it is no string
        for bracket in (each["bracket"] for each in found):
            if bracket in _PAIRS:
                opened.append(bracket)
            elif bracket and opened and _PAIRS[opened[-1]] == bracket:
                opened.pop()
    return opened


_BRACKETS = re.compile(_BRACKET)


@functools.cache
def _tokens(comments: tuple[str, ...], characters: bool) -> re.Pattern[str]:
    lines = "|".join(rf"{re.escape(comment)}[^\n]*" for comment in comments)
    block = r"/\*(?:[^*]|\*(?!/))*+(?:\*/)?" if "//" in comments else ""
    single = _CHARACTER if characters else f"{_QUOTED}|{_REGEX}"
    return re.compile(
        "|".join(part for part in (lines, block, _STRINGS, single, _BRACKET) if part), re.DOTALL | re.VERBOSE
    )
