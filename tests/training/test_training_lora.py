"""Adapters and frozen parts: one copy of the weights teaches and learns, what is frozen stays, what is published is whole."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_material import batch_of, training_of

from tasks.common.audio import Wave
from tasks.common.errors import UserError
from tasks.engines import qwen2_5_omni, qwen2_audio
from tasks.training import stage
from tasks.training.adapters import Models, load_models, merged_weights, write_model
from tasks.training.families import bare, family_of, folder_family
from tasks.training.methods import objective
from tasks.training.params import run_params
from tasks.training.passes import Cast, Passes
from tasks.training.scoring import read, teacher_forced

Row = dict[str, Any]
LORA = {"rank": 4, "alpha": 8.0, "targets": "linear"}
PARTS = ["audio_tower", "projector", "language"]


def models_of(folder: Path, **common: Any) -> Models:
    training = training_of(common=common)
    return load_models(run_params(training, "caad"), folder, folder, torch.device("cpu"))


def trained(models: Models, rows: list[Row], waves: dict[str, Wave], cast: Callable[..., Cast], steps: int = 3) -> Models:
    """After some steps of caad with the representation term, so that every part has a gradient."""
    training = training_of(caad={"lambda_features": 0.1})
    goal = objective(training, "caad", run_params(training, "caad"))
    who = cast(teacher=models.teacher, processor=models.processor, teaching=models.teaching, feature_variance=100.0)
    batch = batch_of(rows, waves, models.processor, [0, 1, 3, 4], goal.views)
    optimiser = torch.optim.AdamW([weight for weight in models.student.parameters() if weight.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        goal(Passes(models.student, who, batch)).backward()
        optimiser.step()
    return models


def answers(model: Any, processor: Any, rows: list[Row], waves: dict[str, Wave]) -> torch.Tensor:
    batch = batch_of(rows, waves, processor, [0, 5, 3], ("clean",))
    with torch.no_grad():
        return teacher_forced(model, read(model, batch["clean"]), batch["pseudo_gt"], batch["pseudo_gt_mask"])


def parts_of(model: Any) -> dict[str, list[str]]:
    """Names of the weights that learn, by part; a name without a part under ''."""
    family, found = family_of(model), {part: [] for part in [*PARTS, ""]}
    for name, weight in bare(model).named_parameters():
        if weight.requires_grad:
            plain = name.replace("modules_to_save.default.", "").replace("base_layer.", "")
            heads = {"projector": family.PROJECTOR, "audio_tower": family.AUDIO_TOWER, "language": family.DECODER}
            part = next((part for part, head in heads.items() if plain.startswith(head + ".")), "language" if plain.startswith(family.HEAD) else "")
            found[part].append(name)
    return found


def test_the_teacher_is_the_backbone_bit_for_bit_while_its_student_learns(
    folder: Path, rows: list[Row], waves: dict[str, Wave], cast: Callable[..., Cast]
) -> None:
    plain, processor = folder_family(folder).load(folder, torch.device("cpu"), torch.float32)
    plain.requires_grad_(False)  # as every teacher; torch has other kernels for weights that learn
    before = answers(plain, processor, rows, waves)
    models = models_of(folder, lora=LORA)
    assert models.teacher is models.student
    torch.testing.assert_close(answers(models.student, processor, rows, waves), before)  # adapters start as nothing
    trained(models, rows, waves, cast)
    with models.teaching():
        assert torch.equal(answers(models.teacher, processor, rows, waves), before)
    assert (answers(models.student, processor, rows, waves) - before).abs().max() > 1e-2
    kept = {name.replace("base_layer.", "").replace("original_module.", ""): weight for name, weight in bare(models.student).named_parameters()}
    for name, weight in plain.named_parameters():
        assert torch.equal(kept[name], weight), name


def test_the_published_folder_answers_as_the_student_with_its_adapters(
    folder: Path, rows: list[Row], waves: dict[str, Wave], cast: Callable[..., Cast], tmp_path: Path
) -> None:
    models = trained(models_of(folder, lora=LORA), rows, waves, cast)
    want = answers(models.student, models.processor, rows, waves)
    state = {name: tensor.clone() for name, tensor in models.student.state_dict().items()}
    write_model(models.student, folder, tmp_path / "out")
    again, _ = folder_family(tmp_path / "out").load(tmp_path / "out", torch.device("cpu"), torch.float32)
    torch.testing.assert_close(answers(again, models.processor, rows, waves), want, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(tensor, state[name]) for name, tensor in models.student.state_dict().items())
    names, base = load_file(tmp_path / "out" / "model.safetensors"), load_file(folder / "model.safetensors")
    assert {name: tensor.shape for name, tensor in names.items()} == {name: tensor.shape for name, tensor in base.items()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in folder.iterdir()} | {"adapter"}
    from peft import PeftModel

    alone, _ = folder_family(folder).load(folder, torch.device("cpu"), torch.float32)
    alone = PeftModel.from_pretrained(alone, tmp_path / "out" / "adapter")
    torch.testing.assert_close(answers(alone, models.processor, rows, waves), want)


def test_our_merging_is_that_of_peft(folder: Path, rows: list[Row], waves: dict[str, Wave], cast: Callable[..., Cast]) -> None:
    models = trained(models_of(folder, lora=LORA), rows, waves, cast)
    ours = merged_weights(models.student)
    theirs = merged_weights(models.student.merge_and_unload())
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name])


@pytest.mark.parametrize("lora", [None, {**LORA, "targets": "attention"}])
@pytest.mark.parametrize("trainable", [["language"], ["audio_tower", "projector"], PARTS])
def test_only_the_chosen_parts_learn(
    trainable: list[str], lora: Any, folder: Path, rows: list[Row], waves: dict[str, Wave], cast: Callable[..., Cast]
) -> None:
    models = models_of(folder, lora=lora, trainable=trainable)
    learning = parts_of(models.student)
    assert {part for part, names in learning.items() if names} == set(trainable)
    if lora:
        assert all("lora_" in name for part in ("audio_tower", "language") for name in learning[part])
        assert all("self_attn" in name for part in ("audio_tower", "language") for name in learning[part])
    before = {name: weight.clone() for name, weight in models.student.named_parameters()}
    trained(models, rows, waves, cast, steps=2)
    changed = {name for name, weight in models.student.named_parameters() if not torch.equal(weight, before[name])}
    assert not any("embed_positions" in name or "bos_eos" in name for name in changed)
    assert changed and changed <= {name for name, weight in models.student.named_parameters() if weight.requires_grad}
    assert {part for part, names in learning.items() if any(any(one.endswith(name) for one in changed) for name in names)} == set(trainable)


def test_the_projector_alone_has_no_place_for_adapters() -> None:
    with pytest.raises(UserError, match="adapters go to audio_tower and language"):
        run_params(training_of(common={"lora": LORA, "trainable": ["projector"]}), "caad")


def test_adapters_come_from_the_seed(backbone: Path) -> None:
    first, second, other = (models_of(backbone, lora=LORA, seed=seed).student.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_a_run_with_adapters_through_the_stage_gives_the_same_bytes_twice(project: Path) -> None:
    (project / "profiles" / "tiny.yaml").write_text(json.dumps({"training": {"common": {"lora": LORA, "gradient_checkpointing": True}}}))
    folders = []
    for _ in range(2):
        stage.run("echodistill")
        folders.append({path.name: path.read_bytes() for path in sorted((project / "models" / "echodistill").rglob("*")) if path.is_file()})
    assert folders[0] == folders[1]
    assert {"adapter_config.json", "adapter_model.safetensors", "model.safetensors"} <= folders[0].keys()


@pytest.mark.parametrize("lora", [LORA, None])
def test_half_precision_keeps_what_learns_in_float32(lora: Any, project: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "models" / "backbone").unlink()
    (project / "models" / "backbone").symlink_to(folder)
    common = {"lora": lora, "precision": "bf16", "validate_every": 1}
    (project / "profiles" / "tiny.yaml").write_text(json.dumps({"training": {"common": common}}))
    seen: dict[str, torch.dtype] = {}

    def publish(model: Any, folder: Path) -> None:
        seen.update({name: weight.dtype for name, weight in model.named_parameters()})
        write(model, folder)

    write = stage.publish
    monkeypatch.setattr(stage, "publish", publish)
    stage.run("caad")
    learning = {name for name in seen if "lora_" in name or "modules_to_save" in name or not lora}
    assert learning and {seen[name] for name in learning} == {torch.float32}
    assert {dtype for name, dtype in seen.items() if name not in learning} == ({torch.bfloat16} if lora else set())


def test_the_thinker_of_a_whole_model_is_published_as_a_thinker(
    thinker: Path, tmp_path: Path, rows: list[Row], waves: dict[str, Wave], cast: Callable[..., Cast]
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    for path in thinker.iterdir():
        (whole / path.name).write_bytes(path.read_bytes())
    config = json.loads((thinker / "config.json").read_text())
    (whole / "config.json").write_text(json.dumps({"model_type": "qwen2_5_omni", "thinker_config": config}))
    models = trained(models_of(whole), rows, waves, cast, steps=1)
    write_model(models.student, whole, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "qwen2_5_omni_thinker"
    again, processor = qwen2_5_omni.load(tmp_path / "out", torch.device("cpu"), torch.float32)
    torch.testing.assert_close(answers(again, processor, rows, waves), answers(models.student, processor, rows, waves))


def test_the_hubs_names_are_those_of_the_backbone(backbone: Path) -> None:
    model, _ = qwen2_audio.load(backbone, torch.device("cpu"), torch.float32)
    assert merged_weights(model).keys() == load_file(backbone / "model.safetensors").keys()
