"""PPO's pieces against values worked out by hand or by another route."""

import torch

from roles.policy.losses import (
    clipped_policy_loss,
    generalised_advantages,
    masked_mean,
    token_rewards,
    value_loss,
    whiten,
)

ONES = torch.ones(1, 1, dtype=torch.bool)


def surrogate(ratio: float, advantage: float, clip: float = 0.2) -> tuple[float, float]:
    log_probs = torch.tensor([[ratio]]).log().requires_grad_()
    loss, _ = clipped_policy_loss(log_probs, torch.zeros(1, 1), torch.tensor([[advantage]]), ONES, clip)
    loss.backward()
    return loss.item(), log_probs.grad.item()


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


def test_the_gradient_at_ratio_one_is_the_policy_gradient():
    torch.manual_seed(0)
    advantages, mask = torch.randn(3, 5), torch.rand(3, 5) > 0.3
    log_probs = torch.randn(3, 5).requires_grad_()
    loss, _ = clipped_policy_loss(log_probs, log_probs.detach(), advantages, mask, 0.2)
    loss.backward()
    torch.testing.assert_close(log_probs.grad, -advantages * mask / mask.sum())


def test_advantages_equal_the_sum_of_discounted_errors():
    torch.manual_seed(1)
    rewards, values = torch.randn(2, 7), torch.randn(2, 7)
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[0, 2:7] = mask[1, 1:4] = True
    gamma, lam = 0.9, 0.8
    advantages, returns = generalised_advantages(rewards, values, mask, gamma, lam)
    for row, (first, last) in enumerate(((2, 7), (1, 4))):
        for t in range(first, last):
            expected = 0.0
            for k in range(t, last):
                following = values[row, k + 1] if k + 1 < last else 0.0
                expected += (gamma * lam) ** (k - t) * (rewards[row, k] + gamma * following - values[row, k])
            assert abs(advantages[row, t] - expected) < 1e-5
            assert abs(returns[row, t] - advantages[row, t] - values[row, t]) < 1e-6
    assert advantages[~mask].abs().sum() == 0


def test_the_rewards_of_a_sequence_add_up_to_score_and_penalty():
    torch.manual_seed(2)
    log_probs, reference = torch.randn(2, 6), torch.randn(2, 6)
    mask = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1]], dtype=torch.bool)
    rewards = token_rewards(torch.tensor([1.0, -2.0]), log_probs, reference, mask, kl=0.1)
    penalty = 0.1 * ((log_probs - reference) * mask).sum(dim=1)
    torch.testing.assert_close(rewards.sum(dim=1) + penalty, torch.tensor([1.0, -2.0]))
    assert rewards[~mask].abs().sum() == 0
    without = token_rewards(torch.zeros(2), log_probs, reference, mask, kl=0.1)
    assert (rewards - without).nonzero().tolist() == [[0, 4], [1, 5]]  # the score is on the last token


def test_whitening_uses_masked_tokens_only():
    values, mask = torch.tensor([[1.0, 3.0, 100.0]]), torch.tensor([[True, True, False]])
    torch.testing.assert_close(whiten(values, mask), torch.tensor([[-1.0, 1.0, 0.0]]))
    assert masked_mean(values, mask) == 2


def test_value_loss_is_half_the_squared_error():
    loss = value_loss(torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 0.0]]), torch.tensor([[True, False]]))
    assert loss == 2
