"""Every path once over the whole response: equal to the dual path token by token, and every method to separate passes, gradients included.

The slow sides are the peers of `bench.steps`, so that what is timed there is known to be right, in float64.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from training_material import asked, full_logits, training_of

from bench.steps import Plain, Stepped, Unkept, gradients, stretched
from tasks.common.audio import Wave
from tasks.training import caad, kd, objectives
from tasks.training.methods import METHODS, Objective, Part, objective
from tasks.training.params import METHODS as PARAMS
from tasks.training.params import run_params
from tasks.training.passes import Passes

Row = dict[str, Any]
pytestmark = pytest.mark.usefixtures("exact_norms")


def agree(one: tuple[float, Tensor], other: tuple[float, Tensor], within: float = 1e-10) -> None:
    """Loss and gradient, relative to their size."""
    assert other[1].norm() > 0
    assert one[0] == pytest.approx(other[0], rel=within, abs=within)
    assert (one[1] - other[1]).norm() <= within * other[1].norm()


@pytest.mark.parametrize(("negative", "peer"), [("silence", Stepped), ("drop_audio", Stepped), ("keep_transcript", Stepped), ("silence", Unkept)])
def test_synchronised_teacher_forcing_equals_the_dual_path_token_by_token(
    negative: str, peer: type[Passes], student: Any, params: Any, cast: Any, batch: Any
) -> None:
    goal = Objective((Part("caad", params("caad", negative=negative, alpha=1.5), 1.0),), 0.0)
    whole = stretched(batch([3, 1, 7], goal.views), 12)
    agree(gradients(goal, Passes(student, cast(), whole)), gradients(goal, peer(student, cast(), whole)))


def test_both_paths_agree_at_every_token(
    teacher: Any, student: Any, processor: Any, cast: Any, batch: Any, rows: list[Row], waves: dict[str, Wave]
) -> None:
    """z+ and z- one token at a time, each from a pass of its own over what came before."""
    numbers = [3, 1]
    passes = Passes(student, cast(), batch(numbers, ["clean", "silence"]))
    for path in ("clean", "silence"):
        found = passes.teacher_along("pseudo_gt", path)
        for place, number in enumerate(numbers):
            ids = rows[number]["pseudo_gt_token_ids"]
            for t in range(len(ids)):
                step = full_logits(teacher, processor, *asked(rows[number], waves, path), ids[: t + 1])[-1]
                torch.testing.assert_close(found[place, t], step, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", PARAMS)
def test_every_method_equals_separate_passes(method: str, student: Any, cast: Any, batch: Any, drawn: Any) -> None:
    training = training_of()
    goal = objective(training, method, run_params(training, method))
    whole = batch([0, 2, 5], goal.views)
    whole |= {f"rollouts_{view}": drawn([0, 2, 5]) for view in goal.sampled}
    goal = Objective(goal.parts, 0.0)

    class Given(Plain):
        """Scores the rollouts of the batch, which `generate` need not repeat."""

        def _generated(self, view: str) -> Any:
            rollouts = self.batch[f"rollouts_{view}"]
            self._made["student on", view] = self.whole(self.student, view, rollouts.ids, rollouts.mask)
            return rollouts

    agree(gradients(goal, Passes(student, cast(), whole)), gradients(goal, Given(student, cast(), whole)))


def test_generate_draws_the_same_rollouts(student: Any, cast: Any, batch: Any) -> None:
    whole = batch([0, 2, 5])
    ours, plain = Passes(student, cast(), whole).rollouts(), Plain(student, cast(), whole).rollouts()
    assert torch.equal(ours.mask, plain.mask) and torch.equal(ours.ids * ours.mask, plain.ids * plain.mask)
    torch.testing.assert_close(ours.logprobs.double(), plain.logprobs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("tau", "weight"), [(1.0, 1.0), (2.0, 0.6)])
def test_caad_at_alpha_0_is_kd(tau: float, weight: float, student: Any, params: Any, cast: Any, batch: Any) -> None:
    contrastive = params("caad", alpha=0.0, tau=tau, weight=weight)
    plain = params("kd", response="pseudo_gt", tau=tau, weight=weight, teacher_gate=False)
    assert caad.views(contrastive) == kd.views(plain) and caad.responses(contrastive) == kd.responses(plain)
    whole = batch([1, 3, 7], ["clean"])
    both = [
        gradients(Objective((Part(name, own, 1.0),), 0.0), Passes(student, cast(), whole)) for name, own in (("caad", contrastive), ("kd", plain))
    ]
    assert both[0][0] == both[1][0] and torch.equal(both[0][1], both[1][1])
    moved = Objective((Part("caad", params("caad", alpha=0.5, tau=tau, weight=weight), 1.0),), 0.0)
    other = gradients(moved, Passes(student, cast(), batch([1, 3, 7], ["clean", "silence"])))
    assert other[0] != pytest.approx(both[0][0], rel=1e-3)


def test_a_scheduled_alpha_is_each_items_own(student: Any, params: Any, cast: Any, batch: Any) -> None:
    own = params("caad", alpha=1.5, alpha_schedule="difficulty", weight=1.0)
    fixed = params("caad", alpha=1.5, weight=1.0)
    passes = Passes(student, cast(), batch([3, 1], ["clean", "silence"]))
    z = [passes.teacher_along("pseudo_gt", path) for path in ("clean", "silence")]
    mask = passes.batch["pseudo_gt_mask"]
    alphas = caad.alphas(z[0], z[1], mask, own)
    assert isinstance(alphas, Tensor) and alphas.shape == (2,) and (alphas >= 0).all() and (alphas <= 1.5).all()
    assert caad.alphas(z[0], z[1], mask, fixed) == 1.5
    targets = [z[0][i] + alphas[i] * (z[0][i] - z[1][i]) for i in range(2)]
    each = [
        objectives.token_kl(target[None], passes.student_along("pseudo_gt")[i : i + 1], mask[i : i + 1], own.tau).item()
        for i, target in enumerate(targets)
    ]
    assert METHODS["caad"].loss(passes, own).item() == pytest.approx(sum(each) / 2, rel=1e-9)
