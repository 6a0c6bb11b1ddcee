"""A forward pass over prompts with their completions, in which a prompt that several share is computed once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from roles import packed
from roles.sequences import TokenSequence

LOGITS_AT_ONCE = 1 << 26  # beyond them logits are made in pieces, and made again for the gradient
# Where processes share the output layer they have to use it equally often: an engine puts the largest number here.
agreed_pieces: ContextVar[Callable[[int], int]] = ContextVar("agreed_pieces", default=lambda pieces: pieces)


@dataclasses.dataclass(frozen=True)
class Completions:
    """What a causal trunk makes of B completions of at most T tokens, N together. Results are right-padded."""

    ids: Tensor  # (N,)
    mask: Tensor  # (B, T), false on padding
    states: Tensor  # (N, H) from which each token is predicted
    last: Tensor  # (B, H) the state at the last token

    def log_probs(self, head: Any, temperature: float = 1.0) -> Tensor:
        """(B, T) float32 log-probability of each token under the output layer `head`; 0 on padding."""
        return self._under(head, temperature, _log_probs)

    def entropies(self, head: Any, temperature: float = 1.0) -> Tensor:
        """(B, T) float32 entropy of the distribution that each token was drawn from, in nats; 0 on padding."""
        return self._under(head, temperature, _entropies)

    def values(self, head: Any) -> Tensor:
        """(B, T) float32 result of `head`, which has one output, before each token; 0 on padding."""
        return self._padded(in_float32(head, self.states).squeeze(-1))

    def _under(self, head: Any, temperature: float, measure: Measure) -> Tensor:
        """Logits of completion tokens only, and of so many at a time that memory does not grow with their number."""
        pieces = agreed_pieces.get()(math.ceil(len(self.ids) * head.out_features / LOGITS_AT_ONCE))

        def part(states: Tensor, ids: Tensor) -> Tensor:
            return measure(head(states).float() / temperature, ids)

        if pieces <= 1:
            return self._padded(part(self.states, self.ids))
        split = zip(torch.tensor_split(self.states, pieces), torch.tensor_split(self.ids, pieces), strict=True)
        return self._padded(torch.cat([checkpoint(part, *piece, use_reentrant=False) for piece in split]))

    def _padded(self, values: Tensor) -> Tensor:
        return torch.zeros(self.mask.shape, device=values.device).masked_scatter(self.mask, values)


def in_float32(layer: Any, states: Tensor) -> Tensor:
    """`layer` of `states` in float32, whatever the precision around it: for values that are compared."""
    with torch.autocast(states.device.type, enabled=False):
        result: Tensor = layer(states.float())
        return result


Measure = Callable[[Tensor, Tensor], Tensor]


def _log_probs(logits: Tensor, ids: Tensor) -> Tensor:
    return -functional.cross_entropy(logits, ids, reduction="none")


def _entropies(logits: Tensor, ids: Tensor) -> Tensor:
    log_probs = torch.log_softmax(logits, dim=-1)
    return -(log_probs.exp() * log_probs).sum(dim=-1)


def forward(trunk: Any, sequences: Sequence[TokenSequence]) -> Completions:
    """Run `trunk`, a transformers base model, over `sequences` without padding, and over distinct prompts once.

    The other sequences do not change a result. Gradients flow through the shared prompts. Raises `ValueError` for an
    empty prompt or completion, and for an architecture that cannot be packed.
    """
    device = next(trunk.parameters()).device
    row = packed.pack(sequences, device)
    states = packed.states(trunk, row)
    lengths = torch.tensor([len(sequence.completion) for sequence in sequences], device=device)
    mask = torch.arange(int(lengths.max()), device=device) < lengths[:, None]
    ids = row.ids[0, len(row.ids[0]) - len(row.before) :]
    return Completions(ids, mask, states.index_select(0, row.before), states.index_select(0, row.last))
