"""The engine without a framework: AdamW as PyTorch has it. Several processes add up their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, distributed, nn

from roles.engines.base import Engine
from roles.engines.processes import BUCKET
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
        if self.processes > 1:
            for tensor in self._module.state_dict().values():
                distributed.broadcast(tensor, src=0)

    def close(self) -> None:
        self._adam.zero_grad(set_to_none=True)

    def _backward(self, loss: Tensor, last: bool) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def _apply(self, rate: float, sane: Callable[[float], bool]) -> float:
        if self.processes > 1:
            self._add_up_gradients()
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self.settings.max_gradient_norm))
        if sane(norm):
            for group in self._adam.param_groups:
                group["lr"] = rate
            self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        return norm

    def _add_up_gradients(self) -> None:
        for gradients in _buckets([each.grad for each in self._parameters if each.grad is not None]):
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            distributed.all_reduce(flat)
            for gradient, total in zip(gradients, torch.split(flat, [each.numel() for each in gradients]), strict=True):
                gradient.copy_(total.view_as(gradient))

    def _optimiser_state(self) -> Any:
        return self._adam.state_dict()

    def _load_optimiser(self, state: Any) -> None:
        self._adam.load_state_dict(state)


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """In turn as many as have `BUCKET` numbers together; every process makes the same."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(each.numel() for each in bucket) >= BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
