"""What an optimiser is told, and how training fails: the same for every learner and engine."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Diverged(RuntimeError):
    """Training went where it must not go. `batch` is what it met there; nothing was updated on it."""

    def __init__(self, message: str, batch: Any) -> None:
        super().__init__(message)
        self.batch = batch


class NonFiniteLoss(Diverged):
    """The loss or its gradient is NaN or infinite."""


class GradientTooLarge(Diverged):
    """The gradient's norm is beyond `gradient_norm_limit`."""


class OptimiserSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(gt=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = Field(default=0, ge=0)
    max_gradient_norm: float = Field(default=1.0, gt=0)  # larger gradients are scaled down to it
    gradient_norm_limit: float | None = Field(default=None, gt=0)  # larger ones are no update at all
    on_divergence: Literal["stop", "skip"] = "stop"  # skip: leave the batch out and count it
    schedule: Literal["constant", "linear", "cosine"] = "constant"


def learning_rate(settings: OptimiserSettings, step: int, total_steps: int) -> float:
    """The rate of update `step`, counted from 0; `total_steps` is where a schedule reaches zero."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    left = max(0.0, (total_steps - step) / (total_steps - settings.warmup_steps))
    if settings.schedule == "linear":
        return settings.learning_rate * left
    if settings.schedule == "cosine":
        return settings.learning_rate * (1 - math.cos(math.pi * left)) / 2
    return settings.learning_rate
