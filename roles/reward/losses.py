"""Losses of the reward model, as pure functions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def bradley_terry(chosen: Tensor, rejected: Tensor) -> Tensor:
    """`-log sigmoid(r_chosen - r_rejected)` of each pair (Bradley, Terry 1952; InstructGPT, arXiv 2203.02155).

    Args:
        chosen: (P,) rewards of the programs that should win.
        rejected: (P,) rewards of the programs that should lose.

    Returns:
        (P,) losses.
    """
    return -F.logsigmoid(chosen - rejected)
