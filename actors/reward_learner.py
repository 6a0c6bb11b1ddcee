"""The reward learner: pairs in, numbered versions of the reward model out.

A version is an iteration: it is complete once `groups_per_iteration` problems whose samples the version before it had
scored were trained on, each in the step after it was mined, beside a rehearsal of earlier ones.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from pathlib import Path

import pyarrow as pa
import ray

from actors.failures import saving_batch
from actors.telemetry import Drained, Recorder
from roles import checkpoints
from roles import weights as packing
from roles.config import RewardStage
from roles.engines import LearningSettings
from roles.records import Candidate, Pair, Problem, from_batch
from roles.reward import model as reward_model
from roles.reward.trainer import PairGroup, RewardStep, RewardTrainer
from roles.sequences import encode_candidate
from roles.tuning import sft
from roles.tuning.sft import Example, SFTSettings
from roles.weights import Packed

_PLAIN = LearningSettings()


@dataclasses.dataclass(frozen=True)
class RewardProgress:
    version: int
    groups: int  # new ones towards the next version
    steps: list[RewardStep]  # on groups that were never trained on before: their accuracy is that of a test


class RewardLearner:
    def __init__(
        self,
        name: str,
        model_dir: str,
        run_dir: Path,
        settings: RewardStage,
        device: str,
        seed: int,
        learning: LearningSettings = _PLAIN,
    ) -> None:
        self._recorder = Recorder(name)
        self._learning = learning
        self._settings, self._run_dir, self._model_dir, self._device = settings, run_dir, model_dir, device
        self._rng = random.Random(seed)
        self._seed = seed
        with self._recorder.span("start", 1):
            self._model, self._tokenizer = reward_model.create(settings.head, model_dir, device)
        self._version = 0
        self._new = 0
        self._fresh: list[PairGroup] = []
        self._seen: list[PairGroup] = []
        self._passing: dict[Example, None] = {}  # in the order they came

    def initialise(self, policy: Packed) -> None:
        """Version 0: an untrained head on the weights of a policy."""
        assert "_trainer" not in vars(self), "an engine has taken up other weights already"
        self._model.initialise_trunk(packing.unpack(policy))

    def learn(self, problems: pa.RecordBatch, candidates: pa.RecordBatch, pairs: pa.RecordBatch) -> RewardProgress:
        """Train on newly mined pairs as far as they fill steps. Raises `NonFiniteLoss` with the batch saved."""
        self._add(problems, candidates, pairs)
        steps = []
        while len(self._fresh) >= self._settings.groups_per_step or (self._complete and self._fresh):
            group_count = min(self._settings.groups_per_step, len(self._fresh))
            fresh, self._fresh = self._fresh[:group_count], self._fresh[group_count:]
            steps.append(self._step(fresh))
            rehearsed = round(group_count * self._settings.rehearsal)
            if 0 < rehearsed <= len(self._seen):
                self._step(self._rng.sample(self._seen, rehearsed))
            self._seen += fresh
        if self._complete:
            self._version += 1
            self._new = 0
        return RewardProgress(self._version, self._new, steps)

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    def weights(self) -> tuple[int, Packed]:
        return self._version, packing.pack(self._trainer.weights())

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    def control(self, settings: SFTSettings) -> tuple[int, Packed]:
        """The positives-only control, as a ranker: the base tuned on the passing programs of all pairs so far.

        Returns the number of programs, and the weights.
        """
        with self._recorder.span("train control", len(self._passing)):
            model, tokenizer = reward_model.create("likelihood", self._model_dir, self._device)
            sft.train(
                model.trunk, tokenizer, list(self._passing), settings, self._seed, learning=self._learning
            )
            return len(self._passing), packing.pack(model.state_dict())

    def save(self, model_folder: Path, checkpoint: Path) -> None:
        """A model folder that others can load, and the state that this actor continues from."""
        with checkpoints.replacing(model_folder) as folder:
            self._model.save(folder, self._tokenizer, self._trainer.weights())
        state = {
            "trainer": self._trainer.state_dict(), "version": self._version, "new": self._new, "fresh": self._fresh,
            "seen": self._seen, "passing": self._passing, "rng": self._rng.getstate(),
        }  # fmt: skip
        checkpoints.save(state, checkpoint)

    def restore(self, checkpoint: Path) -> int:
        """Continue from a state that this class saved. Returns the version."""
        state = checkpoints.load(checkpoint)
        self._trainer.load_state_dict(state["trainer"])
        self._version, self._new = state["version"], state["new"]
        self._fresh, self._seen, self._passing = state["fresh"], state["seen"], state["passing"]
        self._rng.setstate(state["rng"])
        return self._version

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def drain(self) -> Drained:
        return self._recorder.drain()

    @functools.cached_property
    def _trainer(self) -> RewardTrainer:
        """Made at first use, from the weights that are there then."""
        settings = self._settings
        return RewardTrainer(
            self._model,
            self._tokenizer.pad_token_id,
            settings,
            settings.tokens_per_batch,
            settings.objective,
            self._learning,
        )

    @property
    def _complete(self) -> bool:
        return self._new >= self._settings.groups_per_iteration

    def _step(self, groups: list[PairGroup]) -> RewardStep:
        with self._recorder.span("train reward model", len(groups)), saving_batch(self._run_dir):
            return self._trainer.step(groups)

    def _add(self, problems: pa.RecordBatch, candidates: pa.RecordBatch, pairs: pa.RecordBatch) -> None:
        by_id = {problem.id: problem for problem in from_batch(Problem, problems)}
        programs = {candidate.id: candidate for candidate in from_batch(Candidate, candidates)}
        groups: dict[str, list[Pair]] = {}
        for pair in from_batch(Pair, pairs):
            groups.setdefault(programs[pair.chosen_id].group_id, []).append(pair)
        for members in groups.values():
            problem = by_id[members[0].problem_id]
            ids = list(dict.fromkeys(i for pair in members for i in (pair.chosen_id, pair.rejected_id)))
            place = {candidate_id: index for index, candidate_id in enumerate(ids)}
            group = PairGroup(
                problem.id,
                tuple(encode_candidate(self._tokenizer, problem, programs[candidate_id]) for candidate_id in ids),
                tuple((place[pair.chosen_id], place[pair.rejected_id]) for pair in members),
                tuple(pair.margin_pass_rate for pair in members),
            )
            if members[0].reward_version < self._version:
                self._seen.append(group)  # mined before the newest version: known ground, for rehearsal only
            else:
                self._fresh.append(group)
                self._new += 1
            for pair in members:
                text = programs[pair.chosen_id].text
                self._passing[Example(problem.prompt, text.removeprefix(problem.prompt))] = None
