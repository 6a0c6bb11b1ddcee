"""What tests of parity with TRL 1.12.0 share. All is float32; importing this silences TRL's notice on experiments.

Values agree to 1e-6, absolute or relative; gradients to 1e-6 of the norm of their weight's.
"""

from __future__ import annotations

import copy
import functools
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from learners import causal
from tokenizers import Tokenizer, models
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

TOLERANCE = 1e-6
NO_CLIPPING = 1e9  # of gradients


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=TOLERANCE)


def gradients_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys() and found
    for name, gradient in expected.items():
        bound = TOLERANCE * max(1.0, gradient.norm().item())
        named = functools.partial("{}: {}".format, name)
        torch.testing.assert_close(found[name], gradient, atol=bound, rtol=0.0, msg=named)


@contextmanager
def gradients(named: Callable[[], dict[str, nn.Parameter]]) -> Iterator[list[dict[str, Tensor]]]:
    """The gradients that each optimiser step within is given, by name."""
    seen: list[dict[str, Tensor]] = []

    def note(*_: Any) -> None:
        seen.append({name: p.grad.clone() for name, p in named().items() if p.grad is not None})

    handle = register_optimizer_step_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def classifier(seed: int = 0) -> LlamaForSequenceClassification:
    config = copy.deepcopy(causal().config)
    config.num_labels = 1
    torch.manual_seed(seed)
    return LlamaForSequenceClassification(config).eval()


def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "<eos>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>", padding_side="left"
    )


def arguments(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder), "bf16": False, "use_cpu": True, "gradient_checkpointing": False,
        "report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
        "lr_scheduler_type": "constant", "max_grad_norm": NO_CLIPPING, "dataloader_pin_memory": False,
    }  # fmt: skip


def bessel(mask: Tensor) -> float:
    """Factor from our whitened values to TRL's."""
    tokens = int(mask.sum())
    return math.sqrt((tokens - 1) / tokens)
