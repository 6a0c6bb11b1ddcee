"""How a batch of sampled sequences is cut: into a minibatch for each update, and these into forward passes."""

from __future__ import annotations

import random
from collections.abc import Sequence

from roles.sequences import TokenSequence, fill

Part = tuple[int, ...]  # indexes of the sequences of one forward pass


def minibatches(
    sequences: Sequence[TokenSequence], updates: int, budget: int, rng: random.Random
) -> list[list[Part]]:
    """The parts of each of `updates` minibatches of like size.

    A part has at most `budget` tokens, shared prompts counted once, or is one prompt with its samples: these stay
    together. With fewer prompts than updates there are as many minibatches as prompts.
    """
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for index, sequence in enumerate(sequences):
        by_prompt.setdefault(sequence.prompt, []).append(index)
    sizes = {
        prompt: len(prompt) + sum(len(sequences[index].completion) for index in group)
        for prompt, group in by_prompt.items()
    }
    prompts = list(by_prompt)
    rng.shuffle(prompts)
    chosen: list[list[tuple[int, ...]]] = [[] for _ in range(min(updates, len(prompts)))]
    filled = [0] * len(chosen)
    for prompt in sorted(prompts, key=sizes.__getitem__, reverse=True):
        smallest = filled.index(min(filled))
        chosen[smallest].append(prompt)
        filled[smallest] += sizes[prompt]
    rng.shuffle(chosen)
    return [
        [
            tuple(index for place in part for index in by_prompt[own[place]])
            for part in fill([sizes[prompt] for prompt in own], budget)
        ]
        for own in chosen
    ]
