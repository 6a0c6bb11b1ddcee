"""From texts to token ids: the one place where prompts and completions become them.

A sequence is a prompt followed by a completion that ends with the end-of-sequence token. Prompt and completion are
tokenised apart, as in sampling, so that a program has the same ids wherever it is trained on or scored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from roles.records import Candidate, Problem


@dataclasses.dataclass(frozen=True)
class TokenSequence:
    """Token ids of a prompt and of its completion (which includes the end-of-sequence token)."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def encode(tokenizer: Any, prompt: str, completion: str) -> TokenSequence:
    """Token ids of `prompt` and of `completion` + end-of-sequence. Lone surrogates are replaced."""
    ids = [tokenizer(_printable(text), add_special_tokens=False)["input_ids"] for text in (prompt, completion)]
    return TokenSequence(tuple(ids[0]), (*ids[1], tokenizer.eos_token_id))


def encode_candidate(tokenizer: Any, problem: Problem, candidate: Candidate) -> TokenSequence:
    """What every ranker sees of a candidate: the prompt, and the rest of the program as its completion.

    It is a function of the texts alone, so training and serving agree, whoever sampled the program.
    """
    shared = candidate.text.startswith(problem.prompt)
    return encode(tokenizer, problem.prompt, candidate.text[len(problem.prompt) :] if shared else candidate.text)


def fill(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Consecutive indexes of `sizes` in parts that add up to at most `budget` (at least one index each)."""
    parts: list[list[int]] = []
    used = 0
    for index, size in enumerate(sizes):
        if not parts or used + size > budget:
            parts.append([])
            used = 0
        parts[-1].append(index)
        used += size
    return parts


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
