"""A shared reading gives what separate full passes give, and rollouts are samples of the student that are an example's own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from training_material import asked, full_logits

from tasks.common.audio import Wave
from tasks.training.passes import Cast, Passes
from tasks.training.rollouts import end_ids, sample, uniforms
from tasks.training.scoring import Prefix, read, read_along, teacher_forced

Row = dict[str, Any]
EXACT = {"rtol": 1e-10, "atol": 1e-10}
pytestmark = pytest.mark.usefixtures("exact_norms")


def slow(model: Any, processor: Any, rows: list[Row], waves: dict[str, Wave], number: int) -> Tensor:
    return full_logits(model, processor, *asked(rows[number], waves, "clean"), rows[number]["pseudo_gt_token_ids"])


def test_a_shared_reading_equals_full_passes(student: Any, processor: Any, batch: Any, rows: list[Row], waves: dict[str, Wave]) -> None:
    numbers, whole = [0, 5, 3], batch([0, 5, 3], ["clean"])
    ids, mask = whole["pseudo_gt"], whole["pseudo_gt_mask"]
    with torch.no_grad():
        prefix = read(student, whole["clean"])
        group = teacher_forced(student, prefix.repeat(2), ids.repeat_interleave(2, 0), mask.repeat_interleave(2, 0))
        along, joint = read_along(student, whole["clean"], ids, mask)
        continued = teacher_forced(student, along, ids, mask)
        for place, number in enumerate(numbers):
            expected = slow(student, processor, rows, waves, number)
            for found in (group[2 * place], group[2 * place + 1], joint[place], continued[place]):
                torch.testing.assert_close(found[: len(expected)], expected, **EXACT)
    torch.testing.assert_close(along.logits, prefix.logits, **EXACT)
    for one, other in zip(along.layers, prefix.layers, strict=True):
        held = whole["clean"]["attention_mask"].bool()[:, None, :, None]
        torch.testing.assert_close([keys * held for keys in one], [keys * held for keys in other], **EXACT)


def test_gradients_through_a_shared_reading_equal_those_of_full_passes(
    student: Any, processor: Any, batch: Any, rows: list[Row], waves: dict[str, Wave]
) -> None:
    whole = batch([1, 4], ["clean"])
    ids, mask = whole["pseudo_gt"].repeat_interleave(3, 0), whole["pseudo_gt_mask"].repeat_interleave(3, 0)
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    shared = teacher_forced(student, read(student, whole["clean"]).repeat(3), ids, mask)
    got = torch.autograd.grad((shared.square().sum(-1) * mask).sum(), weights, allow_unused=True)
    separate = sum(slow(student, processor, rows, waves, number).square().sum() for number in (1, 4))
    want = torch.autograd.grad(3 * separate, weights, allow_unused=True)
    assert want[0] is not None and want[0].abs().max() > 0, "the audio tower"
    for one, other in zip(got, want, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10 * float(other.abs().max()))


def test_company_in_a_batch_changes_nothing(student: Any, cast: Callable[..., Cast], batch: Any) -> None:
    alone, together = (Passes(student, cast(), batch(numbers)) for numbers in ([0], [0, 7, 5, 2]))
    with torch.no_grad():
        first, other = alone.student_along("pseudo_gt")[0], together.student_along("pseudo_gt")[0]
    torch.testing.assert_close(first, other[: len(first)], **EXACT)


def test_a_rollout_is_the_same_in_any_batch(student: Any, cast: Callable[..., Cast], batch: Any) -> None:
    passes = Passes(student, cast(), batch([0, 7, 5, 2]))
    whole = passes.rollouts()
    assert len({tuple(ids) for ids in whole.ids.tolist()}) > 4, "equal rollouts would compare nothing"
    for place, number in enumerate([0, 7, 5, 2]):
        part = batch([number]) | {"position": [place]}
        alone = Passes(student, cast(), part).rollouts()
        width = alone.ids.shape[1]
        rows = slice(4 * place, 4 * place + 4)
        assert torch.equal(alone.mask, whole.mask[rows, :width]) and not whole.mask[rows, width:].any()
        assert torch.equal(alone.ids, whole.ids[rows, :width])
        torch.testing.assert_close(alone.logprobs, whole.logprobs[rows, :width], **EXACT)
    assert not torch.equal(Passes(student, cast(seed=1), batch([0, 7, 5, 2])).rollouts().ids, whole.ids)


def test_behaviour_log_probabilities_are_the_teacher_forced_ones(student: Any, cast: Callable[..., Cast], batch: Any) -> None:
    how = cast().rollouts.model_copy(update={"temperature": 1.7})
    passes = Passes(student, cast(rollouts=how), batch([0, 3, 6]))
    rollouts = passes.rollouts()
    scored = (passes.student_on(rollouts) / 1.7).log_softmax(-1).gather(-1, rollouts.ids[..., None])[..., 0]
    # The sampler works in float32.
    torch.testing.assert_close(rollouts.logprobs.double(), (scored * rollouts.mask).detach(), rtol=1e-5, atol=1e-5)
    assert not rollouts.logprobs.requires_grad and scored.requires_grad


def test_cold_samples_are_the_greedy_answer(student: Any, processor: Any, batch: Any) -> None:
    view = batch([0, 1, 4])["student"]
    drawn = sample(student, read(student, view), end_ids(student), processor.tokenizer.pad_token_id, 1e-4, uniforms([0, 1, 2], 1, 6, 0))
    greedy = student.generate(**view, max_new_tokens=6, do_sample=False)[:, view["input_ids"].shape[1] :]
    assert len({tuple(row.tolist()) for row in drawn.ids}) > 1, "equal answers would compare nothing"
    assert torch.equal((drawn.ids * drawn.mask)[:, : greedy.shape[1]], greedy * drawn.mask)


def test_rollouts_end_with_an_end_token_and_leave_the_global_draws_alone(student: Any, processor: Any, batch: Any) -> None:
    pad, ends = processor.tokenizer.pad_token_id, [*end_ids(student), *range(150)]  # half of the tokens, so that some rows end early
    prefix, state = read(student, batch([0, 1])["student"]).repeat(16), torch.get_rng_state()
    drawn = sample(student, prefix, ends, pad, 50.0, uniforms([0, 1], 16, 5, 7), 16)
    assert torch.equal(state, torch.get_rng_state())
    lengths = drawn.mask.sum(1).tolist()
    assert len(set(lengths)) > 1 and drawn.size == 16
    for row, length in zip(drawn.ids.tolist(), lengths, strict=True):
        assert row[length - 1] in ends or length == 5
        assert not set(row[: length - 1]) & set(ends)
        assert set(row[length:]) <= {pad}
    assert (drawn.mask.diff(dim=1) <= 0).all() and not drawn.logprobs[drawn.mask == 0].any()


def test_first_tokens_come_as_often_as_their_probabilities_say() -> None:
    """Chi-square over 20,000 draws, which a right sampler fails once in 10,000 seeds; this one is fixed."""
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5, -3.0, -torch.inf, 1.5])
    count, temperature = 20_000, 0.8
    prefix = Prefix((), torch.ones(count, 1, dtype=torch.long), logits.expand(count, -1))
    drawn = sample(None, prefix, [0], 0, temperature, uniforms(range(count), 1, 1, "frequencies"))
    seen = torch.bincount(drawn.ids[:, 0], minlength=8)
    expected = count * (logits.double() / temperature).softmax(-1)
    assert seen[6] == 0
    possible = [number for number in range(8) if number != 6]
    assert chisquare(seen[possible].numpy(), expected[possible].numpy()).pvalue > 1e-4
    wrong = count * logits.double().softmax(-1)  # the test would notice a forgotten temperature
    assert chisquare(seen[possible].numpy(), wrong[possible].numpy()).pvalue < 1e-6


@pytest.mark.parametrize("length", [1, 2])
def test_the_shortest_responses_are_scored(length: int, student: Any, batch: Any) -> None:
    whole = batch([0, 3])
    ids, mask = whole["pseudo_gt"][:, :length], whole["pseudo_gt_mask"][:, :length]
    prefix, joint = read_along(student, whole["student"], ids, mask)
    assert joint.shape[:2] == ids.shape
    torch.testing.assert_close(teacher_forced(student, prefix, ids, mask), joint, **EXACT)
