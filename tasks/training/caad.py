"""CAAD (arXiv 2606.23052), taken into noise: a contrastive teacher along a response written from metadata.

Every path runs once over the whole Pseudo-GT (synchronised teacher forcing). The composition trained here is ours: the
student hears the noisy audio, the teacher's z+ hears the clean clip, and its z- hears silence, is given no audio at all, or
hears silence and reads the transcript. An item without a clean teacher (a question about the noise itself) keeps only its cross-entropy.
"""

import math

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
        alpha = alphas(target, unheard[0], mask, params)
        if isinstance(alpha, Tensor):
            passes.watch("alpha", alpha, "taught")
        target = objectives.contrastive_logits(target, unheard[0], alpha)
    student = passes.student_along(RESPONSE)
    contrast = objectives.token_kl(target, student, mask, params.tau)
    return blended(passes, contrast, objectives.cross_entropy(student, ids, mask), params.weight, RESPONSE, "taught")


def alphas(heard: Tensor, unheard: Tensor, mask: Tensor, params: CaadParams) -> float | Tensor:
    """The weight of the contrast: alpha, or for each item (B,) that much of it as its largest conflict says."""
    if params.alpha_schedule == "fixed":
        return params.alpha
    return params.alpha * conflict(heard, unheard).masked_fill(mask == 0, 0.0).amax(-1)


def conflict(heard: Tensor, unheard: Tensor) -> Tensor:
    """Where the text alone has decided and hearing speaks against it: logits z+ and z-, (B, T, V), to (B, T) from 0 to 1. Ours.

    The text's choice leads its strongest rival in z-; this is the share of the lead that is gone in z+. It counts as far as the text
    is sure: by 1 without doubt, down to 0 at one bit of it (two tokens equally likely). So it is 0 where no text misleads, since z- is
    unsure there, and where text and sound agree, since hearing adds to the lead.
    """
    choice = unheard.argmax(-1, keepdim=True)
    itself = torch.zeros_like(unheard, dtype=torch.bool).scatter(-1, choice, True)
    lead, left = ((z.gather(-1, choice).squeeze(-1) - z.masked_fill(itself, -torch.inf).amax(-1)).float() for z in (unheard, heard))
    logprobs = objectives.log_softmax(unheard)
    doubt = -(logprobs.exp() * logprobs).sum(-1) / math.log(2.0)
    return (1.0 - doubt).clamp(0.0, 1.0) * (1.0 - left / lead.clamp(min=1e-6)).clamp(0.0, 1.0)


def _teacher(passes: Passes, params: CaadParams, path: str) -> Tensor:
    """The teacher's logits along the Pseudo-GTs, (B, T, V): from the cache, or from a pass."""
    if not params.cached_tokens:
        return passes.teacher_along(RESPONSE, path)
    with torch.no_grad():
        return teacher_logits(passes.cast.kept, passes.batch["item_id"], path, passes.batch[RESPONSE].shape[1], passes.cast.teacher.lm_head.weight)
