"""The policy surrogates against slow float64 references written from the papers, values and gradients, and their edge cases."""

from typing import get_args

import pytest
import reference_objectives as slow
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tasks.training.objectives import group_advantages, token_logprobs
from tasks.training.policy_losses import PolicyKind, kl_to_reference, policy_terms

KINDS: tuple[PolicyKind, ...] = get_args(PolicyKind)
LONGEST, WORDS = 5, 4
seeds = st.integers(0, 10_000)


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@st.composite
def masks(draw_from: st.DrawFn) -> Tensor:
    """Groups of rollouts of 0..T tokens, at least one of which has some, (B, K, T)."""
    items, size = draw_from(st.integers(1, 3)), draw_from(st.integers(1, 4))
    lengths = draw_from(st.lists(st.integers(0, LONGEST), min_size=items * size, max_size=items * size).filter(any))
    return (torch.arange(LONGEST) < torch.tensor(lengths)[:, None]).double().view(items, size, LONGEST)


def rollouts(mask: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Logits (B, K, T, V), a leaf, and the log-probabilities of some tokens under them, (B, K, T)."""
    logits = draw(*mask.shape, WORDS, seed=seed).requires_grad_()
    ids = torch.randint(WORDS, mask.shape, generator=torch.Generator().manual_seed(seed))
    return logits, token_logprobs(logits, ids)


def loss(terms: tuple[Tensor, Tensor]) -> Tensor:
    return terms[0].sum() / terms[1].sum()


@given(st.sampled_from(KINDS), masks(), seeds, st.sampled_from([0.0, 0.02, 0.4]), st.sampled_from([0.0, 0.1]))
@settings(max_examples=80, deadline=None)
def test_losses_match_the_papers(kind: PolicyKind, mask: Tensor, seed: int, staleness: float, beta: float) -> None:
    logits, logprobs = rollouts(mask, seed)
    old, reference = (logprobs.detach() + scale * draw(*mask.shape, seed=seed + number) for number, scale in ((1, staleness), (2, 0.3)))
    advantages = draw(*mask.shape[:2], seed=seed + 3)
    given_reference = reference if beta else None
    terms = policy_terms(kind, logprobs, old, advantages, mask, clip=0.2, clip_high=0.28, max_tokens=9, reference=given_reference, kl_weight=beta)
    fast = loss(terms)
    exact = slow.policy_loss(kind, logprobs, old, advantages, mask, 0.2, 0.28, 9, reference, beta)
    torch.testing.assert_close(fast, exact, rtol=1e-6, atol=1e-9)
    got, want = (torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (fast, exact + 0 * logits.sum()))
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_cases_above_are_clipped_on_both_sides_and_not_all(kind: PolicyKind) -> None:
    """Otherwise a surrogate that never clips, or always does, would pass."""
    mask = torch.ones(6, 8, 2, dtype=torch.float64)
    logits, logprobs = rollouts(mask, 1)
    old, advantages = logprobs.detach() + 0.4 * draw(*mask.shape, seed=2), draw(6, 8, seed=3)
    ratio = (logprobs - old).mean(-1, keepdim=True).exp() if kind == "gspo" else (logprobs - old).exp()
    low, high = (ratio < 0.8) & (advantages[..., None] < 0), (ratio > 1.28) & (advantages[..., None] > 0)
    sums, weights = policy_terms(kind, logprobs, old, advantages, mask, clip=0.2, clip_high=0.28, max_tokens=9)
    moved = torch.autograd.grad(loss((sums, weights)), logits)[0].abs().sum(-1) > 0
    assert low.any() and high.any() and torch.equal(moved, ~(low | high).expand_as(moved))


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_add_up_and_an_item_stands_alone(kind: PolicyKind) -> None:
    mask = (torch.arange(LONGEST) < torch.tensor([[5, 1, 3], [0, 2, 4], [1, 1, 1]])[..., None]).double()
    _, logprobs = rollouts(mask, 5)
    old, advantages = logprobs.detach() + 0.3 * draw(*mask.shape, seed=6), draw(3, 3, seed=7)

    def terms(items: slice) -> tuple[Tensor, Tensor]:
        return policy_terms(kind, logprobs[items], old[items], advantages[items], mask[items], clip=0.2, max_tokens=9)

    parts = [terms(slice(b, b + 1)) for b in range(3)]
    for whole, part in zip(terms(slice(0, 3)), zip(*parts, strict=True), strict=True):
        assert whole.shape == (3,) and torch.equal(whole, torch.cat(part))


@given(masks(), seeds)
@settings(max_examples=20, deadline=None)
def test_kl_to_the_reference_matches_its_estimator(mask: Tensor, seed: int) -> None:
    logits, logprobs = rollouts(mask, seed)
    reference = logprobs.detach() + 0.5 * draw(*mask.shape, seed=seed + 1)
    fast, exact = kl_to_reference(logprobs, reference, mask), slow.kl_to_reference(logprobs, reference, mask)
    torch.testing.assert_close(fast, exact, rtol=1e-6, atol=1e-9)
    got, want = (torch.autograd.grad(value.sum(), logits, retain_graph=True)[0] for value in (fast, exact + 0 * logits.sum()))
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)
    assert (fast >= 0).all() and kl_to_reference(logprobs, logprobs, mask).abs().max() == 0


def test_the_kl_estimator_is_unbiased_in_value_and_pulls_along_the_forward_kl() -> None:
    """Exactly, over the student's whole distribution."""
    logits, reference = draw(WORDS, seed=1).requires_grad_(), draw(WORDS, seed=2).log_softmax(-1)
    student = logits.log_softmax(-1)
    each = kl_to_reference(student[:, None, None], reference[:, None, None], torch.ones(WORDS, 1, 1))
    expected = (student.exp().detach() * each).sum()
    torch.testing.assert_close(expected, (student.exp() * (student - reference)).sum())
    forward = (reference.exp() * (reference - student)).sum()
    got, want = (torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (expected, forward))
    torch.testing.assert_close(got, want)


def test_echodistill_is_gspo_with_the_teacher_for_the_old_policy() -> None:
    mask = (torch.arange(LONGEST) < torch.tensor([[5, 1, 3, 2], [4, 2, 4, 1]])[..., None]).double()
    logits, student = rollouts(mask, 8)
    teacher = student.detach() + 0.4 * draw(*mask.shape, seed=9)
    advantages = group_advantages(draw(2, 4, seed=10))
    fast = loss(policy_terms("gspo", student, teacher, advantages, mask, clip=0.2))
    exact = slow.echodistill_surrogate(student, teacher, advantages, mask, 0.2)
    torch.testing.assert_close(fast, exact, rtol=1e-6, atol=1e-9)
    got, want = (torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (fast, exact))
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_rewards_and_empty_completions_teach_nothing(kind: PolicyKind) -> None:
    mask = (torch.arange(LONGEST) < torch.tensor([[5, 3, 2], [5, 0, 2], [0, 0, 0]])[..., None]).float()
    logits, logprobs = rollouts(mask, 11)
    advantages = group_advantages(torch.tensor([[0.3, 0.3, 0.3], [1.0, -1.0, -1.0], [1.0, -1.0, -1.0]]), scale=kind != "dr_grpo")
    sums, weights = policy_terms(kind, logprobs, logprobs.detach() + 0.3, advantages, mask, clip=0.2, max_tokens=9)
    gradient = torch.autograd.grad(loss((sums, weights)), logits)[0]
    assert sums[0] == 0 and sums[1] != 0 and sums[2] == 0
    assert gradient[0].abs().sum() == 0 and gradient[1, 0].abs().sum() > 0 and gradient[1, 1].abs().sum() == 0 and gradient[2].abs().sum() == 0
    assert torch.isfinite(gradient).all()


@given(st.sampled_from(KINDS), masks(), st.lists(st.floats(-1e30, 1e30), min_size=3, max_size=3), seeds)
@settings(max_examples=40, deadline=None)
def test_padding_changes_nothing(kind: PolicyKind, mask: Tensor, junk: list[float], seed: int) -> None:
    def run(fill: list[float]) -> tuple[Tensor, Tensor]:
        values = [(draw(*mask.shape, seed=seed + number) * 0.2 - 1).float() for number in range(3)]
        student, old, reference = (torch.where(mask.bool(), value, torch.tensor(one)) for value, one in zip(values, fill, strict=True))
        student.requires_grad_()
        terms = policy_terms(kind, student, old, draw(*mask.shape[:2], seed=seed), mask, clip=0.2, max_tokens=9, reference=reference, kl_weight=0.1)
        return loss(terms), torch.autograd.grad(loss(terms), student)[0]

    for clean, dirty in zip(run([0.0, 0.0, 0.0]), run(junk), strict=True):
        assert torch.equal(clean, dirty)


@pytest.mark.parametrize("kind", KINDS)
def test_a_ratio_that_overflows_gives_no_nan(kind: PolicyKind) -> None:
    student, mask = torch.tensor([[[-0.1]]], requires_grad=True), torch.ones(1, 1, 1)
    for advantage in (1.0, 0.0, -1.0):
        sums, _ = policy_terms(kind, student, torch.tensor([[[-200.0]]]), torch.tensor([[advantage]]), mask, clip=0.2, max_tokens=1)
        assert torch.isfinite(sums).all() and torch.isfinite(torch.autograd.grad(sums.sum(), student)[0]).all()


def test_what_is_missing_is_said() -> None:
    values, mask = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    with pytest.raises(ValueError, match="max_tokens"):
        policy_terms("dr_grpo", values, values, torch.zeros(1, 2), mask, clip=0.2)
    with pytest.raises(ValueError, match="reference"):
        policy_terms("grpo", values, values, torch.zeros(1, 2), mask, clip=0.2, kl_weight=0.1)
