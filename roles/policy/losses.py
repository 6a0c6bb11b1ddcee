"""PPO (arXiv 1707.06347) as pure functions over right-padded tensors of shape (B, T).

Masks are true on completion tokens. Losses are per token: what they add up to is decided by `token_weights`, from
counts of the whole minibatch, so that the way in which a minibatch is cut into forward passes cannot change it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from roles.policy.kl import MAX_LOG_RATIO

Aggregation = Literal["token", "sequence", "constant"]


def ratio(log_probs: Tensor, base_log_probs: Tensor) -> Tensor:
    return (log_probs - base_log_probs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def token_weights(mask: Tensor, aggregation: Aggregation, tokens: int, sequences: int, constant: int) -> Tensor:
    """(B, T) weight of each token's loss in a minibatch of `tokens` tokens in `sequences` sequences.

    `token`: all tokens alike. `sequence`: all sequences alike, so that a token of a long one counts less.
    `constant`: over `constant` tokens a sequence, which removes that bias (Dr. GRPO, arXiv 2503.20783).
    """
    if aggregation == "token":
        return mask / tokens
    if aggregation == "sequence":
        return mask / (mask.sum(dim=1, keepdim=True).clamp(min=1) * sequences)
    return mask / (constant * sequences)


def clipped_surrogate(
    log_probs: Tensor,
    proximal_log_probs: Tensor,
    advantages: Tensor,
    clip: float,
    clip_high: float | None = None,
    dual_clip: float | None = None,
) -> tuple[Tensor, Tensor]:
    """PPO's surrogate of each token, to be minimised, and where the clip took effect.

    `-min(u A, clip(u, 1 - clip, 1 + clip_high) A)` with u the ratio to the proximal policy; where A < 0 and with
    `dual_clip` c > 1, no more than `-c A` (arXiv 1912.09729).
    """
    u = ratio(log_probs, proximal_log_probs)
    plain = u * advantages
    clipped = u.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high)) * advantages
    surrogate = torch.minimum(plain, clipped)
    if dual_clip is not None:
        surrogate = torch.where(advantages < 0, torch.maximum(surrogate, dual_clip * advantages), surrogate)
    return -surrogate, clipped < plain


def behaviour_weights(proximal_log_probs: Tensor, behaviour_log_probs: Tensor, cap: float | None) -> Tensor:
    """`w = proximal / behaviour`, cut at `cap`: the correction of decoupled PPO (arXiv 2110.00641) for samples of an
    older policy or of another engine. No gradient flows through it."""
    weights = ratio(proximal_log_probs, behaviour_log_probs).detach()
    return weights if cap is None else weights.clamp(max=cap)


def value_loss(values: Tensor, returns: Tensor, old_values: Tensor | None = None, clip: float | None = None) -> Tensor:
    """Half the squared error of the critic for each token; with `clip`, the larger one of it and of the error of the
    value moved from `old_values` by at most `clip`."""
    error = (values - returns).square()
    if clip is not None and old_values is not None:
        near = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (near - returns).square())
    return 0.5 * error
