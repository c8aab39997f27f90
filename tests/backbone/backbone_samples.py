"""Words that are tones: each its own pitch."""

import numpy as np

from tasks.backbone.params import ModelParams
from tasks.common.audio import RATE, Wave

WORDS = ["lamp", "tree", "boat", "stone", "river"]
SMALL = ModelParams(width=32, text_ffn=32, audio_layers=1, text_layers=1, head_dim=32)


def tone(hertz: float, seconds: float) -> Wave:
    """(frames,) a sine."""
    return (0.1 * np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)
