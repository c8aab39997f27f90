"""The order of learning, and what a batch holds."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.audio import Wave
from tasks.common.errors import UserError
from tasks.training.data import Curriculum, clean_turns, collate, schedule


@given(st.lists(st.integers(1, 3), min_size=1, max_size=40), st.integers(1, 30), st.integers(1, 8), st.sampled_from(["cumulative", "sequential"]))
@settings(max_examples=60, deadline=None)
def test_stages_come_in_order_and_rows_in_turn(stages: list[int], steps: int, batch: int, order: str) -> None:
    chosen = schedule(stages, steps, batch, order, "seed")
    assert len(chosen) == steps * batch
    assert chosen == schedule(stages, steps, batch, order, "seed")
    levels = sorted(set(stages))
    begin = 0
    for number, level in enumerate(levels):
        end = steps * (number + 1) // len(levels) * batch
        share = chosen[begin:end]
        allowed = {i for i, stage in enumerate(stages) if stage == level or (order == "cumulative" and stage < level)}
        assert set(share) <= allowed
        counts = [share.count(i) for i in allowed]
        assert max(counts) - min(counts) <= 1, "a row came again before another had come"
        begin = end


def test_batches_pad_prompts_left_and_responses_right(pair: tuple[Any, Any], rows: list[dict[str, Any]], waves: dict[str, Wave]) -> None:
    _, processor = pair
    pad = processor.tokenizer.pad_token_id
    data = Curriculum(rows, waves, processor, ("noisy", "clean", "silence", "drop_audio"), "pseudo_gt", [0, 7, 3], [False] * 3, 100)
    batch = collate([data[0], data[1], data[2]], pad)
    for view in ("noisy", "clean", "silence", "drop_audio"):
        mask = batch[view]["attention_mask"]
        assert (mask[:, -1] == 1).all() and (mask.diff(dim=1) >= 0).all() and (mask.sum(1).diff() != 0).any()
        assert (batch[view]["input_ids"][mask == 0] == pad).all()
    assert (batch["response_mask"].diff(dim=1) <= 0).all()
    assert "input_features" not in batch["drop_audio"]
    assert processor.audio_token_id not in batch["drop_audio"]["input_ids"]
    assert torch.equal(batch["silence"]["input_ids"], batch["noisy"]["input_ids"])
    assert len(batch["silence"]["input_features"].unique()) == 1
    assert batch["taught"].tolist() == [True, False, True]
    # What has no clean teacher only fills its place.
    assert torch.equal(batch["clean"]["input_features"][1], batch["noisy"]["input_features"][1])
    assert not torch.equal(batch["clean"]["input_features"][0], batch["noisy"]["input_features"][0])


def test_the_student_hears_clean_in_its_clean_turns_only(pair: tuple[Any, Any], rows: list[dict[str, Any]], waves: dict[str, Wave]) -> None:
    turns = clean_turns(400, 0.25, 3)
    assert turns == clean_turns(400, 0.25, 3) and 70 < sum(turns) < 130 and not any(clean_turns(400, 0.0, 3))
    data = Curriculum(rows, waves, pair[1], ("noisy", "clean"), "pseudo_gt", [0, 0, 7], [False, True, True], 100)
    for position, heard in enumerate(["noisy", "clean", "noisy"]):
        assert torch.equal(data[position]["student"]["input_features"], data[position][heard]["input_features"])


def test_audio_longer_than_the_window_is_refused(pair: tuple[Any, Any], rows: list[dict[str, Any]], waves: dict[str, Wave]) -> None:
    long = {name: wave.repeat(2) for name, wave in waves.items()}
    data = Curriculum(rows, long, pair[1], ("clean",), "pseudo_gt", [0], [False], 100)
    with pytest.raises(UserError, match="longer_than_window"):
        data[0]
