"""Gradient checkpointing (arXiv 1604.06174) of the layers of a transformers model, for passes with a cache too.

The library's own gives up the cache, and with it the prompts that several completions share. Here a layer may be
computed as often as needed: its keys and values go into the cache once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
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


def _forward(forward: Callable[..., Any], hidden: Tensor, *rest: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(hidden, *rest, **named)
    if named.get("past_key_values") is not None:
        named["past_key_values"] = _WrittenOnce(named["past_key_values"])
    return checkpoint(forward, hidden, *rest, use_reentrant=False, **named)


class _WrittenOnce:
    """A cache as one layer sees it: what the layer adds again is joined with what was there when it first did."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache
        self._before: dict[int, tuple[Tensor, Tensor] | None] = {}

    def update(self, keys: Tensor, values: Tensor, layer: int, *rest: Any, **named: Any) -> tuple[Tensor, Tensor]:
        if layer not in self._before:
            known = self._cache.layers[layer] if self._cache.get_seq_length(layer) else None
            self._before[layer] = (known.keys, known.values) if known is not None else None
            written: tuple[Tensor, Tensor] = self._cache.update(keys, values, layer, *rest, **named)
            return written
        before = self._before[layer]
        if before is None:
            return keys, values
        return torch.cat([before[0], keys], dim=-2), torch.cat([before[1], values], dim=-2)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)
