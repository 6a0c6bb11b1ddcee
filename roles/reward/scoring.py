"""Rewards of any number of programs; equal ones are computed once."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from roles.reward.model import RewardModel
from roles.sequences import TokenSequence, token_budget_batches


def score(model: RewardModel, sequences: Sequence[TokenSequence], pad_id: int, tokens_per_batch: int) -> list[float]:
    """Reward of each sequence, in order; `tokens_per_batch` bounds the padded completion tokens of a forward pass."""
    distinct = list(dict.fromkeys(sequences))
    rewards: dict[TokenSequence, float] = {}
    model.eval()
    with torch.inference_mode():
        lengths = [len(sequence.completion) for sequence in distinct]
        for indexes in token_budget_batches(lengths, tokens_per_batch, random.Random(0)):
            part = [distinct[index] for index in indexes]
            rewards.update(zip(part, model(part, pad_id)[0].tolist(), strict=True))
    return [rewards[sequence] for sequence in sequences]
