"""A shared reading gives what separate full passes give: logits, gradients, samples."""

from typing import Any

import torch
from training_material import batch_of, full_logits

from tasks.common.audio import Wave
from tasks.training.rollouts import end_ids, sample
from tasks.training.scoring import read, teacher_forced

Row = dict[str, Any]


def test_a_shared_reading_equals_a_full_pass(pair: tuple[Any, Any], rows: list[Row], waves: dict[str, Wave]) -> None:
    model, processor = pair
    batch = batch_of(rows, waves, processor, [0, 5, 3], ("clean",))
    with torch.no_grad():
        fast = teacher_forced(
            model, read(model, batch["clean"]).repeat(2), batch["response"].repeat_interleave(2, 0), batch["response_mask"].repeat(2, 1)
        )
        for place, number in enumerate([0, 5, 3]):
            ids = rows[number]["pseudo_gt_token_ids"]
            slow = full_logits(model, processor, rows[number], waves[rows[number]["clip_id"]], ids)
            for copy in range(2):
                torch.testing.assert_close(fast[2 * place + copy, : len(ids)], slow)


def test_gradients_reach_the_audio_tower_through_the_shared_reading(pair: tuple[Any, Any], rows: list[Row], waves: dict[str, Wave]) -> None:
    model, processor = pair
    batch = batch_of(rows, waves, processor, [1], ("clean",))
    ids = rows[1]["pseudo_gt_token_ids"]
    weights = [model.model.audio_tower.conv1.weight, model.model.language_model.layers[0].self_attn.q_proj.weight]
    fast = teacher_forced(model, read(model, batch["clean"]).repeat(3), batch["response"].repeat(3, 1), batch["response_mask"].repeat(3, 1))
    got = torch.autograd.grad(fast.square().mean(), weights)
    want = torch.autograd.grad(full_logits(model, processor, rows[1], waves["clip1"], ids).square().mean(), weights)
    assert want[0].abs().max() > 0
    torch.testing.assert_close(got, want)


def test_company_in_a_batch_changes_nothing(pair: tuple[Any, Any], rows: list[Row], waves: dict[str, Wave]) -> None:
    model, processor = pair
    with torch.no_grad():
        results = []
        for numbers in ([0], [0, 7, 5, 2]):
            batch = batch_of(rows, waves, processor, numbers)
            results.append(teacher_forced(model, read(model, batch["noisy"]), batch["response"], batch["response_mask"])[0])
    torch.testing.assert_close(results[0], results[1][: len(results[0])])


def test_cold_samples_are_the_greedy_answer(pair: tuple[Any, Any], rows: list[Row], waves: dict[str, Wave]) -> None:
    model, processor = pair
    batch = batch_of(rows, waves, processor, [0, 1, 4])
    pad = processor.tokenizer.pad_token_id
    ids, mask = sample(model, read(model, batch["noisy"]), end_ids(model), pad, 1e-4, 6, 0)
    greedy = model.generate(**batch["noisy"], max_new_tokens=6, do_sample=False)[:, batch["noisy"]["input_ids"].shape[1] :]
    assert len({tuple(row.tolist()) for row in ids}) > 1, "equal answers would compare nothing"
    assert torch.equal((ids * mask)[:, : greedy.shape[1]], greedy * mask)


def test_samples_come_from_the_seed_alone_and_end_with_the_end_token(pair: tuple[Any, Any], rows: list[Row], waves: dict[str, Wave]) -> None:
    model, processor = pair
    prefix = read(model, batch_of(rows, waves, processor, [0, 1])["noisy"]).repeat(16)
    end, pad = end_ids(model), processor.tokenizer.pad_token_id
    # A flat distribution over 300 tokens ends about as often as it goes on only if most tokens end it.
    ends = [*end, *range(150)]
    state = torch.get_rng_state()
    ids, mask = sample(model, prefix, ends, pad, 50.0, 5, 7)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(99)
    again, _ = sample(model, prefix, ends, pad, 50.0, 5, 7)
    other, _ = sample(model, prefix, ends, pad, 50.0, 5, 8)
    assert torch.equal(ids, again)
    assert ids.shape != other.shape or not torch.equal(ids, other)
    lengths = mask.sum(1).tolist()
    assert len(set(lengths)) > 1
    for row, length in zip(ids.tolist(), lengths, strict=True):
        assert row[length - 1] in ends or length == 5
        assert not set(row[: length - 1]) & set(ends)
        assert set(row[length:]) <= {pad}
