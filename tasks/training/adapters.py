"""Who learns and how: which parts of the student train, whole or through LoRA adapters (arXiv 2106.09685), and who teaches.

With adapters and the backbone as the teacher, one copy of the weights serves both: the teacher is the student with its adapters off.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from safetensors.torch import save_file
from torch import Tensor

from tasks.common.seeds import seed_of
from tasks.common.sha256sums import SUMS
from tasks.training.families import audio_tower, bare, decoder, family_of, folder_family
from tasks.training.memory import recompute
from tasks.training.params import LoraParams, RunParams

ATTENTION = r"self_attn\.(q|k|v|o|out)_proj"
WEIGHTS = "model.safetensors"
TARGETS = {"attention": ATTENTION, "linear": rf"({ATTENTION}|mlp\.(gate|up|down)_proj|fc[12])"}


@dataclass(frozen=True)
class Models:
    """The models of a run.

    Args:
        student: the model in training; one of peft's where it has adapters.
        teacher: the frozen model, or the student itself.
        teaching: opened around every pass of the teacher.
        processor: the backbone's.
    """

    student: Any
    teacher: Any
    teaching: Callable[[], AbstractContextManager[Any]]
    processor: Any


def load_models(own: RunParams, backbone: Path, teacher: Path, device: torch.device) -> Models:
    """Student and teacher of a run, on `device`. Raises UserError for a family that cannot be trained."""
    # Weights that learn stay in float32: a step of the optimiser is lost in bfloat16's eight bits. Others only serve.
    serving = torch.bfloat16 if own.precision == "bf16" else torch.float32
    student, processor = folder_family(backbone).load(backbone, device, serving if own.lora else torch.float32)
    if own.lora:
        student = adapted(student, own.lora, own.trainable, own.seed)
    else:
        freeze(student, own.trainable)
    if own.gradient_checkpointing:
        recompute(decoder(student), audio_tower(student))
    if own.lora and teacher.resolve() == backbone.resolve():
        return Models(student, student, student.disable_adapter, processor)
    frozen, _ = folder_family(teacher).load(teacher, device, serving)
    return Models(student, frozen.requires_grad_(False), nullcontext, processor)


def freeze(model: Any, trainable: Sequence[str]) -> None:
    """Leave gradients to the named parts of `model` alone (`audio_tower`, `projector`, `language`); what belongs to none stays frozen too."""
    family = family_of(model)
    for name, weight in model.named_parameters():
        if _part(name, family) not in trainable:
            weight.requires_grad_(False)


def _part(name: str, family: Any) -> str | None:
    if name.startswith(f"{family.PROJECTOR}."):
        return "projector"
    if name.startswith(f"{family.AUDIO_TOWER}."):
        return None if name in family.FIXED else "audio_tower"
    return "language" if name.startswith((f"{family.DECODER}.", f"{family.HEAD}.")) else None


def adapted(model: Any, lora: LoraParams, trainable: Sequence[str], seed: int) -> Any:
    """`model` with adapters on the chosen layers of its audio tower and language model; the projector, one small layer, learns as a copy of itself.

    All other weights are frozen. What learns is float32.
    """
    family = family_of(model)
    places = {"audio_tower": family.AUDIO_TOWER, "language": family.DECODER}
    heads = "|".join(places[part].replace(".", r"\.") for part in trainable if part in places)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=rf"({heads})\.layers\.\d+\.{TARGETS[lora.targets]}" if heads else family.PROJECTOR,
        modules_to_save=[family.PROJECTOR] if heads and "projector" in trainable else None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("adapters", seed) % 2**63)
        student = get_peft_model(model, config)
    for weight in student.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    for module in student.modules():
        if isinstance(module, ModulesToSaveWrapper):
            module.modules_to_save["default"].register_forward_pre_hook(lambda module, args: (args[0].to(next(module.parameters()).dtype),))
    return student


def merged_weights(model: Any) -> dict[str, Tensor]:
    """The weights by the hub's names, adapters merged into them; the model stays as it is."""
    inner = bare(model)
    family = family_of(inner)
    scaling = next((module.scaling["default"] for module in inner.modules() if isinstance(module, LoraLayer)), 1.0)
    state, merged = inner.state_dict(), {}
    for name, tensor in state.items():
        if ".lora_" in name or ".original_module." in name or name in inner.all_tied_weights_keys:
            continue
        stem = name.removesuffix(".base_layer.weight")
        if stem != name:
            delta = scaling * state[f"{stem}.lora_B.default.weight"] @ state[f"{stem}.lora_A.default.weight"]
            tensor = (tensor.to(delta.dtype) + delta).to(tensor.dtype)
        plain = name.replace(".base_layer.", ".").replace(".modules_to_save.default.", ".")
        merged[family.hub_name(plain)] = tensor.detach().cpu().contiguous()
    return merged


def write_model(model: Any, backbone: Path, folder: Path) -> None:
    """A new `from_pretrained` folder: the model's weights, adapters merged, beside the backbone's other files; the adapters alone in `adapter/`."""
    folder.mkdir(parents=True)
    for path in backbone.iterdir():
        if path.is_file() and not path.name.startswith("model") and path.name not in (SUMS, "train_log.jsonl"):
            shutil.copyfile(path, folder / path.name)
    inner = bare(model)
    if json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] != inner.config.model_type:
        inner.config.save_pretrained(folder)  # the thinker of a whole model
    save_file(merged_weights(model), folder / WEIGHTS, metadata={"format": "pt"})
    if inner is not model:
        model.save_pretrained(folder / "adapter")
