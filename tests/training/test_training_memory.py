"""Recomputed layers give the same losses, gradients and samples, and keep less."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_material import batch_of, training_of

from tasks.common.audio import Wave
from tasks.training import objectives
from tasks.training.families import audio_tower, decoder, folder_family
from tasks.training.memory import recompute
from tasks.training.methods import objective
from tasks.training.params import run_params
from tasks.training.passes import Cast, Passes
from tasks.training.scoring import read, teacher_forced

Row = dict[str, Any]


def loaded(folder: Path, lean: bool, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    model, processor = folder_family(folder).load(folder, torch.device("cpu"), dtype)
    if lean:
        recompute(decoder(model), audio_tower(model))
    return model.train(), processor


@pytest.mark.parametrize("method", ["echodistill", "caad", "xopd"])
def test_losses_and_gradients_are_the_same(method: str, folder: Path, rows: list[Row], waves: dict[str, Wave], cast: Callable[..., Cast]) -> None:
    training = training_of(echodistill={"lambda_policy": 0.3})
    goal = objective(training, method, run_params(training, method))
    teacher, processor = loaded(folder, lean=False)
    teacher.requires_grad_(False).lm_head.weight.mul_(1.1)
    who = cast(teacher=teacher, processor=processor, feature_variance=100.0)
    found = []
    for lean in (False, True):
        student, _ = loaded(folder, lean)
        loss = goal(Passes(student, who, batch_of(rows, waves, processor, [0, 1, 3, 4], goal.views)))
        loss.backward()
        found.append((loss, {name: weight.grad for name, weight in student.named_parameters() if weight.grad is not None}))
    (plain, want), (lean_loss, got) = found
    assert plain.item() == lean_loss.item()
    assert want.keys() == got.keys() and any("audio_tower" in name for name in want)
    for name, gradient in want.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-9, atol=1e-12)


def test_less_is_kept_for_the_backward_pass(folder: Path, rows: list[Row], waves: dict[str, Wave]) -> None:
    """Bytes of distinct storage that autograd holds after the forward pass of a group of eight, beside the weights."""
    kept = []
    for lean in (False, True):
        model, processor = loaded(folder, lean, torch.float32)
        batch = batch_of(rows, waves, processor, [0, 1, 3, 4], ("clean",))
        ids, mask = (batch[name].repeat_interleave(8, 0) for name in ("pseudo_gt", "pseudo_gt_mask"))
        weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        held: dict[int, int] = {}

        def keep(tensor: torch.Tensor, held: dict[int, int] = held) -> torch.Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            hidden: list[torch.Tensor] = []
            hook = model.lm_head.register_forward_pre_hook(lambda module, args, hidden=hidden: hidden.append(args[0]))
            logits = teacher_forced(model, read(model, batch["clean"]).repeat(8), ids, mask)
            hook.remove()
        assert logits.requires_grad and len(hidden) == 2
        kept.append(sum(size for pointer, size in held.items() if pointer not in weights))
    assert kept[1] < 0.35 * kept[0], kept


def test_without_gradients_nothing_differs(folder: Path, rows: list[Row], waves: dict[str, Wave], cast: Callable[..., Cast]) -> None:
    rollouts = []
    for lean in (False, True):
        model, processor = loaded(folder, lean)
        passes = Passes(model, cast(teacher=model, processor=processor), batch_of(rows, waves, processor, [0, 3]))
        rollouts.append(passes.rollouts())
    assert torch.equal(rollouts[0].ids, rollouts[1].ids) and torch.equal(rollouts[0].logprobs, rollouts[1].logprobs)


SHAPE = (6, 5, 700)
OBJECTIVES: dict[str, Callable[..., torch.Tensor]] = {
    "token_kl": lambda student, teacher, ids, mask: objectives.token_kl(teacher, student, mask, tau=2.0),
    "reverse_kl": lambda student, teacher, ids, mask: objectives.reverse_kl(teacher, student, mask),
    "cross_entropy": lambda student, teacher, ids, mask: objectives.cross_entropy(student, ids, mask),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_slices_of_a_large_vocabulary_change_nothing_but_what_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(SHAPE, generator=generator)
    ids, mask = torch.randint(SHAPE[-1], SHAPE[:2], generator=generator), torch.ones(SHAPE[:2])
    found = []
    for size in (2**26, 2 * SHAPE[1] * SHAPE[2]):  # whole, and two rows at a time
        monkeypatch.setattr(objectives, "SLICE", size)
        student = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), requires_grad=True)
        given, kept = {tensor.untyped_storage().data_ptr() for tensor in (student, teacher)}, [0]

        def keep(tensor: torch.Tensor, given: set[int] = given, kept: list[int] = kept) -> torch.Tensor:
            kept[0] += 0 if tensor.untyped_storage().data_ptr() in given else tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            values = OBJECTIVES[name](student, teacher, ids, mask)
        values.sum().backward()
        found.append((values.detach(), student.grad, kept[0]))
    torch.testing.assert_close(found[0][:2], found[1][:2], rtol=1e-6, atol=1e-7)
    assert found[1][2] < 0.1 * teacher.nbytes < found[0][2]
