"""Do engine and trainer compute the same? A version carries a probe: tokens with the trainer's log-probabilities.

Whoever takes the version up computes them again. Between float32 and float32 they differ by rounding; a tensor that was
lost, scaled or packed wrongly on the way shows at once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from roles.sequences import TokenSequence

_KEY = "probe"
_SEQUENCES, _TOKENS = 2, 64  # as many, each so long at most: they cost an engine less than what it has to do anew


class ParityError(RuntimeError):
    """An engine computes other log-probabilities than the trainer whose weights it took up."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """Sequences, and the log-probability of each token but the first one under the weights that they travel with."""

    tokens: tuple[tuple[int, ...], ...]
    log_probs: tuple[tuple[float, ...], ...]

    @staticmethod
    def of(sequences: Sequence[TokenSequence], log_probs: Sequence[tuple[float, ...]]) -> Probe:
        """Of sequences that `choose` returned."""
        return Probe(tuple((*each.prompt, *each.completion) for each in sequences), tuple(log_probs))

    def mismatch(self, found: Sequence[Sequence[float]]) -> float:
        """Mean absolute difference in nats from `found`, which may hold less of a sequence's end."""
        pairs = [
            abs(own - other)
            for row, others in zip(self.log_probs, found, strict=True)
            for own, other in zip(row, others, strict=False)
        ]
        return sum(pairs) / len(pairs)

    def metadata(self) -> dict[str, str]:
        return {_KEY: json.dumps(dataclasses.asdict(self))}


def probe_of(metadata: Mapping[str, str]) -> Probe | None:
    """That which was packed with a version."""
    if _KEY not in metadata:
        return None
    entries = json.loads(metadata[_KEY])
    return Probe(*(tuple(map(tuple, entries[field.name])) for field in dataclasses.fields(Probe)))


def choose(sequences: Sequence[TokenSequence]) -> list[TokenSequence]:
    """A few of `sequences`, spread over all of them, cut short; all tokens but the first are the completion."""
    every = max(1, len(sequences) // _SEQUENCES)
    cut = [(*sequence.prompt, *sequence.completion)[:_TOKENS] for sequence in sequences[::every]]
    return [TokenSequence(tokens[:1], tokens[1:]) for tokens in cut[:_SEQUENCES] if len(tokens) > 1]


def check(version: int, mismatch: float, limit: float) -> None:
    """Raises `ParityError` above `limit`, and for what is not a number."""
    if not mismatch <= limit:
        raise ParityError(
            f"policy v{version}: the engine's log-probabilities differ from the trainer's by {mismatch:.4g} nats on "
            f"average; sampling.parity_limit = {limit:g}"
        )
