"""The comparisons of published test programs in other languages."""

import json
import math
import random
import re
import subprocess
from typing import Any

import pytest

from roles.sandbox.check import holds
from roles.sandbox.published import deep_equal, identical, loosely_equal
from roles.sandbox.values import Opaque
from tests.languages.toolchains import needs

NAN, OBJECT = math.nan, Opaque("Date")


@pytest.mark.parametrize(
    ("result", "expected", "equal"),
    [
        ([1, {"a": "x"}], [1, {"a": "x"}], True),
        ([1.0, True], [1, 1], True),
        ("101", 101, True),
        (" 0x10 ", 16, True),
        ("", 0, True),
        ("1,", 1, False),
        ("1", "01", False),
        ("true", True, False),
        (None, None, True),
        (None, 0, False),
        (NAN, NAN, True),
        ("NaN", NAN, False),
        ([1], 1, False),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}, True),
        ([], {}, False),
        (OBJECT, OBJECT, False),
        (OBJECT, None, False),
        ({"a": OBJECT}, {"a": None}, False),
        ({(1, 2), 3}, {3, (1, 2)}, True),
        ({1}, [1], False),
        ("9" * 5000, 1, False),
    ],
)
def test_deep_equal_is_that_of_node(result, expected, equal) -> None:
    assert deep_equal(result, expected) is equal


@pytest.mark.parametrize(
    ("result", "expected", "equal"),
    [
        ([1, {"a": "x"}], [1, {"a": "x"}], True),
        (1, 1.0, False),
        (1.0, 1.0, True),
        (True, 1, False),
        ("1", 1, False),
        (NAN, NAN, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
        ({1: "a"}, {1: "a"}, True),
        (OBJECT, OBJECT, False),
        (None, None, True),
        (["a", None], ["a", None], True),
    ],
)
def test_identical_is_that_of_php(result, expected, equal) -> None:
    assert identical(result, expected) is equal


@pytest.mark.parametrize(
    ("result", "expected", "equal"),
    [
        ("123", 123, True),
        ("1e3", "1000", True),
        ("abc", 0, False),
        ("abc", "abc", True),
        (1, 1.0, True),
        (["1", 0], [1.0, 0.0], True),
        ([1, 2], {1: 2, 0: 1}, True),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}, True),
        (True, 8, False),
        (True, [1], False),
        (True, True, True),
        (None, [], False),
        (None, None, True),
        (0, False, False),
        (OBJECT, OBJECT, False),
        ([OBJECT], [OBJECT], False),
    ],
)
def test_loosely_equal_is_that_of_php_where_no_boolean_is_concerned(result, expected, equal) -> None:
    assert loosely_equal(result, expected) is equal


def test_checks_may_use_them() -> None:
    assert holds("deep_equal(result, [1])", ["1"]) and not holds("identical(result, [1])", ["1"])
    assert holds("loosely_equal(result, [1])", ["1"])


def _pairs(count: int) -> list[tuple[Any, Any]]:
    """Plain values, most of them beside one that differs in a few places."""
    chosen = random.Random(5)
    plain = [
        None, True, False, 0, 1, -1, 101, 0.5, 1.5, NAN, math.inf, -0.0, "", "0", "1", "1.0", " 1 ", "1e0", "+1", "-0",
        ".5", "0x1", "1a", "a", "null", "true", "NaN", "Infinity", "101", "\n1",
    ]  # fmt: skip

    def value(depth: int) -> Any:
        kind = chosen.random() if depth < 3 else 0
        if kind < 0.6:
            return chosen.choice(plain)
        items = [value(depth + 1) for _ in range(chosen.randrange(3))]
        return items if kind < 0.8 else {chosen.choice("abc"): item for item in items}

    def near(known: Any) -> Any:
        if chosen.random() < 0.4:
            return known
        if isinstance(known, list):
            return [near(item) for item in known]
        if isinstance(known, dict):
            return {key: near(known[key]) for key in chosen.sample(list(known), len(known))}
        return chosen.choice(plain)

    values = [value(0) for _ in range(count)]
    return [(known, near(known)) for known in values]


def _source(value: Any, arrow: str, braces: str) -> str:
    if isinstance(value, dict):
        pairs = ",".join(f"'{key}'{arrow}{_source(item, arrow, braces)}" for key, item in value.items())
        return f"{braces[0]}{pairs}{braces[1]}"
    if isinstance(value, list):
        return f"[{','.join(_source(item, arrow, braces) for item in value)}]"
    return json.dumps(value)


def _said(command: list[str], program: str) -> str:
    return subprocess.run(command, input=program, capture_output=True, text=True, check=True, timeout=60).stdout


@needs("javascript")
def test_node_agrees_on_random_values() -> None:
    pairs = _pairs(2000)
    source = ",\n".join(f"[{_source(here, ':', '{}')},{_source(there, ':', '{}')}]" for here, there in pairs)
    compared = "p.map(([a, b]) => { try { assert.deepEqual(a, b); return 1 } catch { return 0 } }).join('')"
    said = _said(["node", "-"], f"const assert = require('assert'), p = [{source}];\nconsole.log({compared})")
    assert said.strip() == "".join(str(int(deep_equal(here, there))) for here, there in pairs)


@needs("php")
def test_php_agrees_on_random_values() -> None:
    pairs = [(here, there) for here, there in _pairs(2000) if {} not in (here, there)]
    source = ",\n".join(f"[{_source(here, '=>', '[]')},{_source(there, '=>', '[]')}]" for here, there in pairs)
    source = (
        source.replace("NaN", "NAN").replace("Infinity", "INF").replace('"NAN"', '"NaN"').replace('"INF"', '"Infinity"')
    )
    said = _said(["php", "-n"], f"<?php foreach ([{source}] as [$a, $b]) echo (int) ($a === $b), (int) ($a == $b);")
    assert said[::2] == "".join(str(int(identical(here, there))) for here, there in pairs)
    loosely = [int(loosely_equal(here, there)) for here, there in pairs]
    plain = [index for index, pair in enumerate(pairs) if not re.search(r"None|True|False", repr(pair))]
    assert [int(said[1::2][index]) for index in plain] == [loosely[index] for index in plain]
