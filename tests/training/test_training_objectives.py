"""The objectives against slow float64 references written from the equations, values and gradients, and what they promise beside."""

import itertools
import math

import pytest
import reference_objectives as slow
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tasks.pseudo_gt.cache import spread, top_k
from tasks.training import objectives as ours

B, T, V = 3, 5, 7


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def ragged_mask(lengths: list[int], width: int) -> Tensor:
    return (torch.arange(width) < torch.tensor(lengths)[:, None]).double()


@st.composite
def masks(draw_from: st.DrawFn) -> Tensor:
    """Responses of 0..T tokens, at least one of which has some, (B, T)."""
    lengths = draw_from(st.lists(st.integers(0, 5), min_size=1, max_size=3).filter(any))
    return ragged_mask(lengths, max(lengths) + draw_from(st.integers(0, 2)))


seeds, vocabularies = st.integers(0, 10_000), st.integers(2, 6)


def same(fast: Tensor, exact: Tensor, leaf: Tensor) -> None:
    torch.testing.assert_close(fast, exact, rtol=1e-6, atol=1e-9)
    got, want = (torch.autograd.grad(value.sum(), leaf, retain_graph=True)[0] for value in (fast, exact))
    assert want.abs().max() > 1e-9, "the reference has no gradient, so this compares nothing"
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


@given(masks(), vocabularies, seeds, st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=20, deadline=None)
def test_divergences_and_cross_entropy_match_the_equations(mask: Tensor, size: int, seed: int, tau: float) -> None:
    shape = (*mask.shape, size)
    teacher, student = 2 * draw(*shape, seed=seed), draw(*shape, seed=seed + 1).requires_grad_()
    ids = torch.randint(size, mask.shape, generator=torch.Generator().manual_seed(seed))
    same(ours.token_kl(teacher, student, mask, tau), slow.token_kl(teacher, student, mask, tau), student)
    same(ours.reverse_kl(teacher, student, mask), slow.reverse_kl(teacher, student, mask), student)
    same(ours.cross_entropy(student, ids, mask), slow.cross_entropy(student, ids, mask), student)


@given(masks(), seeds, st.floats(0.0, 0.5))
@settings(max_examples=20, deadline=None)
def test_sampled_reverse_kl_matches_the_equation(mask: Tensor, seed: int, staleness: float) -> None:
    teacher, student = draw(*mask.shape, seed=seed) - 2, (draw(*mask.shape, seed=seed + 1) - 2).requires_grad_()
    behaviour = student.detach() + staleness * draw(*mask.shape, seed=seed + 2)
    same(ours.sampled_reverse_kl(teacher, student, behaviour, mask), slow.sampled_reverse_kl(teacher, student, behaviour, mask), student)


def test_sampled_reverse_kl_takes_groups() -> None:
    teacher, student, behaviour = (draw(2, 3, T, seed=seed) - 2 for seed in (1, 2, 3))
    mask = ragged_mask([5, 2, 0, 1, 3, 4], T)
    grouped = ours.sampled_reverse_kl(teacher, student, behaviour, mask.view(2, 3, T))
    flat = ours.sampled_reverse_kl(*(values.flatten(0, 1) for values in (teacher, student, behaviour)), mask)
    assert grouped.shape == (2, 3) and torch.equal(grouped.flatten(), flat)


@given(masks(), vocabularies, seeds, st.lists(st.floats(0, 3), min_size=3, max_size=3))
@settings(max_examples=20, deadline=None)
def test_caad_matches_the_equation_with_an_alpha_an_item(mask: Tensor, size: int, seed: int, alphas: list[float]) -> None:
    shape, alphas, tau = (*mask.shape, size), alphas[: len(mask)], 2.0
    heard, unheard, student = draw(*shape, seed=seed), draw(*shape, seed=seed + 1), draw(*shape, seed=seed + 2).requires_grad_()
    target = ours.contrastive_logits(heard, unheard, torch.tensor(alphas))
    exact = slow.contrastive(heard, unheard, torch.tensor(alphas).tolist())
    same(ours.token_kl(target, student, mask, tau), slow.token_kl(exact, student, mask, tau), student)


def test_an_alpha_an_item_is_that_number_for_each() -> None:
    heard, unheard = draw(B, T, V, seed=6, dtype=torch.float32), draw(B, T, V, seed=7, dtype=torch.float32)
    alphas = torch.tensor([0.0, 0.5, 2.0])
    whole = ours.contrastive_logits(heard, unheard, alphas)
    for b in range(B):
        assert torch.equal(whole[b], ours.contrastive_logits(heard[b : b + 1], unheard[b : b + 1], float(alphas[b]))[0])
    assert ours.contrastive_logits(heard, unheard, alphas.double()).dtype == torch.float32


def test_caad_without_contrast_is_distillation() -> None:
    heard, unheard, student, mask = draw(B, T, V, seed=6), draw(B, T, V, seed=7), draw(B, T, V, seed=8).requires_grad_(), ragged_mask([5, 2, 3], T)
    plain = ours.token_kl(heard, student, mask, 2.0)
    gradient = torch.autograd.grad(plain.sum(), student)[0]
    for alpha in (0.0, torch.zeros(B)):
        caad = ours.token_kl(ours.contrastive_logits(heard, unheard, alpha), student, mask, 2.0)
        assert torch.equal(caad, plain) and torch.equal(torch.autograd.grad(caad.sum(), student)[0], gradient)
    assert not torch.allclose(ours.token_kl(ours.contrastive_logits(heard, unheard, 1.0), student, mask, 2.0), plain)


def test_a_teacher_of_top_k_and_tail_is_the_distribution_it_says() -> None:
    mask, k = ragged_mask([5, 2, 3], T), 2
    teacher, student = 2 * draw(B, T, V, seed=1, dtype=torch.float32), draw(B, T, V, seed=2).requires_grad_()
    cached = torch.stack([spread(top_k(item.log_softmax(-1), k), V) for item in teacher]).double()
    exact = teacher.double().softmax(-1)
    tail = (exact.sum(-1) - exact.topk(k).values.sum(-1)) / (V - k)
    coarse = torch.where(exact >= exact.topk(k).values[..., -1:], exact, tail[..., None])
    torch.testing.assert_close(
        ours.token_kl(cached, student, mask), slow.token_kl(coarse.log(), student, mask, 1.0), rtol=1e-5, atol=1e-6
    )  # what is cached is in float32
    assert not torch.allclose(cached.exp(), exact, atol=1e-3)
    whole = torch.stack([spread(top_k(item.log_softmax(-1), V), V) for item in teacher])
    torch.testing.assert_close(ours.token_kl(whole, student.float(), mask), ours.token_kl(teacher, student.float(), mask))


@given(masks(), st.integers(1, 4), seeds)
@settings(max_examples=20, deadline=None)
def test_feature_distance_matches_its_definition(mask: Tensor, width: int, seed: int) -> None:
    assume(mask.sum() > 1)
    student, teacher = draw(*mask.shape, width, seed=seed).requires_grad_(), draw(*mask.shape, width, seed=seed + 1)
    variance = ours.feature_variance(teacher, mask)
    assert variance == pytest.approx(slow.feature_variance(teacher, mask), rel=1e-6)
    same(ours.feature_distance(student, teacher, mask, variance), slow.feature_distance(student, teacher, mask, variance), student)


def test_feature_distance_of_the_mean_is_one_and_an_item_stands_alone() -> None:
    teacher, mask = draw(B, T, V, seed=2), torch.ones(B, T)
    variance, middle = ours.feature_variance(teacher, mask), teacher.mean((0, 1)).expand_as(teacher)
    together = ours.feature_distance(middle, teacher, mask, variance)
    assert together.mean().item() == pytest.approx(1.0)
    assert torch.equal(ours.feature_distance(middle[1:2], teacher[1:2], mask[1:2], variance)[0], together[1])


@pytest.mark.parametrize("mask", [torch.zeros(1, T), torch.ones(1, T)], ids=["no position", "all alike"])
def test_features_that_do_not_vary_are_refused(mask: Tensor) -> None:
    with pytest.raises(ValueError, match="variance"):
        ours.feature_variance(torch.ones(1, T, V), mask)


def test_teachers_and_behaviour_get_no_gradient() -> None:
    mask = torch.ones(B, T)
    teacher, student = draw(B, T, V, seed=1).requires_grad_(), draw(B, T, V, seed=2).requires_grad_()
    read, said, old = draw(B, T, seed=3).requires_grad_(), draw(B, T, seed=4).requires_grad_(), draw(B, T, seed=5).requires_grad_()
    losses = [ours.token_kl(teacher, student, mask), ours.reverse_kl(teacher, student, mask), ours.feature_distance(student, teacher, mask, 1.0)]
    sum(loss.sum() for loss in [*losses, ours.sampled_reverse_kl(read, said, old, mask)]).backward()
    assert teacher.grad is read.grad is old.grad is None and student.grad is not None and said.grad is not None


def test_the_two_divergences_are_each_others_reverse() -> None:
    teacher, student, mask = draw(B, T, V, seed=1), draw(B, T, V, seed=2), ragged_mask([5, 2, 3], T)
    assert torch.equal(ours.reverse_kl(teacher, student, mask), ours.token_kl(student, teacher, mask))
    assert not torch.allclose(ours.reverse_kl(teacher, student, mask), ours.token_kl(teacher, student, mask))


def test_half_precision_logits_are_scored_in_single_precision() -> None:
    logits, ids = (8 * draw(B, T, V)).to(torch.bfloat16), torch.zeros(B, T, dtype=torch.long)
    assert torch.equal(ours.token_logprobs(logits, ids), ours.token_logprobs(logits.float(), ids))
    assert ours.token_kl(logits, logits, torch.ones(B, T)).dtype == torch.float32


def losses(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """All that is per token, of a student's logits (B, T, V), as one value an item."""
    teacher, said = logits.detach().flip(-1), ours.token_logprobs(logits, ids)
    features = ours.feature_distance(logits, teacher, mask, 2.0)
    behaviour = torch.where(mask.bool(), said.detach() + 0.1, -1e30)
    sampled = ours.sampled_reverse_kl(said.detach() - 0.5, said, behaviour, mask)
    divergences = ours.token_kl(teacher, logits, mask, 2.0) + ours.reverse_kl(teacher, logits, mask)
    return divergences + ours.cross_entropy(logits, ids, mask) + features + sampled


@given(masks(), st.lists(st.floats(-1e30, 1e30), min_size=4, max_size=4), st.integers(0, 4), seeds)
@settings(max_examples=30, deadline=None)
def test_padding_changes_nothing(mask: Tensor, junk: list[float], extra: int, seed: int) -> None:
    mask = mask.float()
    logits, ids = draw(*mask.shape, 4, seed=seed, dtype=torch.float32), torch.ones(mask.shape, dtype=torch.long)
    wide = torch.nn.functional.pad(mask, (0, extra))
    held = torch.nn.functional.pad(logits, (0, 0, 0, extra))
    dirty = torch.where(wide.bool()[..., None], held, torch.tensor(junk)).requires_grad_()
    clean = logits.clone().requires_grad_()
    plain, padded = losses(clean, ids, mask), losses(dirty, torch.nn.functional.pad(ids, (0, extra)), wide)
    torch.testing.assert_close(padded, plain)
    want, got = torch.autograd.grad(plain.sum(), clean)[0], torch.autograd.grad(padded.sum(), dirty)[0]
    torch.testing.assert_close(got[:, : mask.shape[1]], want)
    assert got[~wide.bool()].abs().sum() == 0


def test_an_empty_completion_has_value_zero_and_no_gradient() -> None:
    logits, mask = draw(2, T, V).requires_grad_(), ragged_mask([0, T], T)
    loss = losses(logits, torch.zeros(2, T, dtype=torch.long), mask)
    loss.sum().backward()
    assert loss[0] == 0 and loss[1] != 0
    assert logits.grad is not None and logits.grad[0].abs().sum() == 0 and torch.isfinite(logits.grad).all()


@given(st.lists(st.lists(st.floats(-1, 2, width=32), min_size=4, max_size=4), min_size=1, max_size=4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_advantages_match_the_equation(groups: list[list[float]], scale: bool) -> None:
    got = ours.group_advantages(torch.tensor(groups, dtype=torch.float64), scale)
    torch.testing.assert_close(got, torch.tensor([slow.advantages(group, scale) for group in groups], dtype=torch.float64), rtol=1e-6, atol=1e-6)


@given(st.floats(-1, 2), st.integers(1, 16), st.booleans(), st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=60, deadline=None)
def test_equal_rewards_give_no_advantage(reward: float, size: int, scale: bool, dtype: torch.dtype) -> None:
    assert torch.equal(ours.group_advantages(torch.full((1, size), reward, dtype=dtype), scale), torch.zeros(1, size, dtype=dtype))


@given(st.lists(st.tuples(st.floats(-1, 2), st.floats(0.001, 1)), min_size=1, max_size=8), st.floats(0, 2))
@settings(max_examples=60, deadline=None)
def test_shaping_matches_the_equation(group: list[tuple[float, float]], beta: float) -> None:
    rewards, closeness = torch.tensor(group, dtype=torch.float64).T
    exact = torch.tensor([slow.shaped(reward, close, beta) for reward, close in group], dtype=torch.float64)
    torch.testing.assert_close(ours.shaped_rewards(rewards[None], closeness[None], beta)[0], exact)


LEVELS = [-1.0, 0.0, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1.0]
"""What a task reward can be: wrong, the share of the target's words that are present, right."""


@given(st.floats(1e-3, 1.0), st.floats(0.0, 1.0))
@settings(max_examples=10, deadline=None)
def test_the_published_shaping_is_inert_in_every_group_of_two_levels(closeness: float, beta: float) -> None:
    """All sizes to 8, all numbers of better rollouts and all pairs of levels; their order does not matter to either function."""
    for size in range(2, 9):
        pairs = [(low, high, better) for low, high in itertools.combinations(LEVELS, 2) for better in range(1, size)]
        rewards = torch.tensor([[high] * better + [low] * (size - better) for low, high, better in pairs], dtype=torch.float64)
        plain = ours.group_advantages(rewards)
        shaped = ours.shaped_rewards(rewards, torch.tensor([[closeness]], dtype=torch.float64), beta)
        torch.testing.assert_close(ours.group_advantages(shaped), plain, rtol=1e-9, atol=1e-9)
        # Standardised, such a group knows only how many are better: sqrt(q / p) and -sqrt(p / q).
        share = torch.tensor([better / size for *_, better in pairs], dtype=torch.float64)
        torch.testing.assert_close(plain[:, 0], ((1 - share) / share).sqrt())
        torch.testing.assert_close(plain[:, -1], -(share / (1 - share)).sqrt())


@given(st.lists(st.booleans(), min_size=3, max_size=8).filter(lambda right: 1 < sum(right) < len(right)), seeds)
@settings(max_examples=40, deadline=None)
def test_a_closeness_a_candidate_changes_the_advantages(right: list[bool], seed: int) -> None:
    rewards = torch.tensor([[1.0 if r else -1.0 for r in right]], dtype=torch.float64)
    order = torch.randperm(len(right), generator=torch.Generator().manual_seed(seed))
    closeness = torch.linspace(0.1, 0.9, len(right), dtype=torch.float64)[order][None]
    plain, candidate = ours.group_advantages(rewards), ours.group_advantages(ours.shaped_rewards(rewards, closeness, 0.5))
    assert not torch.allclose(candidate, plain, atol=1e-3)
    believed = closeness[rewards > 0].argsort()
    assert (candidate[rewards > 0][believed].diff() > 0).all(), "among right rollouts, the one the teacher believes more is worth more"


def test_the_published_shaping_is_not_inert_without_the_division() -> None:
    rewards = torch.tensor([[1.0, -1.0]])
    shaped = ours.shaped_rewards(rewards, torch.tensor([[0.5]]), 0.8)
    assert ours.group_advantages(shaped, scale=False).tolist()[0] == pytest.approx([1.2, -1.2])


STEPS, WORDS, SAMPLES = 3, 4, 40_000


def gradients_of_a_small_policy(stale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Per-sample gradients, (N, parameters), of the sampled estimator, of a biased one, and of the full form on the same rollouts.

    The policy is a table of logits for each step and previous token; the samples come from an older one, `stale` apart.
    """
    table, teacher = draw(STEPS, WORDS, WORDS, seed=11), draw(STEPS, WORDS, WORDS, seed=12)
    old = table + stale * draw(STEPS, WORDS, WORDS, seed=13)
    generator = torch.Generator().manual_seed(14)
    ids, before = torch.zeros(SAMPLES, STEPS, dtype=torch.long), torch.zeros(SAMPLES, STEPS, dtype=torch.long)
    for t in range(STEPS):
        before[:, t] = ids[:, t - 1] if t else 0
        ids[:, t] = torch.multinomial(old[t, before[:, t]].softmax(-1), 1, generator=generator)[:, 0]
    steps, mask = torch.arange(STEPS), torch.ones(SAMPLES, STEPS, dtype=torch.float64)
    logits = table[steps, before].requires_grad_()
    said, taught, was = (ours.token_logprobs(values, ids) for values in (logits, teacher[steps, before], old[steps, before]))
    forms = [
        ours.sampled_reverse_kl(taught, said, was, mask),
        ours.sampled_reverse_kl(taught, said, said, mask),  # as if the student of now had sampled: no importance ratio
        ours.reverse_kl(teacher[steps, before], logits, mask),
    ]
    context = torch.nn.functional.one_hot(before, WORDS).double()
    found = [torch.autograd.grad(form.sum(), logits, retain_graph=True)[0] for form in forms]
    sampled, biased, full = (torch.einsum("ntc,ntv->ntcv", context, gradient).flatten(1) for gradient in found)
    return sampled, biased, full


def largest_z(difference: Tensor) -> float:
    """Largest |mean / standard error| over the coordinates that vary."""
    errors = difference.std(0) / math.sqrt(len(difference))
    moving = errors > 1e-12
    return float((difference.mean(0)[moving] / errors[moving]).abs().max())


@pytest.mark.parametrize("stale", [0.0, 0.5])
def test_the_sampled_estimator_agrees_with_the_full_form_in_expectation(stale: float) -> None:
    """Two-sided z-test of every coordinate of the gradient, together at 99.9 % (Bonferroni), from 40,000 rollouts of fixed seed."""
    sampled, biased, full = gradients_of_a_small_policy(stale)
    critical = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(1 - 0.001 / (2 * sampled.shape[1]), dtype=torch.float64)).item()
    assert largest_z(sampled - full) < critical
    # The interval is narrow enough to mean something: a twentieth of the gradient, or less.
    assert critical * ((sampled - full).std(0) / math.sqrt(SAMPLES)).norm() < 0.05 * full.mean(0).norm()
    assert sampled.var(0).sum() > 3 * full.var(0).sum(), "the full form is the one of lower variance"
    if stale:
        assert largest_z(biased - full) > 2 * critical, "the test must see an estimator without its importance ratio"
    assert largest_z(0.9 * sampled - full) > 2 * critical, "and one that is a tenth too small"
