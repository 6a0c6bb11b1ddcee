"""Programs that a stop string cut short: their open brackets, closed."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PAIRS = {"(": ")", "[": "]", "{": "}"}
_STRINGS = r'"""(?:\\.|[^\\])*?"""|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`'
_CHARACTER = r"'(?:\\[^\n']+|\\'|[^'\\\n])'"
_QUOTED = r"'(?:\\.|[^'\\\n])*'"
_PATTERN = r"(?<=[(,=:\[!&|?{};\n]) *(?P<regex>/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/)"


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
    for token in _tokens(tuple(comments), characters).finditer(text):
        bracket = token.group("bracket")
        if bracket in _PAIRS:
            opened.append(bracket)
        elif bracket and opened and _PAIRS[opened[-1]] == bracket:
            opened.pop()
    return opened


def _tokens(comments: tuple[str, ...], characters: bool) -> re.Pattern[str]:
    lines = "|".join(f"{re.escape(comment)}[^\n]*" for comment in comments)
    block = r"/\*.*?(?:\*/|\Z)" if "//" in comments else ""
    single = _CHARACTER if characters else f"{_QUOTED}|{_PATTERN}"
    parts = [lines, block, _STRINGS, single, r"(?P<bracket>[()\[\]{}])"]
    return re.compile("|".join(part for part in parts if part), re.DOTALL)
