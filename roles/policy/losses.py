"""PPO (arXiv 1707.06347) as pure functions over right-padded tensors of shape (B, T).

Masks are true on completion tokens. Every mean is over the masked tokens of the whole argument.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0  # exp() beyond it is only overflow


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Zero mean and unit variance over the masked tokens; zero elsewhere."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


def token_rewards(terminal: Tensor, log_probs: Tensor, reference_log_probs: Tensor, mask: Tensor, kl: float) -> Tensor:
    """`-kl * (log pi - log ref)` on every completion token, and `terminal` added on the last (InstructGPT, eq. 2).

    Args:
        terminal: (B,) reward of each completed sequence.
        log_probs, reference_log_probs, mask: (B, T).
        kl: coefficient of the penalty.
    """
    rewards = -kl * (log_probs - reference_log_probs) * mask
    positions = torch.arange(mask.shape[1], device=mask.device)
    last = (mask * positions).argmax(dim=1)
    rewards[torch.arange(len(last), device=mask.device), last] += terminal
    return rewards


def generalised_advantages(
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


def clipped_policy_loss(
    log_probs: Tensor, behaviour_log_probs: Tensor, advantages: Tensor, mask: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate, to be minimised, and the share of tokens on which the clip took effect.

    `-mean min(u A, clip(u, 1 - clip, 1 + clip) A)` with u the ratio to the policy that sampled.
    """
    ratio = (log_probs - behaviour_log_probs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    plain = ratio * advantages
    clipped = ratio.clamp(1 - clip, 1 + clip) * advantages
    return -masked_mean(torch.minimum(plain, clipped), mask), masked_mean((clipped < plain).float(), mask)


def value_loss(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Half the mean squared error of the critic."""
    return 0.5 * masked_mean((values - returns) ** 2, mask)
