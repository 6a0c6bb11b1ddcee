"""Engines: what learners train with. See `base` for what one is, and `settings` for what there is to choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from roles.engines import layers, lora
from roles.engines.base import Engine, Update
from roles.engines.settings import LearningSettings, LoRASettings
from roles.engines.torch import TorchEngine
from roles.optimisation import OptimiserSettings

__all__ = ["Engine", "LearningSettings", "LoRASettings", "Update", "finish", "prepare", "start"]


def prepare(model: Any, learning: LearningSettings) -> None:
    """Make `model`, of transformers, ready to be trained as `learning` says. Raises `ValueError`, see `lora.inject`."""
    if learning.lora is not None:
        lora.inject(model, learning.lora)
    if learning.gradient_checkpointing:
        layers.recompute(model)
    if learning.compile:
        layers.compile_each(model)


def finish(model: Any) -> None:
    """Undo `prepare`, with what was learnt."""
    layers.restore(model)
    lora.merge(model)


def start(
    modules: Mapping[str, nn.Module], settings: OptimiserSettings, learning: LearningSettings, total_steps: int = 0
) -> Engine:
    """An engine over the parameters of `modules` that require a gradient; `total_steps` is where a schedule ends."""
    if learning.engine == "deepspeed":
        from roles.engines.deepspeed import DeepSpeedEngine  # slow to import

        return DeepSpeedEngine(modules, settings, learning, total_steps)
    return TorchEngine(modules, settings, learning, total_steps)
