"""A weight version as what it adds to an earlier one, its base: low-rank products, a small part of the bytes.

A packed delta holds for each changed weight `NAME` of shape (rows, columns) the matrices `NAME.left` (rows, rank) and
`NAME.right` (rank, columns). It names the version of its base, and a packed base its own: they are compared.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from roles import weights
from roles.weights import Packed, WeightsError

VERSION, BASE = "version", "base"  # in the metadata
Products = Mapping[str, tuple[Tensor, Tensor]]  # left and right by the weight's name


def pack(products: Products, base: int, metadata: Mapping[str, str]) -> Packed:
    """`products` as a delta on version `base`."""
    matrices = {
        f"{name}.{side}": matrix
        for name, both in products.items()
        for side, matrix in zip(("left", "right"), both, strict=True)
    }
    return weights.pack(matrices, {**metadata, BASE: str(base)})


def add(array: Packed, delta: Packed) -> None:
    """Turn the base in `array`, which must be writable, into the version that `delta` makes of it.

    Raises `WeightsError` before anything is written when `array` is not the base or lacks a weight.
    """
    wanted, there = weights.metadata(delta).get(BASE), weights.metadata(array).get(VERSION)
    if wanted is None or wanted != there:
        raise WeightsError(f"a delta on version {wanted} cannot be added to version {there}")
    plain, matrices = weights.unpack(array), weights.unpack(delta)
    products = {
        name.removesuffix(".left"): (left, matrices[name.removesuffix("left") + "right"])
        for name, left in matrices.items()
        if name.endswith(".left")
    }
    for name, (left, right) in products.items():
        if name not in plain or plain[name].shape != (left.shape[0], right.shape[1]):
            shape = tuple(plain[name].shape) if name in plain else "missing"
            raise WeightsError(f"{name}: the delta is for shape {(left.shape[0], right.shape[1])}, the base's: {shape}")
    for name, (left, right) in products.items():
        plain[name].addmm_(left, right)


def merged(base: Packed, delta: Packed) -> Packed:
    """The version that `delta` makes of `base`, which stays as it is. Raises `WeightsError`."""
    whole = base.copy()
    add(whole, delta)
    noted = {name: text for name, text in weights.metadata(delta).items() if name != BASE}
    return weights.pack(weights.unpack(whole), noted)
