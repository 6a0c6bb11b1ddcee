"""Supervised fine-tuning, and the sequences all learners share."""

import random

import pytest
import torch

from roles.records import Candidate, Problem
from roles.sequences import TokenSequence, encode, encode_candidate, fill
from roles.tuning import sft
from roles.tuning.sft import Example, SFTSettings
from tests.learning.learners import causal
from tests.learning.padded import pad, token_log_probs
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_model(tmp_path_factory.mktemp("base")))


def test_fine_tuning_teaches_the_completion(folder):
    model, tokenizer = sft.pretrained(folder)
    examples = [Example("def f(a, b):\n", f"    return a + {i % 3}\n") for i in range(12)]
    history = sft.train(model, tokenizer, examples, SFTSettings(epochs=20, learning_rate=5e-3, tokens_per_step=256))
    assert history[-1].loss < 0.3 * history[0].loss


def sequences(seed: int, prompts: int, vocabulary: int = 60) -> list[TokenSequence]:
    """Completions that repeat the prompt's last token, and a second reference for each that differs in length."""
    rng = random.Random(seed)
    found = []
    for _ in range(prompts):
        prompt = tuple(rng.randrange(3, vocabulary) for _ in range(4))
        found += [TokenSequence(prompt, (prompt[-1],) * length) for length in (2, 3)]
    return found


def test_training_ends_when_validation_gets_no_better_and_keeps_the_best_weights():
    """Random completions cannot be learnt from other prompts, only by heart."""
    rng = random.Random(0)
    noise = [TokenSequence(s.prompt, tuple(rng.randrange(3, 60) for _ in range(5))) for s in sequences(0, 12)]
    settings = SFTSettings(learning_rate=1e-2, epochs=30, tokens_per_step=40, validation=0.25, patience=2)
    model = causal()
    history = sft.train_sequences(model, noise, settings, seed=3)
    losses = [step.validation_loss for step in history if step.validation_loss is not None]
    assert len(losses) < 30
    assert losses.index(min(losses)) == len(losses) - 3
    stopped = sft.train_sequences(causal(), noise, settings.model_copy(update={"epochs": len(losses) - 2}), seed=3)
    assert stopped[-1].validation_loss == min(losses)
    again = causal()
    sft.train_sequences(again, noise, settings.model_copy(update={"epochs": len(losses) - 2}), seed=3)
    for name, weight in again.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, atol=0, rtol=0)


def test_validation_holds_out_whole_prompts():
    given = sequences(0, 10)
    training, held_out = sft._split(given, 0.3, random.Random(0))
    assert len({s.prompt for s in held_out}) == 3
    assert not {s.prompt for s in held_out} & {s.prompt for s in training}
    assert len(training) + len(held_out) == len(given)
    with pytest.raises(ValueError, match=r"validation = 0\.99: holds out all 10 prompts"):
        sft._split(given, 0.99, random.Random(0))
    with pytest.raises(ValueError, match="no examples"):
        sft._split([], 0.0, random.Random(0))


def test_the_size_of_a_forward_pass_changes_nothing():
    outcomes = []
    for tokens in (10_000, 15):
        model = causal()
        settings = SFTSettings(learning_rate=1e-3, epochs=2, tokens_per_step=60, tokens_per_batch=tokens)
        history = sft.train_sequences(model, sequences(1, 10), settings)
        outcomes.append(([step.loss for step in history], model.state_dict()))
    (whole, weights), (parts, weights_of_parts) = outcomes
    assert whole == pytest.approx(parts, abs=1e-5)
    for name in weights:
        torch.testing.assert_close(weights_of_parts[name], weights[name], atol=1e-5, rtol=1e-4)


def test_the_loss_is_that_of_the_completion_with_its_end_token_and_not_of_the_prompt(folder):
    model, tokenizer = sft.pretrained(folder)
    sequence = encode(tokenizer, "def f():\n", "    return 1\n")
    assert sequence.completion[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(sequence.completion[:-1]) == "    return 1\n"
    batch = pad([sequence], 0)
    log_probs = token_log_probs(model(input_ids=batch.input_ids).logits, batch.input_ids)[0, len(sequence.prompt) :]
    history = sft.train_sequences(model, [sequence], SFTSettings(epochs=1))
    assert history[0].loss == pytest.approx(-log_probs.mean().item(), abs=1e-5)


def test_parts_are_consecutive_and_within_the_budget():
    assert fill([3, 4, 2, 9, 1, 1], 7) == [[0, 1], [2], [3], [4, 5]]
    assert fill([], 7) == []


def test_a_candidate_is_encoded_by_its_text_alone(folder):
    _, tokenizer = sft.pretrained(folder)
    problem = Problem("p", "s", "test", "python", "def f():\n", "f", ())
    candidate = Candidate("c", "p", "g", "def f():\n    return 1\n", token_ids=(9, 9))
    assert encode_candidate(tokenizer, problem, candidate) == encode(tokenizer, "def f():\n", "    return 1\n")


def test_lone_surrogates_are_encoded(folder):
    _, tokenizer = sft.pretrained(folder)
    assert isinstance(encode(tokenizer, "\ud800", "x"), TokenSequence)


def test_an_unreadable_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="is not a readable transformers model folder"):
        sft.pretrained(str(tmp_path))
