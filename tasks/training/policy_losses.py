"""The policy surrogates of a task reward: GRPO, DAPO, Dr. GRPO and GSPO, and the KL to a reference that may join them.

Shapes: B items, K rollouts of each, T response tokens, as in `objectives`. They differ in what the importance ratio is of (a
token, or in GSPO the sequence) and in how tokens are weighed against each other; clipping is the same for all.

EchoDistill's eq. 6 is no fifth kind: its ratio exp(l_theta - l_phi) of length-mean log-probabilities is GSPO's with the frozen
clean teacher in the place of the policy that sampled, so it is `policy_terms("gspo", student, teacher, ...)`.
"""

from typing import Literal

import torch
from torch import Tensor

from tasks.training.objectives import masked_mean

MAX_LOG_RATIO = 20.0
PolicyKind = Literal["grpo", "dapo", "dr_grpo", "gspo"]


def policy_terms(
    kind: PolicyKind,
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip: float,
    clip_high: float | None = None,
    max_tokens: int | None = None,
    reference: Tensor | None = None,
    kl_weight: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Terms (sums (B,), weights (B,)) of -min(r A, clip(r, 1 - clip, 1 + clip_high) A) + kl_weight KL(student || reference).

    The loss is `sum(sums) / sum(weights)` over the whole batch of a step, all its micro-batches and processes; weights have no gradient.

    - grpo (arXiv 2402.03300, eq. 3): mean over rollouts of the mean over their tokens; weight 1.
    - dapo (arXiv 2503.14476, eq. 8): sum over the group's tokens; weight their number, so each token of the batch counts the same.
    - dr_grpo (arXiv 2503.20783): mean over rollouts of the token sum / max_tokens; weight 1. Its advantages are `group_advantages(..., scale=False)`.
    - gspo (arXiv 2507.18071, eq. 5): as grpo, with one ratio a rollout, exp(mean_t(log pi - log pi_old)), clipped as one.

    A rollout without tokens counts as 0 among the K, as does one whose advantage is 0 (apart from the KL).

    Args:
        kind: which of the four.
        logprobs: of the rollouts' tokens under the student, (B, K, T); the only input that gets a gradient.
        old_logprobs: under the policy that sampled them, (B, K, T); under the clean teacher in EchoDistill.
        advantages: (B, K).
        mask: 1 on response tokens, (B, K, T).
        clip: width of the trust interval below a ratio of 1.
        clip_high: width above it, `clip` where None; DAPO's clip-higher is 0.28 beside a clip of 0.2.
        max_tokens: what dr_grpo divides by: the length at which rollouts are cut.
        reference: log-probabilities under the reference model, (B, K, T), for the KL.
        kl_weight: GRPO's beta; the KL of a token is weighed as the token is.

    Raises ValueError for dr_grpo without max_tokens, and for a kl_weight without reference.
    """
    weights = mask.to(logprobs)
    fixed = advantages.detach().unsqueeze(-1).to(logprobs)
    log_ratio = logprobs - old_logprobs.detach()
    if kind == "gspo":
        log_ratio = masked_mean(log_ratio, weights).unsqueeze(-1)
    # Clipping or a mask hides a ratio that overflows, but not in the gradient, which would be 0 * inf.
    ratio = log_ratio.clamp(max=MAX_LOG_RATIO).exp()
    bounded = ratio.clamp(1.0 - clip, 1.0 + (clip if clip_high is None else clip_high))
    losses = -torch.minimum(ratio * fixed, bounded * fixed)
    if kl_weight:
        if reference is None:
            raise ValueError("a kl_weight needs the log-probabilities of a reference")
        losses = losses + kl_weight * k3(logprobs, reference, mask)
    tokens = losses * weights
    if kind == "dapo":
        return tokens.sum((-2, -1)), weights.sum((-2, -1))
    if kind == "dr_grpo":
        if max_tokens is None:
            raise ValueError("dr_grpo divides by max_tokens")
        rollouts = tokens.sum(-1) / max_tokens
    else:
        rollouts = tokens.sum(-1) / weights.sum(-1).clamp(min=1)
    return rollouts.mean(-1), torch.ones_like(rollouts[..., 0])


def k3(student: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Estimate of KL(student || reference) from each sampled token, pi_ref / pi - log(pi_ref / pi) - 1, 0 on padding. All (..., T)."""
    log_ratio = torch.where(mask.bool(), reference.detach() - student, 0.0)
    return log_ratio.expm1() - log_ratio


def kl_to_reference(student: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """KL(student || reference) of each item: mean over its rollouts of the length-mean of `k3` (GRPO, arXiv 2402.03300, eq. 4).

    Log-probabilities of the student's own samples and mask, (B, K, T), to (B,). The value is unbiased; the gradient is, in
    expectation, that of KL(reference || student), which has the same minimum (as published: the samples are held fixed).
    """
    return masked_mean(k3(student, reference, mask), mask).mean(-1)
