"""Which families of audio LLMs can be trained, and where their parts are."""

import importlib
import json
from pathlib import Path
from typing import Any

from peft import PeftModel

from tasks.common.errors import UserError
from tasks.engines.prompts import FAMILIES

TRAINABLE = ("qwen2_audio", "qwen2_5_omni")


def folder_family(folder: Path) -> Any:
    """The module of tasks.engines for the model of a `from_pretrained` folder. Raises UserError for a family that cannot be trained."""
    model_type = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    name = FAMILIES.get(model_type)
    if name not in TRAINABLE:
        raise UserError(str(folder), f"models of the family '{model_type}' cannot be trained here", f"Take one of: {', '.join(TRAINABLE)}")
    return importlib.import_module(f"tasks.engines.{name}")


def family_of(thing: Any) -> Any:
    """The module of tasks.engines for a model, however wrapped, or a processor: their classes live in modules named after the family."""
    words = type(bare(thing)).__module__.split(".")
    return importlib.import_module(f"tasks.engines.{next(word for word in words if word in TRAINABLE)}")


def bare(model: Any) -> Any:
    """The model of transformers inside the wrappers of data parallelism and of adapters."""
    inner = getattr(model, "module", model)
    return inner.get_base_model() if isinstance(inner, PeftModel) else inner


def projector(model: Any) -> Any:
    """The module whose output is the audio as the language model reads it: (batch, positions of the window, width), or packed (positions, width)."""
    return bare(model).get_submodule(family_of(model).PROJECTOR)


def decoder(model: Any) -> Any:
    """The language model without its head."""
    return bare(model).get_submodule(family_of(model).DECODER)


def audio_tower(model: Any) -> Any:
    """The audio encoder."""
    return bare(model).get_submodule(family_of(model).AUDIO_TOWER)
