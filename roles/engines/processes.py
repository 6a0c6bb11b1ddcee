"""Processes that train one model together: each computes its share, and all of them hold the same result.

They meet by `torch.distributed`, over gloo on CPUs and NCCL on GPUs. A process that met nobody is the first of one.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from torch import distributed

from roles import checkpoints

BUCKET = 50_000_000  # numbers that are added up at once
_PATIENCE = datetime.timedelta(hours=1)  # with a process that computes; one that died is noticed at once


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def backend(device: str) -> str:
    return "nccl" if device == "cuda" else "gloo"


def join(number: int, of: int, address: str, device: str) -> None:
    """Become process `number` of `of` that meet at `address`, host:port of the first. Returns when all have come."""
    distributed.init_process_group(
        backend(device), init_method=f"tcp://{address}", rank=number, world_size=of, timeout=_PATIENCE
    )


def save(state: dict[str, Any], path: Path, divided: bool) -> None:
    """Have `load` give each process its state again. All call this together.

    Args:
        state: with the `position` that it belongs to; `divided` if each process has another.
    """
    if divided and rank():
        checkpoints.save(state, _own(path))
    if divided:
        distributed.barrier()  # the first one's file says that all are there
    if not rank():
        checkpoints.save(state, path)


def load(path: Path, divided: bool) -> dict[str, Any]:
    """The state that was saved last by all of as many processes. Raises `CheckpointError`. All call this together."""
    if not divided:
        return checkpoints.load(path)
    position: list[Any] = [None]
    if not rank():
        state = checkpoints.load(path)
        position = [state["position"]]
    distributed.broadcast_object_list(position)
    return checkpoints.load(_own(path), position[0]) if rank() else state


def _own(path: Path) -> Path:
    return path.with_name(f"{path.stem}-{rank()}{path.suffix}")
