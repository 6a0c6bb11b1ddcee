"""Hostile programs, kept as text: what they do would stop every tool that reads them as our code.

A file holds programs below headers of the form `=== what it does -> what is expected`, and above the first header a
prelude that stands in front of each of them. Expected is the status, or several joined by `or`, of a program that is
judged against f(x) == x + 1; or a check over the result of its own `attack()`, which tells what the attack has won.
`[fools]` marks a program that passes a test program, whose verdicts are weak for that reason.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path

from roles.records import Status

_HERE = Path(__file__).parent
_HEADER = re.compile(r"^=== (?P<name>.+?) -> (?P<expected>.+?)(?P<fools> \[fools\])?\n", re.MULTILINE)
_STATUSES = frozenset(typing.get_args(Status))


@dataclasses.dataclass(frozen=True)
class Program:
    name: str
    text: str
    statuses: frozenset[str]  # empty for an attack that reports by itself
    check: str  # of what `attack()` returns
    fools: bool


def read(*names: str) -> list[Program]:
    """The programs of the files `names`, which are paths relative to this folder."""
    programs: list[Program] = []
    for name in names:
        prelude, *parts = _HEADER.split((_HERE / name).read_text())
        for title, expected, fools, body in zip(*(parts[start::4] for start in range(4)), strict=True):
            statuses = frozenset(expected.split(" or "))
            plain = statuses <= _STATUSES
            assert plain or "result" in expected, f"{name}: {title}: {expected}"
            assert "passed" not in statuses, title
            text = prelude + body
            programs.append(
                Program(title, text, statuses if plain else frozenset(), "" if plain else expected, bool(fools))
            )
    assert len({program.name for program in programs}) == len(programs)
    return programs


def of_language(language: str) -> list[Program]:
    """The cheats in `language`; those for its compiler may stand in a file of their own, without the prelude."""
    names = (f"cheats/{language}.txt", f"cheats/{language}-compiler.txt")
    return read(*(name for name in names if (_HERE / name).exists()))
