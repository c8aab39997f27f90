"""Each method's loss on a batch against the same loss written out item by item from unbatched, uncached passes; and what each makes of odd items."""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reference_objectives as slow
import torch
import yaml
from torch import Tensor
from training_material import asked, batch_of, full_logits, training_of

from tasks.common.audio import Wave, encode_flac
from tasks.engines import qwen2_audio as family
from tasks.items.answers import task_reward
from tasks.training.cached_teacher import remembered
from tasks.training.methods import METHODS, Objective, Part, objective
from tasks.training.params import run_params
from tasks.training.passes import Cast, Passes
from tasks.training.rollouts import Rollouts

Row = dict[str, Any]
Ids = Sequence[int]
Logits = Callable[[Any, int, str, Ids], Tensor]


@pytest.fixture
def logits(rows: list[Row], waves: dict[str, Wave], processor: Any) -> Logits:
    """Logits (T, V) of a model along a response to row `number` put in one way, from a pass of its own."""

    def of(model: Any, number: int, path: str, ids: Ids) -> Tensor:
        with torch.no_grad():
            return full_logits(model, processor, *asked(rows[number], waves, path), ids)

    return of


def loss_of(method: str, passes: Passes, own: Any) -> Tensor:
    return METHODS[method].loss(passes, own)


def along(logits: Logits, model: Any, numbers: Sequence[int], path: str, rollouts: Rollouts) -> Tensor:
    """Log-probabilities (B, K, T) of rollouts under a model, one pass each."""
    values = torch.zeros(rollouts.mask.shape, dtype=torch.float64)
    for place, (ids, mask) in enumerate(zip(rollouts.ids.tolist(), rollouts.mask.tolist(), strict=True)):
        words = ids[: sum(mask)]
        values[place, : len(words)] = torch.tensor(said(logits(model, numbers[place // rollouts.size], path, words), words), dtype=torch.float64)
    return rollouts.grouped(values)


def rewarded(rows: list[Row], processor: Any, numbers: Sequence[int], rollouts: Rollouts) -> list[list[float]]:
    texts = [processor.tokenizer.decode(ids, skip_special_tokens=True) for ids in rollouts.ids]
    return [[task_reward(text, rows[n]["options"], rows[n]["answer"]) for text in texts[4 * i : 4 * i + 4]] for i, n in enumerate(numbers)]


def logs(row: Tensor) -> list[float]:
    """Log-softmax of one place."""
    values = row.tolist()
    whole = math.log(math.fsum(math.exp(value - max(values)) for value in values)) + max(values)
    return [value - whole for value in values]


def kl(p: Tensor, q: Tensor, tau: float = 1.0) -> float:
    """Token-mean of tau^2 KL(softmax(p / tau) || softmax(q / tau)), logits (T, V)."""
    places = [(logs(one / tau), logs(other / tau)) for one, other in zip(p, q, strict=True)]
    return tau**2 * math.fsum(math.exp(a) * (a - b) for one, other in places for a, b in zip(one, other, strict=True)) / len(places)


def said(found: Tensor, ids: Ids) -> list[float]:
    """Log-probability of each token."""
    return [logs(row)[token] for row, token in zip(found, ids, strict=True)]


def ce(found: Tensor, ids: Ids) -> float:
    return -math.fsum(said(found, ids)) / len(ids)


@pytest.mark.parametrize("response", ["pseudo_gt", "reference"])
def test_sft_is_the_cross_entropy_of_its_labels(
    response: str, student: Any, params: Any, cast: Any, batch: Any, rows: list[Row], logits: Logits
) -> None:
    numbers = [1, 2, 7] if response == "pseudo_gt" else [1, 2]
    passes = Passes(student, cast(), batch(numbers))
    each = [ce(logits(student, n, "noisy", rows[n][f"{response}_token_ids"]), rows[n][f"{response}_token_ids"]) for n in numbers]
    assert loss_of("sft", passes, params("sft", response=response)).item() == pytest.approx(sum(each) / len(each), rel=1e-9)


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("response", ["pseudo_gt", "reference"])
def test_kd_is_its_equations(
    gate: bool, response: str, student: Any, teacher: Any, params: Any, cast: Any, batch: Any, rows: list[Row], logits: Logits
) -> None:
    own, numbers = params("kd", response=response, weight=0.6, tau=2.0, teacher_gate=gate), [1, 2, 4]
    each = []
    for number in numbers:
        ids = rows[number][f"{response}_token_ids"]
        heard = logits(student, number, "noisy", ids)
        taught = rows[number]["reference_correct"] or not gate
        contrast = kl(logits(teacher, number, "clean", ids), heard, 2.0)
        each.append(0.6 * contrast + 0.4 * ce(heard, ids) if taught else ce(heard, ids))
    found = loss_of("kd", Passes(student, cast(), batch(numbers, ["clean"])), own)
    assert found.item() == pytest.approx(sum(each) / 3, rel=1e-9)


@pytest.mark.parametrize("negative", ["silence", "drop_audio", "keep_transcript"])
def test_caad_is_its_equations(
    negative: str, student: Any, teacher: Any, params: Any, cast: Any, batch: Any, rows: list[Row], logits: Logits
) -> None:
    own, numbers, each = params("caad", negative=negative, alpha=1.5, tau=2.0, weight=0.7), [3, 1, 7], []
    for number in numbers:
        ids = rows[number]["pseudo_gt_token_ids"]
        heard = logits(student, number, "noisy", ids)
        if number == 7:  # no clean teacher: the cross-entropy alone
            each.append(ce(heard, ids))
            continue
        positive, unheard = logits(teacher, number, "clean", ids), logits(teacher, number, negative, ids)
        each.append(0.7 * kl(positive + 1.5 * (positive - unheard), heard, 2.0) + 0.3 * ce(heard, ids))
    found = loss_of("caad", Passes(student, cast(), batch(numbers, ["clean", negative])), own)
    assert found.item() == pytest.approx(sum(each) / 3, rel=1e-9)


@pytest.mark.parametrize("kind", ["grpo", "dapo", "dr_grpo", "gspo"])
@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_grpo_and_its_variants_are_their_equations(
    kind: str,
    beta: float,
    student: Any,
    teacher: Any,
    params: Any,
    cast: Any,
    batch: Any,
    rows: list[Row],
    processor: Any,
    logits: Logits,
    drawn: Any,
) -> None:
    numbers = [0, 5]
    rollouts = drawn(numbers)
    passes = Passes(student, cast(), {**batch(numbers), "rollouts_student": rollouts})
    found = loss_of("grpo", passes, params("grpo", loss=kind, clip=0.2, clip_high=0.3, kl_weight=beta))
    rewards = rewarded(rows, processor, numbers, rollouts)
    assert all(len(set(group)) > 1 for group in rewards)
    expected = slow.policy_loss(
        kind,
        along(logits, student, numbers, "noisy", rollouts),
        rollouts.grouped(rollouts.logprobs),
        torch.tensor([slow.advantages(group, kind != "dr_grpo") for group in rewards]),
        rollouts.grouped(rollouts.mask),
        0.2,
        0.3,
        6,
        along(logits, teacher, numbers, "noisy", rollouts),
        beta,
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-8)
    assert passes.figures["signal"] == 1.0
    assert passes.right is not None and passes.right.tolist() == [sum(r > 0 for r in group) / 4 for group in rewards]


@pytest.mark.parametrize("shaping", ["off", "instance", "candidate"])
@pytest.mark.parametrize("scorer", ["teacher", "behaviour"])
def test_echodistill_is_its_equations(
    shaping: str,
    scorer: str,
    student: Any,
    teacher: Any,
    params: Any,
    cast: Any,
    batch: Any,
    rows: list[Row],
    processor: Any,
    logits: Logits,
    drawn: Any,
) -> None:
    numbers = [0, 2, 5]
    rollouts = drawn(numbers)
    own = params("echodistill", loss="gspo", shaping=shaping, scorer=scorer, beta=0.5, lambda_policy=0.7, lambda_distill=1.3, teacher_gate=True)
    found = loss_of("echodistill", Passes(student, cast(), {**batch(numbers, ["clean"]), "rollouts_student": rollouts}), own)

    ids = [rows[n]["reference_token_ids"] for n in numbers]
    apart = [kl(logits(teacher, n, "clean", i), logits(student, n, "noisy", i)) for n, i in zip(numbers, ids, strict=True)]
    phi, mask = along(logits, teacher, numbers, "clean", rollouts), rollouts.grouped(rollouts.mask)
    rewards = rewarded(rows, processor, numbers, rollouts)
    close = [[slow.mean([phi[b, k, t] for t in slow.places(mask[b, k])]).exp().item() for k in range(4)] for b in range(3)]
    bonus = {"off": [[0.0] * 4] * 3, "instance": [[math.exp(-value)] * 4 for value in apart], "candidate": close}[shaping]
    advantages = torch.tensor(
        [slow.advantages([slow.shaped(r, s, 0.5) for r, s in zip(*both, strict=True)]) for both in zip(rewards, bonus, strict=True)]
    )
    old = phi if scorer == "teacher" else rollouts.grouped(rollouts.logprobs)
    policy = slow.echodistill_surrogate(along(logits, student, numbers, "noisy", rollouts), old, advantages, mask, 0.2).item()
    trusted = [value for value, n in zip(apart, numbers, strict=True) if rows[n]["reference_correct"]]
    assert len(trusted) == 2
    assert found.item() == pytest.approx(0.7 * policy + 1.3 * sum(trusted) / 2, rel=1e-8)


@pytest.mark.parametrize("estimator", ["full", "sampled"])
def test_xopd_is_its_equations(estimator: str, student: Any, teacher: Any, params: Any, cast: Any, batch: Any, logits: Logits, drawn: Any) -> None:
    numbers = [0, 4]
    heard, read = drawn(numbers), drawn(numbers)
    read = replace(read, ids=read.ids.roll(1, 0), mask=read.mask.roll(1, 0), logprobs=read.logprobs.roll(1, 0))
    passes = Passes(student, cast(), {**batch(numbers, ["text"]), "rollouts_student": heard, "rollouts_text": read})
    found = loss_of("xopd", passes, params("xopd", estimator=estimator, lambda_im=0.3))
    expected = 0.0
    for weight, path, rollouts in ((0.3, "text", read), (0.7, "noisy", heard)):
        for place, (ids, mask) in enumerate(zip(rollouts.ids.tolist(), rollouts.mask.tolist(), strict=True)):
            words, number = ids[: sum(mask)], numbers[place // 4]
            theta, phi = logits(student, number, path, words), logits(teacher, number, "text", words)
            if estimator == "full":
                term = kl(theta, phi)
            else:
                behaviour = rollouts.logprobs[place].tolist()
                term = -sum(math.exp(b - c) * (a - b) for a, b, c in zip(said(phi, words), said(theta, words), behaviour, strict=False)) / len(words)
            expected += weight * term / 8
    assert found.item() == pytest.approx(expected, rel=1e-8)


def test_gkd_is_its_equations(student: Any, teacher: Any, params: Any, cast: Any, batch: Any, logits: Logits, drawn: Any) -> None:
    numbers = [0, 4]
    rollouts, expected = drawn(numbers), 0.0
    for place, (ids, mask) in enumerate(zip(rollouts.ids.tolist(), rollouts.mask.tolist(), strict=True)):
        words, number = ids[: sum(mask)], numbers[place // 4]
        expected += kl(logits(teacher, number, "text", words), logits(student, number, "noisy", words), 2.0) / 8
    found = loss_of("gkd", Passes(student, cast(), {**batch(numbers, ["text"]), "rollouts_student": rollouts}), params("gkd", tau=2.0))
    assert found.item() == pytest.approx(expected, rel=1e-8)


VIEWS = {
    "sft": ((), ("pseudo_gt",)),
    "kd": (("clean",), ("reference",)),
    "grpo": ((), ()),
    "echodistill": (("clean",), ("reference",)),
    "caad": (("clean", "silence"), ("pseudo_gt",)),
    "xopd": (("text",), ("text",)),
    "gkd": (("text",), ("text",)),
}


@pytest.mark.parametrize("method", METHODS)
def test_views_and_responses_are_what_the_loss_reads(method: str, student: Any, params: Any, cast: Any, batch: Any) -> None:
    own = params(method)
    views, responses = METHODS[method].views(own), METHODS[method].responses(own)
    assert (views, responses) == VIEWS[method]
    whole = batch([0, 1], views)
    loss = loss_of(method, Passes(student, cast(), whole), own)
    assert torch.isfinite(loss) and loss.requires_grad
    for view in views:
        with pytest.raises(KeyError, match=view):
            loss_of(method, Passes(student, cast(), {key: value for key, value in whole.items() if key != view}), own)


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_of_a_batch_falls_when_it_is_learnt(method: str, student: Any, params: Any, cast: Any, batch: Any, drawn: Any) -> None:
    own, numbers = params(method), [0, 1]
    whole = batch(numbers, METHODS[method].views(own))
    # The same rollouts in every step, so that losses compare; a surrogate needs a student that sampled them.
    whole["rollouts_student"] = whole["rollouts_text"] = drawn(numbers)
    if method == "grpo":
        start = Passes(student, cast(), whole)
        own_words = start.student_on(drawn(numbers)).detach().log_softmax(-1)
        whole["rollouts_student"] = replace(drawn(numbers), logprobs=own_words.gather(-1, drawn(numbers).ids[..., None])[..., 0])
    optimiser, losses = torch.optim.AdamW(student.parameters(), lr=3e-3), []
    for _ in range(8):
        loss = loss_of(method, Passes(student, cast(), whole), own)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - (0.01 if method == "grpo" else 0.3 * abs(losses[0]))


@pytest.mark.parametrize("kind", ["grpo", "dapo", "dr_grpo", "gspo"])
def test_a_group_of_equal_rewards_moves_nothing(kind: str, student: Any, params: Any, cast: Any, batch: Any, drawn: Any) -> None:
    rollouts = drawn([0, 5])
    spots = [1, 1, 1, 1, 4, 5, 6, 7]  # the first item's are all wrong
    rollouts = replace(rollouts, ids=rollouts.ids[spots], mask=rollouts.mask[spots], logprobs=rollouts.logprobs[spots])
    equal = replace(rollouts, ids=rollouts.ids[:4], mask=rollouts.mask[:4], logprobs=rollouts.logprobs[:4])
    own = params("grpo", loss=kind)
    passes = Passes(student, cast(), {**batch([0]), "rollouts_student": equal})
    loss = loss_of("grpo", passes, own)
    gradients = torch.autograd.grad(loss, list(student.parameters()), allow_unused=True)
    assert loss.item() == 0.0 and passes.figures["signal"] == 0.0
    assert all(gradient is None or not gradient.any() for gradient in gradients)
    passes = Passes(student, cast(), {**batch([0, 5]), "rollouts_student": rollouts})
    loss_of("grpo", passes, own).backward()
    assert passes.figures["signal"] == 0.5
    assert student.lm_head.weight.grad.abs().max() > 0


def test_without_a_policy_weight_nothing_is_sampled(student: Any, params: Any, cast: Any, batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.training.passes.sample", lambda *_: pytest.fail("sampled"))
    passes = Passes(student, cast(), batch([0, 1], ["clean"]))
    loss = loss_of("echodistill", passes, params("echodistill", lambda_policy=0.0))
    assert loss.item() == pytest.approx(passes.figures["kl"])


@pytest.mark.parametrize(("method", "changes"), [("echodistill", {}), ("kd", {}), ("kd", {"weight": 0.5})])
def test_an_item_without_a_reference_changes_no_loss_that_needs_one(
    method: str, changes: dict[str, Any], student: Any, params: Any, cast: Any, batch: Any
) -> None:
    own = params(method, **changes)
    views = METHODS[method].views(own)
    with_it, without = (loss_of(method, Passes(student, cast(), batch(numbers, views)), own) for numbers in ([0, 2, 7], [0, 2]))
    assert with_it.item() == pytest.approx(without.item(), rel=1e-9) and without.item() != 0.0


def test_where_nobody_is_taught_the_loss_is_zero_and_not_nan(student: Any, params: Any, cast: Any, batch: Any) -> None:
    loss = loss_of("echodistill", Passes(student, cast(), batch([7], ["clean"])), params("echodistill"))
    gradients = torch.autograd.grad(loss, list(student.parameters()), allow_unused=True)
    assert loss.item() == 0.0 and not any(gradient is not None and gradient.any() for gradient in gradients)


@pytest.mark.parametrize("method", METHODS)
def test_means_are_the_whole_steps(method: str, student: Any, cast: Any, rows: list[Row], waves: dict[str, Wave], processor: Any) -> None:
    """Micro-batches of 3 and 1 with the totals of the step: the mean of their losses, and of their gradients, is the step's."""
    training = training_of()
    goal = objective(training, method, run_params(training, method))
    goal = replace(goal, lambda_features=0.4)
    whole = batch_of(rows, waves, processor, [0, 2, 7, 5], goal.views)
    rollouts = {f"rollouts_{view}": Passes(student, cast(), whole).rollouts(view) for view in ("student", "text") if view in whole}
    micro = []
    for first, last in ((0, 3), (3, 4)):
        part = batch_of(rows, waves, processor, [0, 2, 7, 5][first:last], goal.views)
        shares = {
            name: replace(all_, **{key: getattr(all_, key)[4 * first : 4 * last] for key in ("ids", "mask", "logprobs")})
            for name, all_ in rollouts.items()
        }
        micro.append({**part, **shares, "totals": whole["totals"], "copies": 2})

    def gradient(batches: list[dict[str, Any]]) -> tuple[float, Tensor]:
        student.zero_grad()
        loss = sum(goal(Passes(student, cast(), one)) / len(batches) for one in batches)
        loss.backward()
        return loss.item(), torch.cat([weight.grad.flatten() for weight in student.parameters() if weight.grad is not None])

    (loss, all_at_once), (sum_, added) = gradient([{**whole, **rollouts}]), gradient(micro)
    assert sum_ == pytest.approx(loss, rel=1e-9)
    assert all_at_once.abs().max() > 0
    torch.testing.assert_close(added, all_at_once, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("negative", ["silence", "drop_audio", "keep_transcript"])
def test_a_cached_teacher_teaches_what_the_live_one_does(
    negative: str,
    backbone: Path,
    teacher: Any,
    params: Any,
    rows: list[Row],
    waves: dict[str, Wave],
    processor: Any,
    cast: Callable[..., Cast],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    same = [row | {"audio": {"bytes": encode_flac(waves[row["clip_id"]]), "path": None}} for row in rows]  # so that silence is as long
    original, _ = family.load(backbone, torch.device("cpu"), torch.float32)
    whole = batch_of(same, waves, processor, [3, 0, 7], ["clean", negative])

    def loss(tokens: int | None) -> float:
        own = params("caad", negative=negative, cached_tokens=tokens)
        kept = remembered(same, waves, ["clean", negative], backbone, tokens) if tokens else {}
        return loss_of("caad", Passes(teacher, cast(teacher=original.double(), kept=kept), whole), own).item()

    live = loss(None)
    assert METHODS["caad"].views(params("caad", cached_tokens=20)) == (), "no view is made that nobody reads"
    errors = [abs(loss(tokens) - live) for tokens in (1, 50, 1000)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-3 * live
    assert len(list((tmp_path / "data/.parts/teacher").glob("*.parquet"))) == 3
    before = {path.name for path in (tmp_path / "data/.parts/teacher").iterdir()}
    assert abs(loss(50) - live) == errors[1] and {path.name for path in (tmp_path / "data/.parts/teacher").iterdir()} == before


def test_the_teacher_gets_no_gradient_and_keeps_its_weights(student: Any, teacher: Any, params: Any, cast: Any, batch: Any) -> None:
    before = deepcopy(teacher.state_dict())
    parts = tuple(Part(name, params(name), 1.0) for name in METHODS)
    goal = Objective(parts, 1.0)
    loss = goal(Passes(student, cast(), batch([0, 1, 5], goal.views)))
    loss.backward()
    assert all(weight.grad is None for weight in teacher.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in teacher.state_dict().items())
    assert all(weight.grad is not None for weight in student.parameters() if weight.requires_grad)


def test_a_bare_off_in_yaml_is_the_word(params: Any) -> None:
    assert params("echodistill", **yaml.safe_load("shaping: off")).shaping == "off"
    with pytest.raises(Exception, match="shaping"):
        params("echodistill", shaping=True)
