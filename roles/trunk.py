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

from roles.sequences import TokenSequence, rectangle

LOGITS_AT_ONCE = 1 << 26  # beyond them logits are made in pieces, and made again for the gradient
# Where processes share the output layer they have to use it equally often: an engine puts the largest number here.
agreed_pieces: ContextVar[Callable[[int], int]] = ContextVar("agreed_pieces", default=lambda pieces: pieces)


@dataclasses.dataclass(frozen=True)
class Completions:
    """What a causal trunk makes of B completions, right-padded to T tokens."""

    ids: Tensor  # (B, T)
    mask: Tensor  # (B, T), false on padding
    before: Tensor  # (B, T, H) the state from which each token is predicted
    last: Tensor  # (B, H) the state at the last token

    def log_probs(self, head: Any, temperature: float = 1.0) -> Tensor:
        """(B, T) float32 log-probability of each token under the output layer `head`; 0 on padding."""
        return self._under(head, temperature, _log_probs)

    def entropies(self, head: Any, temperature: float = 1.0) -> Tensor:
        """(B, T) float32 entropy of the distribution that each token was drawn from, in nats; 0 on padding."""
        return self._under(head, temperature, _entropies)

    def _under(self, head: Any, temperature: float, measure: Measure) -> Tensor:
        """Logits of completion tokens only, and of so many at a time that memory does not grow with their number."""
        states, ids = self.before[self.mask], self.ids[self.mask]
        pieces = agreed_pieces.get()(math.ceil(len(ids) * head.out_features / LOGITS_AT_ONCE))

        def part(states: Tensor, ids: Tensor) -> Tensor:
            return measure(head(states).float() / temperature, ids)

        measured = torch.zeros(self.ids.shape, device=self.ids.device)
        if pieces <= 1:
            measured[self.mask] = part(states, ids)
        else:
            split = zip(torch.tensor_split(states, pieces), torch.tensor_split(ids, pieces), strict=True)
            measured[self.mask] = torch.cat([checkpoint(part, *piece, use_reentrant=False) for piece in split])
        return measured


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


def forward(trunk: Any, sequences: Sequence[TokenSequence], pad_id: int) -> Completions:
    """Run `trunk`, a transformers base model, once over the distinct prompts and once over the completions.

    Neither padding nor the other sequences change a result. Gradients flow through the shared prompts.
    """
    device = next(trunk.parameters()).device
    prompts = list(dict.fromkeys(sequence.prompt for sequence in sequences))
    place = {prompt: row for row, prompt in enumerate(prompts)}
    rows = torch.tensor([place[sequence.prompt] for sequence in sequences], device=device)
    prompt_ids, prompt_mask = rectangle(prompts, pad_id, device, left=True)
    ids, mask = rectangle([sequence.completion for sequence in sequences], pad_id, device)
    beginning = trunk(
        input_ids=prompt_ids,
        attention_mask=prompt_mask,
        position_ids=(prompt_mask.long().cumsum(dim=1) - 1).clamp(min=0),
        use_cache=True,
    )
    cache = beginning.past_key_values
    cache.batch_select_indices(rows)
    rest = trunk(
        input_ids=ids,
        attention_mask=torch.cat([prompt_mask[rows], mask], dim=1),
        position_ids=prompt_mask.sum(dim=1)[rows, None] + torch.arange(ids.shape[1], device=device),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    before = torch.cat([beginning.last_hidden_state[:, -1:][rows], rest[:, :-1]], dim=1)
    last = rest[torch.arange(len(rows), device=device), mask.sum(dim=1) - 1]
    return Completions(ids, mask, before, last)
