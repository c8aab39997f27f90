"""The policy term: rollouts earn a reward, the reward becomes an advantage within the group, the advantage moves their log-probabilities."""

import torch
from torch import Tensor

from tasks.training import objectives
from tasks.training.params import PolicyParams
from tasks.training.passes import Passes
from tasks.training.policy_losses import kl_to_reference, policy_terms


def rollout_logprobs(passes: Passes) -> Tensor:
    """Log-probabilities the student gives its rollouts, at the sampling temperature: (B, K, T), with gradients. Watches the entropy."""
    rollouts = passes.rollouts()
    logits = passes.student_on(rollouts) / passes.cast.rollouts.temperature
    with torch.no_grad():
        logs = logits.log_softmax(-1)
        entropy = -(logs.exp() * logs).sum(-1)
        passes.figures["entropy"] = objectives.masked_mean(entropy, rollouts.mask).mean().item()
    return rollouts.grouped(objectives.token_logprobs(logits, rollouts.ids))


def policy_loss(passes: Passes, params: PolicyParams, rewards: Tensor, scorer: Tensor, over: str = "items") -> Tensor:
    """The surrogate of `params.loss` for rewards (B, K), over the items flagged `over`.

    `scorer` (B, K, T) is the log-probabilities that the student's are compared with.
    """
    rollouts, student = passes.rollouts(), rollout_logprobs(passes)
    mask = rollouts.grouped(rollouts.mask)
    advantages = objectives.group_advantages(rewards, scale=params.loss != "dr_grpo")
    reference = None
    if params.kl_weight:
        with torch.no_grad():
            logits = passes.teacher_on(rollouts, view="student") / passes.cast.rollouts.temperature
            reference = rollouts.grouped(objectives.token_logprobs(logits, rollouts.ids))
        passes.watch("kl_reference", kl_to_reference(student, reference, mask), over)
    sums, weights = policy_terms(
        params.loss,
        student,
        scorer,
        advantages,
        mask,
        clip=params.clip,
        clip_high=params.clip_high,
        max_tokens=passes.cast.rollouts.max_new_tokens,
        reference=reference,
        kl_weight=params.kl_weight,
    )
    return passes.ratio(sums, weights, "rollout_tokens") if params.loss == "dapo" else passes.mean(sums, over)
