"""What is particular to Qwen2.5-Omni's thinker (arXiv 2503.20215): the half that hears and answers in text.

Takes the folder of a whole model or of its thinker. The processor here is the tokenizer and the feature extractor: the class of that name
in transformers also wants torchvision.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen2_5OmniThinkerForConditionalGeneration, WhisperFeatureExtractor

from tasks.common.audio import RATE, Wave
from tasks.common.errors import UserError
from tasks.engines.prompts import expanded
from tasks.engines.qwen2_audio import audio_tokens, encoder_frames, logits, window_s
from tasks.engines.weights import load_weights

AUDIO = "<|AUDIO|>"
MODALITIES = {"audio": 1, "image": 0, "video": 0}
TEMPLATE_VARIABLES: dict[str, Any] = {}
# Submodules of the thinker, for training.
AUDIO_TOWER, PROJECTOR, DECODER, HEAD = "audio_tower", "audio_tower.proj", "model", "lm_head"
FFN_ACTIVATION = r"audio_tower\.layers\.(\d+)\.activation_fn"  # of the audio encoder, by its full name
FIXED = ("audio_tower.audio_bos_eos_token.weight",)  # of no use to any pass

__all__ = ["audio_id", "audio_tokens", "chat_text", "encode", "encoder_frames"]
__all__ += ["hidden_states", "inputs", "load", "load_processor", "logits", "window_s"]


@dataclass(frozen=True)
class Processor:
    """Tokenizer, padding on the left, and feature extractor."""

    tokenizer: Any
    feature_extractor: Any


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """(thinker in evaluation mode, processor) of a `from_pretrained` folder."""
    model = load_weights(Qwen2_5OmniThinkerForConditionalGeneration, folder, dtype).to(device).eval()
    processor = load_processor(folder)
    if model.generation_config.eos_token_id is None:
        model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    return model, processor


def load_processor(folder: Path) -> Processor:
    """Raises UserError where the folder holds no chat template."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", trust_remote_code=False)
    if tokenizer.chat_template is None:
        path = folder / "chat_template.json"  # where the published checkpoints keep it
        if not path.is_file():
            raise UserError(str(folder), "no chat template here (chat_template.json or .jinja is missing)", "Copy it from the model's checkpoint")
        tokenizer.chat_template = json.loads(path.read_text(encoding="utf-8"))["chat_template"]
    return Processor(tokenizer, WhisperFeatureExtractor.from_pretrained(folder))


def audio_id(processor: Processor) -> int:
    """Token that stands for the audio."""
    token: int = processor.tokenizer.convert_tokens_to_ids(AUDIO)
    return token


def chat_text(processor: Processor, prompt: str, audio: bool) -> str:
    """One user turn, the audio before the text, then the opening of the assistant's turn."""
    content = [{"type": "audio"}] * audio + [{"type": "text", "text": prompt}]
    text: str = processor.tokenizer.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False)
    return text


def inputs(processor: Processor, texts: Sequence[str], audios: Sequence[Wave] | None, multiple: int) -> dict[str, torch.Tensor]:
    """Tensors of one batch, padded on the left to a multiple of `multiple` tokens.

    The frames of a clip are those of the published processor, which pads to 300 s; here only as far as its last frame looks.
    """
    counts = None if audios is None else [audio_tokens(processor, len(wave)) for wave in audios]
    batch = expanded(processor.tokenizer, texts, audio_id(processor), counts, multiple)
    if audios is not None:
        extractor = processor.feature_extractor
        longest = max(map(len, audios)) + extractor.n_fft
        length = -(-longest // extractor.hop_length) * extractor.hop_length
        heard = extractor(list(audios), sampling_rate=RATE, padding="max_length", max_length=length, return_attention_mask=True, return_tensors="pt")
        batch |= {"input_features": heard["input_features"], "feature_attention_mask": heard["attention_mask"].contiguous()}
    return batch


def encode(model: Any, tensors: dict[str, torch.Tensor]) -> None:
    """The audio encoder alone, on the tensors of `inputs`."""
    model.get_audio_features(tensors["input_features"].to(model.dtype), tensors["feature_attention_mask"])


def hub_name(name: str) -> str:
    """A weight's name in the folder of a thinker, by its name in the model: the same."""
    return name


def hidden_states(model: Any, **tensors: Any) -> Any:
    """The forward pass up to the last hidden states; the thinker's own forward would make logits of every place."""
    ids, features = tensors.pop("input_ids"), tensors.pop("input_features", None)
    mask = tensors.pop("feature_attention_mask", None)
    embeddings = model.get_input_embeddings()(ids)
    if features is not None:
        heard = model.get_audio_features(features.to(embeddings.dtype), mask).last_hidden_state
        embeddings = embeddings.masked_scatter((ids == model.config.audio_token_id)[..., None], heard.to(embeddings.dtype))
    return model.model(inputs_embeds=embeddings, **tensors)
