"""This process among those of a run: one alone, or one of those that `accelerate launch` or torchrun started."""

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def here() -> PartialState:
    """Its number, whether it is the main one, and its device; processes without a GPU each talk through gloo."""
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available())
