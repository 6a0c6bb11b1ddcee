"""Training of the reward model: its loss and gradient against the formulas, and that it learns what there is, only."""

import copy
import dataclasses
import random
from collections import defaultdict

import pytest
import torch
from learners import plain_reward

from roles.mining.pairs import Judged, MiningSettings, mine
from roles.optimisation import OptimiserSettings
from roles.records import Candidate, Problem, Score, Verdict
from roles.reward import model as reward_model
from roles.reward.groups import mined_groups
from roles.reward.losses import RewardObjective, bradley_terry, magnitude
from roles.reward.scoring import score
from roles.reward.trainer import PairGroup, RewardTrainer
from roles.sequences import TokenSequence
from tests.tiny import tiny_model

HEADS = ["scalar", "likelihood"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_model(tmp_path_factory.mktemp("base")))


def group(rng: random.Random, right: int = 7, wrong: int = 9) -> PairGroup:
    """Chosen programs hold the token `right` somewhere, rejected ones `wrong`; all else is noise."""

    def program(marker: int) -> TokenSequence:
        tokens = [rng.randrange(20, 200) for _ in range(rng.randrange(3, 9))]
        tokens.insert(rng.randrange(len(tokens)), marker)
        return TokenSequence((3, 4, 5), (*tokens, 2))

    return PairGroup("p", (program(right), program(right), program(wrong)), ((0, 2), (1, 2)))


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


FULL = RewardObjective(margin=2.0, label_smoothing=0.1, magnitude=0.01, language_model=0.1)
OBJECTIVES = {
    "scalar, plain": ("scalar", False, RewardObjective()),
    "scalar, all": ("scalar", False, FULL.model_copy(update={"language_model": 0.0})),
    "likelihood, plain": ("likelihood", False, RewardObjective()),
    "likelihood, all": ("likelihood", False, FULL),
    "likelihood with reference": ("likelihood", True, FULL),
}


@pytest.mark.parametrize(("head", "reference", "objective"), OBJECTIVES.values(), ids=OBJECTIVES)
def test_loss_and_gradient_of_a_step_are_those_of_the_formulas_one_program_at_a_time(
    head, reference, objective, folder
):
    """Against float64, programs computed alone over the full softmax."""
    torch.manual_seed(0)
    rng = random.Random(0)
    model, _ = reward_model.create(head, folder, reference=reference)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.mul_(0.25).add_(0.02 * torch.randn_like(parameter))  # of an ordinary size
        if head == "likelihood":
            model.scale.fill_(1.0)
    groups = [group(rng) for _ in range(5)]
    groups = [dataclasses.replace(g, pairs=g.pairs[: 1 + i % 2], margins=(0.3, 1.0)[: 1 + i % 2])
              for i, g in enumerate(groups)]  # fmt: skip
    exact = copy.deepcopy(model).double()
    expected = formula(exact, groups, objective)
    expected.backward()

    gradients: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros(()))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda gradient, name=name: gradients.update({name: gradients[name] + gradient}))
    trainer = RewardTrainer(model, OptimiserSettings(learning_rate=1e-3), 40, objective)
    step = trainer.step(groups)
    assert step.loss == pytest.approx(expected.item(), abs=1e-6)
    wanted = {name: parameter.grad for name, parameter in exact.named_parameters() if parameter.requires_grad}
    assert gradients.keys() == wanted.keys()
    for name, gradient in wanted.items():
        difference = (gradients[name] - gradient).abs().max()
        assert difference < 1e-6 and difference < 1e-5 * gradient.abs().max(), name


def formula(model, groups: list[PairGroup], objective: RewardObjective) -> torch.Tensor:
    total = 0.0
    for g in groups:
        for (winner, loser), rate in zip(g.pairs, g.margins, strict=True):
            (better, log_prob), (worse, _) = (plain_reward(model, g.programs[i]) for i in (winner, loser))
            lead = better - worse - objective.margin * rate
            loss = -(1 - objective.label_smoothing) * torch.log(1 / (1 + torch.exp(-lead)))
            loss = loss - objective.label_smoothing * torch.log(1 / (1 + torch.exp(lead)))
            loss = loss + objective.magnitude * (better**2 + worse**2) - objective.language_model * log_prob
            total = total + loss / len(g.pairs) / len(groups)
    return total


def held_out(head: str, folder: str, shuffled: bool) -> tuple[float, float]:
    """Share of new pairs that are in order after training, and the loss on them; `shuffled` turns half the labels."""
    torch.manual_seed(0)
    rng = random.Random(0)
    model, _ = reward_model.create(head, folder)  # type: ignore[arg-type]
    trainer = RewardTrainer(model, OptimiserSettings(learning_rate=2e-3), 2048)
    for _ in range(60):
        trainer.step([group(rng, 9, 7) if shuffled and rng.random() < 0.5 else group(rng) for _ in range(8)])
    differences = []
    for each in (group(rng) for _ in range(100)):
        rewards = score(model, each.programs, 2048)
        differences += [rewards[chosen] - rewards[rejected] for chosen, rejected in each.pairs]
    found = torch.tensor(differences)
    return (found > 0).float().mean().item(), torch.nn.functional.softplus(-found).mean().item()


@pytest.mark.parametrize("head", HEADS)
def test_a_planted_feature_separates_new_pairs(head, folder):
    accuracy, loss = held_out(head, folder, shuffled=False)
    assert accuracy >= 0.95
    assert loss < 0.1


@pytest.mark.parametrize("head", HEADS)
def test_shuffled_labels_teach_nothing(head, folder):
    accuracy, loss = held_out(head, folder, shuffled=True)
    assert 0.3 < accuracy < 0.7
    assert loss > 0.65  # that of a coin is 0.69


@pytest.mark.parametrize("rule", ["passing", "acecoder"])
def test_the_rule_of_the_pairs_decides_what_the_reward_model_is_taught(rule, folder):
    """Programs that pass everything, most, some and nothing: each is named after what a rule may do with it."""
    _, tokenizer = reward_model.create("scalar", folder)
    problem = Problem("p", "tiny", "train", "python", "def f(a, b):\n", "f", ())
    rates = {"all": 1.0, "most": 0.9, "half": 0.5, "none": 0.0}
    candidates = [Candidate(name, "p", "g", f"{problem.prompt}    return {name!r}\n") for name in rates]
    samples = [
        Judged(candidate, Verdict(name, "passed" if rate == 1 else "failed", rate, ()), Score(name, 0.0, 2))
        for candidate, (name, rate) in zip(candidates, rates.items(), strict=True)
    ]
    pairs = mine(samples, MiningSettings(rule=rule), random.Random(0))
    [mined] = mined_groups(tokenizer, [problem], candidates, pairs)
    assert mined.reward_version == 2
    taught = {
        tuple(tokenizer.decode(mined.pairs.programs[index].completion).split("'")[1] for index in pair): margin
        for pair, margin in zip(mined.pairs.pairs, mined.pairs.margins, strict=True)
    }
    assert taught == {
        "passing": {("all", "most"): pytest.approx(0.1), ("all", "half"): 0.5, ("all", "none"): 1.0},
        "acecoder": {("all", "half"): 0.5},
    }[rule]


def trained(folder, objective: RewardObjective):
    torch.manual_seed(0)
    rng = random.Random(0)
    model, _ = reward_model.create("likelihood", folder)
    trainer = RewardTrainer(model, OptimiserSettings(learning_rate=2e-3), 2048, objective)
    for _ in range(20):
        groups = [group(rng) for _ in range(4)]
        trainer.step([dataclasses.replace(g, margins=(1.0,) * len(g.pairs)) for g in groups])
    held_out = [group(rng) for _ in range(20)]
    with torch.no_grad():
        rewards, log_probs = model([g.programs[i] for g in held_out for i in (0, 2)])
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
        RewardTrainer(model, OptimiserSettings(learning_rate=1e-3), 64, RewardObjective(language_model=0.1))


def test_every_problem_weighs_the_same_however_many_pairs_it_has(folder):
    torch.manual_seed(0)
    rng = random.Random(1)
    one = group(rng)
    many = PairGroup("q", group(rng).programs, ((0, 2), (1, 2)) * 10)
    few = PairGroup("q", many.programs, ((0, 2), (1, 2)))
    losses = []
    for second in (many, few):
        model, _ = reward_model.create("likelihood", folder)
        trainer = RewardTrainer(model, OptimiserSettings(learning_rate=1e-3), 2048)
        losses.append(trainer.step([one, second]).loss)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(folder):
    rng = random.Random(2)
    groups = [group(rng) for _ in range(6)]
    norms = []
    for budget in (10_000, 20):
        model, _ = reward_model.create("likelihood", folder)
        trainer = RewardTrainer(model, OptimiserSettings(learning_rate=1e-3), budget)
        norms.append(trainer.step(groups).gradient_norm)
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
