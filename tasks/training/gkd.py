"""On-policy distillation (GKD, arXiv 2306.13649) with the forward KL of the clean teacher along the student's own rollouts: a baseline."""

from torch import Tensor

from tasks.training import objectives
from tasks.training.params import GkdParams
from tasks.training.passes import Passes


def views(params: GkdParams) -> tuple[str, ...]:
    """The teacher hears the clean clip."""
    return ("clean",)


def responses(params: GkdParams) -> tuple[str, ...]:
    """The teacher's reference only marks the items that it can teach; the tokens are the student's own."""
    return ("reference",)


def loss(passes: Passes, params: GkdParams) -> Tensor:
    """Token-mean tau^2 KL(teacher || student) along the rollouts, mean over the group and the items."""
    rollouts = passes.rollouts()
    divergence = objectives.token_kl(passes.teacher_on(rollouts), passes.student_on(rollouts), rollouts.mask, params.tau)
    each = rollouts.grouped(divergence).mean(-1)
    passes.watch("kl", each, "taught")
    return passes.mean(each, "taught")
