"""What a sampling engine is told, and the checks that need no engine. Nothing here imports vLLM."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

# vLLM reads these when it is imported, its engine process when it starts: give them to the actor's environment.
ENGINE_ENV: dict[str, str] = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the worker lives inside the engine's process
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_PLUGINS": "",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads starve every other actor on the machine
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # several engines on one machine would bind to the same cores
}

CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")


class SamplingError(ValueError):
    """The engine cannot serve this model, prompt or weight version; the message says what would do."""


class EngineSettings(BaseModel):
    """How one engine runs. Sizes are per engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["float32", "bfloat16", "auto"] = "auto"
    max_model_len: int = Field(default=512, ge=2)  # prompt and completion together, in tokens
    max_num_seqs: int = Field(default=128, ge=1)  # sequences in flight
    kv_cache_bytes: int | None = Field(default=None, ge=1)  # None: vLLM's own choice, a share of the memory
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    tensor_parallel_size: int = Field(default=1, ge=1)
    enforce_eager: bool = True  # False compiles and captures graphs first: minutes that a large model earns back
    prefix_caching: bool = True
    seed: int = 0


def check_model_folder(folder: Path) -> dict[str, Any]:
    """The parsed `config.json` of a Hugging Face model folder that an engine of this machine can serve.

    Raises `SamplingError` that names the folder, what is wrong and what is allowed.
    """
    if not folder.is_dir():
        raise SamplingError(f"model folder {folder}: no such folder; allowed is a Hugging Face model folder")
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise SamplingError(
            f"model folder {folder}: config.json cannot be read ({error}); allowed is a Hugging Face model folder"
        ) from error
    if not isinstance(config, dict):
        raise SamplingError(f"model folder {folder}: config.json holds no object")
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    if not weights:
        raise SamplingError(f"model folder {folder}: no weights; allowed are *.safetensors or *.bin")
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise SamplingError(f"model folder {folder}: no tokenizer; allowed is any of {', '.join(_TOKENIZER_FILES)}")
    if not torch.cuda.is_available():
        _check_cpu(folder, config, sum(path.stat().st_size for path in weights))
    return config


def _check_cpu(folder: Path, config: dict[str, Any], weight_bytes: int) -> None:
    size = config.get("head_dim") or config.get("hidden_size", 0) // max(config.get("num_attention_heads", 1), 1)
    if size not in CPU_HEAD_SIZES:
        allowed = ", ".join(map(str, CPU_HEAD_SIZES))
        raise SamplingError(f"model folder {folder}: head size {size}; allowed on a CPU are {allowed}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if weight_bytes > memory:
        raise SamplingError(
            f"model folder {folder}: weights of {weight_bytes:,} bytes; allowed are at most the {memory:,} bytes of "
            "this machine's memory"
        )
