"""Supervised fine-tuning: clean labels on noisy audio, the baseline that needs no teacher."""

from torch import Tensor

from tasks.training import objectives
from tasks.training.params import SftParams
from tasks.training.passes import Passes


def views(params: SftParams) -> tuple[str, ...]:
    """Nothing beside what the student hears."""
    return ()


def responses(params: SftParams) -> tuple[str, ...]:
    """The labels."""
    return (params.response,)


def loss(passes: Passes, params: SftParams) -> Tensor:
    """Token-mean cross-entropy of the labels, mean over items."""
    ids, mask = passes.response(params.response)
    truth = objectives.cross_entropy(passes.student_along(params.response), ids, mask)
    passes.watch("ce", truth, f"has_{params.response}")
    return passes.mean(truth, f"has_{params.response}")
