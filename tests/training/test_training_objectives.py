"""The objectives against slow float64 references written from the equations, values and gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tasks.training import objectives as ours

B, K, T, V = 3, 4, 5, 7


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ragged_mask() -> Tensor:
    return torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]], dtype=torch.float64)


def softmax(row: Tensor) -> list[Tensor]:
    powers = [torch.exp(value - row.max().detach()) for value in row]
    return [power / sum(powers) for power in powers]


def slow_kl(teacher: Tensor, student: Tensor, mask: Tensor, tau: float) -> Tensor:
    items = []
    for b in range(len(mask)):
        total = torch.zeros((), dtype=torch.float64)
        for t in range(int(mask[b].sum())):
            p, q = softmax(teacher[b, t] / tau), softmax(student[b, t] / tau)
            total = total + tau**2 * sum(pi * (torch.log(pi) - torch.log(qi)) for pi, qi in zip(p, q, strict=True))
        items.append(total / max(1, int(mask[b].sum())))
    return torch.stack(items)


def slow_logprob_mean(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    items = []
    for b in range(len(mask)):
        length = int(mask[b].sum())
        items.append(sum((torch.log(softmax(logits[b, t])[ids[b, t]]) for t in range(length)), torch.zeros((), dtype=torch.float64)) / max(1, length))
    return torch.stack(items)


def same_gradient(fast: Tensor, slow: Tensor, leaf: Tensor) -> None:
    torch.testing.assert_close(fast, slow)
    got, want = (torch.autograd.grad(value.sum(), leaf, retain_graph=True)[0] for value in (fast, slow))
    assert want.abs().max() > 1e-6, "the reference has no gradient, so this compares nothing"
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_kl_matches_the_equation(tau: float) -> None:
    teacher, student = draw(B, T, V, seed=1), draw(B, T, V, seed=2).requires_grad_()
    same_gradient(ours.token_kl(teacher, student, ragged_mask(), tau), slow_kl(teacher, student, ragged_mask(), tau), student)


def test_kl_is_forward_and_keeps_the_teacher_fixed() -> None:
    teacher, student = draw(B, T, V, seed=1).requires_grad_(), draw(B, T, V, seed=2).requires_grad_()
    loss = ours.token_kl(teacher, student, ragged_mask())
    assert not torch.allclose(loss, ours.token_kl(student, teacher, ragged_mask()))
    loss.sum().backward()
    assert teacher.grad is None and student.grad is not None


def test_cross_entropy_matches_the_equation() -> None:
    student, ids = draw(B, T, V).requires_grad_(), torch.arange(B * T).reshape(B, T) % V
    same_gradient(ours.cross_entropy(student, ids, ragged_mask()), -slow_logprob_mean(student, ids, ragged_mask()), student)


def test_surrogate_matches_the_equation_inside_and_outside_the_clip() -> None:
    student = (0.4 * draw(B, K, seed=3)).requires_grad_()
    teacher, advantages, clip = 0.4 * draw(B, K, seed=4), draw(B, K, seed=5), 0.2
    total = torch.zeros((), dtype=torch.float64)
    clipped = 0
    for b in range(B):
        for k in range(K):
            rho = torch.exp(student[b, k] - teacher[b, k])
            bounded = rho if 1 - clip <= rho <= 1 + clip else torch.tensor(1 - clip if rho < 1 else 1 + clip, dtype=torch.float64)
            clipped += bounded is not rho
            total = total - min(rho * advantages[b, k], bounded * advantages[b, k])
    assert 0 < clipped < B * K
    same_gradient(ours.clipped_surrogate(student, teacher, advantages, clip), total / (B * K), student)


def slow_advantages(rewards: list[float]) -> list[float]:
    mean = sum(rewards) / len(rewards)
    std = math.sqrt(sum((r - mean) ** 2 for r in rewards) / len(rewards))
    return [(r - mean) / max(std, 1e-6) for r in rewards]


@given(st.lists(st.lists(st.floats(-1, 2, width=32), min_size=K, max_size=K), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_advantages_match_the_equation(groups: list[list[float]]) -> None:
    got = ours.group_advantages(torch.tensor(groups, dtype=torch.float64))
    torch.testing.assert_close(got, torch.tensor([slow_advantages(group) for group in groups], dtype=torch.float64), rtol=1e-6, atol=1e-6)


@given(st.floats(-1, 2, width=32), st.integers(2, 16))
@settings(max_examples=60, deadline=None)
def test_equal_rewards_give_no_advantage(reward: float, size: int) -> None:
    assert ours.group_advantages(torch.full((1, size), reward)).abs().max() < 1e-8


def test_shaping_matches_the_equation() -> None:
    rewards = torch.tensor([[-1.0, 0.0, 0.4, 1.0], [1.0, 1.9, -1.0, 0.2]])
    closeness, beta = torch.tensor([[0.9, 0.8, 0.7, 0.6], [0.5, 1.0, 1.0, 0.1]]), 0.5
    slow = [
        [max(-1.0, min(2.0, r + beta * (1.0 if r > 0 else 0.0) * s)) for r, s in zip(*rows, strict=True)]
        for rows in zip(rewards.tolist(), closeness.tolist(), strict=True)
    ]
    torch.testing.assert_close(ours.shaped_rewards(rewards, closeness, beta), torch.tensor(slow))


@given(st.lists(st.booleans(), min_size=2, max_size=8).filter(lambda right: 0 < sum(right) < len(right)), st.floats(0.01, 1.0))
@settings(max_examples=60, deadline=None)
def test_one_closeness_a_group_is_inert_and_one_a_candidate_is_not(right: list[bool], closeness: float) -> None:
    rewards = torch.tensor([[1.0 if r else -1.0 for r in right]], dtype=torch.float64)
    plain = ours.group_advantages(rewards)
    instance = ours.group_advantages(ours.shaped_rewards(rewards, torch.tensor([[closeness]]), 0.5))
    torch.testing.assert_close(instance, plain)
    if sum(right) > 1:
        per_rollout = torch.linspace(0.1, 0.9, len(right), dtype=torch.float64)[None, :]
        candidate = ours.group_advantages(ours.shaped_rewards(rewards, per_rollout, 0.5))
        assert not torch.allclose(candidate, plain, atol=1e-3)


def test_caad_without_contrast_is_distillation() -> None:
    heard, unheard, student = draw(B, T, V, seed=6), draw(B, T, V, seed=7), draw(B, T, V, seed=8)
    plain = ours.token_kl(heard, student, ragged_mask(), 2.0)
    torch.testing.assert_close(ours.token_kl(ours.contrastive_logits(heard, unheard, 0.0), student, ragged_mask(), 2.0), plain, rtol=0, atol=0)
    assert not torch.allclose(ours.token_kl(ours.contrastive_logits(heard, unheard, 1.0), student, ragged_mask(), 2.0), plain)


def test_caad_matches_the_equation() -> None:
    heard, unheard, student = draw(B, T, V, seed=6), draw(B, T, V, seed=7), draw(B, T, V, seed=8).requires_grad_()
    ids, mask, taught = torch.arange(B * T).reshape(B, T) % V, ragged_mask(), torch.tensor([1, 0, 1])
    alpha, tau, weight = 1.5, 2.0, 0.7
    contrast = slow_kl(heard + alpha * (heard - unheard), student, mask, tau)
    truth = -slow_logprob_mean(student, ids, mask)
    items = [weight * contrast[b] + (1 - weight) * truth[b] if taught[b] else truth[b] for b in range(B)]
    fast = ours.caad_loss(
        ours.token_kl(ours.contrastive_logits(heard, unheard, alpha), student, mask, tau), ours.cross_entropy(student, ids, mask), taught, weight
    )
    same_gradient(fast, torch.stack(items).mean(), student)


@given(st.integers(0, 6))
@settings(max_examples=10, deadline=None)
def test_padding_changes_nothing(extra: int) -> None:
    teacher, student, ids, mask = draw(B, T, V, seed=1), draw(B, T, V, seed=2), torch.arange(B * T).reshape(B, T) % V, ragged_mask()
    wider = [torch.nn.functional.pad(logits, (0, 0, 0, extra), value=9.0) for logits in (teacher, student)]
    wide_ids, wide_mask = (torch.nn.functional.pad(values, (0, extra)) for values in (ids, mask))
    torch.testing.assert_close(ours.token_kl(*wider, wide_mask), ours.token_kl(teacher, student, mask))
    torch.testing.assert_close(ours.cross_entropy(wider[1], wide_ids, wide_mask), ours.cross_entropy(student, ids, mask))


def test_an_empty_completion_has_value_zero_and_no_gradient() -> None:
    student, mask = draw(2, T, V).requires_grad_(), torch.tensor([[0.0] * T, [1.0] * T], dtype=torch.float64)
    loss = ours.cross_entropy(student, torch.zeros(2, T, dtype=torch.long), mask) + ours.token_kl(draw(2, T, V, seed=3), student, mask)
    loss.sum().backward()
    assert loss[0] == 0 and loss[1] > 0
    assert student.grad is not None and student.grad[0].abs().sum() == 0 and torch.isfinite(student.grad).all()


def test_a_closed_gate_gives_zero() -> None:
    values = torch.tensor([1.0, 3.0])
    assert ours.gated_mean(values, torch.tensor([0, 1])) == 3.0
    assert ours.gated_mean(values, torch.tensor([0, 0])) == 0.0


def test_feature_distance_matches_its_definition() -> None:
    student, teacher, mask = draw(B, T, V, seed=1).requires_grad_(), draw(B, T, V, seed=2), ragged_mask()
    places = [(b, t) for b in range(B) for t in range(T) if mask[b, t]]
    mean = sum(teacher[place] for place in places) / len(places)
    slow = sum((student[place] - teacher[place]).square().sum() for place in places) / sum((teacher[place] - mean).square().sum() for place in places)
    same_gradient(ours.feature_distance(student, teacher, mask), slow, student)
