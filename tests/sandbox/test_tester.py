import ast
import math
from typing import Any

import pytest

from roles.sandbox.check import holds
from roles.sandbox.equality import same
from roles.sandbox.tester import literal
from roles.sandbox.values import Opaque

VALUES: list[Any] = [
    None,
    True,
    -7,
    10**6000,
    -(10**6000),
    0.1,
    -0.0,
    1e308,
    math.inf,
    -math.inf,
    math.nan,
    1 + 2j,
    complex(math.nan, math.inf),
    "it's \"quoted\"\n\\",
    "\N{GRINNING FACE} \ud800 \0",
    b"\xff\0",
    [],
    [1, [2.5, "x"]],
    (),
    (1,),
    ((), (1, 2)),
    set(),
    {1, "a"},
    frozenset([(1, 2)]),
    {"a": {1: [None]}, (1, 2): {3}},
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_a_value_written_as_source_is_read_back_as_itself(value: Any) -> None:
    source = literal(value)
    assert source.isascii()
    ast.parse(source, mode="eval")
    assert same(eval(source), value)
    assert holds(f"same(result, {source})", value)


def test_an_object_that_is_not_plain_data_has_no_source() -> None:
    with pytest.raises(TypeError, match="Node object"):
        literal([Opaque("Node")])
