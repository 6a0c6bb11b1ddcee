"""Scorers: candidates in, rewards under the newest reward model out. They also score held-out pools for the table."""

from __future__ import annotations

import pyarrow as pa
import ray

from actors.messages import Scored
from actors.telemetry import Drained, Recorder
from roles import weights as packing
from roles.config import RewardStage
from roles.records import Candidate, Problem, Score, from_batch, to_batch
from roles.reward import model as reward_model
from roles.reward.model import Head, RewardModel
from roles.reward.scoring import score
from roles.sequences import encode_candidate
from roles.weights import Packed


class Scorer:
    def __init__(self, name: str, model_dir: str, settings: RewardStage, device: str) -> None:
        self._recorder = Recorder(name)
        self._settings = settings
        self._model_dir = model_dir
        self._device = device
        with self._recorder.span("start", 1):
            self._model, self._tokenizer = reward_model.create(
                settings.head, model_dir, device, settings.reference
            )
        self._version = -1
        self._rankers: dict[tuple[Head, bool], RewardModel] = {}

    def update(self, version: int, weights: Packed) -> None:
        """Take up a version of the reward model, between two batches."""
        self._model.load_weights(packing.unpack(weights))
        self._version = version
        self._recorder.took_up("reward", version)

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    def score(self, problems: pa.RecordBatch, candidates: pa.RecordBatch) -> tuple[Scored, pa.RecordBatch]:
        """A receipt, and the scores in the order of the candidates."""
        with self._recorder.span("score", candidates.num_rows):
            scores = self._scores(self._model, self._version, problems, candidates)
        table = to_batch(Score, scores)
        mean = sum(scored.reward for scored in scores) / len(scores)
        return Scored(mean, table.nbytes), table

    def rank(
        self,
        problems: pa.RecordBatch,
        candidates: pa.RecordBatch,
        head: Head,
        reference: bool,
        version: int,
        weights: Packed,
    ) -> pa.RecordBatch:
        """Scores under a given version of a reward model, whatever the newest is."""
        kind = head, reference
        if kind not in self._rankers:
            self._rankers[kind] = reward_model.create(head, self._model_dir, self._device, reference)[0]
        model = self._rankers[kind]
        model.load_weights(packing.unpack(weights))
        with self._recorder.span("rank held-out", candidates.num_rows):
            return to_batch(Score, self._scores(model, version, problems, candidates))

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def drain(self) -> Drained:
        return self._recorder.drain()

    def _scores(
        self, model: RewardModel, version: int, problems: pa.RecordBatch, candidates: pa.RecordBatch
    ) -> list[Score]:
        by_id = {problem.id: problem for problem in from_batch(Problem, problems)}
        records = from_batch(Candidate, candidates)
        sequences = [encode_candidate(self._tokenizer, by_id[record.problem_id], record) for record in records]
        rewards = score(model, sequences, self._settings.tokens_per_batch)
        return [Score(record.id, reward, version) for record, reward in zip(records, rewards, strict=True)]
