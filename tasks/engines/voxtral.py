"""What is particular to Voxtral (arXiv 2507.13264): chunks of 30 s, always filled up, and a prompt that mistral-common defines instead of a template.

The prompt here is that of its instruction tokenizers from version 7 on; a test holds it to mistral-common's own token ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import VoxtralForConditionalGeneration, WhisperFeatureExtractor
from transformers.integrations.mistral import convert_tekken_tokenizer

from tasks.common.audio import RATE, Wave
from tasks.common.errors import UserError
from tasks.engines.prompts import expanded
from tasks.engines.qwen2_audio import encoder_frames, hidden_states, logits
from tasks.engines.weights import load_weights

AUDIO = "[AUDIO]"
MODALITIES = {"audio": 1}
TEMPLATE_VARIABLES: dict[str, Any] = {}
FFN_ACTIVATION = r"audio_tower\.layers\.(\d+)\.activation_fn"  # of the audio encoder
CHUNK_S = 30
CHUNK_TOKENS = 375  # 12.5 a second
WINDOW_S = 2400.0  # what the model's card promises to understand: 40 minutes, 30,000 tokens

__all__ = ["audio_id", "audio_tokens", "chat_text", "encode", "encoder_frames"]
__all__ += ["hidden_states", "inputs", "load", "load_processor", "logits", "window_s"]


@dataclass(frozen=True)
class Processor:
    """Tokenizer, padding on the left, and feature extractor."""

    tokenizer: Any
    feature_extractor: Any


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Processor]:
    """(model in evaluation mode, processor) of a `from_pretrained` folder."""
    return load_weights(VoxtralForConditionalGeneration, folder, dtype).to(device).eval(), load_processor(folder)


def load_processor(folder: Path) -> Processor:
    """Raises UserError where the folder holds no tokenizer of Mistral's."""
    path = folder / "tekken.json"
    if not path.is_file():
        raise UserError(str(folder), "no tokenizer here (tekken.json is missing)", "Copy it from the model's checkpoint")
    tokenizer = convert_tekken_tokenizer(str(path), chat_template="")  # else one is generated, which wants mistral-common
    tokenizer.padding_side = "left"
    return Processor(tokenizer, WhisperFeatureExtractor.from_pretrained(folder))


def audio_id(processor: Processor) -> int:
    """Token that stands for the audio."""
    token: int = processor.tokenizer.convert_tokens_to_ids(AUDIO)
    return token


def window_s(processor: Processor) -> float:
    """Longest audio in seconds."""
    return WINDOW_S


def audio_tokens(processor: Processor, frames: int) -> int:
    """Audio tokens that `frames` samples become: 375 for every chunk, also one that is begun."""
    return -(-frames // (CHUNK_S * RATE)) * CHUNK_TOKENS


def chat_text(processor: Processor, prompt: str, audio: bool) -> str:
    """One user turn, the audio before the text; its end opens the assistant's turn."""
    return f"<s>[INST]{'[BEGIN_AUDIO]' + AUDIO if audio else ''}{prompt}[/INST]"


def inputs(processor: Processor, texts: Sequence[str], audios: Sequence[Wave] | None, multiple: int) -> dict[str, torch.Tensor]:
    """Tensors of one batch, padded on the left to a multiple of `multiple` tokens; `input_features` (chunks of all clips, mel, 3000)."""
    counts = None if audios is None else [audio_tokens(processor, len(wave)) for wave in audios]
    batch = expanded(processor.tokenizer, texts, audio_id(processor), counts, multiple)
    if audios is not None:
        extractor, settings = processor.feature_extractor, {"padding": True, "truncation": False, "pad_to_multiple_of": CHUNK_S * RATE}
        heard = [extractor(wave, sampling_rate=RATE, return_tensors="pt", **settings)["input_features"][0] for wave in audios]
        chunks = [chunk for features in heard for chunk in features.split(CHUNK_S * RATE // extractor.hop_length, dim=1)]
        batch["input_features"] = torch.stack(chunks)
    return batch


def encode(model: Any, tensors: dict[str, torch.Tensor]) -> None:
    """The audio encoder alone, on the tensors of `inputs`."""
    model.get_audio_features(tensors["input_features"].to(model.dtype))
