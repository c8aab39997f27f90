"""A Qwen2.5-Omni thinker of a few thousand parameters that reads the same tokens as the tiny Qwen2-Audio of these tests."""

from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration, WhisperFeatureExtractor

from tasks.engines import qwen2_audio

TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
AUDIO = {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 128, "num_mel_bins": 32, "output_dim": 64}
VISION = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 64, "fullatt_block_indexes": [0]}


def write_thinker(folder: Path, backbone: Path) -> None:
    """A thinker with random weights, wide enough that its answers differ, beside the tokenizer of `backbone`."""
    processor: Any = qwen2_audio.load_processor(backbone)
    tokenizer = processor.tokenizer
    tokenizer.chat_template = processor.chat_template
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
    config = Qwen2_5OmniThinkerConfig(
        audio_config=AUDIO,
        vision_config=VISION,
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope, "tie_word_embeddings": False},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        vision_start_token_id=len(tokenizer),  # the index of positions looks for pictures
    )
    model = Qwen2_5OmniThinkerForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2 and "position" not in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * (1.0 if "embed_tokens" in name else 0.12))
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=AUDIO["num_mel_bins"], chunk_length=300, return_attention_mask=True).save_pretrained(folder)


def full_logits(model: Any, family: Any, processor: Any, prompt: str, wave: Any, response: list[int]) -> torch.Tensor:
    """Logits (T, V) along a response from one unbatched, uncached pass over prompt and response, in positions of the model's own making."""
    text = family.chat_text(processor, prompt, wave is not None)
    view = family.inputs(processor, [text], None if wave is None else [wave], 1)
    ids = torch.cat([view["input_ids"], torch.tensor([response])], 1)
    logits: torch.Tensor = model(**{**view, "input_ids": ids, "attention_mask": torch.ones_like(ids)}, use_cache=False).logits[0]
    return logits[-1 - len(response) : -1]
