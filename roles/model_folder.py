"""What can be known of a model before its weights are loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from roles.engines.settings import LoRASettings
from roles.sequences import TokenSequence

_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")  # as architectures call it


class ModelError(ValueError):
    """A model folder cannot be used; the message names it, what is wrong and what would do."""


def check_device(device: str) -> None:
    """Raises `ModelError` when torch has no such device here."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("model.device = cuda: torch finds no CUDA device here; set it to cpu")


def check_adapters(folder: str, settings: LoRASettings | None) -> None:
    """Raises `ModelError` when the model in `folder` has no layers of the names that `settings` puts adapters into."""
    if settings is None or not settings.targets:
        return
    import torch
    from transformers import AutoConfig, AutoModel

    from roles.engines import lora

    with torch.device("meta"):
        trunk = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    try:
        lora.check(trunk, settings)
    except ValueError as error:
        raise ModelError(str(error)) from error


def tokenizer(folder: str) -> Any:
    """The tokenizer of a transformers folder. Raises `ModelError` when it cannot end a sequence or be read."""
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder!r} is not a readable transformers model folder: {error}") from error
    if found.eos_token_id is None:
        raise ModelError(
            f"{folder!r}: eos_token = None in tokenizer_config.json; set it to the token that ends a program"
        )
    return found


def positions(folder: str) -> int | None:
    """The longest sequence of the model in tokens; none where its config.json does not say."""
    config = json.loads((Path(folder) / "config.json").read_text())
    inner = config.get("text_config", config)
    return next((int(inner[name]) for name in _POSITIONS if inner.get(name)), None)


def check_lengths(folder: str, sequences: Iterable[TokenSequence], what: str) -> None:
    """Raises `ModelError` when the model in `folder` has too few positions for one of `sequences`."""
    longest, limit = max(map(len, sequences), default=0), positions(folder)
    if limit is not None and longest > limit:
        raise ModelError(
            f"{what}: the longest is {longest} tokens; the model in {folder!r} has {limit} positions. "
            "Leave out what is longer, or take a model with more"
        )
