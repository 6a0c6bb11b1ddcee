"""What is left to be earned, as expected before each token of a completion."""

from __future__ import annotations

import copy
from typing import Any, Literal

from torch import Tensor, nn

from roles import engines, trunk
from roles.engines import LearningSettings
from roles.sequences import TokenSequence
from roles.trunk import Completions

Kind = Literal["head", "trunk"]


class Critic(nn.Module):
    """A linear head that begins at zero: on the policy's last hidden state, or with kind `trunk` on that of a trunk of
    its own, which begins as a copy of the policy's and has adapters of its own where the policy has some."""

    def __init__(self, kind: Kind, model: Any, learning: LearningSettings) -> None:
        """`model` is the policy, not yet prepared for training."""
        super().__init__()
        self.head = nn.Linear(model.config.hidden_size, 1).to(next(model.parameters()).device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.trunk: nn.Module | None = None
        if kind == "trunk":
            self.trunk = copy.deepcopy(model.base_model)
            engines.prepare(self.trunk, learning)

    def forward(self, sequences: list[TokenSequence], of_policy: Completions | None = None) -> Tensor:
        """(B, T) float32 values, with gradients through whichever trunk; a head needs the policy's pass over them."""
        completions = of_policy if self.trunk is None else trunk.forward(self.trunk, sequences)
        assert completions is not None, "a critic without a trunk needs the policy's"
        return completions.values(self.head)
