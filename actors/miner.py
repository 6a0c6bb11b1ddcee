"""The miner: judged and scored samples in, pairs out, and everything into the ledger."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import ray

from actors.messages import Mined
from actors.telemetry import Drained, Recorder
from roles.mining.ledger import Ledger
from roles.mining.pairs import Judged, MiningSettings, false_favourites, judged, mine
from roles.records import Candidate, Pair, Score, Verdict, from_batch, to_batch

MINED_AT_ONCE = 4  # batches; most of the time that one takes is the disk's


def receipt(groups: Mapping[str, Sequence[Judged]], pairs: Sequence[Pair], size: int) -> Mined:
    """What was mined of the samples of each group; `size` is that of the pairs in bytes."""
    return Mined(
        groups=len({pair.problem_id for pair in pairs}),
        reward_version=max(sample.score.reward_version for samples in groups.values() for sample in samples),
        pairs=len(pairs),
        hard=sum(pair.kind == "hard" for pair in pairs),
        false_favourites=sum(map(false_favourites, groups.values())),
        bytes=size,
    )


class Miner:
    """Holds nothing but the right to write: what it picks of a group depends on the group and the seed alone."""

    def __init__(self, name: str, ledger: Path, settings: MiningSettings, seed: int) -> None:
        self._recorder = Recorder(name)
        self._ledger = Ledger(ledger)
        self._settings, self._seed = settings, seed

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    def mine(
        self, batch: str, candidates: pa.RecordBatch, verdicts: pa.RecordBatch, scores: pa.RecordBatch
    ) -> tuple[Mined, pa.RecordBatch]:
        """Pairs of every group in the batch. All its records are durable in the ledger when this returns."""
        with self._recorder.span("mine", candidates.num_rows):
            records = from_batch(Candidate, candidates), from_batch(Verdict, verdicts), from_batch(Score, scores)
            groups = judged(*records)
            pairs = [
                pair
                for group, samples in groups.items()
                for pair in mine(samples, self._settings, random.Random(f"{self._seed} {group}"))
            ]
            self._ledger.append(batch, {Candidate: records[0], Verdict: records[1], Score: records[2], Pair: pairs})
        table = to_batch(Pair, pairs)
        return receipt(groups, pairs, table.nbytes), table

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def drain(self) -> Drained:
        return self._recorder.drain()
