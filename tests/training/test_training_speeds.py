"""Other voices: an example is played at a speed of its own, the clean clip like the mixture."""

from typing import Any

import numpy as np
import pytest
import torch
from training_material import training_of

from tasks.common.audio import Wave, at_speed, decode
from tasks.common.errors import UserError
from tasks.training.data import Curriculum
from tasks.training.methods import objective
from tasks.training.params import run_params
from tasks.training.stage import kept_teacher

Row = dict[str, Any]
SPEEDS = [0.8, 1.0, 1.25]


def test_mixture_and_clean_clip_are_played_at_one_speed_of_the_place(rows: list[Row], waves: dict[str, Wave], processor: Any) -> None:
    order = [0, 1, 2] * 8
    data = Curriculum(rows, waves, processor, ("clean",), order, [False] * len(order), 100, speeds=SPEEDS, seed=1)
    drawn = set()
    for position, number in enumerate(order):
        noisy, clean = data.request("noisy", number, position).audio, data.request("clean", number, position).audio
        mixture, clip = decode(rows[number]["audio"]["bytes"])[0], waves[rows[number]["clip_id"]]
        speed = data.speed(position, clip)
        assert np.array_equal(clean, at_speed(clip, speed)) and np.array_equal(noisy, at_speed(mixture, speed))
        made = {name: view["input_features"] for name, view in data[position]["views"].items()}
        assert torch.equal(made["clean"], data._view("clean", number, position)["input_features"])
        drawn.add(speed)
    assert len(drawn) > 1 and drawn <= set(SPEEDS)


def test_no_speed_makes_a_clip_longer_than_the_window(rows: list[Row], waves: dict[str, Wave], processor: Any) -> None:
    data = Curriculum(rows, waves, processor, (), [0], [False], 100, speeds=[0.1, 1.0], seed=1)
    assert {data.speed(position, waves[rows[0]["clip_id"]]) for position in range(20)} == {1.0}


def test_one_speed_leaves_everything_as_it_is(rows: list[Row], waves: dict[str, Wave], processor: Any) -> None:
    plain, same = (Curriculum(rows, waves, processor, ("clean",), [0], [False], 100, speeds=speeds)[0]["views"] for speeds in ([1.0], (1.0,)))
    for name in ("student", "clean"):
        assert torch.equal(plain[name]["input_features"], same[name]["input_features"])
    assert torch.equal(plain["clean"]["input_features"], Curriculum(rows, waves, processor, (), [0], [False], 9).view("clean", 0)["input_features"])


def test_a_teacher_from_disk_knows_one_speed(rows: list[Row], waves: dict[str, Wave]) -> None:
    training = training_of(caad={"cached_tokens": 5, "speeds": SPEEDS})
    own = run_params(training, "caad")
    with pytest.raises(UserError, match="cached_tokens"):
        kept_teacher(objective(training, "caad", own), own.speeds, rows, waves, training.teacher)
