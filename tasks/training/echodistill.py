"""EchoDistill (arXiv 2605.23954): the student hears noise, its frozen self hears the clean clip and leads it.

Rollouts from the noisy audio earn the task reward, standardised within their group; the clean teacher is the reference
scorer of the clipped surrogate, and its distributions along its own cached response are distilled token by token.
"""

import torch
from torch import Tensor

from tasks.training import objectives
from tasks.training.params import EchoDistillParams
from tasks.training.passes import Passes
from tasks.training.policy import policy_loss

RESPONSE = "reference"


def views(params: EchoDistillParams) -> tuple[str, ...]:
    """The teacher hears the clean clip."""
    return ("clean",)


def responses(params: EchoDistillParams) -> tuple[str, ...]:
    """The teacher's cached response."""
    return (RESPONSE,)


def loss(passes: Passes, params: EchoDistillParams) -> Tensor:
    """The paper's eq. 7: lambda_policy L_policy + lambda_distill L_distill."""
    gate = "trusted" if params.teacher_gate else "taught"
    _, mask = passes.response(RESPONSE)
    divergence = objectives.token_kl(passes.teacher_along(RESPONSE), passes.student_along(RESPONSE), mask)
    passes.watch("kl", divergence, gate)
    total = params.lambda_distill * passes.mean(divergence, gate)
    if params.lambda_policy:
        total = total + params.lambda_policy * _policy(passes, params, divergence.detach())
    return total


def _policy(passes: Passes, params: EchoDistillParams, divergence: Tensor) -> Tensor:
    rollouts = passes.rollouts()
    behaviour = rollouts.grouped(rollouts.logprobs)
    rewards, teacher = passes.rewards, behaviour
    if params.scorer == "teacher" or params.shaping == "candidate":
        with torch.no_grad():
            logits = passes.teacher_on(rollouts) / passes.cast.rollouts.temperature
            teacher = rollouts.grouped(objectives.token_logprobs(logits, rollouts.ids))
    if params.shaping == "instance":
        rewards = objectives.shaped_rewards(rewards, (-divergence).exp()[:, None], params.beta)
    elif params.shaping == "candidate":
        closeness = objectives.masked_mean(teacher, rollouts.grouped(rollouts.mask)).exp()
        rewards = objectives.shaped_rewards(rewards, closeness, params.beta)
    return policy_loss(passes, params, rewards, teacher if params.scorer == "teacher" else behaviour, over="taught")
