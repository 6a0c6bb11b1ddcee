"""The reward model: the sign of its loss, both heads, padding, publication, files."""

import dataclasses
import random

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from roles import weights
from roles.optimisation import OptimiserSettings
from roles.reward import model as reward_model
from roles.reward.losses import RewardObjective, bradley_terry, magnitude
from roles.reward.scoring import score
from roles.reward.trainer import PairGroup, RewardTrainer
from roles.sequences import TokenSequence
from tests.tiny import tiny_model

HEADS = ["scalar", "likelihood"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_model(tmp_path_factory.mktemp("base")))


def test_the_loss_falls_as_the_chosen_program_gains():
    losses = bradley_terry(torch.tensor([-1.0, 0.0, 1.0]), torch.zeros(3))
    assert losses[0] > losses[1] > losses[2]
    torch.testing.assert_close(losses[1], torch.tensor(2.0).log())


def test_the_loss_is_that_of_the_papers():
    torch.manual_seed(0)
    chosen, rejected, margin = torch.randn(3, 50, dtype=torch.float64).requires_grad_().unbind()
    expected = -torch.log(1 / (1 + torch.exp(-(chosen - rejected - margin))))
    torch.testing.assert_close(bradley_terry(chosen, rejected, margin), expected)
    turned = -torch.log(1 / (1 + torch.exp(chosen - rejected - margin)))
    torch.testing.assert_close(bradley_terry(chosen, rejected, margin, 0.1), 0.9 * expected + 0.1 * turned)
    torch.testing.assert_close(magnitude(chosen, rejected), chosen**2 + rejected**2)


def group(rng: random.Random, right: int = 7, wrong: int = 9) -> PairGroup:
    """Chosen programs hold the token `right` somewhere, rejected ones `wrong`; all else is noise."""

    def program(marker: int) -> TokenSequence:
        tokens = [rng.randrange(20, 200) for _ in range(rng.randrange(3, 9))]
        tokens.insert(rng.randrange(len(tokens)), marker)
        return TokenSequence((3, 4, 5), (*tokens, 2))

    return PairGroup("p", (program(right), program(right), program(wrong)), ((0, 2), (1, 2)))


@pytest.mark.parametrize("head", HEADS)
def test_training_learns_to_prefer_the_chosen_on_unseen_pairs(head, folder):
    torch.manual_seed(0)
    rng = random.Random(0)
    model, tokenizer = reward_model.create(head, folder)
    trainer = RewardTrainer(model, tokenizer.pad_token_id, OptimiserSettings(learning_rate=2e-3), 2048)
    for _ in range(60):
        trainer.step([group(rng) for _ in range(8)])
    held_out = [group(rng) for _ in range(50)]
    rewards = [score(model, g.programs, tokenizer.pad_token_id, 2048) for g in held_out]
    right = sum(r[chosen] > r[rejected] for r, g in zip(rewards, held_out, strict=True) for chosen, rejected in g.pairs)
    assert right >= 90


def trained(folder, objective: RewardObjective):
    torch.manual_seed(0)
    rng = random.Random(0)
    model, tokenizer = reward_model.create("likelihood", folder)
    trainer = RewardTrainer(model, tokenizer.pad_token_id, OptimiserSettings(learning_rate=2e-3), 2048, objective)
    for _ in range(20):
        groups = [group(rng) for _ in range(4)]
        trainer.step([dataclasses.replace(g, margins=(1.0,) * len(g.pairs)) for g in groups])
    held_out = [group(rng) for _ in range(20)]
    with torch.no_grad():
        rewards, log_probs = model([g.programs[i] for g in held_out for i in (0, 2)], tokenizer.pad_token_id)
    return rewards.view(-1, 2), log_probs.view(-1, 2)


def test_what_is_added_to_the_objective_does_what_it_is_for(folder):
    plain, unmodelled = trained(folder, RewardObjective())
    wide, _ = trained(folder, RewardObjective(margin=40.0))
    small, _ = trained(folder, RewardObjective(magnitude=1.0))
    _, modelled = trained(folder, RewardObjective(language_model=1.0))
    assert (wide[:, 0] - wide[:, 1]).mean() > 1.2 * (plain[:, 0] - plain[:, 1]).mean()
    assert small.square().mean() < 0.6 * plain.square().mean()
    assert modelled[:, 0].mean() > unmodelled[:, 0].mean()


def test_a_scalar_head_has_no_language_model(folder):
    model, _ = reward_model.create("scalar", folder)
    with pytest.raises(ValueError, match=r"objective\.language_model: a scalar head has no output layer"):
        RewardTrainer(model, 0, OptimiserSettings(learning_rate=1e-3), 64, RewardObjective(language_model=0.1))


def test_shuffled_labels_teach_nothing(folder):
    torch.manual_seed(0)
    rng = random.Random(0)
    model, tokenizer = reward_model.create("likelihood", folder)
    trainer = RewardTrainer(model, tokenizer.pad_token_id, OptimiserSettings(learning_rate=2e-3), 2048)

    def shuffled() -> PairGroup:
        return group(rng) if rng.random() < 0.5 else group(rng, right=9, wrong=7)

    for _ in range(40):
        trainer.step([shuffled() for _ in range(8)])
    held_out = [group(rng) for _ in range(100)]
    rewards = [score(model, g.programs, tokenizer.pad_token_id, 2048) for g in held_out]
    right = sum(r[chosen] > r[rejected] for r, g in zip(rewards, held_out, strict=True) for chosen, rejected in g.pairs)
    assert 40 <= right <= 160


@pytest.mark.parametrize("head", HEADS)
def test_a_published_version_scores_as_the_learner_does(head, folder):
    torch.manual_seed(1)
    learner, _ = reward_model.create(head, folder)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    scorer, _ = reward_model.create(head, folder)
    sequences = [TokenSequence((3, 4), (5, 6, 2)), TokenSequence((3,), (9, 9, 9, 2))]
    expected = score(learner, sequences, 0, 512)
    assert score(scorer, sequences, 0, 512) != expected
    scorer.load_weights(weights.unpack(weights.pack(learner.state_dict())))
    assert score(scorer, sequences, 0, 512) == expected


@pytest.mark.parametrize("head", HEADS)
def test_neither_padding_nor_batch_mates_nor_a_shared_prompt_change_a_reward_or_its_gradient(head, folder):
    torch.manual_seed(2)
    rng = random.Random(3)
    model, tokenizer = reward_model.create(head, folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    prompts = [tuple(rng.randrange(20, 200) for _ in range(length)) for length in (3, 9, 5)]
    sequences = [
        TokenSequence(prompt, (*(rng.randrange(20, 200) for _ in range(rng.randrange(1, 12))), 2))
        for prompt in prompts
        for _ in range(4)
    ]
    plain = torch.stack([plain_reward(model, sequence) for sequence in sequences])
    plain.square().sum().backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    together = model(sequences, tokenizer.pad_token_id)[0]
    together.square().sum().backward()
    torch.testing.assert_close(together, plain, atol=1e-4, rtol=1e-4)
    for name, parameter in model.named_parameters():
        assert (parameter.grad - expected[name]).abs().max() < 1e-4 * expected[name].abs().max(), name
    for budget in (4, 30, 1000):
        assert score(model, [*sequences, sequences[0]], tokenizer.pad_token_id, budget) == pytest.approx(
            [*plain.tolist(), plain[0].item()], abs=1e-4
        )


def plain_reward(model, sequence: TokenSequence) -> torch.Tensor:
    """One sequence, unpadded, through transformers' own forward pass."""
    ids = torch.tensor([[*sequence.prompt, *sequence.completion]])
    output = model.trunk(input_ids=ids, output_hidden_states=True)
    if model.head == "scalar":
        return model.trunk.score(output.hidden_states[-1][0, -1])[0]
    log_probs = torch.log_softmax(output.logits[0].float(), dim=-1)
    start = len(sequence.prompt)
    mean = torch.stack([log_probs[t - 1, ids[0, t]] for t in range(start, ids.shape[1])]).mean()
    return model.scale[0] * mean + model.scalar(output.hidden_states[-1][0, -1])[0]


def test_weights_of_another_model_are_refused(folder):
    model, _ = reward_model.create("likelihood", folder)
    with pytest.raises(ValueError, match=r"missing .*scalar\.weight"):
        model.load_weights({name: t for name, t in model.state_dict().items() if name != "scalar.weight"})


@pytest.mark.parametrize("head", HEADS)
def test_a_saved_model_loads_with_the_same_rewards(head, folder, tmp_path):
    model, tokenizer = reward_model.create(head, folder)
    sequences = [TokenSequence((3, 4), (5, 6, 2))]
    model.save(tmp_path, tokenizer)
    loaded, _ = reward_model.load(str(tmp_path))
    assert loaded.head == head
    assert score(loaded, sequences, 0, 512) == pytest.approx(score(model, sequences, 0, 512), abs=1e-6)
    if head == "scalar":  # a stock classifier that transformers alone scores the same
        stock = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
        with torch.no_grad():
            logit = stock(input_ids=torch.tensor([[3, 4, 5, 6, 2]])).logits[0, 0]
        assert logit.item() == pytest.approx(score(model, sequences, 0, 512)[0], abs=1e-5)


def test_every_problem_weighs_the_same_however_many_pairs_it_has(folder):
    torch.manual_seed(0)
    rng = random.Random(1)
    one = group(rng)
    many = PairGroup("q", group(rng).programs, ((0, 2), (1, 2)) * 10)
    few = PairGroup("q", many.programs, ((0, 2), (1, 2)))
    losses = []
    for second in (many, few):
        model, tokenizer = reward_model.create("likelihood", folder)
        trainer = RewardTrainer(model, tokenizer.pad_token_id, OptimiserSettings(learning_rate=1e-3), 2048)
        losses.append(trainer.step([one, second]).loss)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(folder):
    rng = random.Random(2)
    groups = [group(rng) for _ in range(6)]
    norms = []
    for budget in (10_000, 20):
        model, tokenizer = reward_model.create("likelihood", folder)
        trainer = RewardTrainer(model, tokenizer.pad_token_id, OptimiserSettings(learning_rate=1e-3), budget)
        norms.append(trainer.step(groups).gradient_norm)
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
