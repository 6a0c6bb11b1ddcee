"""The engine of one process: AdamW as PyTorch has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from roles.engines.base import Engine
from roles.engines.settings import LearningSettings


class TorchEngine(Engine):
    def _start(self, parameters: list[nn.Parameter], learning: LearningSettings) -> None:
        self._parameters = parameters
        self._adam = torch.optim.AdamW(
            parameters,
            self.settings.learning_rate,
            betas=self.settings.betas,
            weight_decay=self.settings.weight_decay,
            fused=True,
        )

    def close(self) -> None:
        self._adam.zero_grad(set_to_none=True)

    def _backward(self, loss: Tensor, last: bool) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def _apply(self, rate: float, sane: Callable[[float], bool]) -> float:
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self.settings.max_gradient_norm))
        if sane(norm):
            for group in self._adam.param_groups:
                group["lr"] = rate
            self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        return norm

    def _optimiser_state(self) -> Any:
        return self._adam.state_dict()

    def _load_optimiser(self, state: Any) -> None:
        self._adam.load_state_dict(state)
