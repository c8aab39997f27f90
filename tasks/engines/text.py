"""What is particular to text LLMs (Qwen, Llama, Gemma, Mistral, ...): nothing is heard, and the chat template belongs to the tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.common.audio import Wave
from tasks.common.errors import UserError
from tasks.engines.prompts import expanded
from tasks.engines.weights import load_weights

MODALITIES = {"audio": 0, "image": 0, "video": 0}
# Qwen3 would think aloud before the reply, and Llama 3 would write the date of the day into the prompt; other templates do not look.
TEMPLATE_VARIABLES: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024"}


@dataclass(frozen=True)
class Processor:
    """Tokenizer, padding on the left."""

    tokenizer: Any


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Processor]:
    """(model in evaluation mode, processor) of a `from_pretrained` folder; raises UserError where the answers would not be the model's own."""
    model = load_weights(AutoModelForCausalLM, folder, dtype).to(device).eval()
    reason = _unlike(model, torch.arange(4, device=device)[None])
    if reason is not None:
        raise UserError(str(folder), f"{type(model).__name__} {reason}", "Use engine: vllm or openai")
    return model, load_processor(folder)


@torch.inference_mode()
def _unlike(model: Any, probe: torch.Tensor) -> str | None:
    """In which way batches with padding on the left and `logits` would differ from the model's own on `probe` (1, T), or None."""
    places = torch.arange(probe.shape[1], device=probe.device)[None]
    row = {"input_ids": probe, "attention_mask": torch.ones_like(probe), "position_ids": places}
    padded = {name: torch.nn.functional.pad(tensor, (probe.shape[1], 0)) for name, tensor in row.items()}
    own = model(**row).logits.float()
    ours, batched = (logits(model, hidden_states(model, **tensors).last_hidden_state).float() for tensors in (row, padded))
    if (ours - own).norm() > 0.01 * own.norm():
        return "makes its logits in a way of its own"
    # Loose: in bfloat16, padding may send a token to another expert.
    return "reads padding" if (batched[:, probe.shape[1] :] - own).norm() > 0.2 * own.norm() else None


def load_processor(folder: Path) -> Processor:
    """Raises UserError where the tokenizer has no chat template: a model that was never taught to answer."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", trust_remote_code=False)
    if tokenizer.chat_template is None:
        raise UserError(str(folder), "no chat template here, so this is no model that answers", "Use an instruction-tuned checkpoint")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Processor(tokenizer)


def audio_id(processor: Processor) -> None:
    """There is no placeholder."""


def window_s(processor: Processor) -> float:
    """No audio fits."""
    return 0.0


def chat_text(processor: Processor, prompt: str, audio: bool) -> str:
    """One user turn and the opening of the assistant's turn."""
    turn = [{"role": "user", "content": prompt}]
    text: str = processor.tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False, **TEMPLATE_VARIABLES)
    return text


def inputs(processor: Processor, texts: Sequence[str], audios: Sequence[Wave] | None, multiple: int) -> dict[str, torch.Tensor]:
    """Tensors of one batch, padded on the left to a multiple of `multiple` tokens."""
    return expanded(processor.tokenizer, texts, None, None, multiple)


def hidden_states(model: Any, **tensors: Any) -> Any:
    """The forward pass up to the last hidden states, so that logits are computed only where they are needed."""
    return model.base_model(**tensors)


def logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The logits (..., vocabulary) of last hidden states (..., width), scaled as Granite and Cohere do and capped as Gemma does."""
    config = model.config.get_text_config()
    found: torch.Tensor = model.get_output_embeddings()(hidden) / (getattr(config, "logits_scaling", None) or 1.0)
    found = found * (getattr(config, "logit_scale", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return found if cap is None else torch.tanh(found / cap) * cap
