"""Rewards of any number of programs; equal ones are computed once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from roles.reward.model import RewardModel
from roles.sequences import TokenSequence, fill


def score(model: RewardModel, sequences: Sequence[TokenSequence], tokens_per_batch: int) -> list[float]:
    """Reward of each sequence, in order; a forward pass takes at most `tokens_per_batch`."""
    distinct = list(dict.fromkeys(sequences))
    rewards: dict[TokenSequence, float] = {}
    model.eval()
    with torch.inference_mode():
        for indexes in fill([len(sequence) for sequence in distinct], tokens_per_batch):
            part = [distinct[index] for index in indexes]
            rewards.update(zip(part, model(part)[0].tolist(), strict=True))
    return [rewards[sequence] for sequence in sequences]
