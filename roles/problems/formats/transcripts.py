"""What problems with standard input and output have in common."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable

from roles.records import Test
from roles.sandbox.tester import literal

TOLERANCE = 1e-6  # of decimal numbers in the output, absolute or relative


def test(given: str, expected: str) -> Test:
    """Standard output is compared word by word, numbers that are not both integers within `TOLERANCE`."""
    return Test(given, f"same_tokens(result, {literal(expected)}, {TOLERANCE})", "stdio")


def prompt(text: str) -> str:
    """`text` as a docstring."""
    body = text.strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""\n{body}\n"""\n'


def python_3(texts: Iterable[str]) -> list[str]:
    """Those of `texts` that parse: published solutions are of any version of Python."""
    return [text for text in texts if _parses(text)]


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
