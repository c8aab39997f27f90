"""A Qwen2-Audio of a few hundred thousand parameters: tokenizer, processor, model, and the folder they are saved in.

The classes, the chat template's form and the layout of the checkpoint are the 7B model's, so either loads by the same lines.
"""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialise

from tasks.backbone.params import ModelParams
from tasks.common.tables import write_bytes

if TYPE_CHECKING:
    from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
# Part of the text, as in Qwen3's tokenizer. The closing tags take the space before them, so that each is one token.
TAGS = ("<think>", " </think>", "<answer>", " </answer>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'audio' or 'audio' in content or 'audio_url' in content %}<|audio_bos|><|AUDIO|><|audio_eos|>\n"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
POSITIONS_PER_SECOND = 50  # of the encoder: 100 log-mel frames a second, halved by its second convolution


def build_processor(texts: Sequence[str], window_s: int, mel_bins: int = 80) -> "Qwen2AudioProcessor":
    """A processor for audio of at most `window_s` seconds whose byte-level BPE is trained on `texts`.

    Every space-led word of `texts` becomes one token; any other text falls back to shorter pieces, at worst to bytes.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import Qwen2AudioProcessor, Qwen2Tokenizer, WhisperFeatureExtractor

    reference = Qwen2Tokenizer()._tokenizer
    bpe = Tokenizer(models.BPE())
    bpe.normalizer, bpe.pre_tokenizer, bpe.decoder = normalizers.NFC(), reference.pre_tokenizer, decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # The limit is never reached: training stops when every word is one token.
    trainer = trainers.BpeTrainer(vocab_size=100_000, min_frequency=1, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(sorted(set(texts)), trainer)
    trained = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=trained["vocab"],
        merges=[tuple(merge) for merge in trained["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL),
    )
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    extractor = WhisperFeatureExtractor(feature_size=mel_bins, chunk_length=window_s, return_attention_mask=True)
    return Qwen2AudioProcessor(extractor, tokenizer, chat_template=CHAT_TEMPLATE)


def sinusoids(length: int, channels: int) -> torch.Tensor:
    """Whisper's position table, (length, channels). A row does not depend on `length`, so the table can be extended."""
    scale = math.log(10_000) / (channels // 2 - 1)
    angles = torch.arange(length)[:, None] * torch.exp(-scale * torch.arange(channels // 2))[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def build_model(processor: "Qwen2AudioProcessor", params: ModelParams) -> "Qwen2AudioForConditionalGeneration":
    """A model with random weights for `processor`, the same for the same parameters: the seed is one of them."""
    from transformers import GenerationConfig, Qwen2AudioConfig, Qwen2AudioForConditionalGeneration
    from transformers.models.qwen2 import Qwen2Config
    from transformers.models.qwen2_audio import Qwen2AudioEncoderConfig

    tokenizer, extractor = processor.tokenizer, processor.feature_extractor
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    audio = Qwen2AudioEncoderConfig(
        num_mel_bins=extractor.feature_size,
        d_model=params.width,
        encoder_layers=params.audio_layers,
        encoder_attention_heads=params.width // params.head_dim,
        encoder_ffn_dim=4 * params.width,
        initializer_range=params.initial_std,
        max_source_positions=extractor.chunk_length * POSITIONS_PER_SECOND,
    )
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=params.width,
        intermediate_size=params.text_ffn,
        num_hidden_layers=params.text_layers,
        num_attention_heads=params.width // params.head_dim,
        num_key_value_heads=params.width // params.head_dim,
        initializer_range=params.initial_std,
        max_position_embeddings=4096,
        pad_token_id=pad,
        eos_token_id=end,
    )
    config = Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=processor.audio_token_id, initializer_range=params.initial_std)
    with torch.random.fork_rng():
        torch.manual_seed(params.seed)
        model = Qwen2AudioForConditionalGeneration(config)
    with torch.no_grad():
        positions = model.model.audio_tower.embed_positions.weight
        positions.copy_(sinusoids(*positions.shape))
        # Said as it is read: the model learns to quote within a few hundred steps, and untied weights may part later.
        model.lm_head.weight.copy_(model.get_input_embeddings().weight)
    model.generation_config = GenerationConfig(eos_token_id=[end, pad], pad_token_id=pad, do_sample=False, max_new_tokens=24)
    return model


def save(model: "Qwen2AudioForConditionalGeneration", processor: "Qwen2AudioProcessor", folder: Path) -> None:
    """Write a `from_pretrained` folder, its weights under the hub's names.

    transformers 5 writes `language_model.model.model.*` for a model built from a configuration; the hub, and vLLM with it,
    says `language_model.model.*`. transformers reads either. What the folder held before is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    weights = folder / "model.safetensors"
    tensors = {key.replace("language_model.model.model.", "language_model.model."): tensor for key, tensor in load_file(weights).items()}
    write_bytes(weights, serialise(tensors, metadata={"format": "pt"}))
