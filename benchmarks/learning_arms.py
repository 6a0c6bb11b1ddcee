"""The arms of the benchmark of learning: our trainers and TRL's, each in a process of its own, a step at a time.

TRL's trainers run whole, through `train()`: a callback holds them between two steps. Of `PPOTrainer` two functions are
replaced, so that it learns from the same programs and rewards as ours:

- `generate`, which samples from the policy, returns the given completions and the policy's logits at them, from one
  forward pass (TRL takes log-probabilities from the logits of sampling); `batch_generation` around it stays;
- `get_reward` answers for the reward model with the given rewards, and is itself for the critic.

Its batches come through `data_collator`, in our order. It makes 4 updates with minibatches of a quarter each: one
process, no accumulation, `num_mini_batches` 4, one epoch. Rollouts are measured in parts as large as a minibatch.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks import learning_data as data
from benchmarks.learning_data import MINIBATCHES, Case
from roles import trunk
from roles.engines import LearningSettings
from roles.optimisation import OptimiserSettings
from roles.policy.kl import KLSettings
from roles.policy.trainer import PolicyTrainer, PPOSettings, Rollout
from roles.reward.model import RewardModel
from roles.reward.trainer import RewardTrainer

RATE, BETAS = 1e-6, (0.9, 0.98)
TOKENS_PER_BATCH = 1 << 20  # a batch, or a minibatch, is one backward pass in both arms
MATMULS = {"cpu": (2048, 4), "cuda": (8192, 40)}  # size and number


@dataclasses.dataclass(frozen=True)
class Work:
    """What an arm is to do: `steps` of them, the first of which nobody counts."""

    case: Case
    device: str
    steps: int
    grouped: bool = False

    @property
    def learning(self) -> LearningSettings:
        return LearningSettings(
            dtype="float32" if self.device == "cpu" else "bfloat16", gradient_checkpointing=self.case.low_memory
        )


@dataclasses.dataclass(frozen=True)
class Measured:
    seconds: float
    processor: float  # seconds of all its threads
    peak: int  # bytes so far beyond those before the first step


class Turns:
    """Between steps the other arms have the machine."""

    def __init__(self, connection: Connection, device: str, steps: int) -> None:
        self._connection, self._cuda, self._left = connection, device == "cuda", steps

    def ready(self) -> None:
        """Before the first step."""
        self._before = _forget_peak(self._cuda)
        self._connection.send("ready")
        self._wait()

    def done(self) -> None:
        """After a step."""
        if self._cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self._began
        processor = time.process_time() - self._worked
        self._connection.send(Measured(seconds, processor, _peak(self._cuda) - self._before))
        self._left -= 1
        if self._left:
            self._wait()

    def _wait(self) -> None:
        self._connection.recv()
        self._began, self._worked = time.perf_counter(), time.process_time()


def run(arm: str, work: Work, threads: int, connection: Connection) -> None:
    """The life of an arm's process. What goes wrong is told to the other end as a text."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            ARMS[arm](work, Turns(connection, work.device, work.steps))
    except BaseException:
        connection.send(traceback.format_exc())
        raise


def _matmul(work: Work, turns: Turns) -> None:
    size, number = MATMULS[work.device]
    kind = torch.float32 if work.device == "cpu" else torch.bfloat16
    left, right = torch.randn(2, size, size, device=work.device).to(kind)
    turns.ready()
    for _ in range(work.steps):
        for _ in range(number):
            left @ right
        turns.done()


def _ours_reward(work: Work, turns: Turns) -> None:
    model = RewardModel("scalar", data.classifier(work.case.name, work.device))
    settings = OptimiserSettings(learning_rate=RATE, betas=BETAS)
    trainer = RewardTrainer(model, settings, TOKENS_PER_BATCH, learning=work.learning)
    batches = data.pair_batches(work.case, model.trunk.config.vocab_size, work.steps, work.grouped)
    turns.ready()
    for batch in batches:
        trainer.step(batch)
        turns.done()


def _ours_ppo(work: Work, turns: Turns, critic: str) -> None:
    model = data.causal(work.case.name, work.device)
    settings = PPOSettings(
        learning_rate=RATE, betas=BETAS, updates_per_step=MINIBATCHES, tokens_per_batch=TOKENS_PER_BATCH,
        critic=critic, gae_lambda=0.95, value_clip=0.2, kl=KLSettings(place="reward", estimator="k1"),
    )  # fmt: skip
    trainer = PolicyTrainer(model, settings, temperature=1.0, learning=work.learning)
    empty = data.rollout_batches(work.case, model.config.vocab_size, work.steps, work.grouped)
    batches = [[_sampled(model, rollout, work.device) for rollout in batch] for batch in empty]
    turns.ready()
    for number, batch in enumerate(batches, start=1):
        trainer.step(batch)
        turns.done()
        if trainer.engine.steps != MINIBATCHES * number:
            raise RuntimeError(f"{trainer.engine.steps} updates in {number} steps; TRL makes {MINIBATCHES} a step")


@torch.no_grad()
def _sampled(model: Any, rollout: Rollout, device: str) -> Rollout:
    """With the log-probabilities that the engine that samples would have handed over."""
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        completions = trunk.forward(model.base_model, [rollout.sequence])
        found = completions.log_probs(model.get_output_embeddings())
    return dataclasses.replace(rollout, log_probs=tuple(found[0].tolist()))


def _trl_reward(work: Work, turns: Turns) -> None:
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    model = data.classifier(work.case.name, work.device)
    batches = data.pair_batches(work.case, model.config.vocab_size, work.steps, work.grouped)
    rows = [
        {f"{name}_ids": group.programs[index].prompt + group.programs[index].completion
         for name, index in zip(("chosen", "rejected"), pair, strict=True)}
        for batch in batches for group in batch for pair in group.pairs
    ]  # fmt: skip
    pairs = sum(len(group.pairs) for group in batches[0])
    passes = -(-pairs // work.case.pairs) if work.grouped else 1  # as many pairs at a time as without groups
    with tempfile.TemporaryDirectory() as folder:
        arguments = RewardConfig(
            **_arguments(work, folder), per_device_train_batch_size=pairs // passes,
            gradient_accumulation_steps=passes, max_steps=work.steps, max_length=None,
            train_sampling_strategy="sequential",
        )  # fmt: skip
        trainer = RewardTrainer(
            model, arguments, train_dataset=Dataset.from_list(rows), processing_class=data.tokenizer(),
            callbacks=[_held(turns)],
        )  # fmt: skip
        trainer.train()


def _trl_ppo(work: Work, turns: Turns) -> None:
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from datasets import Dataset
    from transformers import DataCollatorWithPadding
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    name, device = work.case.name, work.device
    policy, reference = data.causal(name, device), data.causal(name, device)
    critic = data.classifier(name, device)
    if work.case.low_memory:  # of which PPOTrainer's own setting makes nothing
        policy.gradient_checkpointing_enable()
        critic.gradient_checkpointing_enable()
    judge = torch.nn.Linear(1, 1)
    tokenizer = data.tokenizer()
    batches = iter(data.rollout_batches(work.case, policy.config.vocab_size, work.steps, work.grouped))
    given: deque[Rollout] = deque()  # of which the completions are still to be asked for
    rewards: deque[float] = deque()
    pad = DataCollatorWithPadding(tokenizer)

    def collate(_: list[Any]) -> Any:
        batch = next(batches)
        given.extend(batch)
        rewards.extend(rollout.reward for rollout in batch)
        return pad([{"input_ids": list(rollout.sequence.prompt)} for rollout in batch])

    def generate(model: Any, queries: Any, pad_token_id: int, _: Any) -> tuple[Any, Any]:
        completions = [given.popleft().sequence.completion for _ in range(len(queries))]
        rows = [torch.tensor(completion, device=device) for completion in completions]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=data.PAD)
        both = torch.cat([queries, ids], dim=1)
        logits = ppo_trainer.forward(model, both, pad_token_id).logits[:, queries.shape[1] - 1 : -1]
        return both, logits

    def get_reward(model: Any, ids: Any, *rest: Any) -> Any:
        if model is not trainer.reward_model:
            return own_get_reward(model, ids, *rest)
        return None, torch.tensor([rewards.popleft() for _ in range(len(ids))], device=device), None

    own_get_reward = ppo_trainer.get_reward
    ppo_trainer.generate, ppo_trainer.get_reward = generate, get_reward
    size = work.case.rollouts
    with tempfile.TemporaryDirectory() as folder:
        arguments = PPOConfig(
            **_arguments(work, folder), per_device_train_batch_size=size, gradient_accumulation_steps=1,
            num_mini_batches=MINIBATCHES, num_ppo_epochs=1, total_episodes=size * work.steps,
            local_rollout_forward_batch_size=size // MINIBATCHES, num_sample_generations=0, temperature=1.0,
        )  # fmt: skip
        trainer = PPOTrainer(
            arguments, tokenizer, policy, reference, judge, Dataset.from_dict({"input_ids": [[0]] * size * work.steps}),
            critic, data_collator=collate, callbacks=[_held(turns)],
        )  # fmt: skip
        # PPOTrainer casts nothing but the training pass: the rest would be slower than it need be.
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            trainer.train()


def _arguments(work: Work, folder: str) -> dict[str, Any]:
    """What both trainers of TRL are told."""
    return {
        "output_dir": folder, "learning_rate": RATE, "lr_scheduler_type": "constant", "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1], "bf16": work.device == "cuda", "use_cpu": work.device == "cpu",
        "gradient_checkpointing": work.case.low_memory, "report_to": "none", "save_strategy": "no",
        "logging_strategy": "no", "disable_tqdm": True, "dataloader_pin_memory": False,
    }  # fmt: skip


def _held(turns: Turns) -> Any:
    """A callback that ends every step, and holds the trainer until the next."""
    from transformers import TrainerCallback

    class Held(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            turns.ready()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.done()

    return Held()


def _forget_peak(cuda: bool) -> int:
    """Bytes in use, from which peaks are counted from now on."""
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def _peak(cuda: bool) -> int:
    return torch.cuda.max_memory_allocated() if cuda else _resident("VmHWM")


def _resident(field: str) -> int:
    lines: Iterator[str] = iter(Path("/proc/self/status").read_text().splitlines())
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


ARMS: dict[str, Callable[[Work, Turns], None]] = {
    "matmul": _matmul,
    "reward": _ours_reward,
    "reward, TRL": _trl_reward,
    "ppo": lambda work, turns: _ours_ppo(work, turns, "trunk"),
    "ppo, head": lambda work, turns: _ours_ppo(work, turns, "head"),
    "ppo, TRL": _trl_ppo,
}
