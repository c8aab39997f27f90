"""CAAD (arXiv 2606.23052), taken into noise: a contrastive teacher along a response written from metadata.

Every path runs once over the whole Pseudo-GT (synchronised teacher forcing). The composition trained here is ours: the
student hears the noisy audio, the teacher's z+ hears the clean clip, and its z- hears silence, is given no audio at all, or
hears silence and reads the transcript. An item without a clean teacher (a question about the noise itself) keeps only its cross-entropy.
"""

import torch
from torch import Tensor

from tasks.training import objectives
from tasks.training.cached_teacher import teacher_logits
from tasks.training.kd import blended
from tasks.training.params import CaadParams
from tasks.training.passes import Passes

RESPONSE = "pseudo_gt"


def paths(params: CaadParams) -> tuple[str, ...]:
    """What the teacher is given: z+ and, unless alpha is 0 and it has no weight, z-."""
    return ("clean", params.negative) if params.alpha else ("clean",)


def views(params: CaadParams) -> tuple[str, ...]:
    """The teacher's paths, where it is not read from disk."""
    return () if params.cached_tokens else paths(params)


def responses(params: CaadParams) -> tuple[str, ...]:
    """The Pseudo-GT."""
    return (RESPONSE,)


def loss(passes: Passes, params: CaadParams) -> Tensor:
    """The objective of the paper: lambda L_CD + (1 - lambda) L_GT."""
    ids, mask = passes.response(RESPONSE)
    target, *unheard = [_teacher(passes, params, path) for path in paths(params)]
    if unheard:
        target = objectives.contrastive_logits(target, unheard[0], params.alpha)
    student = passes.student_along(RESPONSE)
    contrast = objectives.token_kl(target, student, mask, params.tau)
    return blended(passes, contrast, objectives.cross_entropy(student, ids, mask), params.weight, RESPONSE, "taught")


def _teacher(passes: Passes, params: CaadParams, path: str) -> Tensor:
    """The teacher's logits along the Pseudo-GTs, (B, T, V): from the cache, or from a pass."""
    if not params.cached_tokens:
        return passes.teacher_along(RESPONSE, path)
    with torch.no_grad():
        return teacher_logits(passes.cast.kept, passes.batch["item_id"], path, passes.batch[RESPONSE].shape[1], passes.cast.teacher.lm_head.weight)
