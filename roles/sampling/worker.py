"""What the engine's own process does for us. vLLM mixes `WeightLoader` into its worker and calls it by name."""

from __future__ import annotations

from typing import Any

import torch
from safetensors import safe_open
from vllm.config import set_current_vllm_config
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload


class WeightLoader:
    vllm_config: Any
    model_config: Any
    model_runner: Any

    def load_packed_weights(self, path: str) -> None:
        """Replace all weights by those of the safetensors file at `path`; the engine must be paused.

        Linear layers keep only a packed form of their weights, so a layer is rebuilt from the checkpoint's names.
        """
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
