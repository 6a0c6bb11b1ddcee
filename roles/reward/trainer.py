"""Training of the reward model on pairs, grouped by problem so that each program is encoded once."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from roles.optimisation import Optimiser, OptimiserSettings
from roles.reward.losses import bradley_terry
from roles.reward.model import RewardModel
from roles.sequences import TokenSequence, token_budget_batches

_LENGTH_CLASSES = 2


@dataclasses.dataclass(frozen=True)
class PairGroup:
    """Programs of one problem, and pairs of indexes into them: (chosen, rejected)."""

    problem_id: str
    programs: tuple[TokenSequence, ...]
    pairs: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class RewardStep:
    loss: float  # mean over problems of the mean over their pairs
    pair_accuracy: float  # share of pairs in which the chosen program had the higher reward, before the update
    pairs: int
    tokens: int
    gradient_norm: float


class RewardTrainer:
    """Bradley-Terry steps. Every problem weighs the same, however many pairs it has."""

    def __init__(self, model: RewardModel, pad_id: int, settings: OptimiserSettings, tokens_per_batch: int) -> None:
        self.model = model
        self.optimiser = Optimiser(model.parameters(), settings)
        self._pad_id = pad_id
        self._tokens_per_batch = tokens_per_batch

    def step(self, groups: Sequence[PairGroup]) -> RewardStep:
        """One update on `groups`. Raises `NonFiniteLoss`."""
        self.model.train()
        loss, correct, pairs, tokens = 0.0, 0, 0, 0
        for part in _by_tokens(groups, self._tokens_per_batch):
            programs = [program for group in part for program in group.programs]
            rewards = self._rewards(programs)
            chosen, rejected, weights = _pair_indexes(part, len(groups))
            chosen_rewards, rejected_rewards = rewards[chosen], rewards[rejected]
            part_loss = (bradley_terry(chosen_rewards, rejected_rewards) * weights.to(rewards.device)).sum()
            part_loss.backward()  # type: ignore[no-untyped-call]
            loss += part_loss.item()
            correct += int((chosen_rewards > rejected_rewards).sum())
            pairs += len(chosen)
            tokens += sum(map(len, programs))
        norm = self.optimiser.step(loss, groups)
        self.model.eval()
        return RewardStep(loss, correct / pairs, pairs, tokens, norm)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _rewards(self, programs: list[TokenSequence]) -> Tensor:
        """Rewards of `programs`, shape (len(programs),), computed in parts of similar length: little is padding."""
        lengths = [len(program.completion) for program in programs]
        parts = token_budget_batches(lengths, max(1, sum(lengths) // _LENGTH_CLASSES), random.Random(0))
        rewards = torch.cat([self.model([programs[index] for index in part], self._pad_id) for part in parts])
        order = torch.tensor([index for part in parts for index in part], device=rewards.device)
        return rewards[torch.argsort(order)]


def _by_tokens(groups: Sequence[PairGroup], budget: int) -> Iterator[list[PairGroup]]:
    """Whole groups in parts of at most `budget` tokens (at least one group each)."""
    part: list[PairGroup] = []
    used = 0
    for group in groups:
        tokens = sum(map(len, group.programs))
        if part and used + tokens > budget:
            yield part
            part, used = [], 0
        part.append(group)
        used += tokens
    if part:
        yield part


def _pair_indexes(groups: Sequence[PairGroup], total_groups: int) -> tuple[list[int], list[int], torch.Tensor]:
    chosen, rejected, weights, offset = [], [], [], 0
    for group in groups:
        for winner, loser in group.pairs:
            chosen.append(offset + winner)
            rejected.append(offset + loser)
            weights.append(1.0 / (len(group.pairs) * total_groups))
        offset += len(group.programs)
    return chosen, rejected, torch.tensor(weights)
