"""The miner: judged and scored samples in, pairs out, and everything into the ledger."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pyarrow as pa
import ray

from actors.telemetry import Drained, Recorder
from roles.mining.ledger import Ledger
from roles.mining.pairs import Judged, MiningSettings, false_favourites, mine
from roles.records import Candidate, Pair, Score, Verdict, from_batch, to_batch


@dataclasses.dataclass(frozen=True)
class Mined:
    groups: int  # that gave pairs
    reward_version: int  # the newest that scored them
    pairs: int
    hard: int  # pairs whose rejected program was chosen because the reward model likes it
    false_favourites: int  # failing programs scored above a passing one of their problem


class Miner:
    def __init__(self, name: str, ledger: Path, run_id: str, settings: MiningSettings, seed: int) -> None:
        self._recorder = Recorder(name)
        self._ledger = Ledger(ledger, run_id)
        self._settings = settings
        self._rng = random.Random(seed)

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    def mine(
        self, candidates: pa.RecordBatch, verdicts: pa.RecordBatch, scores: pa.RecordBatch
    ) -> tuple[Mined, pa.RecordBatch]:
        """Pairs of every group in the batch. All records are durable in the ledger when this returns."""
        with self._recorder.span("mine", candidates.num_rows):
            records = (from_batch(Candidate, candidates), from_batch(Verdict, verdicts), from_batch(Score, scores))
            samples = [Judged(*parts) for parts in zip(*records, strict=True)]
            groups: dict[str, list[Judged]] = {}
            for sample in samples:
                groups.setdefault(sample.candidate.group_id, []).append(sample)
            mined = [mine(group, self._settings, self._rng) for group in groups.values()]
            pairs = [pair for group in mined for pair in group]
            self._ledger.append(Candidate, [sample.candidate for sample in samples])
            self._ledger.append(Verdict, [sample.verdict for sample in samples])
            self._ledger.append(Score, [sample.score for sample in samples])
            self._ledger.append(Pair, pairs)
        receipt = Mined(
            groups=sum(map(bool, mined)),
            reward_version=max(sample.score.reward_version for sample in samples),
            pairs=len(pairs),
            hard=sum(pair.kind == "hard" for pair in pairs),
            false_favourites=sum(map(false_favourites, groups.values())),
        )
        return receipt, to_batch(Pair, pairs)

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def drain(self) -> Drained:
        return self._recorder.drain()
