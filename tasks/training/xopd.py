"""X-OPD (arXiv 2603.24596): the student reads and hears, the text teacher reads, and leads it along the student's own words.

Rollouts come from the text prompt (in-modal branch) and from the speech prompt (cross-modal branch); the teacher scores both along the text
prompt. No gold answers, no rewards.
"""

import torch
from torch import Tensor

from tasks.training import objectives
from tasks.training.params import XopdParams
from tasks.training.passes import Passes


def views(params: XopdParams) -> tuple[str, ...]:
    """What the teacher reads, and the student in the in-modal branch."""
    return ("text",)


def responses(params: XopdParams) -> tuple[str, ...]:
    """A text form to read; the tokens are the student's own."""
    return ("text",)


def loss(passes: Passes, params: XopdParams) -> Tensor:
    """-(lambda J_im + (1 - lambda) J_cm), mean over the group and the items.

    While the student still reads as the teacher does, the in-modal branch is 0 and so is its gradient: it keeps the text side in place and
    teaches nothing. A branch of weight 0 samples nothing.
    """
    total: Tensor = torch.zeros(())
    for view, weight in (("text", params.lambda_im), ("student", 1.0 - params.lambda_im)):
        if weight:
            total = total + weight * _branch(passes, params, view)
    return total


def _branch(passes: Passes, params: XopdParams, view: str) -> Tensor:
    rollouts = passes.rollouts(view)
    student, teacher = passes.student_on(rollouts, view), passes.teacher_on(rollouts, "text")
    if params.estimator == "full":
        divergence = objectives.reverse_kl(teacher, student, rollouts.mask)
    else:
        ids = rollouts.ids
        scored, said = objectives.token_logprobs(teacher, ids), objectives.token_logprobs(student, ids)
        divergence = objectives.sampled_reverse_kl(scored, said, rollouts.logprobs, rollouts.mask)
    each = rollouts.grouped(divergence).mean(-1)
    passes.watch("kl_text" if view == "text" else "kl_speech", each, "taught")
    return passes.mean(each, "taught")
