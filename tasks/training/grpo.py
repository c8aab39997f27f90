"""GRPO (arXiv 2402.03300) on the task reward alone: the baseline that hears no clean teacher."""

from torch import Tensor

from tasks.training.params import GrpoParams
from tasks.training.passes import Passes
from tasks.training.policy import policy_loss


def views(params: GrpoParams) -> tuple[str, ...]:
    """Nothing beside what the student hears."""
    return ()


def responses(params: GrpoParams) -> tuple[str, ...]:
    """None: the student answers by itself."""
    return ()


def loss(passes: Passes, params: GrpoParams) -> Tensor:
    """The surrogate against the policy that sampled."""
    rollouts = passes.rollouts()
    return policy_loss(passes, params, passes.rewards, rollouts.grouped(rollouts.logprobs))
