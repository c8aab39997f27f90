"""Methods by weight: the loss is the weighted sum, what both need is computed once, and the representation term joins any of them."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from training_material import asked, training_of

from tasks.common.audio import Wave
from tasks.engines import qwen2_audio as family
from tasks.training import objectives
from tasks.training.methods import METHODS, Objective, Part, feature_loss, objective
from tasks.training.params import CombinationParams, run_params
from tasks.training.passes import Passes

Row = dict[str, Any]


def features_of(model: Any, processor: Any, wave: Wave) -> Tensor:
    """The projected audio of one clip, (audio tokens, width), from the tower called directly."""
    view = family.inputs(processor, [family.chat_text(processor, "x", True)], [wave], 1)
    tokens = int((view["input_ids"] == processor.audio_token_id).sum())
    frames = (int(view["feature_attention_mask"].sum()) - 1) // 2 + 1
    width = view["input_features"].shape[-1] // 2
    mask = torch.zeros(1, 1, width, width, dtype=torch.float64).masked_fill(torch.arange(width) >= frames, -torch.inf)
    with torch.no_grad():
        hidden = model.model.audio_tower(view["input_features"], attention_mask=mask).last_hidden_state
        return model.model.multi_modal_projector(hidden)[0, :tokens]


class Count:
    """How often a module is called, with the rows of each call."""

    def __init__(self, module: Any) -> None:
        self.rows: list[int] = []
        module.register_forward_pre_hook(lambda _, args, kwargs: self.rows.append(len((*args, *kwargs.values())[0])), with_kwargs=True)


def test_echodistill_and_caad_read_each_audio_once(student: Any, models: Any, processor: Any, cast: Any, batch: Any) -> None:
    teacher, training = deepcopy(models[1]), training_of(echodistill={"lambda_policy": 0.3, "lambda_features": 1.0})
    both = training_of(combination={"weights": {"echodistill": 1.0, "caad": 0.5}, "lambda_features": 1.0})
    goal = objective(training, "combination", run_params(both, "combination"))
    assert goal.views == ("clean", "silence") and set(goal.responses) == {"reference", "pseudo_gt"} and goal.lambda_features == 1.0
    heard, taught, passed = Count(student.model.audio_tower), Count(teacher.model.audio_tower), Count(student.model.language_model)
    passes = Passes(student, cast(teacher=teacher), batch([0, 1, 5], goal.views))
    goal(passes).backward()
    assert heard.rows == [3], "the noisy audio once for references, Pseudo-GTs, rollouts and features"
    assert taught.rows == [3, 3], "the clean clips once, and silence once"
    # One reading along the reference, the steps of the group's sampling, one pass along its rollouts, one along the Pseudo-GT.
    assert len(passed.rows) == 1 + (passes.rollouts().ids.shape[1] - 1) + 1 + 1


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(weights=st.dictionaries(st.sampled_from(list(METHODS)), st.floats(0.1, 3.0), min_size=1, max_size=3), features=st.sampled_from([0.0, 0.7]))
def test_a_combination_is_the_weighted_sum_of_its_parts(weights: dict[str, float], features: float, student: Any, cast: Any, batch: Any) -> None:
    training = training_of(combination={"weights": weights, "lambda_features": features})
    training = training.model_copy(update={"combination": training.combination | {"weights": weights}})
    own = run_params(training, "combination")
    assert isinstance(own, CombinationParams) and set(own.weights) == set(weights)
    goal = objective(training, "combination", own)
    whole = batch([0, 2, 5, 7], ["clean", "silence", "text"])
    with torch.no_grad():
        together = goal(Passes(student, cast(), whole)).item()
        apart = sum(w * METHODS[name].loss(Passes(student, cast(), whole), run_params(training, name)).item() for name, w in weights.items())
        if features:
            apart += features * feature_loss(Passes(student, cast(), whole)).item()
    assert together == pytest.approx(apart, rel=1e-9, abs=1e-12)


def test_gradients_of_a_combination_add_up(student: Any, params: Any, cast: Any, batch: Any, exact_norms: None) -> None:
    parts = (Part("echodistill", params("echodistill"), 1.0), Part("caad", params("caad"), 0.5), Part("xopd", params("xopd"), 0.2))
    whole = batch([0, 2, 5], ["clean", "silence", "text"])
    weights = [weight for weight in student.parameters() if weight.requires_grad]

    def gradient(goal: Objective) -> list[Tensor]:
        found = torch.autograd.grad(goal(Passes(student, cast(), whole)), weights, allow_unused=True)
        return [torch.zeros_like(weight) if grad is None else grad for weight, grad in zip(weights, found, strict=True)]

    apart = [gradient(Objective((part,), 0.0)) for part in parts]
    for number, together in enumerate(gradient(Objective(parts, 0.0))):
        expected = sum(part[number] for part in apart)
        torch.testing.assert_close(together, expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))


@pytest.mark.parametrize("method", METHODS)
def test_the_representation_term_joins_every_method(method: str, student: Any, cast: Any, batch: Any) -> None:
    training = training_of(**{method: {"lambda_features": 0.6}})
    goal = objective(training, method, run_params(training, method))
    assert goal.lambda_features == 0.6 and "clean" in goal.views
    whole = batch([0, 5], goal.views)
    with torch.no_grad():
        with_it = goal(Passes(student, cast(), whole)).item()
        without = Objective(goal.parts, 0.0)(Passes(student, cast(), whole)).item()
        term = feature_loss(Passes(student, cast(), whole)).item()
    assert term > 0.01
    assert with_it == pytest.approx(without + 0.6 * term, rel=1e-9)


def test_the_representation_term_is_the_distance_of_separate_encodings(
    student: Any, teacher: Any, processor: Any, cast: Any, batch: Any, rows: list[Row], waves: dict[str, Wave]
) -> None:
    numbers, each = [0, 5, 7], []
    with torch.no_grad():  # the teacher fixture has the student's audio tower
        student.model.multi_modal_projector.linear.weight.mul_(1.1)
    for number in numbers[:2]:  # the last has no clean teacher
        noisy, clean = (
            features_of(model, processor, asked(rows[number], waves, path)[1]) for model, path in ((student, "noisy"), (teacher, "clean"))
        )
        shared = min(len(noisy), len(clean))
        each.append((noisy[:shared] - clean[:shared]).square().sum(-1).mean().item() / 3.5)
    loss = feature_loss(Passes(student, cast(feature_variance=3.5), batch(numbers, ["clean"])))
    assert loss.item() == pytest.approx(sum(each) / 2, rel=1e-9)
    loss.backward()
    assert student.model.audio_tower.conv1.weight.grad.abs().max() > 0


def test_a_loss_of_the_batch_is_a_mean_over_flagged_items(student: Any, cast: Any, batch: Any) -> None:
    passes = Passes(student, cast(), batch([0, 2, 7]))
    values = torch.tensor([1.0, 2.0, torch.inf])
    assert passes.mean(values, "taught").item() == 1.5, "what is not flagged may be anything"
    assert passes.mean(values[:2].repeat(2)[:3], "items").item() == pytest.approx(4 / 3)
    assert passes.mean(values, "trusted").item() == 1.0
    assert objectives.masked_mean(values[:2], passes.flags("taught")[:2]).item() == 1.5
