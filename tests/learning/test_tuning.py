"""Supervised fine-tuning, and the sequences all learners share."""

import random

import pytest
import torch

from roles.records import Candidate, Problem
from roles.sequences import TokenSequence, encode, encode_candidate, pad, token_budget_batches, token_log_probs
from roles.tuning import sft
from roles.tuning.sft import Example, SFTSettings
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_model(tmp_path_factory.mktemp("base")))


def test_fine_tuning_teaches_the_completion(folder):
    model, tokenizer = sft.pretrained(folder)
    examples = [Example("def f(a, b):\n", f"    return a + {i % 3}\n") for i in range(12)]
    history = sft.train(model, tokenizer, examples, SFTSettings(epochs=20, learning_rate=5e-3, tokens_per_step=256))
    assert history[-1].loss < 0.3 * history[0].loss


def test_the_prompt_is_masked_and_the_end_token_is_not(folder):
    _, tokenizer = sft.pretrained(folder)
    sequence = encode(tokenizer, "def f():\n", "    return 1\n")
    batch = pad([sequence], tokenizer.pad_token_id)
    masked = batch.input_ids[batch.completion_mask].tolist()
    assert masked == list(sequence.completion)
    assert masked[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(masked[:-1]) == "    return 1\n"


def test_log_probabilities_equal_a_plain_softmax():
    torch.manual_seed(0)
    logits, ids = torch.randn(2, 5, 11), torch.randint(11, (2, 5))
    found = token_log_probs(logits, ids, temperature=0.7)
    for row in range(2):
        for t in range(1, 5):
            expected = torch.log_softmax(logits[row, t - 1] / 0.7, dim=0)[ids[row, t]]
            torch.testing.assert_close(found[row, t], expected)
    assert found[:, 0].abs().sum() == 0


def test_batches_hold_every_index_once_within_the_budget():
    lengths = [random.Random(0).randrange(1, 60) for _ in range(200)] + [500]
    batches = token_budget_batches(lengths, 256, random.Random(1))
    assert sorted(index for batch in batches for index in batch) == list(range(201))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 256 for b in batches)


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
