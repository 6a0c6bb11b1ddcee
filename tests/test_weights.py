from __future__ import annotations

import numpy as np
import pytest
import torch

from roles import weights


def test_weights_come_back_bit_for_bit_in_every_dtype_and_shape() -> None:
    state = {
        "a": torch.randn(5, 3),
        "b": torch.randn(7).to(torch.bfloat16),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "transposed": torch.randn(4, 6).T,
        "ids": torch.arange(9, dtype=torch.int64),
    }
    packed = weights.pack(state)
    assert packed.dtype == np.uint8 and packed.ndim == 1
    back = weights.unpack(packed)
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor)
    assert weights.shapes(packed) == {name: tuple(tensor.shape) for name, tensor in state.items()}


def test_unpacked_tensors_share_the_arrays_memory() -> None:
    packed = weights.pack({"a": torch.ones(1000)})
    start = packed.__array_interface__["data"][0]
    assert start <= weights.unpack(packed)["a"].data_ptr() < start + packed.nbytes


def test_a_tied_head_is_left_out_and_an_equal_one_is_not() -> None:
    embedding = torch.randn(8, 4)
    tied = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding}
    assert list(weights.unpack(weights.pack(tied))) == ["model.embed_tokens.weight"]
    equal = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding.clone()}
    assert len(weights.unpack(weights.pack(equal))) == 2


@pytest.mark.parametrize("change", [lambda a: a[:-1], lambda a: a[:4], lambda a: np.zeros(50, np.uint8)])
def test_bytes_that_are_no_weights_are_refused(change) -> None:
    with pytest.raises(weights.WeightsError):
        weights.unpack(change(weights.pack({"a": torch.ones(10)})))
