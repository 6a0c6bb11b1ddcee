"""PPO in float32 against references written here from the papers' formulas, in float64 and one token at a time.

Each number agrees to 1e-6, absolute or relative.
"""

import dataclasses
import math
import random

import pytest
import torch
from learners import PPO, causal, prompt, rollouts, sequence
from torch import Tensor

from roles import trunk
from roles.engines import LearningSettings
from roles.policy import kl, losses
from roles.policy.advantages import generalised, whiten
from roles.policy.kl import KLSettings
from roles.policy.trainer import PolicyTrainer, PPOSettings, Rollout

B, T = 6, 9
CLIP, CLIP_HIGH, DUAL_CLIP, VALUE_CLIP, CAP = 0.2, 0.28, 3.0, 0.3, 2.0


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected.double(), atol=1e-6, rtol=1e-6)


@dataclasses.dataclass
class Batch:
    """Random numbers in which every clip takes effect somewhere."""

    mask: Tensor
    log_probs: Tensor
    old: Tensor
    advantages: Tensor
    values: Tensor
    old_values: Tensor
    returns: Tensor

    @classmethod
    def drawn(cls, seed: int) -> "Batch":
        torch.manual_seed(seed)
        mask = torch.arange(T) < torch.tensor([T, 1, 4, 7, 2, 5])[:, None]
        old = -3 * torch.rand(B, T)
        return cls(mask, old + torch.randn(B, T), old, *(torch.randn(4, B, T)))


def tokens(mask: Tensor) -> list[tuple[int, int]]:
    return [(row, column) for row in range(B) for column in range(T) if mask[row, column]]


def surrogate(log_prob: Tensor, old: float, advantage: float, dual: bool) -> Tensor:
    """arXiv 1707.06347, eq. 7, with two bounds; arXiv 1912.09729, eq. 5, for a negative advantage."""
    ratio = torch.exp(log_prob - old)
    bounded = min(max(float(ratio), 1 - CLIP), 1 + CLIP_HIGH)
    clipped = ratio if bounded == float(ratio) else torch.tensor(bounded, dtype=torch.float64)
    objective = ratio * advantage if float(ratio) * advantage <= bounded * advantage else clipped * advantage
    if dual and advantage < 0 and float(objective) < DUAL_CLIP * advantage:
        objective = torch.tensor(DUAL_CLIP * advantage, dtype=torch.float64)
    return -objective


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dual", [False, True])
def test_the_loss_clipped_both_ways_and_masked_and_its_gradient(dual, seed):
    batch = Batch.drawn(seed)
    reference = batch.log_probs.double().requires_grad_()
    chosen = tokens(batch.mask)
    expected = sum(
        surrogate(reference[at], float(batch.old[at]), float(batch.advantages[at]), dual) for at in chosen
    ) / len(chosen)
    expected.backward()
    found = batch.log_probs.clone().requires_grad_()
    each, clipped = losses.clipped_surrogate(
        found, batch.old, batch.advantages, CLIP, CLIP_HIGH, DUAL_CLIP if dual else None
    )
    loss = (each * losses.token_weights(batch.mask, "token", len(chosen), B, 0)).sum()
    loss.backward()
    close(loss, expected)
    close(found.grad, reference.grad)
    ratios = (batch.log_probs - batch.old).exp()
    below = clipped & (ratios < 1 - CLIP)
    above = clipped & (ratios > 1 + CLIP_HIGH)
    assert torch.equal(clipped, below | above)
    assert below[batch.mask].any() and above[batch.mask].any()
    assert (batch.advantages[below] < 0).all() and (batch.advantages[above] > 0).all()


@pytest.mark.parametrize("clip", [None, VALUE_CLIP])
def test_the_value_loss_clipped_or_not_and_its_gradient(clip):
    batch = Batch.drawn(0)
    reference = batch.values.double().requires_grad_()
    expected = torch.zeros((), dtype=torch.float64)
    for at in tokens(batch.mask):
        error = (reference[at] - float(batch.returns[at])) ** 2
        if clip is not None:
            moved = float(batch.values[at]) - float(batch.old_values[at])
            near = reference[at] if abs(moved) <= clip else batch.old_values[at].double() + math.copysign(clip, moved)
            other = (near - float(batch.returns[at])) ** 2
            error = other if float(other) > float(error) else error
        expected = expected + error / 2
    expected.backward()
    found = batch.values.clone().requires_grad_()
    loss = (losses.value_loss(found, batch.returns, batch.old_values, clip) * batch.mask).sum()
    loss.backward()
    close(loss, expected)
    close(found.grad, reference.grad)


def test_estimators_of_kl():
    batch = Batch.drawn(1)
    formulas = {  # Schulman, 2020, with r = reference / policy
        "k1": lambda r: -math.log(r),
        "k2": lambda r: math.log(r) ** 2 / 2,
        "k3": lambda r: (r - 1) - math.log(r),
    }
    for name, formula in formulas.items():
        found = kl.estimate(batch.log_probs, batch.old, name)
        ratios = (batch.old.double() - batch.log_probs.double()).exp()
        close(found, torch.tensor([[formula(float(r)) for r in row] for row in ratios]))


@pytest.mark.parametrize(("discount", "smoothing"), [(1.0, 1.0), (1.0, 0.95), (0.9, 0.8), (0.9, 0.0)])
def test_generalised_advantages_are_the_weighted_mean_of_all_n_step_advantages(discount, smoothing):
    """arXiv 1506.02438, eq. 16: (1 - l) sum over n of l^(n-1) A(n); what is past the end adds nothing new."""
    batch = Batch.drawn(2)
    advantages, returns = generalised(batch.returns, batch.values, batch.mask, discount, smoothing)
    for row, column in tokens(batch.mask):
        length = int(batch.mask[row].sum())
        rewards, values = batch.returns[row].double().tolist(), batch.values[row].double().tolist()

        def n_step(n: int, at: int = column, rewards=rewards, values=values, length=length) -> float:
            earned = sum(discount**k * rewards[at + k] for k in range(n))
            return earned + (discount**n * values[at + n] if at + n < length else 0.0) - values[at]

        last = length - column
        expected = sum((1 - smoothing) * smoothing ** (n - 1) * n_step(n) for n in range(1, last))
        expected += smoothing ** (last - 1) * n_step(last)
        assert math.isclose(float(advantages[row, column]), expected, rel_tol=1e-6, abs_tol=1e-6)
        assert math.isclose(float(returns[row, column]), expected + values[column], rel_tol=1e-6, abs_tol=1e-6)


def test_whitening():
    batch = Batch.drawn(3)
    inside = [float(batch.advantages[at]) for at in tokens(batch.mask)]
    mean = math.fsum(inside) / len(inside)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in inside) / len(inside))
    found = whiten(batch.advantages, batch.mask)
    close(found[batch.mask], torch.tensor([(value - mean) / deviation for value in inside]))
    assert found[~batch.mask].abs().max() == 0


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_a_plain_softmax_of_each_sequence_alone(temperature):
    model = causal()
    rng = random.Random(2)
    sequences = [sequence(rng, shared) for shared in (prompt(rng) for _ in range(3)) for _ in range(3)]
    with torch.no_grad():
        found = trunk.forward(model.base_model, sequences).log_probs(model.get_output_embeddings(), temperature)
        plain = model.double()
        for row, one in zip(found, sequences, strict=True):
            logits = plain(input_ids=torch.tensor([one.prompt + one.completion])).logits[0] / temperature
            for place, token in enumerate(one.completion):
                scores = logits[len(one.prompt) + place - 1]
                expected = scores[token] - scores.exp().sum().log()
                assert abs(row[place].double() - expected) < 1e-6 * max(1, abs(expected))


WHOLE = PPO.model_copy(
    update={
        "updates_per_step": 1, "max_gradient_norm": 1e9, "gae_lambda": 0.95, "value_coefficient": 0.5, "entropy": 0.01,
        "importance_cap": CAP, "kl": KLSettings(coefficient=0.05),
    }
)  # fmt: skip


def stale(batch: list[Rollout]) -> list[Rollout]:
    """As sampled by another policy: far enough for each clip and cap."""
    rng = random.Random(3)
    return [
        dataclasses.replace(rollout, log_probs=tuple(p + rng.gauss(0, 0.6) for p in rollout.log_probs))
        for rollout in batch
    ]


def gradients(trainer: PolicyTrainer) -> dict[str, Tensor]:
    """By name, filled in by each backward pass with what has added up so far."""
    found: dict[str, Tensor] = {}
    modules = torch.nn.ModuleDict({"policy": trainer.model, "critic": trainer.critic})
    for name, parameter in modules.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda p, name=name: found.update({name: p.grad.clone()}))
    return found


def trained(settings: PPOSettings, temperature: float, learning: LearningSettings) -> dict[str, Tensor]:
    trainer = PolicyTrainer(causal(), settings, temperature, learning=learning)
    trainer.reference.load_state_dict(causal(seed=5).state_dict())
    torch.nn.init.constant_(trainer.critic.head.weight, 0.05)
    found = gradients(trainer)
    trainer.step(stale(rollouts()))
    return found


def reference_gradients(settings: PPOSettings, temperature: float) -> dict[str, Tensor]:
    """The whole of it in float64: a forward pass for each sequence, then sums over lists of tokens."""
    model, reference, head = causal().double(), causal(seed=5).double(), torch.nn.Linear(32, 1).double()
    torch.nn.init.constant_(head.weight, 0.05)
    torch.nn.init.zeros_(head.bias)
    rows = []
    for rollout in stale(rollouts()):
        ids = torch.tensor([rollout.sequence.prompt + rollout.sequence.completion])
        chosen = torch.arange(len(rollout.sequence.prompt), ids.shape[1])
        hidden = model.model(input_ids=ids).last_hidden_state[0, chosen - 1]
        all_log_probs = torch.log_softmax(model.lm_head(hidden) / temperature, dim=-1)
        log_probs = all_log_probs[torch.arange(len(chosen)), ids[0, chosen]]
        with torch.no_grad():
            others = torch.log_softmax(reference(input_ids=ids).logits[0, chosen - 1] / temperature, dim=-1)
        d = log_probs.detach() - others[torch.arange(len(chosen)), ids[0, chosen]]
        rewards = -settings.kl.coefficient * d
        rewards[-1] += rollout.reward
        values = head(hidden).squeeze(-1)
        advantages, following, value_after = [], 0.0, 0.0
        for reward, value in zip(reversed(rewards.tolist()), reversed(values.tolist()), strict=True):
            following = reward + value_after - value + settings.gae_lambda * following
            value_after = value
            advantages.insert(0, following)
        entropies = -(all_log_probs.exp() * all_log_probs).sum(dim=-1)
        rows.append((log_probs, torch.tensor(rollout.log_probs).double(), values, advantages, entropies))
    every = torch.tensor([a for row in rows for a in row[3]], dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    for log_probs, behaviour, values, advantages, entropies in rows:
        raw = torch.tensor(advantages, dtype=torch.float64)
        white = (raw - every.mean()) / (every.var(correction=0) + 1e-8).sqrt()
        decoupled = settings.objective == "decoupled"
        u = torch.exp(log_probs - (log_probs.detach() if decoupled else behaviour))
        each = -torch.minimum(u * white, u.clamp(1 - settings.clip, 1 + settings.clip) * white)
        if decoupled:
            each = each * torch.exp(log_probs.detach() - behaviour).clamp(max=CAP)
        returns = raw + values.detach()
        each = each + settings.value_coefficient * (values - returns) ** 2 / 2 - settings.entropy * entropies
        total = total + each.sum() / len(every)
    total.backward()
    found = {f"policy.{name}": parameter.grad for name, parameter in model.named_parameters()}
    return found | {f"critic.head.{name}": parameter.grad for name, parameter in head.named_parameters()}


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("objective", ["plain", "decoupled"])
def test_the_gradient_of_a_whole_update_however_it_is_cut(objective, temperature, monkeypatch):
    settings = WHOLE.model_copy(update={"objective": objective})
    expected = reference_gradients(settings, temperature)
    for changes, pieces, learning in (
        ({"tokens_per_batch": 10_000}, 1 << 26, LearningSettings()),  # one forward pass
        ({"tokens_per_batch": 1}, 1 << 26, LearningSettings()),  # one for each prompt
        ({"tokens_per_batch": 10_000}, 5 * 64, LearningSettings(gradient_checkpointing=True)),  # logits in pieces
    ):
        monkeypatch.setattr("roles.trunk.LOGITS_AT_ONCE", pieces)
        found = trained(settings.model_copy(update=changes), temperature, learning)
        assert found.keys() == expected.keys()
        for name in expected:
            close(found[name], expected[name])
