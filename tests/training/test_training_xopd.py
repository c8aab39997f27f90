"""X-OPD: both branches against slow passes, the two estimators in expectation, what reading keeps, and the rows that can be read."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reference_objectives as slow
import torch
import yaml
from torch import Tensor
from training_material import WORDS, full_logits, training_section

from tasks.common.audio import decode
from tasks.common.errors import UserError
from tasks.engines import qwen2_audio as family
from tasks.items.prompt import prompt_text, text_only
from tasks.training import data, objectives, stage, xopd
from tasks.training.passes import Passes
from tasks.training.rollouts import Rollouts, sample, uniforms

Row = dict[str, Any]
LENGTH = 3  # tokens of every rollout of the estimators' test: none ends early, so that all have the same weight


def drawn(student: Any, prefix: Any, size: int, *seed: Any) -> Rollouts:
    """`size` rollouts of LENGTH tokens for each row of a prefix."""
    draws = uniforms(range(len(prefix.mask)), size, LENGTH, *seed)
    return sample(student, prefix.detach().repeat(size), [], 0, 1.0, draws, size)


@pytest.mark.parametrize("estimator", ["full", "sampled"])
@pytest.mark.parametrize(("view", "weight"), [("text", 1.0), ("student", 0.0)])
def test_a_branch_and_its_gradient_are_those_of_separate_passes(
    view: str, weight: float, estimator: str, student: Any, teacher: Any, processor: Any, params: Any, cast: Any, batch: Any, rows: list[Row]
) -> None:
    own, numbers = params("xopd", estimator=estimator, lambda_im=weight), [1, 4]
    passes = Passes(student, cast(), batch(numbers, ["text"]))
    found = xopd.loss(passes, own)
    watched = student.model.language_model.layers[0].mlp.up_proj.weight
    (gradient,) = torch.autograd.grad(found, [watched])
    rollouts, terms = passes.rollouts(view), []
    for place, (ids, mask, old) in enumerate(zip(rollouts.ids, rollouts.mask, rollouts.logprobs, strict=True)):
        row, said = rows[numbers[place // rollouts.size]], ids[: int(mask.sum())].tolist()
        read = text_only(row["transcript"], row["prompt"])
        asked = (read, None) if view == "text" else (row["prompt"], decode(row["audio"]["bytes"])[0])
        theta, phi = full_logits(student, processor, *asked, said), full_logits(teacher, processor, read, None, said).detach()
        if estimator == "full":
            terms.append(slow.reverse_kl(phi[None], theta[None], torch.ones(1, len(said)))[0])
        else:
            scores = [torch.stack([slow.log_probability(one, i) for one, i in zip(logits, said, strict=True)]) for logits in (phi, theta)]
            terms.append(slow.sampled_reverse_kl(scores[0][None], scores[1][None], old[None, : len(said)], torch.ones(1, len(said)))[0])
    expected = torch.stack(terms).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(
        gradient, torch.autograd.grad(expected, [watched])[0], rtol=1e-3, atol=1e-6 * float(gradient.abs().max())
    )  # rotary embeddings are float32
    assert set(passes.figures) == {"kl_text" if view == "text" else "kl_speech"}


def test_over_all_tokens_the_sampled_estimator_is_the_full_one(student: Any, cast: Any, params: Any, batch: Any) -> None:
    """Every token once, as if drawn at 1 / V: the ratio weighs it by what the student gives it, so value and gradient are exact."""
    whole, size = batch([0, 4], ["text"]), student.lm_head.out_features
    ids = torch.arange(size).repeat(2)[:, None]
    logprobs = torch.full(ids.shape, -torch.log(torch.tensor(float(size), dtype=torch.float64)).item(), dtype=torch.float64)
    every = Rollouts(ids, torch.ones_like(ids), logprobs, size)
    passes = Passes(student, cast(), {**whole, "rollouts_student": every})
    losses = [xopd.loss(passes, params("xopd", lambda_im=0.0, estimator=estimator)) for estimator in ("sampled", "full")]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-9) and losses[1].item() > 0.01
    sampled, full = (torch.autograd.grad(loss, [student.lm_head.weight], retain_graph=True)[0] for loss in losses)
    torch.testing.assert_close(sampled, full, rtol=1e-6, atol=1e-9)


def test_the_sampled_estimator_is_the_full_one_in_expectation(student: Any, cast: Any, params: Any, batch: Any) -> None:
    """Along the full gradient's direction, 40 draws of 2 x 16 rollouts; a right estimator fails with a probability below 1e-4 (|t| > 4.4)."""
    whole = batch([0, 4], ["text"])
    weights = list(student.model.language_model.parameters())

    def gradients(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        passes = Passes(student, cast(), whole)
        rollouts = drawn(student, passes.heard().prefix, 16, "expectation", seed)
        passes = Passes(student, cast(), {**whole, "rollouts_student": rollouts})
        losses = [xopd.loss(passes, params("xopd", lambda_im=0.0, estimator=estimator)) for estimator in ("sampled", "full")]
        forward = objectives.token_kl(passes.teacher_on(rollouts, "text"), passes.student_on(rollouts), rollouts.mask).mean()
        found = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in (*losses, forward)]
        return tuple(torch.cat([part.flatten() for part in one]) for one in found)  # type: ignore[return-value]

    direction = gradients(-1)[1]
    along = torch.tensor([[float(one @ direction) for one in gradients(seed)] for seed in range(40)])

    def t_of(other: int) -> float:
        apart = along[:, other] - along[:, 1]
        return float(apart.mean() / (apart.std() / len(apart) ** 0.5))

    assert abs(t_of(0)) < 4.4
    assert abs(t_of(2)) > 4.4  # the forward KL's gradient is another, and these draws tell it apart
    assert along[:, 0].std() > along[:, 1].std()  # the full form has the lower variance


@pytest.mark.parametrize("estimator", ["full", "sampled"])
def test_the_branch_that_reads_starts_at_zero_and_stays_where_it_is(estimator: str, student: Any, params: Any, cast: Any, batch: Any) -> None:
    passes = Passes(student, cast(teacher=deepcopy(student).requires_grad_(False)), batch([0, 3, 5], ["text"]))
    loss = xopd.loss(passes, params("xopd", estimator=estimator, lambda_im=1.0))
    loss.backward()
    largest = max(float(weight.grad.abs().max()) for weight in student.parameters() if weight.grad is not None)
    assert abs(loss.item()) < 1e-9 and largest < 1e-9
    hearing = Passes(student, passes.cast, batch([0, 3, 5], ["text"]))
    assert abs(xopd.loss(hearing, params("xopd", estimator="full", lambda_im=0.0)).item()) > 1e-3


def test_the_teacher_stays_as_it_is(student: Any, teacher: Any, params: Any, cast: Any, batch: Any) -> None:
    before = deepcopy(teacher.state_dict())
    xopd.loss(Passes(student, cast(), batch([0, 1], ["text"])), params("xopd")).backward()
    assert all(weight.grad is None for weight in teacher.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in teacher.state_dict().items())


def test_a_branch_of_weight_zero_samples_nothing(student: Any, params: Any, cast: Any, batch: Any) -> None:
    assert params("xopd", lambda_im=0.0).sampled == ("student",) and params("xopd", lambda_im=1.0).sampled == ("text",)
    spoilt = replace(drawn(student, Passes(student, cast(), batch([0])).heard().prefix, 2), ids=None)  # type: ignore[arg-type]
    whole = batch([0], ["text"])
    for weight, view in ((0.0, "text"), (1.0, "student")):
        assert torch.isfinite(xopd.loss(Passes(student, cast(), {**whole, f"rollouts_{view}": spoilt}), params("xopd", lambda_im=weight)))


def test_rows_that_cannot_be_read_are_left_out(project: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    rows[2] |= {"task": "conflict", "prompt": text_only("boat", rows[2]["prompt"])}
    left = {row["mixture_id"] for row in data.usable(rows, ("text",))}
    assert left == {row["mixture_id"] for row in rows if row["transcript"] and row["task"] != "conflict"} and len(left) == 6
    monkeypatch.setattr(data, "read_rows", lambda *_, **__: [row | {"transcript": None} for row in rows])
    with pytest.raises(UserError, match="no row has text"):
        stage.run("xopd")


@pytest.fixture
def reads(processor: Any) -> Callable[[Path], Tensor]:
    """Logits of a folder's model after a text prompt."""

    def of(folder: Path) -> Tensor:
        model, _ = family.load(folder, torch.device("cpu"), torch.float32)
        prompt = text_only("lamp tree", prompt_text("first word?", WORDS))
        with torch.no_grad():
            return full_logits(model, processor, prompt, None, [5, 6])

    return of


@pytest.mark.parametrize(("trainable", "kept"), [(["audio_tower", "projector"], True), (["language"], False)])
def test_text_is_kept_to_the_bit_where_the_audio_side_alone_learns(
    trainable: list[str], kept: bool, project: Path, reads: Callable[[Path], Tensor]
) -> None:
    changes = {"steps": 2, "save_every": 0, "validate_every": 0, "trainable": trainable, "lambda_im": 0.0}
    section = training_section(xopd=changes)
    (project / "params.yaml").write_text(yaml.safe_dump({"profile": "tiny", "corpora": "data/corpora", "training": section}))
    stage.run("xopd")
    assert torch.equal(reads(project / "models" / "xopd"), reads(project / "models" / "backbone")) == kept
