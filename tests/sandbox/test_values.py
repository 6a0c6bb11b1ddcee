import collections
import enum
import json
import math
import random
import typing

import pytest

from roles.sandbox.values import MAX_DEPTH, MAX_NODES, BadValue, Opaque, TooLarge, decode, encode


def there_and_back(value: object) -> object:
    return decode(json.loads(json.dumps(encode(value))))


def same(left: object, right: object) -> bool:
    """Equal in value and in type, all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))  # type: ignore[arg-type]
    return left == right or (isinstance(left, float) and math.isnan(left) and math.isnan(right))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -5,
        10**400,
        -(2**63),
        1.0,
        -0.0,
        0.1,
        5e-324,
        math.inf,
        -math.inf,
        math.nan,
        1 + 2j,
        "",
        "text",
        "\ud800",
        "\0",
        b"",
        b"\xff\x00",
        [],
        (),
        set(),
        {},
        [1, [2, (3,)]],
        (True, 1, 1.0),
        {1, 2},
        frozenset({(1, 2)}),
        {None: [1], (1, "a"): {2}, True: b"x"},
        ["l", 1],
        ("i", "ff"),
        {"d": {}},
    ],
)
def test_values_come_back_exactly(value: object) -> None:
    assert same(there_and_back(value), value)
    assert math.copysign(1, there_and_back(-0.0)) == -1  # type: ignore[arg-type]


def test_random_nested_values_come_back_exactly() -> None:
    rng = random.Random(7)

    def make(depth: int) -> object:
        kind = rng.randrange(8 if depth else 5)
        if kind < 5:
            return (
                None,
                rng.random() < 0.5,
                rng.randrange(-(10**20), 10**20),
                rng.gauss(0, 1e9),
                chr(rng.randrange(0x10FFFF)),
            )[kind]
        items = [make(depth - 1) for _ in range(rng.randrange(5))]
        if kind == 7:
            return {str(i): item for i, item in enumerate(items)}
        return items if kind == 5 else tuple(items)

    for _ in range(500):
        value = make(4)
        assert same(there_and_back(value), value)


class Liar(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class Shade(enum.Enum):
    RED = 1


class Point(typing.NamedTuple):
    x: int


def test_a_subclass_is_sent_as_its_builtin_value() -> None:
    assert there_and_back(Liar(5)) == 5 and there_and_back(Liar(5)) != 6
    assert same(there_and_back(collections.Counter("aab")), {"a": 2, "b": 1})
    assert same(there_and_back(collections.OrderedDict(a=1)), {"a": 1})
    assert same(there_and_back(Point(3)), (3,))


@pytest.mark.parametrize("value", [object(), len, Shade.RED, range(3), iter([]), (x for x in ()), int, math])
def test_anything_else_is_opaque_and_equals_nothing(value: object) -> None:
    result = there_and_back(value)
    assert isinstance(result, Opaque)
    assert not result == value and not result == result  # noqa: SIM201


def test_too_large_values_are_refused() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    deep: list[object] = []
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    for value in (cycle, deep, [0] * (MAX_NODES + 1), "x" * (17 * MAX_NODES), 1 << (65 * MAX_NODES)):
        with pytest.raises(TooLarge):
            encode(value)


@pytest.mark.parametrize(
    "form",
    [
        1,
        1.5,
        {},
        [],
        ["?", 1],
        ["i"],
        ["i", 5],
        ["i", "xyz"],
        ["f", "one"],
        ["f", None],
        ["c", "0x1p0"],
        ["b", "%"],
        ["s", ["l"]],
        ["d", [1]],
        ["d", [["l"], None]],
        ["u"],
        [["l"]],
        ["b", None],
        ["f", "0x1p99999999"],
    ],
)
def test_forms_that_encode_never_makes_are_refused(form: object) -> None:
    with pytest.raises(BadValue):
        decode(form)


def test_deep_forms_and_engineered_hash_collisions_are_refused() -> None:
    deep: list[object] = ["l"]
    for _ in range(5000):
        deep = ["l", deep]
    collisions = ["s", *(["i", f"{number * (2**61 - 1):x}"] for number in range(5000))]
    for form in (deep, collisions, ["d", *([key, None] for key in collisions[1:])]):
        with pytest.raises(BadValue):
            decode(form)
