"""APPS (Hendrycks et al., 2021), JSONL or Parquet with the fields as published; a problem's split is in `split`.

Without a function's name the tests are standard input and output, with one they are calls. `input_output` and
`solutions` are objects or, as published, JSON texts of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from roles.problems.files import Row, read_rows
from roles.problems.formats import transcripts
from roles.records import Problem, Test
from roles.sandbox.tester import literal

_REFERENCES = 10  # of what may be hundreds
# what the published harness puts before every program, as far as it is in the standard library
_PREAMBLE = """\
import collections, fractions, functools, heapq, itertools, math, random, sys, time
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from functools import lru_cache
from heapq import *
from itertools import accumulate, combinations, permutations, product
from math import ceil, cos, exp, fabs, floor, gcd, log, log2, sin, sqrt, tan
from typing import List, Tuple
"""


def load(path: Path) -> list[Problem]:
    """The problems of `path` that have tests. Raises `SuiteError`."""
    problems = (_problem(row) for row in read_rows(path))
    return [problem for problem in problems if problem is not None]


def _problem(row: Row) -> Problem | None:
    pairs = _object(row, "input_output", {})
    if not pairs:
        return None
    if not isinstance(pairs, dict):
        raise row.error("input_output", "expected an object")
    inputs, outputs = pairs.get("inputs"), pairs.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise row.error("input_output", "expected as many inputs as outputs")
    name = pairs.get("fn_name") or ""
    if not isinstance(name, str):
        raise row.error("input_output", f"fn_name is no text: {name!r}")
    starter = row.values.get("starter_code") or ""
    tests = _calls(row, name, str(starter), inputs, outputs) if name else _transcripts(row, inputs, outputs)
    if not tests:
        return None
    solutions = _object(row, "solutions", [])
    texts = [text for text in solutions if isinstance(text, str)] if isinstance(solutions, list) else []
    return Problem(
        id=str(row.values.get("problem_id", row.line)), suite="apps", split=str(row.values.get("split", "test")),
        language="python", prompt=_PREAMBLE + transcripts.prompt(row.get("question", str)) + str(starter),
        entry_point=name or "main", tests=tuple(tests),
        references=tuple(_PREAMBLE + text for text in transcripts.python_3(texts)[:_REFERENCES]),
    )  # fmt: skip


def _object(row: Row, field: str, default: Any) -> Any:
    value = row.values.get(field)
    if not isinstance(value, str):
        return default if value is None else value
    try:
        return json.loads(value) if value.strip() else default
    except (ValueError, RecursionError) as error:
        raise row.error(field, f"not JSON: {error}") from error


def _transcripts(row: Row, inputs: list[Any], outputs: list[Any]) -> list[Test]:
    return [transcripts.test(_text(row, given), _text(row, said)) for given, said in zip(inputs, outputs, strict=True)]


def _text(row: Row, value: Any) -> str:
    """A text, or a list of its lines."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    raise row.error("input_output", f"standard input and output must be text, got {json.dumps(value)[:60]}")


def _calls(row: Row, name: str, starter: str, inputs: list[Any], outputs: list[Any]) -> list[Test]:
    """Results are compared as by the published harness: by `==`, with tuples taken for lists.

    In some problems every output is wrapped into a list of its own; there the bare one is right too.
    """
    function = f"Solution().{name}" if "class Solution" in starter else name
    wrapped = all(isinstance(output, list) and len(output) == 1 for output in outputs)
    tests = []
    for arguments, output in zip(inputs, outputs, strict=True):
        if not isinstance(arguments, list):
            raise row.error("input_output", f"expected a list of arguments, got {json.dumps(arguments)[:60]}")
        expected = [_keyed(output), *([_keyed(output[0])] if wrapped else [])]
        call = f"{function}({', '.join(literal(_keyed(argument)) for argument in arguments)})"
        tests.append(Test(call, f"lists(result) in {literal(expected)}"))
    return tests


def _keyed(value: Any) -> Any:
    """An object whose keys are all integers had such keys before it became JSON."""
    try:
        return {int(key): item for key, item in value.items()} if isinstance(value, dict) else value
    except ValueError:
        return value
