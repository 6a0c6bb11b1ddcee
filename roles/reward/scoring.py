"""Rewards of many programs: equal programs are computed once, and so is the prompt that the samples of a problem share."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

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
            rewards.update(zip(part, _rewards(model, part, pad_id).tolist(), strict=True))
    return [rewards[sequence] for sequence in sequences]


def _rewards(model: RewardModel, sequences: list[TokenSequence], pad_id: int) -> Tensor:
    """(B,) rewards: one pass over the distinct prompts, then one over the completions with the prompts' cache."""
    device = next(model.parameters()).device
    prompts = list(dict.fromkeys(sequence.prompt for sequence in sequences))
    place = {prompt: row for row, prompt in enumerate(prompts)}
    rows = torch.tensor([place[sequence.prompt] for sequence in sequences], device=device)
    prompt_ids, prompt_mask = _rectangle(prompts, pad_id, device, left=True)
    ids, mask = _rectangle([sequence.completion for sequence in sequences], pad_id, device, left=False)
    lengths = prompt_mask.sum(dim=1)
    beginning = model.trunk.base_model(
        input_ids=prompt_ids,
        attention_mask=prompt_mask,
        position_ids=(prompt_mask.long().cumsum(dim=1) - 1).clamp(min=0),
        use_cache=True,
    )
    cache = beginning.past_key_values
    cache.batch_select_indices(rows)
    rest = model.trunk.base_model(
        input_ids=ids,
        attention_mask=torch.cat([prompt_mask[rows], mask], dim=1),
        position_ids=lengths[rows, None] + torch.arange(ids.shape[1], device=device),
        past_key_values=cache,
        use_cache=True,
    )
    before = torch.cat([beginning.last_hidden_state[:, -1:][rows], rest.last_hidden_state[:, :-1]], dim=1)
    last = rest.last_hidden_state[torch.arange(len(rows), device=device), mask.sum(dim=1) - 1]
    return model.rewards(before, ids, mask, last)


def _rectangle(
    token_ids: Sequence[tuple[int, ...]], pad_id: int, device: torch.device, left: bool
) -> tuple[Tensor, Tensor]:
    """(B, T) ids and boolean mask, padded on the left or on the right."""
    length = max(map(len, token_ids))
    ids = torch.full((len(token_ids), length), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, tokens in enumerate(token_ids):
        where = slice(length - len(tokens), length) if left else slice(0, len(tokens))
        ids[row, where] = torch.tensor(tokens, dtype=torch.long)
        mask[row, where] = True
    return ids.to(device), mask.to(device)
