"""The distance to the reference policy: three estimators of KL(policy || reference), and where it enters."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

MAX_LOG_RATIO = 20.0  # exp() beyond it is only overflow
Estimator = Literal["k1", "k2", "k3"]


class KLSettings(BaseModel):
    """`place` is where the penalty enters: in the reward of each token, as InstructGPT does, or in the loss.

    With a `target`, in nats of a whole completion, the coefficient adapts to it (arXiv 1909.08593, section 2.2).
    Beyond `limit`, in the same unit, training stops.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    place: Literal["none", "reward", "loss"] = "reward"
    estimator: Estimator = "k1"
    coefficient: float = Field(default=0.05, ge=0)
    target: float | None = Field(default=None, gt=0)
    horizon: int = Field(default=10_000, ge=1)  # samples after which the coefficient has followed
    limit: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _pulls(self) -> KLSettings:
        if self.place == "loss" and self.estimator == "k1":
            raise ValueError("place = loss with estimator = k1: its mean gradient is zero; allowed are k2 and k3")
        return self


def estimate(log_probs: Tensor, reference_log_probs: Tensor, estimator: Estimator) -> Tensor:
    """Per-token estimates of KL(policy || reference) for tokens drawn from the policy (Schulman, 2020).

    With d = log policy - log reference: k1 = d is unbiased and may be negative; k2 = d^2 / 2 is biased, and its
    gradient is that of the divergence; k3 = exp(-d) - 1 + d is unbiased and never negative, and its gradient is that
    of KL(reference || policy).
    """
    difference = (log_probs - reference_log_probs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference.square() / 2
    return (-difference).exp() - 1 + difference


class KLCoefficient:
    """The coefficient, fixed, or led towards `target`: at most a fifth of n / horizon at a time."""

    def __init__(self, settings: KLSettings) -> None:
        self.value = settings.coefficient
        self._settings = settings

    def follow(self, kl: float, samples: int) -> None:
        """`kl` is the mean over `samples` completions of the KL summed over their tokens."""
        if self._settings.target is None:
            return
        error = max(-0.2, min(0.2, kl / self._settings.target - 1))
        self.value *= 1 + error * samples / self._settings.horizon
