"""What is particular to Granite-Speech (arXiv 2505.08699): a conformer without a padding mask, and a LoRA adapter for audio only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, GraniteSpeechForConditionalGeneration
from transformers.utils import is_peft_available

from tasks.common.audio import Wave
from tasks.common.errors import UserError
from tasks.engines.prompts import expanded
from tasks.engines.weights import load_weights

MODALITIES = {"audio": 1}
TEMPLATE_VARIABLES: dict[str, Any] = {}
FFN_ACTIVATION = r"encoder\.layers\.(\d+)\.ff2\.silu"  # of the audio encoder: the second of a conformer block's two, which ends the block
WINDOW_S = 600.0  # the encoder has no window of its own; this is 6,000 tokens, and bounds its memory

__all__ = ["audio_id", "audio_tokens", "chat_text", "encode", "encoder_frames"]
__all__ += ["hidden_states", "inputs", "load", "load_processor", "logits", "window_s"]


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """(model in evaluation mode, processor) of a folder; raises UserError where its adapter needs a package that is missing."""
    if (folder / "adapter_config.json").is_file() and not is_peft_available():
        raise UserError(str(folder), "this model has a LoRA adapter, and peft is not installed", "pip install peft")
    return load_weights(GraniteSpeechForConditionalGeneration, folder, dtype).to(device).eval(), load_processor(folder)


def load_processor(folder: Path) -> Any:
    """The processor of a `from_pretrained` folder, padding on the left."""
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    processor.tokenizer.padding_side = "left"
    return processor


def window_s(processor: Any) -> float:
    """Longest audio in seconds."""
    return WINDOW_S


def audio_id(processor: Any) -> int:
    """Token that stands for the audio."""
    token: int = processor.tokenizer.convert_tokens_to_ids(processor.audio_token)
    return token


def audio_tokens(processor: Any, frames: int) -> int:
    """Audio tokens that `frames` samples become: three for every 15 frames of 20 ms."""
    count: int = processor.audio_processor._get_num_audio_features([frames])[0]
    return count


def chat_text(processor: Any, prompt: str, audio: bool) -> str:
    """One user turn, the placeholder before the text as in the model's card, then the opening of the assistant's turn."""
    turn = [{"role": "user", "content": (processor.audio_token if audio else "") + prompt}]
    text: str = processor.tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    return text


def inputs(processor: Any, texts: Sequence[str], audios: Sequence[Wave] | None, multiple: int) -> dict[str, torch.Tensor]:
    """Tensors of one batch, padded on the left to a multiple of `multiple` tokens; `feature_lengths` (batch,) are frames of each clip."""
    counts = None if audios is None else [audio_tokens(processor, len(wave)) for wave in audios]
    batch = expanded(processor.tokenizer, texts, audio_id(processor), counts, multiple)
    if audios is not None:
        features = [processor.audio_processor([wave])["input_features"][0] for wave in audios]
        batch["input_features"] = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
        batch["feature_lengths"] = torch.tensor([len(frames) for frames in features])
    return batch


def encoder_frames(processor: Any, frames: int) -> int:
    """Frames of the audio encoder that `frames` samples become: 10 ms features, centred, taken in pairs."""
    count: int = (frames // processor.audio_processor.melspec_kwargs["hop_length"] + 1) // 2
    return count


def encode(model: Any, tensors: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The audio of each clip as the language model reads it, (tokens, width), one by one: without a mask, the padding of a batch would be heard."""
    clips = zip(tensors["input_features"].to(model.dtype), tensors["feature_lengths"].tolist(), strict=True)
    return [model.get_audio_features(row[None, :length]).pooler_output[0] for row, length in clips]


def hidden_states(model: Any, **tensors: Any) -> Any:
    """The forward pass up to the last hidden states."""
    ids, features = tensors.pop("input_ids"), tensors.pop("input_features", None)
    lengths = tensors.pop("feature_lengths", None)
    if tensors.get("past_key_values") is None and model._hf_peft_config_loaded:
        (model.enable_adapters if features is not None else model.disable_adapters)()
    is_audio = ids == model.config.audio_token_id
    embeddings = model.get_input_embeddings()(ids.masked_fill(is_audio, 0))
    if features is not None:
        heard = encode(model, {"input_features": features, "feature_lengths": lengths})
        embeddings = embeddings.masked_scatter(is_audio[..., None], torch.cat(heard).to(embeddings.dtype))
    return model.model.language_model(inputs_embeds=embeddings, **tensors)


def logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The logits (..., vocabulary) of last hidden states (..., width), divided as Granite was trained and vLLM does.

    The class in transformers 5 leaves the division out: greedy tokens stay the same, but probabilities come out far too sharp.
    """
    scaled: torch.Tensor = model.lm_head(hidden) / model.config.text_config.logits_scaling
    return scaled
