"""How well the reward models order the samples of each policy, beyond which one they put first."""

from __future__ import annotations

import dataclasses
import math

from roles.ranking.table import REWARD_MODEL, EvaluatedPolicy
from roles.reward.metrics import Judgement, RewardMetrics, measure


@dataclasses.dataclass(frozen=True)
class Ranking:
    policy: str
    policy_version: int
    ranker: str
    metrics: RewardMetrics


def rankings(policies: list[EvaluatedPolicy]) -> list[Ranking]:
    """One for each policy and reward model. No temperature is fitted to these samples: without one that came with the
    policy's scores, what needs it is NaN."""
    return [
        Ranking(evaluated.policy, evaluated.policy_version, ranker, _measure(evaluated, ranker))
        for evaluated in policies
        for ranker in evaluated.scores
        if ranker.startswith(REWARD_MODEL)
    ]


def _measure(evaluated: EvaluatedPolicy, ranker: str) -> RewardMetrics:
    rows = zip(evaluated.scores[ranker], evaluated.pass_rates, evaluated.lengths, strict=True)
    judgements = [Judgement(rewards.tolist(), rates.tolist(), lengths.tolist()) for rewards, rates, lengths in rows]
    return measure(judgements, evaluated.temperatures.get(ranker, math.nan))
