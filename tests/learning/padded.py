"""The plain way to compute with sequences, in padded batches: what packed rows are compared with."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from roles.sequences import TokenSequence


@dataclasses.dataclass(frozen=True)
class Padded:
    """Right-padded sequences. All fields have shape (B, T); the masks are boolean."""

    input_ids: Tensor
    attention_mask: Tensor
    completion_mask: Tensor  # true where `input_ids` holds a completion token

    @property
    def tokens(self) -> int:
        return int(self.attention_mask.sum())


def pad(sequences: Sequence[TokenSequence], pad_id: int, device: torch.device | str = "cpu") -> Padded:
    """Right-pad `sequences` to the longest of them."""
    input_ids, attention = rectangle([sequence.prompt + sequence.completion for sequence in sequences], pad_id, device)
    positions = torch.arange(input_ids.shape[1], device=device)
    prompts = torch.tensor([len(sequence.prompt) for sequence in sequences], device=device)
    return Padded(input_ids, attention, attention & (positions >= prompts[:, None]))


def rectangle(
    rows: Sequence[tuple[int, ...]], pad_id: int, device: torch.device | str = "cpu", left: bool = False
) -> tuple[Tensor, Tensor]:
    """(B, T) token ids, padded on the right or on the `left`, and the boolean mask of what is no padding."""
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, tokens in enumerate(rows):
        where = slice(length - len(tokens), length) if left else slice(0, len(tokens))
        ids[row, where] = torch.tensor(tokens, dtype=torch.long)
        mask[row, where] = True
    return ids.to(device), mask.to(device)


def token_log_probs(logits: Tensor, input_ids: Tensor, temperature: float = 1.0) -> Tensor:
    """(B, T) log-probability of each of `input_ids` given those before it, from (B, T, V) logits; column 0 is 0."""
    every = torch.softmax(logits[:, :-1].double() / temperature, dim=-1).log()
    chosen = every.gather(2, input_ids[:, 1:, None]).squeeze(2)
    return torch.cat([torch.zeros(len(chosen), 1), chosen], dim=1).float()
