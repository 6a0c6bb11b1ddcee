"""Inputs for problems: edge cases and random values of each kind."""

from __future__ import annotations

import random
from typing import Any

from roles.problems.pocket.pipeline import Arguments
from roles.problems.pocket.primitive import Kind

_VOCABULARY = (
    "apple bread cloud dance eagle flame grape house island jelly koala lemon mango night ocean piano queen river stone"
    " table uncle violet water yellow zebra a an be cat dog egg fog hat ink owl sun tree idea area noon level kayak"
    " Anna Bob Eve Otto Paris Iris Uma Ohio code test array loop banana letter pepper Apple River ABBA data42 x9"
)
VOCABULARY = tuple(_VOCABULARY.split())

EDGES: dict[Kind, tuple[Any, ...]] = {
    "ints": ([], [0], [1], [-3], [2, 2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9], [9, 7, 5, 3, 1], [-4, -3, -2, -1, 0],
             [0, 5, 0, 5, 0], [2, 3, 4, 5, 6, 7, 8, 9, 10, 9, 8], [-9, 9, -8, 8, 1]),
    "text": ("", " ", "a", "A", "level", "Never odd or even", "aAaA eE", "  two  gaps ", "a1b2c3", "hello world",
             "XYZ xyz 2024"),
    "words": ([], ["a"], ["Level"], ["b", "a", "c"], ["kiwi", "kiwi", "Kiwi"], ["aa", "bbb", "cccc", "ddddd", "eeeeee"],
              ["zebra", "yak", "xenon", "Apple"], ["eye", "Ear", "nose", "ear"], ["noon", "radar", "tree", "tree"]),
}


def random_input(kind: Kind, rng: random.Random) -> Any:
    """A value of a starting kind."""
    if kind == "ints":
        bound = rng.choice((4, 10, 20))
        return [rng.randint(-bound, bound) for _ in range(rng.randint(2, 10))]
    if kind == "words":
        words = [rng.choice(VOCABULARY) for _ in range(rng.randint(2, 8))]
        return words + rng.choices(words, k=rng.randint(0, 2))
    words = [rng.choice(VOCABULARY) for _ in range(rng.randint(1, 5))]
    words += [str(rng.randint(0, 999)) for _ in range(rng.randint(0, 1))]
    rng.shuffle(words)
    text = rng.choice((" ", " ", " ", "  ", "-")).join(words)
    return text.swapcase() if rng.random() < 0.2 else text


def argument_pool(kind: Kind, uses_k: bool, rng: random.Random, count: int) -> list[Arguments]:
    """`count` different argument tuples: every edge input, then random ones. With `k` (1 to 6) every edge gets one."""
    pool: dict[str, Arguments] = {}
    edges = list(EDGES[kind])
    while len(pool) < count:
        value = edges.pop(0) if edges else random_input(kind, rng)
        arguments = (value, rng.randint(1, 6)) if uses_k else (value,)
        pool.setdefault(repr(arguments), arguments)
    return list(pool.values())
