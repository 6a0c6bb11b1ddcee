"""Training of the reward model on pairs, grouped by problem so that each program is encoded once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from roles import engines
from roles.engines import LearningSettings
from roles.optimisation import OptimiserSettings
from roles.reward.losses import RewardObjective, bradley_terry, magnitude
from roles.reward.model import RewardModel
from roles.sequences import TokenSequence

_PLAIN = RewardObjective()
_FULL = LearningSettings()


@dataclasses.dataclass(frozen=True)
class PairGroup:
    """Programs of one problem, and pairs of indexes into them: (chosen, rejected)."""

    problem_id: str
    programs: tuple[TokenSequence, ...]
    pairs: tuple[tuple[int, int], ...]
    margins: tuple[float, ...] = ()  # difference of the pass rates of each pair; needed for an objective with a margin


@dataclasses.dataclass(frozen=True)
class RewardStep:
    loss: float  # mean over problems of the mean over their pairs
    pair_accuracy: float  # share of pairs in which the chosen program had the higher reward, before the update
    pairs: int
    tokens: int
    gradient_norm: float
    differences: tuple[tuple[float, ...], ...]  # chosen less rejected of the pairs of each group, before the update


@dataclasses.dataclass(frozen=True)
class _Part:
    """Groups of one forward pass; `first_pair` counts the pairs of the groups before."""

    first_pair: int
    groups: list[PairGroup]


class RewardTrainer:
    """Bradley-Terry steps. Every problem weighs the same, however many pairs it has."""

    def __init__(
        self,
        model: RewardModel,
        settings: OptimiserSettings,
        tokens_per_batch: int,
        objective: RewardObjective = _PLAIN,
        learning: LearningSettings = _FULL,
    ) -> None:
        """Raises `ValueError` for an objective that the head of `model` cannot have."""
        if objective.language_model and model.head == "scalar":
            raise ValueError("objective.language_model: a scalar head has no output layer; allowed: head likelihood")
        self.objective = objective
        self.model = model
        engines.prepare(model.trunk, learning)
        self.engine = engines.start({"reward": model}, settings, learning)
        self._tokens_per_batch = tokens_per_batch

    def step(self, groups: Sequence[PairGroup]) -> RewardStep:
        """One update on `groups`. Raises `NonFiniteLoss`."""
        self.model.train()
        counts = [len(group.pairs) for group in groups]
        loss = functools.partial(self._loss, groups=len(groups), pairs=sum(counts))
        update = self.engine.update(self.engine.share(_by_tokens(groups, self._tokens_per_batch)), loss, groups)
        self.model.eval()
        return RewardStep(
            loss=update.loss,
            pair_accuracy=float((update.measures > 0).float().mean()),
            pairs=sum(counts),
            tokens=sum(len(program) for group in groups for program in group.programs),
            gradient_norm=update.gradient_norm,
            differences=tuple(tuple(each.tolist()) for each in torch.split(update.measures, counts)),
        )

    def close(self) -> None:
        """Leave the reward model as a plain one, with what was learnt. The trainer is of no further use."""
        self.engine.close()
        engines.finish(self.model.trunk)

    def weights(self) -> dict[str, Tensor]:
        """The reward model's, under the names of a plain one."""
        return self.engine.weights("reward")

    def state_dict(self) -> dict[str, Any]:
        return self.engine.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.engine.load_state_dict(state)

    def _loss(self, part: _Part, groups: int, pairs: int) -> tuple[Tensor, Tensor]:
        """The part's share of the loss of `groups` groups, and its differences in their places among all `pairs`."""
        programs = [program for group in part.groups for program in group.programs]
        rewards, log_probs = self.model(programs)
        chosen, rejected, weights = _pair_indexes(part.groups, groups)
        better, worse = rewards[chosen], rewards[rejected]
        each = self._losses(part.groups, better, worse)
        if self.objective.language_model:
            each = each - self.objective.language_model * log_probs[chosen]
        differences = torch.zeros(pairs)
        differences[part.first_pair : part.first_pair + len(chosen)] = (better - worse).detach().cpu()
        return (each * weights.to(rewards.device)).sum(), differences

    def _losses(self, groups: Sequence[PairGroup], chosen: Tensor, rejected: Tensor) -> Tensor:
        """(P,) losses of the pairs of `groups`, in order."""
        objective = self.objective
        margins: Tensor | float = 0.0
        if objective.margin:
            rates = [rate for group in groups for _, rate in zip(group.pairs, group.margins, strict=True)]
            margins = objective.margin * torch.tensor(rates, device=chosen.device)
        losses = bradley_terry(chosen, rejected, margins, objective.label_smoothing)
        return losses + objective.magnitude * magnitude(chosen, rejected) if objective.magnitude else losses


def _by_tokens(groups: Sequence[PairGroup], budget: int) -> list[_Part]:
    """Whole groups in parts of at most `budget` tokens (at least one group each)."""
    parts = [_Part(0, [])]
    used = pairs = 0
    for group in groups:
        tokens = sum(map(len, group.programs))
        if parts[-1].groups and used + tokens > budget:
            parts.append(_Part(pairs, []))
            used = 0
        parts[-1].groups.append(group)
        used += tokens
        pairs += len(group.pairs)
    return parts


def _pair_indexes(groups: Sequence[PairGroup], total_groups: int) -> tuple[list[int], list[int], torch.Tensor]:
    chosen, rejected, weights, offset = [], [], [], 0
    for group in groups:
        for winner, loser in group.pairs:
            chosen.append(offset + winner)
            rejected.append(offset + loser)
            weights.append(1.0 / (len(group.pairs) * total_groups))
        offset += len(group.programs)
    return chosen, rejected, torch.tensor(weights)
