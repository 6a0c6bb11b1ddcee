"""What a sampled program is worth to PPO: tests and reward model, mixed."""

from __future__ import annotations

import dataclasses
import math

from pydantic import BaseModel, ConfigDict, Field, model_validator

from roles.optimisation import NonFiniteLoss
from roles.records import Score, Verdict


class RewardMix(BaseModel):
    """Weights of the two sources; AceCoder (arXiv 2502.01718) saw reward hacking with the model alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tests: float = Field(default=0.5, ge=0)
    reward_model: float = Field(default=0.5, ge=0)
    unparsable: float = Field(default=-0.5, le=0)  # for a program that does not compile

    @model_validator(mode="after")
    def _something_counts(self) -> RewardMix:
        if self.tests + self.reward_model == 0:
            raise ValueError("tests and reward_model are both 0: nothing would be rewarded")
        return self


@dataclasses.dataclass
class _Moments:
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        delta = value - self.mean
        self.mean += delta / self.count
        self.squares += delta * (value - self.mean)

    def standardise(self, value: float) -> float:
        deviation = math.sqrt(self.squares / self.count) if self.count > 1 else 0.0
        return (value - self.mean) / deviation if deviation > 0 else 0.0


class RewardShaper:
    """Terminal rewards. Scores are standardised over all seen of the same reward version, then squashed to (0, 1).

    Bradley-Terry leaves offset and scale of a version undetermined, so scores of two versions are never compared.
    """

    def __init__(self, mix: RewardMix) -> None:
        self._mix = mix
        self._moments: dict[int, _Moments] = {}

    def rewards(self, verdicts: list[Verdict], scores: list[Score]) -> list[float]:
        """One reward for each program; `verdicts` and `scores` are in the same order.

        Raises `NonFiniteLoss`, and `UntrustedVerdict` for a weak verdict.
        """
        for verdict in verdicts:
            verdict.demand_truth()
        for score in scores:
            if not math.isfinite(score.reward):
                raise NonFiniteLoss(f"reward model v{score.reward_version} gave {score.reward}", scores)
            self._moments.setdefault(score.reward_version, _Moments()).add(score.reward)
        return [self._reward(verdict, score) for verdict, score in zip(verdicts, scores, strict=True)]

    def _reward(self, verdict: Verdict, score: Score) -> float:
        if verdict.status == "compile_error":
            return self._mix.unparsable
        standardised = self._moments[score.reward_version].standardise(score.reward)
        passed = float(verdict.status == "passed")
        return self._mix.tests * passed + self._mix.reward_model / (1 + math.exp(-standardised))
