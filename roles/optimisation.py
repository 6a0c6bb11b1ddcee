"""One optimiser step, the same for every learner: clip, check, AdamW, schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient is NaN or infinite. `batch` is what it was computed on; nothing was updated."""

    def __init__(self, message: str, batch: Any) -> None:
        super().__init__(message)
        self.batch = batch


class OptimiserSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(gt=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = Field(default=0, ge=0)
    max_gradient_norm: float = Field(default=1.0, gt=0)
    schedule: Literal["constant", "linear"] = "constant"


class Optimiser:
    """AdamW over `parameters`; `total_steps` is where the linear schedule reaches zero."""

    def __init__(self, parameters: Iterable[Tensor], settings: OptimiserSettings, total_steps: int = 0) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.settings = settings
        self.steps = 0
        self._total = max(total_steps, settings.warmup_steps + 1)
        self._adam = torch.optim.AdamW(
            self.parameters, settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
        )

    def learning_rate(self) -> float:
        """The rate of the next step."""
        settings, step = self.settings, self.steps
        if step < settings.warmup_steps:
            return settings.learning_rate * (step + 1) / settings.warmup_steps
        if settings.schedule == "linear":
            return settings.learning_rate * max(0.0, (self._total - step) / (self._total - settings.warmup_steps))
        return settings.learning_rate

    def step(self, loss: float, batch: Any) -> float:
        """Apply the gradients that `backward` left, and clear them. Returns their norm before clipping.

        Raises `NonFiniteLoss` with `batch` when `loss` or the norm is not finite.
        """
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.max_gradient_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._adam.zero_grad(set_to_none=True)
            raise NonFiniteLoss(f"loss {loss}, gradient norm {norm} at step {self.steps}", batch)
        for group in self._adam.param_groups:
            group["lr"] = self.learning_rate()
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self.steps += 1
        return norm

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = int(state["steps"])
        self._adam.load_state_dict(state["adam"])
