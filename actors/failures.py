"""What an actor does before it gives up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from roles.engines import processes
from roles.optimisation import Diverged


class TrainingStopped(RuntimeError):
    """A learner met a loss that is not finite or went past a limit. The message says where its batch was saved."""


@contextmanager
def saving_batch(run_dir: Path) -> Iterator[None]:
    """Save the batch of a `Diverged` in `run_dir` and raise `TrainingStopped`, which crosses Ray as text."""
    try:
        yield
    except Diverged as error:
        if processes.rank():  # the first one has the same batch
            raise TrainingStopped(str(error)) from None
        path = run_dir / f"failed-batch-{time.time_ns()}.pt"
        torch.save(error.batch, path)
        raise TrainingStopped(f"{error}; the batch is saved in {path}") from None
