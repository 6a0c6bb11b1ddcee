"""How a batch of sampled sequences is cut: into parts for one forward pass each, and these into one set an update."""

from __future__ import annotations

import random
from collections.abc import Sequence

from roles.sequences import TokenSequence


def split(sequences: Sequence[TokenSequence], updates: int, budget: int, rng: random.Random) -> list[list[int]]:
    """Indexes in parts of at most `budget` tokens (at least one prompt each), enough parts for all `updates`.

    The samples of a prompt stay together.
    """
    budget = min(budget, sum(map(len, sequences)) // updates)
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for index, sequence in enumerate(sequences):
        by_prompt.setdefault(sequence.prompt, []).append(index)
    groups = list(by_prompt.values())
    rng.shuffle(groups)
    parts: list[list[int]] = []
    used = budget
    for group in groups:
        size = sum(len(sequences[index]) for index in group)
        if used + size > budget:
            parts.append([])
            used = 0
        parts[-1] += group
        used += size
    return parts


def minibatches(parts: int, updates: int, rng: random.Random) -> list[list[int]]:
    """Indexes of the parts of each update."""
    order = list(range(parts))
    rng.shuffle(order)
    share = max(1, round(parts / updates))
    return [order[i : i + share] for i in range(0, parts, share)]
