"""What a batch holds, and mixtures on demand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from training_material import batch_of, wave_of

from tasks.common.audio import Wave, decode, encode_flac
from tasks.common.errors import UserError
from tasks.common.tables import write_parquet
from tasks.mix.render import mix
from tasks.rooms.measure import DIRECT
from tasks.training.data import Curriculum, clean_turns, training_rows
from tasks.training.order import planned
from tasks.training.remix import Remixer

Row = dict[str, Any]


def test_batches_pad_prompts_left_and_responses_right(rows: list[Row], waves: dict[str, Wave], processor: Any) -> None:
    batch = batch_of(rows, waves, processor, [0, 7, 3], ("clean", "silence", "drop_audio"))
    for view in ("student", "clean", "silence", "drop_audio"):
        mask = batch[view]["attention_mask"]
        assert (mask[:, -1] == 1).all() and (mask.diff(dim=1) >= 0).all() and (mask.sum(1).diff() != 0).any()
        assert (batch[view]["input_ids"][mask == 0] == processor.tokenizer.pad_token_id).all()
    assert (batch["reference_mask"].diff(dim=1) <= 0).all() and batch["reference_mask"][1].sum() == 0
    assert "input_features" not in batch["drop_audio"]
    assert processor.audio_token_id not in batch["drop_audio"]["input_ids"]
    assert torch.equal(batch["silence"]["input_ids"], batch["student"]["input_ids"])
    assert len(batch["silence"]["input_features"].unique()) == 1
    assert batch["taught"].tolist() == [True, False, True] and batch["has_reference"].tolist() == [True, False, True]
    # What has no clean teacher only fills its place.
    assert torch.equal(batch["clean"]["input_features"][1], batch["student"]["input_features"][1])
    assert not torch.equal(batch["clean"]["input_features"][0], batch["student"]["input_features"][0])


def test_the_student_hears_clean_in_its_clean_turns_only(rows: list[Row], waves: dict[str, Wave], processor: Any) -> None:
    turns = clean_turns(400, 0.25, 3)
    assert turns == clean_turns(400, 0.25, 3) and 70 < sum(turns) < 130 and not any(clean_turns(400, 0.0, 3))
    data = Curriculum(rows, waves, processor, ("clean",), [0, 0, 0, 0, 7, 7], [False, True, True], 100, candidates=2)
    assert [data[position]["heard"] for position in range(6)] == ["noisy", "noisy", "clean", "clean", "noisy", "noisy"], "row 7 has no clean teacher"
    for position in (2, 3):
        views = data[position]["views"]
        assert torch.equal(views["student"]["input_features"], views["clean"]["input_features"])


def test_audio_longer_than_the_window_is_refused(rows: list[Row], waves: dict[str, Wave], processor: Any) -> None:
    data = Curriculum(rows, {name: wave.repeat(2) for name, wave in waves.items()}, processor, ("clean",), [0], [False], 100)
    with pytest.raises(UserError, match="longer_than_window"):
        data[0]


def test_rows_have_the_responses_asked_for_and_what_was_measured_where_it_was(project: Path, rows: list[Row]) -> None:
    assert len(training_rows(["reference"])) == len(training_rows([])) == 7
    assert len(training_rows(["pseudo_gt"])) == 8 and "student_correct" not in training_rows(["pseudo_gt"])[0]
    measured = [{**row, "student_correct": row["snr_db"] > 0} for row in rows]
    write_parquet(project / "data/curriculum/train/1.parquet", pa.Table.from_pylist(measured))
    assert [row["student_correct"] for row in training_rows(["pseudo_gt"])] == [row["student_correct"] for row in measured]
    write_parquet(project / "data/curriculum/train/1.parquet", pa.Table.from_pylist(rows[7:]))
    with pytest.raises(UserError, match="no row has reference"):
        training_rows(["reference"])


NOISES = {"white": ["00000000000000a1", "00000000000000a2"], "babble": ["00000000000000b1"]}
OTHER = "00000000000000ff"  # of the validation split
ROOM = "00000000000000c1"


@pytest.fixture
def mixed(project: Path, rows: list[Row], waves: dict[str, Wave]) -> list[Row]:
    """The project with what its mixtures were made of: noise clips of two splits, a room and the manifest. The rows hold those mixtures."""
    clips = {name: decode(encode_flac(wave_of(name, 2.0)))[0] for names in [*NOISES.values(), [OTHER]] for name in names}
    (project / "data/corpora").mkdir()
    for name, wave in clips.items():
        (project / f"data/corpora/{name}.flac").write_bytes(encode_flac(wave))
    catalog = [{"clip_id": name, "path": f"data/corpora/{name}.flac", "sha256": "", "sampling_rate": 16_000, "metadata": "{}"} for name in clips]
    for kind, found in (("noise", catalog), ("speech", catalog[:0])):
        write_parquet(project / f"data/catalog/{kind}.parquet", pa.Table.from_pylist(found, schema=pa.Table.from_pylist(catalog).schema))
    response = np.zeros(DIRECT + 400, np.float32)
    response[DIRECT], response[-1] = 1.0, 0.3
    write_parquet(project / "data/rooms/1.parquet", pa.table({"room_id": [ROOM], "rir": [response]}))
    made, listed = [], []
    for number, row in enumerate(rows):
        noise, room = NOISES[row["noise_type"]][-1], ROOM if number == 2 else None
        drawn = {"snr_db": row["snr_db"], "offset": 0.25, "level_dbfs": -25.0, "peak": 0.99}
        wave = mix(waves[row["clip_id"]], clips[noise], response if room else None, **drawn).wave
        made.append({**row, "audio": {"bytes": encode_flac(wave), "path": None}})
        recipe = json.dumps({"speech": row["clip_id"], "noises": [noise], "room": room, **drawn})
        mixture = {"mixture_id": row["mixture_id"], "split": "train", "noise_type": row["noise_type"], "noise_ids": [noise], "voice_ids": []}
        listed.append({**mixture, "room_id": room, "recipe": recipe})
    white = {**listed[0], "mixture_id": "f" * 16, "noise_ids": [NOISES["white"][0]]}
    listed += [white, {**white, "split": "validation", "noise_ids": [OTHER]}]
    write_parquet(project / "data/mixtures_manifest.parquet", pa.Table.from_pylist(listed))
    return made


def test_a_rendered_recipe_gives_the_rendered_mixture(mixed: list[Row], waves: dict[str, Wave], monkeypatch: pytest.MonkeyPatch) -> None:
    mixer = Remixer(mixed, waves, 0)
    monkeypatch.setattr(mixer, "recipe", lambda row, snr_db, place: json.loads(mixer.recipes[row["mixture_id"]]))
    for row in mixed:
        np.testing.assert_allclose(mixer.wave(row, 0.0, 0), decode(row["audio"]["bytes"])[0], atol=0.51 / 32768)


def test_a_new_mixture_has_noise_of_its_kind_and_split_and_the_snr_asked(mixed: list[Row], waves: dict[str, Wave]) -> None:
    mixer = Remixer(mixed, waves, 0)
    drawn = [mixer.recipe(mixed[0], 7.0, place) for place in range(40)]
    assert {name for recipe in drawn for name in recipe["noises"]} == set(NOISES["white"])
    assert len({recipe["offset"] for recipe in drawn}) == 40 and {recipe["snr_db"] for recipe in drawn} == {7.0}
    assert {mixer.recipe(mixed[5], 7.0, place)["noises"][0] for place in range(9)} == set(NOISES["babble"])
    assert mixer.recipe(mixed[2], -3.0, 0)["room"] == ROOM
    held_out = {**mixed[0], "mixture_id": "f" * 16}
    assert Remixer([held_out], waves, 0, split="validation").recipe(held_out, 7.0, 0)["noises"] == [OTHER]
    assert drawn[3] == Remixer(mixed[:1], waves, 0).recipe(mixed[0], 7.0, 3) != Remixer(mixed, waves, 1).recipe(mixed[0], 7.0, 3)
    assert np.array_equal(mixer.wave(mixed[2], -3.0, 4), Remixer(mixed, waves, 0).wave(mixed[2], -3.0, 4))
    loud, faint = (np.corrcoef(mixer.wave(mixed[0], snr, 1), waves[mixed[0]["clip_id"]])[0, 1] for snr in (25.0, -10.0))
    assert loud > 0.99 and faint < 0.5


def test_a_mixture_that_is_nowhere_is_named(mixed: list[Row], waves: dict[str, Wave]) -> None:
    with pytest.raises(UserError, match=r"mixture 0+123 of the curriculum is not there"):
        Remixer([{**mixed[0], "mixture_id": "123".zfill(16)}], waves, 0)
    Path("data/mixtures_manifest.parquet").unlink()
    with pytest.raises(UserError, match=r"manifest.*python -m tasks.mix"):
        Remixer(mixed, waves, 0)


def test_a_silent_part_is_named(mixed: list[Row], waves: dict[str, Wave]) -> None:
    mixer = Remixer(mixed, {name: np.zeros_like(wave) for name, wave in waves.items()}, 0)
    with pytest.raises(UserError, match=r"clip clip0 with data/corpora/.*speech is silent"):
        mixer.wave(mixed[0], 0.0, 0)


@pytest.mark.parametrize("schedule", ["uniform", "adaptive"])
def test_on_demand_the_student_hears_the_position_s_mixture(
    schedule: str, mixed: list[Row], waves: dict[str, Wave], processor: Any, params: Callable[..., Any]
) -> None:
    own = params("grpo", curriculum={"schedule": schedule, "mixtures": "on_demand"})
    order, remixed = planned(mixed, waves, own)
    assert remixed is not None
    data = Curriculum(mixed, waves, processor, ("clean",), order, [False] * len(order), 100, remixed=remixed)
    mixer = Remixer(mixed, waves, own.seed)
    for position in range(own.batch_items):
        number = order[position]
        snr = order.choice(position)[1] if schedule == "adaptive" else mixed[number]["snr_db"]  # type: ignore[attr-defined]
        assert np.array_equal(data.request("noisy", number, position).audio, mixer.wave(mixed[number], snr, position))
        heard = data[position]["views"]["student"]["input_features"]
        assert torch.equal(heard, data[position]["views"]["student"]["input_features"])
        assert not torch.equal(heard, data.view("noisy", number)["input_features"])
