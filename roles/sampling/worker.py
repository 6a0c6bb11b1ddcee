"""What the engine's own process does for us. vLLM mixes `WeightLoader` into its worker and calls it by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import safe_open
from vllm.config import set_current_vllm_config
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from roles.sampling import twin
from roles.sampling.twin import Twin


class WeightLoader:
    vllm_config: Any
    model_config: Any
    model_runner: Any
    _twin: Twin | None = None

    def prepare_weights(self, path: str, names: Sequence[str], last: bool) -> None:
        """Load some tensors of the safetensors file at `path` beside those in use, where that is possible."""
        if self._twin is None and twin.possible(self.model_runner.model):
            self._twin = Twin(self.model_runner.model, self.vllm_config)
        if self._twin is not None:
            with safe_open(path, framework="pt") as file:
                self._twin.load((name, file.get_tensor(name)) for name in names)
            if last:
                self._twin.finish()

    def take_up_weights(self, path: str) -> None:
        """Replace all weights by those that were prepared, or by those of the file; the engine must be paused."""
        if self._twin is not None:
            self._twin.exchange()
        else:
            self._load(path)

    def drop_weights(self) -> None:
        """Free the weights that were replaced, or those that are not to be taken up after all."""
        if self._twin is not None:
            self._twin.close()
            self._twin = None

    def _load(self, path: str) -> None:
        """Linear layers may keep only a packed form of their weights, so a layer is rebuilt from the checkpoint."""
        model: Any = self.model_runner.model
        with set_current_vllm_config(self.vllm_config), safe_open(path, framework="pt") as file:
            initialize_layerwise_reload(model)
            model.load_weights((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118
            finalize_layerwise_reload(model, self.model_config)
        _repack_tied_head(model)


def _repack_tied_head(model: torch.nn.Module) -> None:
    """On a CPU the head that is tied to the embedding is a packed copy of it, which reloading does not renew."""
    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
            dispatch_cpu_unquantized_gemm(module, remove_weight=False)
