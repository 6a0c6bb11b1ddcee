"""One optimiser step, the same for every learner: clip, check, AdamW, schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


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


class Optimiser:
    """AdamW over `parameters`; `total_steps` is where the linear schedule reaches zero."""

    def __init__(self, parameters: Iterable[Tensor], settings: OptimiserSettings, total_steps: int = 0) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.settings = settings
        self.steps = 0
        self.skipped = 0  # updates left out, with on_divergence = skip
        self._total = max(total_steps, settings.warmup_steps + 1)
        self._adam = torch.optim.AdamW(
            self.parameters, settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
        )

    def learning_rate(self) -> float:
        """The rate of the next step."""
        settings, step = self.settings, self.steps
        if step < settings.warmup_steps:
            return settings.learning_rate * (step + 1) / settings.warmup_steps
        left = max(0.0, (self._total - step) / (self._total - settings.warmup_steps))
        if settings.schedule == "linear":
            return settings.learning_rate * left
        if settings.schedule == "cosine":
            return settings.learning_rate * (1 - math.cos(math.pi * left)) / 2
        return settings.learning_rate

    def step(self, loss: float, batch: Any) -> float:
        """Apply the gradients that `backward` left, and clear them. Returns their norm before clipping.

        Raises `NonFiniteLoss` or `GradientTooLarge` with `batch`, unless such batches are to be skipped.
        """
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.max_gradient_norm))
        if found := self._divergence(loss, norm, batch):
            self._adam.zero_grad(set_to_none=True)
            if self.settings.on_divergence == "stop":
                raise found
            self.skipped += 1
            return norm
        for group in self._adam.param_groups:
            group["lr"] = self.learning_rate()
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self.steps += 1
        return norm

    def _divergence(self, loss: float, norm: float, batch: Any) -> Diverged | None:
        where = f"loss {loss}, gradient norm {norm} at step {self.steps}"
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return NonFiniteLoss(where, batch)
        limit = self.settings.gradient_norm_limit
        if limit is not None and norm > limit:
            return GradientTooLarge(f"{where}; gradient_norm_limit = {limit}", batch)
        return None

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "skipped": self.skipped, "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.skipped = int(state["steps"]), int(state["skipped"])
        self._adam.load_state_dict(state["adam"])
