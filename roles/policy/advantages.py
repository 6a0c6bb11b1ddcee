"""How much better each token was than expected: four estimators; `passing`, the fifth choice, has no use for one."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Estimator = Literal["gae", "grpo", "rloo", "reinforce++", "passing"]
_EPSILON = 1e-6


class NoGroup(ValueError):
    """An estimator that compares the samples of a prompt was given a prompt with one sample."""


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Zero mean and unit variance over the masked tokens; zero elsewhere."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


def token_rewards(terminal: Tensor, penalties: Tensor, mask: Tensor) -> Tensor:
    """`-penalties` on every completion token, and `terminal` added on the last (InstructGPT, arXiv 2203.02155, eq. 2).

    Args:
        terminal: (B,) reward of each completed sequence.
        penalties, mask: (B, T).
    """
    rewards = -penalties * mask
    positions = torch.arange(mask.shape[1], device=mask.device)
    last = (mask * positions).argmax(dim=1)
    rewards[torch.arange(len(last), device=mask.device), last] += terminal
    return rewards


def generalised(
    rewards: Tensor, values: Tensor, mask: Tensor, discount: float, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (arXiv 1506.02438, eq. 16).

    Args:
        rewards, values, mask: (B, T); `values[:, t]` is the critic's estimate before token t is drawn.
        discount: gamma. smoothing: lambda.

    Returns:
        (B, T) advantages and (B, T) returns, both zero outside the mask. The value after the last token is zero.
    """
    advantages = torch.zeros_like(rewards)
    following_advantage = torch.zeros_like(rewards[:, 0])
    following_value = torch.zeros_like(rewards[:, 0])
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + discount * following_value - values[:, t]
        following_advantage = (delta + discount * smoothing * following_advantage) * mask[:, t]
        following_value = values[:, t] * mask[:, t]
        advantages[:, t] = following_advantage
    return advantages, (advantages + values) * mask


def rewards_to_go(rewards: Tensor, mask: Tensor) -> Tensor:
    """(B, T) sum of a token's and all later rewards: REINFORCE++ (arXiv 2501.03262) before its whitening."""
    return rewards.flip(1).cumsum(dim=1).flip(1) * mask


def leave_one_out(totals: Tensor, groups: Tensor) -> Tensor:
    """(B,) reward of a sample less the mean of the others of its group: RLOO (arXiv 2402.14740). Raises `NoGroup`."""
    counts, means = _of_groups(totals, groups)
    return counts / (counts - 1) * (totals - means)


def group_relative(totals: Tensor, groups: Tensor) -> Tensor:
    """(B,) reward less the mean of the group, over its standard deviation: GRPO (arXiv 2402.03300). Raises `NoGroup`.

    The deviation is that of a sample (n - 1); a group whose rewards are all alike has no advantage at all.
    """
    counts, means = _of_groups(totals, groups)
    squares = torch.zeros_like(totals).index_add_(0, groups, (totals - means) ** 2)[groups]
    return (totals - means) / ((squares / (counts - 1)).sqrt() + _EPSILON)


def _of_groups(totals: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) size and mean of each sample's group; `groups` holds a number below B for each sample."""
    counts = torch.zeros_like(totals).index_add_(0, groups, torch.ones_like(totals))[groups]
    if bool((counts < 2).any()):
        raise NoGroup("a prompt has a single sample; estimators grpo and rloo need two or more of each")
    return counts, torch.zeros_like(totals).index_add_(0, groups, totals)[groups] / counts
