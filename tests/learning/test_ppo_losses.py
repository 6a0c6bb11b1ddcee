"""PPO's pieces against values worked out by hand, by another route, or from the papers' formulas."""

import math

import pytest
import torch
from pydantic import ValidationError

from roles.policy import kl, losses
from roles.policy.advantages import (
    NoGroup,
    generalised,
    group_relative,
    leave_one_out,
    masked_mean,
    rewards_to_go,
    token_rewards,
    whiten,
)
from roles.policy.kl import KLCoefficient, KLSettings


def surrogate(ratio: float, advantage: float, clip: float = 0.2, **more: float) -> tuple[float, float]:
    log_probs = torch.tensor([[ratio]]).log().requires_grad_()
    each, _ = losses.clipped_surrogate(log_probs, torch.zeros(1, 1), torch.tensor([[advantage]]), clip, **more)
    each.sum().backward()
    return each.item(), log_probs.grad.item()


def test_a_ratio_beyond_the_clip_gains_nothing_more_and_has_no_gradient():
    loss, gradient = surrogate(ratio=1.5, advantage=2.0)
    assert abs(loss - -1.2 * 2.0) < 1e-6
    assert gradient == 0
    loss, gradient = surrogate(ratio=0.5, advantage=-2.0)
    assert abs(loss - 0.8 * 2.0) < 1e-6
    assert gradient == 0


def test_the_clip_never_hides_a_loss():
    loss, gradient = surrogate(ratio=1.5, advantage=-2.0)
    assert abs(loss - 1.5 * 2.0) < 1e-6
    assert gradient > 0
    loss, gradient = surrogate(ratio=0.5, advantage=2.0)
    assert abs(loss - -0.5 * 2.0) < 1e-6
    assert gradient < 0


def test_the_upper_bound_may_be_another():
    assert abs(surrogate(ratio=1.5, advantage=2.0, clip_high=0.3)[0] - -1.3 * 2.0) < 1e-6
    assert abs(surrogate(ratio=0.5, advantage=-2.0, clip_high=0.3)[0] - 0.8 * 2.0) < 1e-6


def test_the_dual_clip_bounds_what_a_bad_token_may_cost():
    loss, gradient = surrogate(ratio=5.0, advantage=-2.0, dual_clip=3.0)
    assert (loss, gradient) == (6.0, 0.0)
    assert surrogate(ratio=2.0, advantage=-2.0, dual_clip=3.0)[0] == 4.0
    assert abs(surrogate(ratio=5.0, advantage=2.0, dual_clip=3.0)[0] - -2.4) < 1e-6


def test_the_gradient_at_ratio_one_is_the_policy_gradient():
    torch.manual_seed(0)
    advantages, mask = torch.randn(3, 5), torch.rand(3, 5) > 0.3
    log_probs = torch.randn(3, 5).requires_grad_()
    each, _ = losses.clipped_surrogate(log_probs, log_probs.detach(), advantages, 0.2)
    (each * losses.token_weights(mask, "token", int(mask.sum()), 3, 0)).sum().backward()
    torch.testing.assert_close(log_probs.grad, -advantages * mask / mask.sum())


def test_a_stale_token_counts_by_how_much_likelier_it_became_up_to_a_cap():
    behaviour, proximal = torch.tensor([[0.5, 0.1, 0.4]]).log(), torch.tensor([[0.25, 0.4, 0.4]]).log()
    proximal.requires_grad_()
    weights = losses.behaviour_weights(proximal, behaviour, cap=2.0)
    torch.testing.assert_close(weights, torch.tensor([[0.5, 2.0, 1.0]]))
    assert not weights.requires_grad
    torch.testing.assert_close(losses.behaviour_weights(proximal, behaviour, None), torch.tensor([[0.5, 4.0, 1.0]]))


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
def test_cutting_a_minibatch_into_parts_changes_nothing(aggregation):
    torch.manual_seed(1)
    each = torch.randn(6, 7)
    mask = torch.arange(7) < torch.tensor([7, 1, 3, 5, 2, 6])[:, None]
    tokens = int(mask.sum())
    whole = (each * losses.token_weights(mask, aggregation, tokens, 6, 10)).sum()
    parts = [
        (each[rows] * losses.token_weights(mask[rows], aggregation, tokens, 6, 10)).sum()
        for rows in ([0], [1, 2, 3, 4], [5])
    ]
    torch.testing.assert_close(sum(parts), whole)
    expected = {
        "token": each[mask].mean(),
        "sequence": torch.stack([row[on].mean() for row, on in zip(each, mask, strict=True)]).mean(),
        "constant": each[mask].sum() / 60,
    }
    torch.testing.assert_close(whole, expected[aggregation])


def test_advantages_equal_the_sum_of_discounted_errors():
    torch.manual_seed(1)
    rewards, values = torch.randn(2, 7), torch.randn(2, 7)
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[0, 2:7] = mask[1, 1:4] = True
    gamma, lam = 0.9, 0.8
    advantages, returns = generalised(rewards, values, mask, gamma, lam)
    for row, (first, last) in enumerate(((2, 7), (1, 4))):
        for t in range(first, last):
            expected = 0.0
            for k in range(t, last):
                following = values[row, k + 1] if k + 1 < last else 0.0
                expected += (gamma * lam) ** (k - t) * (rewards[row, k] + gamma * following - values[row, k])
            assert abs(advantages[row, t] - expected) < 1e-5
            assert abs(returns[row, t] - advantages[row, t] - values[row, t]) < 1e-6
    assert advantages[~mask].abs().sum() == 0


def test_samples_are_compared_with_the_others_of_their_prompt():
    totals, groups = torch.tensor([1.0, 0.0, 5.0, 0.5, 7.0]), torch.tensor([0, 0, 1, 0, 1])
    torch.testing.assert_close(leave_one_out(totals, groups), torch.tensor([0.75, -0.75, -2.0, 0.0, 2.0]))
    torch.testing.assert_close(
        group_relative(totals, groups), torch.tensor([1.0, -1.0, -(0.5**0.5), 0.0, 0.5**0.5]), atol=1e-5, rtol=0
    )
    assert group_relative(torch.ones(3), torch.zeros(3, dtype=torch.long)).abs().max() == 0
    for compare in (leave_one_out, group_relative):
        with pytest.raises(NoGroup, match="a single sample"):
            compare(torch.ones(3), torch.tensor([0, 0, 1]))


def test_rewards_to_go_are_sums_over_what_follows():
    rewards, mask = torch.tensor([[1.0, 2.0, 4.0, 0.0]]), torch.tensor([[True, True, True, False]])
    torch.testing.assert_close(rewards_to_go(rewards, mask), torch.tensor([[7.0, 6.0, 4.0, 0.0]]))


def test_the_rewards_of_a_sequence_add_up_to_score_and_penalty():
    torch.manual_seed(2)
    log_probs, reference = torch.randn(2, 6), torch.randn(2, 6)
    mask = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1]], dtype=torch.bool)
    penalties = 0.1 * kl.estimate(log_probs, reference, "k1")
    rewards = token_rewards(torch.tensor([1.0, -2.0]), penalties, mask)
    torch.testing.assert_close(rewards.sum(dim=1) + (penalties * mask).sum(dim=1), torch.tensor([1.0, -2.0]))
    assert rewards[~mask].abs().sum() == 0
    without = token_rewards(torch.zeros(2), penalties, mask)
    assert (rewards - without).nonzero().tolist() == [[0, 4], [1, 5]]  # the score is on the last token


def test_whitening_uses_masked_tokens_only():
    values, mask = torch.tensor([[1.0, 3.0, 100.0]]), torch.tensor([[True, True, False]])
    torch.testing.assert_close(whiten(values, mask), torch.tensor([[-1.0, 1.0, 0.0]]))
    assert masked_mean(values, mask) == 2


def test_value_loss_is_half_the_squared_error_and_the_clip_takes_the_larger():
    values, returns, old = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    torch.testing.assert_close(losses.value_loss(values, returns), torch.tensor([[2.0, 12.5]]))
    torch.testing.assert_close(losses.value_loss(values, returns, old, 0.5), torch.tensor([[3.125, 12.5]]))


def test_estimators_of_kl_have_the_mean_and_the_gradient_they_are_named_for():
    """Exact expectations over a vocabulary of five tokens, in place of samples."""
    torch.manual_seed(3)
    logits = torch.randn(5, dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.randn(5, dtype=torch.float64), dim=0)

    def expected(estimator: str) -> torch.Tensor:
        log_probs = torch.log_softmax(logits, dim=0)
        return (log_probs.exp().detach() * kl.estimate(log_probs, reference, estimator)).sum()

    def gradient(value: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(value, logits, retain_graph=True)[0]

    log_probs = torch.log_softmax(logits, dim=0)
    reverse = (log_probs.exp() * (log_probs - reference)).sum()
    forward = (reference.exp() * (reference - log_probs)).sum()
    for estimator in ("k1", "k3"):
        torch.testing.assert_close(expected(estimator), reverse)
    torch.testing.assert_close(gradient(expected("k2")), gradient(reverse))
    torch.testing.assert_close(gradient(expected("k3")), gradient(forward))
    assert gradient(expected("k1")).abs().max() < 1e-12


def test_a_penalty_without_a_pull_is_refused():
    with pytest.raises(ValidationError, match="estimator = k1: its mean gradient is zero; allowed are k2 and k3"):
        KLSettings(place="loss", estimator="k1")


def test_the_coefficient_follows_its_target():
    adaptive = KLCoefficient(KLSettings(coefficient=0.1, target=2.0, horizon=100))
    adaptive.follow(kl=2.2, samples=10)
    assert math.isclose(adaptive.value, 0.1 * (1 + 0.1 * 0.1))
    adaptive.follow(kl=200.0, samples=10)
    assert math.isclose(adaptive.value, 0.1 * 1.01 * (1 + 0.2 * 0.1))
    fixed = KLCoefficient(KLSettings(coefficient=0.1))
    fixed.follow(kl=200.0, samples=10)
    assert fixed.value == 0.1
