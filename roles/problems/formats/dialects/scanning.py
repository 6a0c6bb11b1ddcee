"""Finding one's way in source text without parsing it: brackets, strings and what stands between commas."""

from __future__ import annotations

_CLOSING = {"(": ")", "[": "]", "{": "}"}


class Unparsed(ValueError):
    """The text is not of the form that is understood; the message quotes where."""


def end_of_string(text: str, start: int) -> int:
    """The position after the string that opens at `start`; backslashes escape. Raises `Unparsed`."""
    quote, position = text[start], start + 1
    while position < len(text):
        if text[position] == "\\":
            position += 2
        elif text[position] == quote:
            return position + 1
        else:
            position += 1
    raise Unparsed(f"a string does not end: {text[start : start + 40]!r}")


def end_of_group(text: str, start: int, quotes: str = "\"'") -> int:
    """The position after the bracket that matches the one at `start`. Raises `Unparsed`."""
    expected: list[str] = []
    position = start
    while position < len(text):
        character = text[position]
        if character in quotes:
            position = end_of_string(text, position)
            continue
        if character in _CLOSING:
            expected.append(_CLOSING[character])
        elif character in _CLOSING.values():
            if not expected or expected.pop() != character:
                break
            if not expected:
                return position + 1
        position += 1
    raise Unparsed(f"a bracket does not close: {text[start : start + 40]!r}")


def split(text: str, separator: str = ",", quotes: str = "\"'") -> list[str]:
    """The parts of `text` between separators outside of brackets and strings, stripped; none for blank text."""
    parts: list[str] = []
    start = position = 0
    while position < len(text):
        character = text[position]
        if character in quotes:
            position = end_of_string(text, position)
        elif character in _CLOSING:
            position = end_of_group(text, position, quotes)
        elif text.startswith(separator, position):
            parts.append(text[start:position].strip())
            position += len(separator)
            start = position
        else:
            position += 1
    parts.append(text[start:].strip())
    return [] if parts == [""] else parts
