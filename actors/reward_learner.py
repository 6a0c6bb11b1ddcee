"""The reward learner: pairs in, numbered versions of the reward model out.

A version is an iteration: it is complete once `groups_per_iteration` problems whose samples the version before it had
scored were trained on, each in the step after it was mined, beside a rehearsal of earlier ones. With a fresh start an
iteration forgets the version before: the first weights and a new optimiser see all earlier groups once, then the new.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray

from actors.failures import saving_batch
from actors.ranks import Rank
from actors.telemetry import Drained, Recorder
from roles import checkpoints
from roles import weights as packing
from roles.config import RewardStage
from roles.engines import LearningSettings, processes
from roles.records import Candidate, Pair, Problem, Verdict, from_batch
from roles.reward import model as reward_model
from roles.reward.groups import mined_groups
from roles.reward.metrics import Array, PairMetrics, measure_pairs
from roles.reward.trainer import PairGroup, RewardStep, RewardTrainer
from roles.tuning import sft
from roles.tuning.sft import Example, SFTSettings
from roles.weights import Packed

_PLAIN = LearningSettings()


@dataclasses.dataclass(frozen=True)
class RewardProgress:
    version: int
    groups: int  # new ones towards the next version
    steps: list[RewardStep]  # on groups that were never trained on before: their accuracy is that of a test
    measured: dict[int, PairMetrics]  # of each complete version: on the new groups of its iteration, each when new


class RewardLearner(Rank):
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
            self._model, self._tokenizer = reward_model.create(
                settings.head, model_dir, device, settings.reference
            )
        self._initial: Packed | None = None  # the first weights, where iterations start from them
        self._anew = False  # the next step is the first of an iteration that does
        self._version = 0
        self._new = 0
        self._fresh: list[PairGroup] = []
        self._seen: list[PairGroup] = []
        self._differences: list[Array] = []  # of the iteration's new groups, before they were trained on
        self._measured: dict[int, PairMetrics] = {}
        self._passing: dict[Example, None] = {}  # in the order they came

    def initialise(self, policy: Packed) -> None:
        """Version 0: an untrained head on the weights of a policy, or of the base."""
        assert "_trainer" not in vars(self), "an engine has taken up other weights already"
        if self._settings.initial == "sft":
            self._model.initialise_trunk(packing.unpack(policy))
        if self._settings.start == "fresh":
            self._initial = packing.pack(self._model.state_dict())

    def learn(
        self, problems: pa.RecordBatch, candidates: pa.RecordBatch, verdicts: pa.RecordBatch, pairs: pa.RecordBatch
    ) -> RewardProgress:
        """Train on newly mined pairs as far as they fill steps. Raises `NonFiniteLoss` with the batch saved."""
        self._add(problems, candidates, verdicts, pairs)
        steps = []
        while len(self._fresh) >= self._settings.groups_per_step or (self._complete and self._fresh):
            if self._anew:
                self._start_anew()
            group_count = min(self._settings.groups_per_step, len(self._fresh))
            fresh, self._fresh = self._fresh[:group_count], self._fresh[group_count:]
            steps.append(self._step(fresh))
            self._differences += filter(_is_finite, map(np.array, steps[-1].differences))
            rehearsed = round(group_count * self._settings.rehearsal)
            if 0 < rehearsed <= len(self._seen):
                self._step(self._rng.sample(self._seen, rehearsed))
            self._seen += fresh
        if self._complete:
            self._version += 1
            self._new = 0
            self._measured[self._version], self._differences = measure_pairs(self._differences), []
            self._anew = self._settings.start == "fresh"
        return RewardProgress(self._version, self._new, steps, dict(self._measured))

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

    def save(self, model_folder: Path, checkpoint: Path, position: int) -> None:
        """A model folder that others can load, and the state that this actor continues from.

        `position` is the number of the first batch that it was not trained on.
        """
        weights = self._trainer.weights()
        if not processes.rank():
            with checkpoints.replacing(model_folder) as folder:
                self._model.save(folder, self._tokenizer, weights)
        state = {
            "trainer": self._trainer.state_dict(), "version": self._version, "new": self._new, "fresh": self._fresh,
            "seen": self._seen, "passing": self._passing, "rng": self._rng.getstate(), "initial": self._initial,
            "anew": self._anew, "differences": self._differences, "measured": self._measured,
            "position": position,
        }  # fmt: skip
        processes.save(state, checkpoint, self._trainer.engine.divided)

    def restore(self, checkpoint: Path) -> tuple[RewardProgress, int]:
        """Continue from a state that this class saved. Returns how far it is, and the position."""
        state = processes.load(checkpoint, self._trainer.engine.divided)
        self._trainer.load_state_dict(state["trainer"])
        self._version, self._new = state["version"], state["new"]
        self._fresh, self._seen, self._passing = state["fresh"], state["seen"], state["passing"]
        self._initial, self._anew = state["initial"], state["anew"]
        self._differences, self._measured = state["differences"], state["measured"]
        self._rng.setstate(state["rng"])
        return RewardProgress(self._version, self._new, [], dict(self._measured)), state["position"]

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def drain(self) -> Drained:
        return self._recorder.drain()

    @functools.cached_property
    def _trainer(self) -> RewardTrainer:
        """Made at first use, from the weights that are there then."""
        settings = self._settings
        return RewardTrainer(
            self._model,
            settings,
            settings.tokens_per_batch,
            settings.objective,
            self._learning,
        )

    @property
    def _complete(self) -> bool:
        return self._new >= self._settings.groups_per_iteration

    def _start_anew(self) -> None:
        """The first weights and a new optimiser, and once over all that was trained on before."""
        assert self._initial is not None, "initialise comes first"
        self._trainer.close()
        del self._trainer
        self._model.load_weights(packing.unpack(self._initial))
        self._anew = False
        groups, size = self._rng.sample(self._seen, len(self._seen)), self._settings.groups_per_step
        for start in range(0, len(groups), size):
            self._step(groups[start : start + size])

    def _step(self, groups: list[PairGroup]) -> RewardStep:
        with self._recorder.span("train reward model", len(groups)), saving_batch(self._run_dir):
            return self._trainer.step(groups)

    def _add(
        self, problems: pa.RecordBatch, candidates: pa.RecordBatch, verdicts: pa.RecordBatch, pairs: pa.RecordBatch
    ) -> None:
        records = from_batch(Problem, problems), from_batch(Candidate, candidates), from_batch(Pair, pairs)
        for group in mined_groups(self._tokenizer, *records):
            if group.reward_version < self._version:
                self._seen.append(group.pairs)  # mined before the newest version: known ground, for rehearsal only
            else:
                self._fresh.append(group.pairs)
                self._new += 1
        prompts = {problem.id: problem.prompt for problem in records[0]}
        chosen = {pair.chosen_id for pair in records[2]}
        passed = {verdict.candidate_id for verdict in from_batch(Verdict, verdicts) if verdict.status == "passed"}
        for program in records[1]:
            if program.id in chosen & passed:  # by AceCoder's rule not all that is chosen passes
                prompt = prompts[program.problem_id]
                self._passing[Example(prompt, program.text.removeprefix(prompt))] = None


def _is_finite(differences: Array) -> bool:
    """False of a group in a batch that diverged and was skipped."""
    return bool(np.isfinite(differences).all())
