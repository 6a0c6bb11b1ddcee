"""Gradient checkpointing (arXiv 1604.06174) of the layers of a transformers model.

The library's own is off while a model is in evaluation mode, in which policies are trained: without dropout.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(model: nn.Module) -> None:
    """From now on the layers of `model` keep their inputs only, and are computed again for the gradient."""
    for layer in _layers(model):
        layer.forward = functools.partial(_forward, layer.forward)  # type: ignore[method-assign]


def keep(model: nn.Module) -> None:
    """Undo `recompute`."""
    for layer in _layers(model):
        vars(layer).pop("forward", None)


def _layers(model: nn.Module) -> list[nn.Module]:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]


def _forward(forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    return checkpoint(forward, *inputs, use_reentrant=False, **named)
