"""The policy learner: fine-tunes the base, then aligns it by PPO; numbered versions of the policy out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pyarrow as pa
import ray

from actors.failures import saving_batch
from actors.ranks import Rank
from actors.telemetry import Drained, Recorder
from roles import checkpoints, delta, parity
from roles import weights as packing
from roles.config import PolicyStage, SFTStage
from roles.engines import LearningSettings, processes
from roles.policy.rewards import RewardShaper
from roles.policy.trainer import PolicyTrainer, PPOStep, Rollout
from roles.records import Candidate, Problem, Score, Verdict, from_batch
from roles.sequences import TokenSequence, encode
from roles.tuning import sft
from roles.tuning.sft import SFTStep
from roles.weights import Packed

BASE_VERSION, SFT_VERSION = 0, 1  # PPO's versions follow
_PLAIN = LearningSettings()


@dataclasses.dataclass(frozen=True)
class PolicyProgress:
    version: int
    steps: int
    lag: float  # versions between a token's policy and the newest, mean over the batch
    max_lag: int
    samples_by_lag: Counter[int]  # versions between a sample's oldest token and the newest: how many samples
    reward_versions: tuple[int, ...]  # that the batch was scored with
    ppo: PPOStep


class PolicyLearner(Rank):
    def __init__(
        self,
        name: str,
        model_dir: str,
        run_dir: Path,
        settings: PolicyStage,
        temperature: float,
        device: str,
        seed: int,
        learning: LearningSettings = _PLAIN,
    ) -> None:
        self._recorder = Recorder(name)
        self._settings, self._run_dir, self._temperature, self._seed = settings, run_dir, temperature, seed
        self._learning = learning
        with self._recorder.span("start", 1):
            self._model, self._tokenizer = sft.pretrained(model_dir, device)
        self._shaper = RewardShaper(settings.reward)
        self._version, self._steps = BASE_VERSION, 0
        self._trainer: PolicyTrainer | None = None
        self._probe: list[TokenSequence] = []  # of the last batch

    def fine_tune(self, problems: pa.RecordBatch, settings: SFTStage) -> list[SFTStep]:
        """Supervised fine-tuning on the problems' references; the result is the first version and PPO's reference."""
        examples = sft.references(from_batch(Problem, problems), settings.references)
        with self._recorder.span("fine-tune", len(examples)), saving_batch(self._run_dir):
            history = sft.train(
                self._model, self._tokenizer, examples, settings, self._seed, learning=self._learning
            )
        self._version = SFT_VERSION
        self._probe = parity.choose([encode(self._tokenizer, each.prompt, each.completion) for each in examples])
        self._start_ppo()
        return history

    def learn(self, batches: list[tuple[ray.ObjectRef, ray.ObjectRef, ray.ObjectRef]]) -> PolicyProgress:
        """One PPO step on (candidates, verdicts, scores) of whole groups. Raises `TrainingStopped`."""
        assert self._trainer is not None, "fine_tune or restore comes first"
        candidates: list[Candidate] = []
        verdicts: list[Verdict] = []
        scores: list[Score] = []
        for references in batches:
            tables = ray.get(list(references))
            candidates += from_batch(Candidate, tables[0])
            verdicts += from_batch(Verdict, tables[1])
            scores += from_batch(Score, tables[2])
        with self._recorder.span("train policy", len(candidates)), saving_batch(self._run_dir):
            rewards = self._shaper.rewards(verdicts, scores)
            rollouts = [
                Rollout(
                    TokenSequence(candidate.prompt_token_ids, candidate.token_ids),
                    candidate.log_probs,
                    reward,
                    verdict.status == "passed",
                )
                for candidate, verdict, reward in zip(candidates, verdicts, rewards, strict=True)
            ]
            step = self._trainer.step(rollouts)
            self._probe = parity.choose([rollout.sequence for rollout in rollouts])
        lags = [self._version - version for candidate in candidates for version in candidate.policy_versions]
        samples_by_lag = Counter(
            self._version - min(candidate.policy_versions, default=self._version) for candidate in candidates
        )
        self._version += 1
        self._steps += 1
        versions = tuple(sorted({score.reward_version for score in scores}))
        mean_lag = sum(lags) / len(lags)
        return PolicyProgress(self._version, self._steps, mean_lag, max(lags), samples_by_lag, versions, step)

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    def weights(self) -> tuple[int, Packed]:
        """The newest version, with a probe; once there are adapters, what they add to `base`."""
        noted = {delta.VERSION: str(self._version)}
        if self._trainer is None:
            return self._version, packing.pack(self._model.state_dict(), noted)
        noted |= parity.Probe.of(self._probe, self._trainer.log_probs(self._probe)).metadata()
        if self._learning.lora is None:
            return self._version, packing.pack(self._trainer.weights(), noted)
        return self._version, delta.pack(self._trainer.engine.products("policy"), SFT_VERSION, noted)

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    def base(self) -> tuple[int, Packed]:
        """The version that adapters were put into. It never changes."""
        assert self._trainer is not None, "fine_tune or restore comes first"
        return SFT_VERSION, packing.pack(self._trainer.engine.base("policy"), {delta.VERSION: str(SFT_VERSION)})

    def save(self, model_folder: Path, checkpoint: Path, position: int) -> None:
        """A model folder that others can load, and the state that this actor continues from.

        `position` is the number of the first batch that it was not trained on.
        """
        assert self._trainer is not None, "fine_tune or restore comes first"
        weights = self._trainer.weights()
        if not processes.rank():
            with checkpoints.replacing(model_folder) as folder:
                self._model.save_pretrained(folder, state_dict=weights)
                self._tokenizer.save_pretrained(folder)
        state = {
            "trainer": self._trainer.state_dict(), "version": self._version, "steps": self._steps,
            "shaper": self._shaper, "position": position, "probe": self._probe,
        }  # fmt: skip
        processes.save(state, checkpoint, self._trainer.engine.divided)

    def restore(self, checkpoint: Path) -> tuple[int, int]:
        """Continue from a state that this class saved. Returns the number of PPO steps done, and the position."""
        self._start_ppo()
        assert self._trainer is not None
        state = processes.load(checkpoint, self._trainer.engine.divided)
        self._version, self._steps, self._shaper = state["version"], state["steps"], state["shaper"]
        self._probe = state["probe"]
        self._trainer.load_state_dict(state["trainer"])
        return self._steps, state["position"]

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def drain(self) -> Drained:
        return self._recorder.drain()

    def _start_ppo(self) -> None:
        self._trainer = PolicyTrainer(
            self._model, self._settings, self._temperature, self._seed, self._learning
        )
