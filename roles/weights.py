"""A weight version as bytes: one flat uint8 array in safetensors layout.

One array travels through Ray's object store without being copied, can be written to a file as it is, and every reader
of safetensors understands it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save

Packed = npt.NDArray[np.uint8]

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}


class WeightsError(ValueError):
    """An array does not hold weights in safetensors layout."""


def pack(state_dict: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> Packed:
    """All tensors of `state_dict` in one uint8 array of shape `(bytes,)`, with `metadata` in its header.

    A tensor that is the same memory as an earlier one (a tied `lm_head.weight`) is left out: whoever loads the array
    ties it again.
    """
    tensors: dict[str, torch.Tensor] = {}
    seen: set[tuple[int, torch.Size, tuple[int, ...]]] = set()
    for name, tensor in state_dict.items():
        identity = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and identity in seen:
            continue
        seen.add(identity)
        tensors[name] = tensor.detach().cpu().contiguous()
    return np.frombuffer(save(tensors, dict(metadata or {})), dtype=np.uint8)


def metadata(array: Packed) -> dict[str, str]:
    """What was packed beside the tensors."""
    return _header(array)[2]


def shapes(array: Packed) -> dict[str, tuple[int, ...]]:
    """The name and shape of every tensor in `array`, read from its header alone."""
    return {name: tuple(entry["shape"]) for name, entry in _header(array)[0].items()}


def sizes(array: Packed) -> dict[str, int]:
    """The name and bytes of every tensor in `array`, in the order in which they lie there."""
    spans = {name: entry["data_offsets"] for name, entry in _header(array)[0].items()}
    return {name: spans[name][1] - spans[name][0] for name in sorted(spans, key=spans.__getitem__)}


def unpack(array: Packed) -> dict[str, torch.Tensor]:
    """The tensors of `array` as views of its memory.

    Raises `WeightsError` when the array was cut off or never held weights.
    """
    header, start, _ = _header(array)
    tensors = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # Ray's arrays are read-only, and so are ours
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            dtype = _DTYPES[entry["dtype"]]
            count = (last - first) // dtype.itemsize
            if count:
                flat = torch.frombuffer(array.data, dtype=dtype, count=count, offset=start + first)
            else:
                flat = torch.empty(0, dtype=dtype)
            tensors[name] = flat.reshape(entry["shape"])
    return tensors


def _header(array: Packed) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Entries by name, where the tensors begin, and the metadata."""
    try:
        length = int.from_bytes(array[:8].tobytes(), "little")
        header: dict[str, Any] = json.loads(array[8 : 8 + length].tobytes())
        noted: dict[str, str] = header.pop("__metadata__", {})
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{array.nbytes} bytes that are no packed weights: {error}") from error
    if array.nbytes != 8 + length + end:
        raise WeightsError(f"packed weights of {8 + length + end} bytes, but the array holds {array.nbytes}")
    return header, 8 + length, noted
