"""What is particular to Audio Flamingo 3 (arXiv 2507.08128): audio in windows of 30 s, up to ten minutes of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AudioFlamingo3ForConditionalGeneration

from tasks.common.audio import RATE, Wave
from tasks.engines.qwen2_audio import audio_id, audio_tokens, chat_text, encoder_frames, load_processor, logits
from tasks.engines.weights import load_weights

MODALITIES = {"audio": 1}
TEMPLATE_VARIABLES: dict[str, Any] = {}
FFN_ACTIVATION = r"audio_tower\.layers\.(\d+)\.activation_fn"  # of the audio encoder

__all__ = ["audio_id", "audio_tokens", "chat_text", "encode", "encoder_frames"]
__all__ += ["hidden_states", "inputs", "load", "load_processor", "logits", "window_s"]


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """(model in evaluation mode, processor that pads on the left) of a `from_pretrained` folder."""
    return load_weights(AudioFlamingo3ForConditionalGeneration, folder, dtype).to(device).eval(), load_processor(folder)


def window_s(processor: Any) -> float:
    """Longest audio in seconds; the processor would cut what is longer."""
    return float(processor.max_audio_len)


def inputs(processor: Any, texts: Sequence[str], audios: Sequence[Wave] | None, multiple: int) -> dict[str, torch.Tensor]:
    """The processor's tensors for one batch, padded on the left to a multiple of `multiple` tokens."""
    sound = {} if audios is None else {"audio": list(audios), "audio_kwargs": {"sampling_rate": RATE}}
    padding = {"padding": True, "pad_to_multiple_of": multiple, "padding_side": "left"}
    batch = processor(text=list(texts), **sound, text_kwargs=padding)
    names = ("input_ids", "attention_mask", "input_features", "input_features_mask")
    return {name: batch[name].contiguous() for name in names if name in batch}


def hidden_states(model: Any, **tensors: Any) -> Any:
    """The forward pass up to the last hidden states."""
    if "input_features" in tensors:
        tensors["input_features"] = tensors["input_features"].to(model.dtype)
    return model.model(**tensors)


def encode(model: Any, tensors: dict[str, torch.Tensor]) -> None:
    """The audio encoder alone, on the tensors of `inputs`."""
    model.get_audio_features(tensors["input_features"].to(model.dtype), tensors["input_features_mask"])
