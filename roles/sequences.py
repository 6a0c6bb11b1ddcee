"""From texts to padded tensors: the one place where prompts and completions become token ids.

A sequence is a prompt followed by a completion that ends with the end-of-sequence token. Prompt and completion are
tokenised apart, as in sampling, so that a program has the same ids wherever it is trained on or scored.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from roles.records import Candidate, Problem


@dataclasses.dataclass(frozen=True)
class TokenSequence:
    """Token ids of a prompt and of its completion (which includes the end-of-sequence token)."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclasses.dataclass(frozen=True)
class Padded:
    """Right-padded sequences. All fields have shape (B, T); the masks are boolean."""

    input_ids: Tensor
    attention_mask: Tensor
    completion_mask: Tensor  # true where `input_ids` holds a completion token

    @property
    def tokens(self) -> int:
        return int(self.attention_mask.sum())


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


def pad(sequences: Sequence[TokenSequence], pad_id: int, device: torch.device | str = "cpu") -> Padded:
    """Right-pad `sequences` to the longest of them."""
    input_ids, attention = rectangle([sequence.prompt + sequence.completion for sequence in sequences], pad_id, device)
    positions = torch.arange(input_ids.shape[1], device=device)
    prompts = torch.tensor([len(sequence.prompt) for sequence in sequences], device=device)
    return Padded(input_ids, attention, attention & (positions >= prompts[:, None]))


def rectangle(
    rows: Sequence[tuple[int, ...]], pad_id: int, device: torch.device | str = "cpu", left: bool = False
) -> tuple[Tensor, Tensor]:
    """(B, T) token ids, padded on the right or on the `left`, and the boolean mask of what is no padding."""
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, tokens in enumerate(rows):
        where = slice(length - len(tokens), length) if left else slice(0, len(tokens))
        ids[row, where] = torch.tensor(tokens, dtype=torch.long)
        mask[row, where] = True
    return ids.to(device), mask.to(device)


def token_log_probs(logits: Tensor, input_ids: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of each token given those before it.

    Args:
        logits: (B, T, V), as a causal language model returns them.
        input_ids: (B, T).
        temperature: the logits are divided by it, as in sampling.

    Returns:
        (B, T) float32; column t belongs to `input_ids[:, t]`, and column 0, which nothing precedes, is 0.
    """
    scaled = logits[:, :-1].float() / temperature
    chosen = -F.cross_entropy(scaled.transpose(1, 2), input_ids[:, 1:], reduction="none")
    return F.pad(chosen, (1, 0))


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


def token_budget_batches(lengths: Sequence[int], budget: int, rng: random.Random) -> list[list[int]]:
    """Indexes in batches of at most `budget` padded tokens (at least one sequence each), in random order.

    Sequences of similar length share a batch, so little is padding.
    """
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], rng.random()))
    batches: list[list[int]] = []
    for index in order:  # ascending, so the newest is the longest of its batch
        if batches and (len(batches[-1]) + 1) * lengths[index] <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    rng.shuffle(batches)
    return batches


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
