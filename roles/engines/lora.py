"""Low-rank adapters in a transformers model: put in, switched off for the reference, merged for everybody else.

The adapters are injected into the model itself, so that whoever computes with it need not know of them; only its
state_dict has other names, and `merged` gives those of the plain model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from roles.engines.settings import LoRASettings

_ADAPTER = "default"


def inject(model: Any, settings: LoRASettings) -> None:
    """Freeze `model`, a causal model or a classifier, and put adapters into its trunk; a classifier's head is trained.

    Raises `ValueError` as `check` does.
    """
    from peft import LoraConfig, inject_adapter_in_model

    trunk = model.base_model
    linear = check(trunk, settings)
    model.requires_grad_(False)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=sorted(settings.targets or linear),
    )
    inject_adapter_in_model(config, trunk, adapter_name=_ADAPTER)
    if hasattr(model, "score"):
        model.score.requires_grad_(True)


def check(trunk: nn.Module, settings: LoRASettings) -> set[str]:
    """What the linear layers of `trunk` are called. Raises `ValueError` for a target that none of them is called."""
    from transformers.pytorch_utils import Conv1D

    linear = {name.rpartition(".")[2] for name, layer in trunk.named_modules() if isinstance(layer, nn.Linear | Conv1D)}
    if unknown := sorted(set(settings.targets) - linear):
        raise ValueError(f"learning.lora.targets = {unknown}: the linear layers are {', '.join(sorted(linear))}")
    return linear


@contextmanager
def disabled(model: nn.Module) -> Iterator[None]:
    """Within it `model` computes what it did before adapters were put in."""
    layers = [layer for _, layer in _layers(model)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merged(model: nn.Module) -> dict[str, Tensor]:
    """The weights of the plain model that computes what `model` does. What has no adapter is not copied."""
    weights = base(model)
    for name, layer in _layers(model):
        weights[f"{name}.weight"] = weights[f"{name}.weight"] + layer.get_delta_weight(_ADAPTER).detach()
    return weights


def base(model: nn.Module) -> dict[str, Tensor]:
    """The weights of the plain model that adapters were put into."""
    weights: dict[str, Tensor] = model.state_dict()
    for name, _ in _layers(model):
        inner = {key: weights.pop(key) for key in list(weights) if key.startswith(f"{name}.")}
        own = f"{name}.base_layer."
        weights |= {f"{name}.{key.removeprefix(own)}": inner[key] for key in inner if key.startswith(own)}
    return weights


def products(model: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """For each adapted weight, named as in `base`, what is added to it: a (rows, rank) times a (rank, columns)."""
    found = {}
    for name, layer in _layers(model):
        down, up = (getattr(layer, side)[_ADAPTER].weight.detach() for side in ("lora_A", "lora_B"))
        up = up * layer.scaling[_ADAPTER]
        found[f"{name}.weight"] = (down.T, up.T) if layer.fan_in_fan_out else (up, down)
    return found


def merge(model: nn.Module) -> None:
    """Turn `model` into that plain model; all its weights can be trained again."""
    for name, layer in _layers(model):
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    vars(model.base_model).pop("peft_config", None)  # else the library warns when adapters are put in again
    model.requires_grad_(True)


def _layers(model: nn.Module) -> list[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return [(name, layer) for name, layer in model.named_modules() if isinstance(layer, LoraLayer)]
