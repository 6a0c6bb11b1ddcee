"""Test programs in Bash: what a call prints is compared with a text in double quotes."""

from __future__ import annotations

import re

from roles.problems.formats.dialects.scanning import Unparsed
from roles.records import Test

_QUOTED = r'"(?:[^"\\$`]|\\.)*"'
_PROGRAM = re.compile(
    r'\s*\}?\s*candidate\(\) \{\s*(?P<name>\w+) "\$@"\s*\}\s*set -e\s*'
    r"run_test\(\) \{(?P<body>.*)\}\s*run_test\s*",
    re.DOTALL,
)
_TEST = re.compile(rf"\s*\[\[ \$\(candidate(?P<arguments>(?: {_QUOTED})*)\) = (?P<expected>{_QUOTED}) \]\]", re.DOTALL)


def multipl_e(tests: str, entry_point: str) -> tuple[Test, ...]:
    program = _PROGRAM.fullmatch(tests)
    if not program or program["name"] != entry_point:
        raise Unparsed(f"not a test program: {tests[:80]!r}")
    body, position = program["body"].rstrip(), 0
    read: list[Test] = []
    while position < len(body):
        test = _TEST.match(body, position)
        if not test:
            raise Unparsed(f"not a test: {body[position : position + 80]!r}")
        read.append(Test(f"{entry_point}{test['arguments']}", f"result == {_text(test['expected'])!a}"))
        position = test.end()
    if not read:
        raise Unparsed("no tests")
    return tuple(read)


def _text(quoted: str) -> str:
    """What double quotes hold: a backslash escapes only what would mean something there."""
    return re.sub(r'\\([$`"\\\n])', lambda found: found[1].strip("\n"), quoted[1:-1])
