"""Attention of sequences that lie one behind another in a single row, without padding.

Prompts that several completions share stand in the row once. All layers but attention see only real tokens; attention
itself gathers its sequences into rectangles of similar shape. The function is registered with transformers, so every
architecture that leaves attention to a function of choice can be used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from roles.sequences import TokenSequence

_NAME = "packed"
_PADDED_AREA = 1.25  # of a rectangle of attention, over the area that its sequences need
_SMALL_AREA = 1 << 14  # below it another rectangle costs more than padding
_NOWHERE = torch.iinfo(torch.int32).max
_UNKNOWN = ("softcap", "s_aux", "position_bias")  # what some architectures add to attention, and this one has not


@dataclasses.dataclass(frozen=True)
class Rectangle:
    """B stretches of the row that attend at once. Padding repeats a token; as a key its position is `_NOWHERE`."""

    queries: Tensor  # (B * Lq) places in the row
    keys: Tensor  # (B * Lk) places in the row: the prompt's, then the stretch's own
    query_positions: Tensor  # (B, Lq)
    key_positions: Tensor  # (B, Lk)

    def mask(self, window: int | None) -> Tensor:
        """(B, 1, Lq, Lk) true where a query sees a key."""
        queries, keys = self.query_positions[:, None, :, None], self.key_positions[:, None, None, :]
        seen = keys <= queries
        return seen if window is None else seen & (queries - keys < window)

    def to(self, device: torch.device) -> Rectangle:
        return Rectangle(*(getattr(self, field.name).to(device) for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class Row:
    """Distinct prompts and all completions of B sequences in one row of T tokens, with N completion tokens."""

    ids: Tensor  # (1, T)
    positions: Tensor  # (1, T)
    before: Tensor  # (N,) place of the token from whose state each completion token is predicted
    last: Tensor  # (B,) place of the last token of each sequence
    rectangles: tuple[Rectangle, ...]
    back: Tensor  # (T,) place of each token of the row in all rectangles together

    def attend(self, query: Tensor, key: Tensor, value: Tensor, window: int | None, **options: Any) -> Tensor:
        """(1, T, heads, head size) of `query` (1, heads, T, head size), `key` and `value` (with fewer heads maybe)."""
        size = query.shape[1] * query.shape[3]
        groups = query.shape[1] // key.shape[1]
        flat = [tensor[0].transpose(0, 1).flatten(1) for tensor in (query, key, value)]
        attended = []
        for part in self.rectangles:
            rows = len(part.query_positions)
            places = (part.queries, part.keys, part.keys)
            gathered = [
                tensor.index_select(0, place).view(rows, -1, of.shape[1], of.shape[3]).transpose(1, 2)
                for tensor, place, of in zip(flat, places, (query, key, value), strict=True)
            ]
            queries, keys, values = gathered
            keys, values = (tensor.repeat_interleave(groups, dim=1) for tensor in (keys, values))
            result = functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=part.mask(window), **options
            )
            attended.append(result.transpose(1, 2).reshape(-1, size))
        return torch.cat(attended).index_select(0, self.back).view(1, -1, query.shape[1], query.shape[3])


def pack(sequences: Sequence[TokenSequence], device: torch.device) -> Row:
    """Lay out `sequences`. Raises `ValueError` for an empty prompt or completion."""
    if any(not sequence.prompt or not sequence.completion for sequence in sequences):
        raise ValueError("a prompt or a completion without a token cannot be trained on or scored")
    ids: list[int] = []
    positions: list[int] = []
    starts: dict[tuple[int, ...], int] = {}
    stretches: list[_Stretch] = []
    for sequence in sequences:
        if sequence.prompt not in starts:
            starts[sequence.prompt] = len(ids)
            stretches.append(_Stretch(len(ids), len(sequence.prompt), 0, 0))
            ids += sequence.prompt
            positions += range(len(sequence.prompt))
    before: list[int] = []
    last: list[int] = []
    for sequence in sequences:
        start, length, prompt = len(ids), len(sequence.completion), len(sequence.prompt)
        stretches.append(_Stretch(start, length, starts[sequence.prompt], prompt))
        before += [starts[sequence.prompt] + prompt - 1, *range(start, start + length - 1)]
        last.append(start + length - 1)
        ids += sequence.completion
        positions += range(prompt, prompt + length)
    rectangles, back = _rectangles(stretches, len(ids))
    return Row(
        ids=torch.tensor([ids], device=device),
        positions=torch.tensor([positions], device=device),
        before=torch.tensor(before, device=device),
        last=torch.tensor(last, device=device),
        rectangles=tuple(rectangle.to(device) for rectangle in rectangles),
        back=back.to(device),
    )


def states(trunk: Any, row: Row) -> Tensor:
    """(T, H) what `trunk`, a transformers base model, makes of each token of `row`."""
    if trunk.config._attn_implementation != _NAME:
        _let_attend(trunk)
    nothing = torch.empty(1, 1, 1, 1, device=row.ids.device)  # for models that would make a mask of their own
    done = trunk(
        input_ids=row.ids, position_ids=row.positions, attention_mask=nothing, packed_row=row, use_cache=False
    )
    result: Tensor = done.last_hidden_state[0]
    return result


@dataclasses.dataclass(frozen=True)
class _Stretch:
    start: int
    length: int
    prompt_start: int  # of what it also sees
    prompt_length: int


def _rectangles(stretches: list[_Stretch], tokens: int) -> tuple[list[Rectangle], Tensor]:
    """The stretches in rectangles, and for each of the row's `tokens` its place in all of them together."""
    groups: list[list[_Stretch]] = []
    needed = 0
    for stretch in sorted(stretches, key=lambda stretch: (stretch.length, stretch.prompt_length)):
        own = stretch.length * (stretch.length + stretch.prompt_length)
        if groups:
            together = [*groups[-1], stretch]
            length, prompt = stretch.length, max(member.prompt_length for member in together)
            if len(together) * length * (length + prompt) <= _PADDED_AREA * (needed + own) + _SMALL_AREA:
                groups[-1].append(stretch)
                needed += own
                continue
        groups.append([stretch])
        needed = own
    back = torch.zeros(tokens, dtype=torch.long)
    rectangles, used = [], 0
    for group in groups:
        rectangle, real = _rectangle(group)
        rectangles.append(rectangle)
        back[rectangle.queries[real]] = real.nonzero().squeeze(1) + used
        used += len(real)
    return rectangles, back


def _rectangle(group: list[_Stretch]) -> tuple[Rectangle, Tensor]:
    """The rectangle, and (B * Lq) which of its queries are no padding."""
    table = torch.tensor([dataclasses.astuple(stretch) for stretch in group])
    starts, lengths, prompt_starts, prompt_lengths = table.T[:, :, None]
    own, prompt = torch.arange(int(lengths.max())), torch.arange(int(prompt_lengths.max()))
    real = own < lengths
    queries = starts + torch.minimum(own, lengths - 1)
    query_positions = prompt_lengths + own
    keys = torch.cat([torch.where(prompt < prompt_lengths, prompt_starts + prompt, 0), queries], dim=1)
    key_positions = torch.cat([
        torch.where(prompt < prompt_lengths, prompt, _NOWHERE), torch.where(real, query_positions, _NOWHERE)
    ], dim=1)  # fmt: skip
    return Rectangle(queries.flatten(), keys.flatten(), query_positions, key_positions), real.flatten()


def _let_attend(trunk: Any) -> None:
    """Make `trunk` use `_attention`, which for everybody else is its usual one. Raises `ValueError`."""
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
    from transformers.modeling_utils import AttentionInterface

    uncompiled = torch.compiler.disable(_attention)  # type: ignore[no-untyped-call]  # it differs with every row
    AttentionInterface.register(_NAME, uncompiled)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    if not trunk._can_set_attn_implementation():
        raise ValueError(f"{type(trunk).__name__}: this architecture computes attention in its own way; not supported")
    trunk.set_attn_implementation(_NAME)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *, dropout: float = 0.0,
    scaling: float | None = None, sliding_window: int | None = None, packed_row: Row | None = None, **named: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """As transformers wants it: (1, heads, T, head size) to (1, T, heads, head size), and no weights."""
    if packed_row is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        usual: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling,
            sliding_window=sliding_window, **named,
        )  # fmt: skip
        return usual
    if unknown := [name for name in _UNKNOWN if named.get(name) is not None]:
        raise ValueError(f"{type(module).__name__}: attention with {', '.join(unknown)} is not supported")
    return packed_row.attend(query, key, value, sliding_window, dropout_p=dropout, scale=scaling), None
