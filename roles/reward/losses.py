"""The objective of the reward model, as pure functions of the rewards of P pairs."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class RewardObjective(BaseModel):
    """Bradley-Terry and what may be added to it; all of it is off by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin: float = Field(default=0.0, ge=0)  # wanted lead of the chosen, times the difference of the pass rates
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)  # share of pairs thought to be the wrong way round
    magnitude: float = Field(default=0.0, ge=0)  # coefficient of the squared rewards, which have no zero point else
    language_model: float = Field(default=0.0, ge=0)  # coefficient of -mean log p(chosen); likelihood head only


def bradley_terry(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0, smoothing: float = 0.0) -> Tensor:
    """`-log sigmoid(r_chosen - r_rejected - margin)` of each pair (Bradley, Terry 1952; InstructGPT, arXiv 2203.02155;
    margin: Llama 2, arXiv 2307.09288, eq. 2; smoothing: cDPO, the mean over both orders with weight `smoothing`).

    Args:
        chosen: (P,) rewards of the programs that should win.
        rejected: (P,) rewards of the programs that should lose.
        margin: (P,) or one for all.

    Returns:
        (P,) losses.
    """
    lead = chosen - rejected - margin
    return -(1 - smoothing) * F.logsigmoid(lead) - smoothing * F.logsigmoid(-lead)


def magnitude(chosen: Tensor, rejected: Tensor) -> Tensor:
    """(P,) `r_chosen^2 + r_rejected^2`: fixes the offset that Bradley-Terry leaves free, and bounds the scale."""
    return chosen.square() + rejected.square()
