"""The layers of a transformers model, each computed again for the gradient, or compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(model: nn.Module) -> None:
    """From now on the layers of `model` keep their inputs only, and are computed again for the gradient (arXiv
    1604.06174). The library's own way is off in evaluation mode, in which policies are trained: without dropout."""
    for layer in _layers(model):
        layer.forward = functools.partial(_forward, layer.forward)  # type: ignore[method-assign]


def compile_each(model: nn.Module) -> None:
    """Compile the layers of `model` at their first use, for inputs of any length."""
    for layer in _layers(model):
        layer.compile(dynamic=True)


def restore(model: nn.Module) -> None:
    """Undo both."""
    for layer in _layers(model):
        vars(layer).pop("forward", None)
        layer._compiled_call_impl = None


def _layers(model: nn.Module) -> list[nn.Module]:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]


def _forward(forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    return checkpoint(forward, *inputs, use_reentrant=False, **named)
