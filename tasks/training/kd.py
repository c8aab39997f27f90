"""Knowledge distillation into noise: the clean teacher's distributions along its own tokens. CAAD's loss without the contrast."""

from torch import Tensor

from tasks.training import objectives
from tasks.training.params import KdParams
from tasks.training.passes import Passes


def views(params: KdParams) -> tuple[str, ...]:
    """The teacher hears the clean clip."""
    return ("clean",)


def responses(params: KdParams) -> tuple[str, ...]:
    """What both are forced along."""
    return (params.response,)


def loss(passes: Passes, params: KdParams) -> Tensor:
    """weight tau^2 KL(teacher || student) + (1 - weight) CE; the cross-entropy alone where the item has no clean teacher."""
    name = params.response
    ids, mask = passes.response(name)
    student = passes.student_along(name)
    truth = objectives.cross_entropy(student, ids, mask)
    divergence = objectives.token_kl(passes.teacher_along(name), student, mask, params.tau)
    return blended(passes, divergence, truth, params.weight, name, "trusted" if params.teacher_gate else "taught")


def blended(passes: Passes, divergence: Tensor, truth: Tensor, weight: float, name: str, gate: str) -> Tensor:
    """CAAD's lambda L_CD + (1 - lambda) L_GT, mean over items: an item whose `gate` is 0 has the cross-entropy term alone."""
    passes.watch("kl", divergence, gate)
    passes.watch("ce", truth, f"has_{name}")
    both = weight * divergence + (1.0 - weight) * truth
    return passes.mean(both.where(passes.flags(gate).bool(), truth), f"has_{name}")
