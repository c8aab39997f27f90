"""Qwen2-Audio and Qwen2.5-Omni's thinker train by the same lines; other families are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from family_material import full_logits
from training_material import batch_of, training_of

from tasks.common.audio import Wave
from tasks.common.errors import UserError
from tasks.training import stage
from tasks.training.families import audio_tower, decoder, family_of, folder_family, projector
from tasks.training.methods import objective
from tasks.training.params import run_params
from tasks.training.passes import Cast, Passes
from tasks.training.rollouts import end_ids
from tasks.training.scoring import read, teacher_forced

Row = dict[str, Any]


def loaded(folder: Path, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    torch.set_num_threads(1)
    return folder_family(folder).load(folder, torch.device("cpu"), dtype)


def test_the_family_is_found_from_folder_model_and_processor(folder: Path) -> None:
    model, processor = loaded(folder)
    family = folder_family(folder)
    assert family_of(model) is family and family_of(processor) is family and family_of(torch.nn.DataParallel(model)) is family
    assert len(decoder(model).layers) == 2 and len(audio_tower(model).layers) == 2
    assert sum(1 for _ in projector(model).parameters()) == 2
    assert end_ids(model) and set(end_ids(model)) <= {processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id}


def test_a_folder_that_names_no_end_ends_with_the_tokenizers(thinker: Path, tmp_path: Path) -> None:
    for path in thinker.iterdir():
        if path.name != "generation_config.json":
            (tmp_path / path.name).symlink_to(path)
    model, processor = loaded(tmp_path)
    assert end_ids(model) == [processor.tokenizer.eos_token_id]


@pytest.mark.parametrize("model_type", ["voxtral", "qwen2"])
def test_other_families_are_refused_by_name(model_type: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(UserError, match=f"{model_type}.*Take one of: qwen2_audio, qwen2_5_omni"):
        folder_family(tmp_path)


def test_a_shared_reading_is_a_plain_pass_over_the_whole_sequence(folder: Path, rows: list[Row], waves: dict[str, Wave]) -> None:
    model, processor = loaded(folder)
    family, numbers = family_of(model), [0, 5, 3, 1]
    batch = batch_of(rows, waves, processor, numbers, ("clean", "drop_audio"))
    ids, mask = batch["pseudo_gt"], batch["pseudo_gt_mask"]
    with torch.no_grad():
        for view in ("clean", "drop_audio"):
            fast = teacher_forced(model, read(model, batch[view]).repeat(2), ids.repeat_interleave(2, 0), mask.repeat_interleave(2, 0))
            for place, number in enumerate(numbers):
                row = rows[number]
                wave = waves[row["clip_id"]] if view == "clean" else None
                slow = full_logits(model, family, processor, row["prompt"], wave, row["pseudo_gt_token_ids"])
                assert slow.std() > 0.1
                for copy in range(2):
                    torch.testing.assert_close(fast[2 * place + copy, : len(slow)], slow, rtol=1e-5, atol=1e-5)


def test_plain_positions_are_those_of_the_thinker(thinker: Path, rows: list[Row], waves: dict[str, Wave]) -> None:
    model, processor = loaded(thinker)
    view = batch_of(rows, waves, processor, [0, 5, 3], ("clean",))["clean"]
    own, _ = model.get_rope_index(view["input_ids"], attention_mask=view["attention_mask"], audio_seqlens=view["feature_attention_mask"].sum(-1))
    kept = view["attention_mask"].bool()
    plain = view["attention_mask"].cumsum(-1) - 1
    assert not kept.all(), "without padding the test would say less"
    for axis in own:
        assert torch.equal(axis[kept], plain[kept].to(axis))


def test_features_of_a_clip_are_the_same_in_company(folder: Path, rows: list[Row], waves: dict[str, Wave], cast: Callable[..., Cast]) -> None:
    model, processor = loaded(folder)
    who = cast(teacher=model, processor=processor)
    numbers = [0, 5, 3]
    together = Passes(model, who, batch_of(rows, waves, processor, numbers)).heard()
    assert together.positions.sum(-1).unique().numel() == 3
    for place, number in enumerate(numbers):
        alone = Passes(model, who, batch_of(rows, waves, processor, [number])).heard()
        held = int(alone.positions.sum())
        assert int(together.positions[place].sum()) == held
        torch.testing.assert_close(together.features[place, :held], alone.features[0, :held])


@pytest.mark.parametrize("method", ["echodistill", "caad", "xopd"])
def test_the_loss_of_one_batch_falls(method: str, folder: Path, rows: list[Row], waves: dict[str, Wave], cast: Callable[..., Cast]) -> None:
    student, processor = loaded(folder, torch.float32)
    teacher, _ = loaded(folder, torch.float32)
    with torch.no_grad():  # the teacher is better than the student, so there is something to learn
        for weight in decoder(student).parameters():
            weight.add_(0.03 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    training = training_of(echodistill={"lambda_policy": 0.0, "lambda_features": 0.1})
    goal = objective(training, method, run_params(training, method))
    who = cast(teacher=teacher.requires_grad_(False), processor=processor, feature_variance=100.0)
    batch = batch_of(rows, waves, processor, [0, 1, 3, 4], goal.views)
    optimiser = torch.optim.AdamW([weight for weight in student.parameters() if weight.requires_grad], lr=5e-4)
    losses = []
    for _ in range(15):
        loss = goal(Passes(student, who, batch))
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.75 * losses[0], losses


def test_a_thinker_trains_through_the_stage(project: Path, thinker: Path) -> None:
    method = "echodistill"
    (project / "models" / "backbone").unlink()
    (project / "models" / "backbone").symlink_to(thinker)
    stage.run(method)
    trained, _ = loaded(project / "models" / method, torch.float32)
    base, _ = loaded(thinker, torch.float32)
    changed = {name for name, weight in base.named_parameters() if not torch.equal(weight, trained.get_parameter(name))}
    assert any(name.startswith("model.layers") for name in changed)
    assert not any(name.startswith("visual") or "audio_bos_eos" in name for name in changed)
    lines = [json.loads(line) for line in (project / "models" / method / "train_log.jsonl").read_text().splitlines()]
    assert [line["model"] for line in lines if "model" in line] == ["base", method]
