"""CAAD (arXiv 2606.23052), taken into noise: a contrastive teacher along a response written from metadata.

Every path runs once over the whole Pseudo-GT (synchronised teacher forcing). The composition trained here is ours: the
student hears the noisy audio, the teacher's z+ hears the clean clip, and its z- hears silence or is given no audio at
all. An item without a clean teacher (a question about the noise itself) keeps only its cross-entropy.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.common.audio import Wave
from tasks.training import objectives
from tasks.training.cached_teacher import View, remembered, teacher_logits
from tasks.training.data import Row
from tasks.training.params import CaadParams
from tasks.training.scoring import read, teacher_forced
from tasks.training.trainer import Figures

RESPONSE = "pseudo_gt"


class Caad:
    """The objective of methods.md's section 4: lambda L_CD + (1 - lambda) L_GT.

    Args:
        teacher: the frozen backbone, on the student's device.
        processor: its processor.
        params: alpha, tau, lambda and the negative path.
    """

    def __init__(self, teacher: Any, processor: Any, params: CaadParams) -> None:
        self.teacher, self.params = teacher, params
        # At alpha 0 the negative path has no weight, so plain distillation does not pay for it.
        self.paths: tuple[View, ...] = ("clean", params.negative) if params.alpha else ("clean",)
        self.views: tuple[str, ...] = () if params.cached_tokens else self.paths
        self.kept: dict[tuple[str, str], Row] = {}

    def remember(self, rows: Sequence[Row], waves: Mapping[str, Wave], backbone: Path) -> None:
        """Have the teacher's distributions along the rows' responses at hand; computes what no earlier run has."""
        if self.params.cached_tokens:
            self.kept = remembered(rows, waves, self.paths, backbone, self.params.cached_tokens)

    def __call__(self, model: Any, batch: dict[str, Any], step: int) -> tuple[Tensor, Figures]:
        params, ids, mask = self.params, batch["response"], batch["response_mask"]
        with torch.no_grad():
            target, *unheard = [self._teacher(path, batch) for path in self.paths]
            if unheard:
                target = objectives.contrastive_logits(target, unheard[0], params.alpha)
        student = teacher_forced(model, read(model, batch["student"]), ids, mask)
        contrast = objectives.token_kl(target, student, mask, params.tau)
        truth = objectives.cross_entropy(student, ids, mask)
        loss = objectives.caad_loss(contrast, truth, batch["taught"], params.weight)
        return loss, {"kl": objectives.gated_mean(contrast.detach(), batch["taught"]).item(), "ce": truth.mean().item()}

    def _teacher(self, path: str, batch: dict[str, Any]) -> Tensor:
        """The teacher's logits along the responses, (B, T, V): from the cache, or from a pass."""
        if self.params.cached_tokens:
            return teacher_logits(self.kept, batch["item_id"], path, batch["response"].shape[1], self.teacher.lm_head.weight)
        return teacher_forced(self.teacher, read(self.teacher, batch[path]), batch["response"], batch["response_mask"])
