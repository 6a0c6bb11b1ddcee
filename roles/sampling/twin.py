"""A second set of a model's layers, loaded while the first is in use: taking it up is an exchange of references.

On a CPU vLLM packs each linear layer's weights into memory of a library's own, which is slower than copying them. Here
that happens beside the running model, some layers at a time, at the price of memory for a second set. On other devices,
where there is none to spare, and for layers that are not plain, there is no twin.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from vllm.config import set_current_vllm_config
from vllm.model_executor.layers.attention import is_deferred_attention_layer
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.model_executor.model_loader.reload.layerwise import LAYERWISE_INFO, _get_original_loader, get_layerwise_info
from vllm.model_executor.model_loader.reload.meta import to_meta_tensor
from vllm.model_executor.model_loader.reload.types import LayerReloadingInfo
from vllm.platforms import current_platform

_METHODS = (type(None), UnquantizedLinearMethod, UnquantizedEmbeddingMethod)
_PACKED = "cpu_linear"  # what vLLM calls a layer's packed weights, as a function


def possible(model: nn.Module) -> bool:
    """Whether parameters and packed weights are all that distinguishes two versions of `model` here."""
    return current_platform.is_cpu() and all(map(_is_plain, model.modules()))


class Twin:
    """Made of a running model; load all its weights, finish, exchange, and exchange no more than once."""

    def __init__(self, model: Any, vllm_config: Any) -> None:
        self._config = vllm_config
        self._layers: dict[nn.Module, nn.Module] = {}  # of the model, and their twins
        self._twin: Any = _copied(model, self._layers, {})
        for layer, other in self._layers.items():
            info = get_layerwise_info(layer)
            fresh = tuple({name: _fresh(each) for name, each in kind.items()} for kind in info.restore_metadata)
            LAYERWISE_INFO[other] = LayerReloadingInfo(restore_metadata=fresh, restore_device=info.restore_device)
        with set_current_vllm_config(vllm_config):
            initialize_layerwise_reload(self._twin)

    def load(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Some of the checkpoint's tensors, in any order."""
        with set_current_vllm_config(self._config):
            self._twin.load_weights(tensors)

    def finish(self) -> None:
        """After the last of them."""
        with set_current_vllm_config(self._config):
            finalize_layerwise_reload(self._twin, self._config.model_config)
            for layer, other in self._layers.items():
                # The head that is tied to the embedding is a packed copy of it, and nothing was loaded into it.
                if hasattr(layer, _PACKED) and getattr(other, _PACKED) is getattr(layer, _PACKED):
                    dispatch_cpu_unquantized_gemm(other, remove_weight=False)

    def exchange(self) -> None:
        """Give the model the new weights; the old ones remain here until `close`, as freeing them takes time."""
        for layer, other in self._layers.items():
            layer._parameters, other._parameters = other._parameters, layer._parameters
            if hasattr(layer, _PACKED):
                packed = getattr(layer, _PACKED)
                setattr(layer, _PACKED, getattr(other, _PACKED))
                setattr(other, _PACKED, packed)

    def close(self) -> None:
        """Free what is not in use: at once, though layers, loaders and vLLM's table of layers refer to each other."""
        for other in self._layers.values():
            del LAYERWISE_INFO[other]
            other._parameters.clear()
            vars(other).pop(_PACKED, None)
        self._layers.clear()
        self._twin = None


def _is_plain(layer: nn.Module) -> bool:
    if is_deferred_attention_layer(layer):
        return not layer._parameters
    persistent = set(layer._buffers) - layer._non_persistent_buffers_set
    return isinstance(getattr(layer, "quant_method", None), _METHODS) and not persistent


def _fresh(tensor: Tensor) -> Tensor:
    """A copy of what vLLM makes a layer's tensor of, without the loader that an earlier reload wrapped it in."""
    copied: Tensor = to_meta_tensor(tensor)
    if hasattr(copied, "weight_loader"):
        setattr(copied, "weight_loader", _get_original_loader(copied))  # noqa: B010
    return copied


def _copied(layer: nn.Module, known: dict[nn.Module, nn.Module], tensors: dict[Tensor, Tensor]) -> nn.Module:
    """`layer` with modules and tensors of its own; what it has twice, it has twice then. All else is shared."""
    if layer not in known:
        other = known[layer] = copy.copy(layer)
        other._modules = {
            name: None if child is None else _copied(child, known, tensors) for name, child in layer._modules.items()
        }
        other._parameters = {name: _copied_tensor(each, tensors) for name, each in layer._parameters.items()}
        other._buffers = {name: _copied_tensor(each, tensors) for name, each in layer._buffers.items()}
        other._non_persistent_buffers_set = set(layer._non_persistent_buffers_set)
    return known[layer]


def _copied_tensor(tensor: Any, known: dict[Tensor, Tensor]) -> Any:
    if tensor is None:
        return None
    if tensor not in known:
        other = tensor.data.clone()
        other.__class__, other.__dict__ = tensor.__class__, tensor.__dict__.copy()
        known[tensor] = other
    return known[tensor]
