"""What the benchmark of learning trains: models, batches of random tokens in mixed lengths, and the work in a step.

Lengths are drawn as `low + (high - low) * Beta(a, b)`, which leans to short ones as programs do; the end token is part
of a completion:

                      prompt                          completion
    pocket            30 to 120, Beta(1.5, 3)         10 to 96, Beta(1.5, 2.5)
    all other models  50 to 300, Beta(1.5, 4)         20 to 400, Beta(1.2, 4)
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from roles.config import POCKET_BASE
from roles.policy.trainer import Rollout
from roles.reward.trainer import PairGroup
from roles.sequences import TokenSequence

PAD, END, FIRST = 0, 2, 3  # token ids of the random models, and the first that stands for text

Lengths = tuple[int, int, float, float]  # low, high, a, b


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and how much of it is trained on in a step."""

    name: str
    pairs: int  # of a reward step, each of a problem of its own
    problems: int  # of a reward step with 4 x 4 pairs of each
    rollouts: int  # of a PPO step, cut into 4 minibatches
    prompt: Lengths = (50, 300, 1.5, 4.0)
    completion: Lengths = (20, 400, 1.2, 4.0)
    low_memory: bool = False  # both arms compute layers again for the gradient
    threads: int | None = None  # of each arm; none: one for each core


_CASES = (
    Case("pocket", pairs=16, problems=4, rollouts=32, prompt=(30, 120, 1.5, 3.0), completion=(10, 96, 1.5, 2.5),
         threads=1),  # as a run trains it: a second one makes steps of so small a model slower, in both arms
    Case("llama-135m", pairs=4, problems=1, rollouts=8),
    Case("llama-1.3b", pairs=32, problems=4, rollouts=64, low_memory=True),
)
_SHAPES: dict[str, dict[str, int]] = {
    "llama-135m": {
        "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "intermediate_size": 1536, "vocab_size": 49152,
    },
    "llama-1.3b": {
        "hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 16,
        "intermediate_size": 5504, "vocab_size": 32000,
    },
}  # fmt: skip
SAMPLES = 4  # passing, and as many failing programs, of a problem that gives several pairs; also samples of a prompt
MINIBATCHES = 4  # of a PPO step; samples of a prompt are all in one


def case(name: str) -> Case:
    """Of a model known by name, or of a folder of transformers."""
    return next((known for known in _CASES if known.name == name), Case(name, pairs=4, problems=1, rollouts=8))


def config(name: str) -> Any:
    from transformers import AutoConfig, LlamaConfig

    if name not in _SHAPES:
        return AutoConfig.from_pretrained(POCKET_BASE if name == "pocket" else name)
    return LlamaConfig(
        **_SHAPES[name], max_position_embeddings=2048, tie_word_embeddings=True, pad_token_id=PAD, bos_token_id=1,
        eos_token_id=END,
    )  # fmt: skip


def causal(name: str, device: str) -> Any:
    """The model in float32; where it is random, the same one in every process."""
    from transformers import AutoModelForCausalLM

    return _model(AutoModelForCausalLM, name, device)


def classifier(name: str, device: str) -> Any:
    """The same with one label in place of the output layer."""
    from transformers import AutoModelForSequenceClassification

    model = _model(AutoModelForSequenceClassification, name, device, num_labels=1)
    model.config.pad_token_id = PAD
    return model


def _model(kind: Any, name: str, device: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    if name in _SHAPES:
        own = config(name)
        for key, value in changes.items():
            setattr(own, key, value)
        return kind.from_config(own, dtype=torch.float32).to(device)
    folder = POCKET_BASE if name == "pocket" else name
    return kind.from_pretrained(folder, dtype=torch.float32, **changes).to(device)


def tokenizer() -> Any:
    """Pads with the right token, on the left; nothing else is asked of it, since all data are token ids."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": PAD, "<unk>": 1, "<eos>": END}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>")), pad_token="<pad>",
        unk_token="<unk>", eos_token="<eos>", padding_side="left",
    )  # fmt: skip


def pair_batches(chosen: Case, vocabulary: int, count: int, grouped: bool) -> list[list[PairGroup]]:
    """`count` batches; the pair of a problem, or all that its `SAMPLES` passing and failing programs make."""
    rng = random.Random(f"pairs {grouped}")
    programs = SAMPLES if grouped else 1
    pairs = tuple((passing, programs + failing) for passing in range(programs) for failing in range(programs))
    return [
        [
            PairGroup(str(number), tuple(_samples(chosen, vocabulary, 2 * programs, rng)), pairs)
            for number in range(chosen.problems if grouped else chosen.pairs)
        ]
        for _ in range(count)
    ]


def rollout_batches(chosen: Case, vocabulary: int, count: int, grouped: bool) -> list[list[Rollout]]:
    """`count` batches with one completion, or up to `SAMPLES`, of each prompt; log-probabilities are left open."""
    rng = random.Random(f"rollouts {grouped}")
    samples = min(SAMPLES, chosen.rollouts // MINIBATCHES) if grouped else 1
    return [
        [
            Rollout(sequence, (), rng.gauss(0.0, 1.0))
            for _ in range(chosen.rollouts // samples)
            for sequence in _samples(chosen, vocabulary, samples, rng)
        ]
        for _ in range(count)
    ]


def _samples(chosen: Case, vocabulary: int, count: int, rng: random.Random) -> Iterator[TokenSequence]:
    """`count` completions of one prompt."""

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(rng.randrange(FIRST, vocabulary) for _ in range(length))

    prompt = tokens(_length(chosen.prompt, rng))
    for _ in range(count):
        yield TokenSequence(prompt, (*tokens(_length(chosen.completion, rng) - 1), END))


def _length(lengths: Lengths, rng: random.Random) -> int:
    low, high, a, b = lengths
    return round(low + (high - low) * rng.betavariate(a, b))


def forward_operations(shape: Any, sequences: Sequence[TokenSequence], logits: bool) -> float:
    """Floating-point operations that a forward pass cannot do without.

    `2 * N * tokens + 2 * V * H * completion tokens + 4 * L * A * pairs`: N weights of the L layers' linear maps, each
    distinct prompt computed once, logits (V by H, where there are any) for completion tokens only, and products of A
    wide queries and values with the `pairs` of a token and one not after it. A backward pass costs twice as much.
    """
    width = shape.num_attention_heads * (getattr(shape, "head_dim", None) or _head(shape))
    keys = shape.num_key_value_heads * width // shape.num_attention_heads
    hidden, layers = shape.hidden_size, shape.num_hidden_layers
    weights = layers * (2 * hidden * width + 2 * hidden * keys + 3 * hidden * shape.intermediate_size)
    prompts = [len(prompt) for prompt in {sequence.prompt for sequence in sequences}]
    completions = [(len(sequence.prompt), len(sequence.completion)) for sequence in sequences]
    own = sum(length for _, length in completions)
    pairs = sum(n * (n + 1) / 2 for n in prompts) + sum(n * before + n * (n + 1) / 2 for before, n in completions)
    operations = 2.0 * weights * (sum(prompts) + own) + 4.0 * layers * width * pairs
    return operations + (2.0 * shape.vocab_size * hidden * own if logits else 0.0)


def _head(shape: Any) -> int:
    return int(shape.hidden_size // shape.num_attention_heads)


def _reward_step(shape: Any, sequences: Sequence[TokenSequence]) -> float:
    return 3.0 * forward_operations(shape, sequences, logits=False)


def _ppo_step(shape: Any, sequences: Sequence[TokenSequence]) -> float:
    """The policy forward, forward again and backward; the reference forward."""
    return 5.0 * forward_operations(shape, sequences, logits=True)


def _ppo_step_with_critic(shape: Any, sequences: Sequence[TokenSequence]) -> float:
    """The same, and the critic's trunk forward, forward again and backward."""
    return _ppo_step(shape, sequences) + 4.0 * forward_operations(shape, sequences, logits=False)


# Of a step of each of our arms. Nothing counts twice because it is computed twice.
OPERATIONS = {"reward": _reward_step, "ppo": _ppo_step_with_critic, "ppo, head": _ppo_step}
