"""Small learners over a random model, with data of their own: what tests of engines run."""

from __future__ import annotations

import copy
import dataclasses
import functools
import random
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from roles.engines import LearningSettings
from roles.optimisation import OptimiserSettings
from roles.policy.trainer import PolicyTrainer, PPOSettings, Rollout
from roles.reward.model import Head, RewardModel
from roles.reward.trainer import PairGroup, RewardTrainer
from roles.sequences import TokenSequence
from roles.tuning import sft
from roles.tuning.sft import SFTSettings
from tests.learning.padded import pad, token_log_probs

VOCABULARY = 64


def causal(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True, pad_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def sequence(rng: random.Random, prompt: tuple[int, ...]) -> TokenSequence:
    return TokenSequence(prompt, tuple(rng.randrange(3, VOCABULARY) for _ in range(rng.randrange(2, 9))))


def prompt(rng: random.Random) -> tuple[int, ...]:
    return tuple(rng.randrange(3, VOCABULARY) for _ in range(rng.randrange(2, 7)))


@torch.no_grad()
def log_probs(model: Any, sequences: list[TokenSequence]) -> list[tuple[float, ...]]:
    batch = pad(sequences, 0)
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    found = token_log_probs(logits, batch.input_ids)
    return [tuple(row[mask].tolist()) for row, mask in zip(found, batch.completion_mask, strict=True)]


def rollouts(seed: int = 0, prompts: int = 5, samples: int = 3) -> list[Rollout]:
    """Random completions with the log-probabilities of `causal()`, and random rewards, the better half passed."""
    rng = random.Random(seed)
    sequences = [sequence(rng, shared) for shared in (prompt(rng) for _ in range(prompts)) for _ in range(samples)]
    found = log_probs(causal(), sequences)
    rewards = [rng.random() for _ in sequences]
    return [Rollout(s, p, r, r > 0.5) for s, p, r in zip(sequences, found, rewards, strict=True)]


PPO = PPOSettings(learning_rate=3e-3, updates_per_step=2, tokens_per_batch=40, warmup_steps=3)


def policy_trainer(learning: LearningSettings, settings: PPOSettings = PPO, seed: int = 0) -> PolicyTrainer:
    return PolicyTrainer(causal(seed), settings, temperature=1.0, learning=learning)


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    """Of steps field by field, of weights name by name."""
    if dataclasses.is_dataclass(found):
        found, expected = (
            {name: torch.tensor(value, dtype=torch.float32) for name, value in vars(one).items() if value is not None}
            for one in (found, expected)
        )
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            found[name], expected[name], atol=tolerance, rtol=tolerance, msg=functools.partial("{}: {}".format, name)
        )


def with_reward(rollout: Rollout, reward: float) -> Rollout:
    return dataclasses.replace(rollout, reward=reward)


def _policy(learning: LearningSettings, **settings: Any) -> tuple[list[Any], dict[str, torch.Tensor]]:
    trainer = policy_trainer(learning, PPO.model_copy(update=settings))
    return [trainer.step(rollouts(seed)) for seed in range(2)], trainer.weights()


def _sft(learning: LearningSettings) -> tuple[list[Any], dict[str, torch.Tensor]]:
    model = causal()
    rng = random.Random(0)
    sequences = [sequence(rng, prompt(rng)) for _ in range(13)]
    settings = SFTSettings(learning_rate=3e-3, epochs=1, tokens_per_step=50, warmup_steps=3, schedule="linear")
    history = sft.train_sequences(model, sequences, settings, learning=learning)
    return history, model.state_dict()


def groups(seed: int = 0, count: int = 5) -> list[PairGroup]:
    rng = random.Random(seed)
    prompts = [prompt(rng) for _ in range(count)]
    return [PairGroup(str(p), tuple(sequence(rng, p) for _ in range(3)), ((0, 1), (2, 1))) for p in prompts]


def reward_trainer(
    learning: LearningSettings, head: Head, seed: int = 0, reference: bool = False
) -> RewardTrainer:
    trunk = causal(seed)
    if head == "scalar":
        config = copy.deepcopy(trunk.config)
        config.num_labels = 1
        classifier = LlamaForSequenceClassification(config)
        classifier.model.load_state_dict(trunk.model.state_dict())
        trunk = classifier
    settings = OptimiserSettings(learning_rate=3e-3, warmup_steps=3)
    model = RewardModel(head, trunk, copy.deepcopy(trunk) if reference else None)
    return RewardTrainer(model, settings, 60, learning=learning)


def plain_reward(model: RewardModel, sequence: TokenSequence) -> tuple[torch.Tensor, torch.Tensor | float]:
    """Reward and mean log-probability of one sequence, through transformers' own forward pass over the full softmax."""
    ids = torch.tensor([[*sequence.prompt, *sequence.completion]])
    output = model.trunk(input_ids=ids, output_hidden_states=True)
    last = output.hidden_states[-1][0, -1]
    if model.head == "scalar":
        return model.trunk.score(last)[0], 0.0

    def mean(logits: torch.Tensor) -> torch.Tensor:
        log_probs = torch.log_softmax(logits[0], dim=-1)
        return torch.stack([log_probs[t - 1, ids[0, t]] for t in range(len(sequence.prompt), ids.shape[1])]).mean()

    gain = log_prob = mean(output.logits)
    if model.reference is not None:
        gain = log_prob - mean(model.reference(input_ids=ids).logits).detach()
    return model.scale[0] * gain + model.scalar(last)[0], log_prob


def _reward(
    learning: LearningSettings, head: Head, reference: bool = False
) -> tuple[list[Any], dict[str, torch.Tensor]]:
    trainer = reward_trainer(learning, head, reference=reference)
    return [trainer.step(groups(seed)) for seed in range(2)], trainer.weights()


LEARNERS = {
    "sft": _sft,
    "policy": _policy,
    "policy with a trunk for its critic": lambda learning: _policy(learning, critic="trunk"),
    "policy on what passed": lambda learning: _policy(learning, advantages="passing"),
    "likelihood reward": lambda learning: _reward(learning, "likelihood"),
    "likelihood reward with reference": lambda learning: _reward(learning, "likelihood", reference=True),
    "scalar reward": lambda learning: _reward(learning, "scalar"),
}


def everything(learning: LearningSettings) -> dict[str, tuple[list[Any], dict[str, torch.Tensor]]]:
    """Of each learner its steps, and the weights at the end."""
    return {name: learner(learning) for name, learner in LEARNERS.items()}
