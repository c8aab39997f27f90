"""What is particular to Qwen2-Audio: how a prompt is laid out, how long it gets, and how its processor is called."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration
from transformers.masking_utils import create_bidirectional_mask

from tasks.common.audio import RATE, Wave
from tasks.engines.weights import load_weights

END_OF_TURN = "<|im_end|>"
MODALITIES = {"audio": 1}  # most of each in a prompt, for vLLM to make room for
TEMPLATE_VARIABLES: dict[str, Any] = {}  # what the chat template is given beside the turns
# Submodules of the model, for training.
AUDIO_TOWER, PROJECTOR, DECODER, HEAD = "model.audio_tower", "model.multi_modal_projector", "model.language_model", "lm_head"
FFN_ACTIVATION = r"model\.audio_tower\.layers\.(\d+)\.activation_fn"  # of the audio encoder, by its full name
FIXED = ("model.audio_tower.embed_positions.weight",)  # Whisper's table of positions, which a loaded model would learn


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """(model in evaluation mode, processor that pads on the left) of a `from_pretrained` folder."""
    return load_weights(Qwen2AudioForConditionalGeneration, folder, dtype).to(device).eval(), load_processor(folder)


def load_processor(folder: Path) -> Any:
    """The processor of a `from_pretrained` folder, padding on the left."""
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    processor.tokenizer.padding_side = "left"
    return processor


def audio_id(processor: Any) -> int:
    """Token that stands for the audio."""
    token: int = processor.audio_token_id
    return token


def window_s(processor: Any) -> float:
    """Longest audio in seconds; the feature extractor would silently cut what is longer."""
    return float(processor.feature_extractor.n_samples) / RATE


def chat_text(processor: Any, prompt: str, audio: bool) -> str:
    """The prompt as the model reads it: one user turn, the audio before the text, then the opening of the assistant's turn."""
    content = [{"type": "audio"}] * audio + [{"type": "text", "text": prompt}]
    text: str = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False)
    return text


def audio_tokens(processor: Any, frames: int) -> int:
    """Audio tokens that `frames` samples become: 10 ms features, then two halvings (25 tokens a second)."""
    features = -(-frames // processor.feature_extractor.hop_length)
    return (((features - 1) // 2 + 1) - 2) // 2 + 1


def inputs(processor: Any, texts: Sequence[str], audios: Sequence[Wave] | None, multiple: int) -> dict[str, torch.Tensor]:
    """The processor's tensors for one batch, padded on the left to a multiple of `multiple` tokens."""
    sound = {} if audios is None else {"audio": list(audios), "sampling_rate": RATE}
    batch = processor(text=list(texts), **sound, padding=True, pad_to_multiple_of=multiple, return_tensors="pt")
    # The extractor's frame mask is every 160th entry of a mask over samples, and would keep all of it in memory.
    return {name: tensor.contiguous() for name, tensor in batch.items()}


def hidden_states(model: Any, **tensors: Any) -> Any:
    """The forward pass up to the last hidden states, so that logits are computed only where they are needed."""
    return model.model(**tensors)


def encoder_frames(processor: Any, frames: int) -> int:
    """Frames of the audio encoder that `frames` samples become: 50 a second."""
    features = -(-frames // processor.feature_extractor.hop_length)
    return (features + 1) // 2


def encode(model: Any, tensors: dict[str, torch.Tensor]) -> None:
    """The audio encoder alone, on the tensors of `inputs`, as the model itself runs it."""
    tower, features = model.model.audio_tower, tensors["input_features"]
    lengths, _ = tower._get_feat_extract_output_lengths(tensors["feature_attention_mask"].sum(-1))
    places = torch.arange(tower.config.max_source_positions, device=features.device)
    blank = torch.zeros(len(features), len(places), 1, dtype=model.dtype, device=features.device)
    heard = (places < lengths[:, None]).long()
    tower(features, attention_mask=create_bidirectional_mask(config=tower.config, inputs_embeds=blank, attention_mask=heard))


def hub_name(name: str) -> str:
    """A weight's name in the hub's checkpoints, by its name in the model."""
    for ours, theirs in (("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head."), ("model.", "")):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The logits (..., vocabulary) of last hidden states (..., width)."""
    found: torch.Tensor = model.lm_head(hidden)
    return found
