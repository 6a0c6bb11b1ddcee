"""The reward model: heads, reference, padding, publication, files."""

import random

import pytest
import torch
from learners import plain_reward
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from roles import weights
from roles.records import Candidate, Problem
from roles.reward import model as reward_model
from roles.reward.scoring import score
from roles.sequences import TokenSequence, encode_candidate
from tests.tiny import tiny_model

KINDS = {"scalar": ("scalar", False), "likelihood": ("likelihood", False), "with reference": ("likelihood", True)}


def changed(kind, folder) -> reward_model.RewardModel:
    """A reward model whose weights, but for the reference, are no longer those of `folder`."""
    head, reference = kind
    torch.manual_seed(1)
    model, _ = reward_model.create(head, folder, reference=reference)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_model(tmp_path_factory.mktemp("base")))


SEQUENCES = [TokenSequence((3, 4), (5, 6, 2)), TokenSequence((3,), (9, 9, 9, 2))]


def test_a_published_version_scores_as_the_learner_does(kind, folder):
    head, reference = kind
    learner = changed(kind, folder)
    scorer, _ = reward_model.create(head, folder, reference=reference)
    expected = score(learner, SEQUENCES, 512)
    assert score(scorer, SEQUENCES, 512) != expected
    scorer.load_weights(weights.unpack(weights.pack(learner.state_dict())))
    assert score(scorer, SEQUENCES, 512) == expected


def test_against_its_reference_a_model_has_no_preference_before_it_learns(folder, tmp_path):
    other = AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path, seed=5)).state_dict()
    model, _ = reward_model.create("likelihood", folder, reference=True)
    for policy in (None, other):
        if policy is not None:
            model.initialise_trunk(policy)
        assert score(model, SEQUENCES, 512) == [0.0, 0.0]


def test_the_reference_is_not_trained(folder):
    model = changed(("likelihood", True), folder)
    model.train()
    model(SEQUENCES)[0].sum().backward()
    assert not model.reference.training
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith("reference."), name


def test_a_scalar_head_has_no_reference(folder):
    with pytest.raises(ValueError, match="a scalar head has no log-probability"):
        reward_model.create("scalar", folder, reference=True)


def test_neither_padding_nor_batch_mates_nor_a_shared_prompt_change_a_reward_or_its_gradient(kind, folder):
    rng = random.Random(3)
    model = changed(kind, folder)
    prompts = [tuple(rng.randrange(20, 200) for _ in range(length)) for length in (3, 9, 5)]
    sequences = [
        TokenSequence(prompt, (*(rng.randrange(20, 200) for _ in range(rng.randrange(1, 12))), 2))
        for prompt in prompts
        for _ in range(4)
    ]
    plain = torch.stack([plain_reward(model, sequence)[0] for sequence in sequences])
    plain.square().sum().backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    expected = {name: parameter.grad.clone() for name, parameter in trained.items()}
    model.zero_grad()
    together = model(sequences)[0]
    together.square().sum().backward()
    torch.testing.assert_close(together, plain, atol=1e-4, rtol=1e-4)
    for name, parameter in trained.items():
        assert (parameter.grad - expected[name]).abs().max() < 1e-4 * expected[name].abs().max(), name
    for budget in (4, 30, 1000):
        assert score(model, [*sequences, sequences[0]], budget) == pytest.approx(
            [*plain.tolist(), plain[0].item()], abs=1e-4
        )


@pytest.mark.parametrize("ids", [(7, 8, 2), (7, 8), ()], ids=["ended", "cut off", "judged from a file"])
def test_how_a_program_was_sampled_does_not_change_what_is_scored(ids, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    problem = Problem("p", "tiny", "test", "python", "def f(a, b):\n", "f", ())
    candidate = Candidate("a", "p", "g", problem.prompt + "    return a\n", (3,), ids, finish_reason="length")
    sequence = encode_candidate(tokenizer, problem, candidate)
    assert tokenizer.decode(sequence.completion[:-1]) == "    return a\n"
    assert sequence.completion[-1] == tokenizer.eos_token_id


def test_weights_of_another_model_are_refused(folder):
    model, _ = reward_model.create("likelihood", folder)
    with pytest.raises(ValueError, match=r"missing .*scalar\.weight"):
        model.load_weights({name: t for name, t in model.state_dict().items() if name != "scalar.weight"})


def test_a_saved_model_loads_with_the_same_rewards(kind, folder, tmp_path):
    head, reference = kind
    model = changed(kind, folder)
    expected = score(model, SEQUENCES, 512)
    model.save(tmp_path, AutoTokenizer.from_pretrained(folder))
    loaded, _ = reward_model.load(str(tmp_path))
    assert (loaded.head, loaded.reference is not None) == kind
    assert score(loaded, SEQUENCES, 512) == pytest.approx(expected, abs=1e-6)
    if reference:
        first = AutoModelForCausalLM.from_pretrained(folder).state_dict()
        stock = AutoModelForCausalLM.from_pretrained(tmp_path / "reference").state_dict()
        assert all(torch.equal(stock[name], first[name]) for name in first)
    if head == "scalar":  # a stock classifier that transformers alone scores the same
        stock = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
        with torch.no_grad():
            logit = stock(input_ids=torch.tensor([[3, 4, 5, 6, 2]])).logits[0, 0]
        assert logit.item() == pytest.approx(expected[0], abs=1e-5)
