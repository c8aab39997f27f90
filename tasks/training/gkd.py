"""On-policy distillation (GKD, arXiv 2306.13649) with the forward KL of the text teacher along the student's own rollouts.

The baseline of X-OPD (arXiv 2603.24596) and what differs from it: the teacher reads here too, the divergence is the forward KL, and only
the branch that hears is trained.
"""

from torch import Tensor

from tasks.training import objectives
from tasks.training.params import GkdParams
from tasks.training.passes import Passes


def views(params: GkdParams) -> tuple[str, ...]:
    """What the teacher reads."""
    return ("text",)


def responses(params: GkdParams) -> tuple[str, ...]:
    """A text form to read; the tokens are the student's own."""
    return ("text",)


def loss(passes: Passes, params: GkdParams) -> Tensor:
    """Token-mean tau^2 KL(teacher || student) along the rollouts, mean over the group and the items."""
    rollouts = passes.rollouts()
    divergence = objectives.token_kl(passes.teacher_on(rollouts, "text"), passes.student_on(rollouts), rollouts.mask, params.tau)
    each = rollouts.grouped(divergence).mean(-1)
    passes.watch("kl", each, "taught")
    return passes.mean(each, "taught")
