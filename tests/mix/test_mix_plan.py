"""The plan: what a change of one noise clip touches, what crosses the split, and what order decides (nothing)."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.seeds import content_id
from tasks.mix.params import MixParams
from tasks.mix.plan import plan

SPLITS = ("train", "validation", "test")
PARAMS = MixParams(
    snr_db=(-5.0, 0.0, 10.0),
    per_noise={"train": 7, "validation": 3, "test": 4},
    noise_reverb_share=0.5,
    speech_reverb_share=0.5,
    level_dbfs=(-32.0, -20.0),
    peak=0.99,
    buckets=3,
)
Rows = list[dict[str, Any]]


def rows(kind: str, numbers: set[int]) -> Rows:
    key = "room_id" if kind == "room" else "clip_id"
    return [{key: content_id([kind, number]), "split": SPLITS[number % 3], "noise_type": f"type{number % 4}"} for number in sorted(numbers)]


NUMBERS = st.sets(st.integers(0, 60), min_size=3, max_size=25)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS, st.integers(100, 200))
def test_mix_a_noise_clip_touches_its_own_rows_only(noise: set[int], speech: set[int], rooms: set[int], added: int) -> None:
    fixed = (rows("speech", speech), rows("room", rooms))
    before = plan(rows("noise", noise), *fixed, PARAMS)
    new = content_id(["noise", added])
    after = plan(rows("noise", noise | {added}), *fixed, PARAMS)
    assert [row for row in after if new not in row["noise_ids"]] == before
    gone = min(noise)
    replaced = plan(rows("noise", (noise - {gone}) | {added}), *fixed, PARAMS)
    old = content_id(["noise", gone])
    assert [row for row in replaced if new not in row["noise_ids"]] == [row for row in before if old not in row["noise_ids"]]


@settings(max_examples=40, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS, st.randoms(use_true_random=False))
def test_mix_plan_does_not_hang_on_order(noise: set[int], speech: set[int], rooms: set[int], random: Any) -> None:
    tables = [rows("noise", noise), rows("speech", speech), rows("room", rooms)]
    expected = plan(*tables, PARAMS)
    for table in tables:
        random.shuffle(table)
    assert plan(*tables, PARAMS) == expected


@settings(max_examples=40, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_mix_nothing_crosses_the_split(noise: set[int], speech: set[int], rooms: set[int]) -> None:
    tables = rows("noise", noise), rows("speech", speech), rows("room", rooms)
    split = {row.get("clip_id") or row["room_id"]: row["split"] for table in tables for row in table}
    planned = plan(*tables, PARAMS)
    assert len({row["mixture_id"] for row in planned}) == len(planned)
    for row in planned:
        parts = [row["clip_id"], *row["noise_ids"], *([row["room_id"]] if row["room_id"] else [])]
        assert {split[part] for part in parts} == {row["split"]}
    for clip in tables[1]:
        mine = [row["corruption"] for row in planned if row["clip_id"] == clip["clip_id"]]
        assert mine.count("clean") == 1, "every clip is covered"
    for clip in tables[0]:
        mine_noisy = [row for row in planned if clip["clip_id"] in row["noise_ids"]]
        any_speech = any(row["split"] == clip["split"] for row in tables[1])
        assert len(mine_noisy) == (getattr(PARAMS.per_noise, clip["split"]) if any_speech else 0)


def test_mix_shares_and_levels() -> None:
    noise, speech, rooms = rows("noise", set(range(0, 600, 3))), rows("speech", set(range(0, 300, 3))), rows("room", set(range(0, 12, 3)))
    planned = plan(noise, speech, rooms, PARAMS)
    noisy = [row for row in planned if row["noise_ids"]]
    assert abs(sum(row["room_id"] is not None for row in noisy) / len(noisy) - 0.5) < 4 * 0.5 / len(noisy) ** 0.5
    for snr in PARAMS.snr_db:
        share = sum(row["snr_db"] == snr for row in noisy) / len(noisy)
        assert abs(share - 1 / 3) < 4 * (2 / 9 / len(noisy)) ** 0.5
    assert all(-32 <= row["level_asked_dbfs"] <= -20 and 0 <= row["offset"] <= 1 for row in noisy)


def test_mix_noise_clips_draw_different_speech() -> None:
    planned = plan(rows("noise", {0, 3}), rows("speech", set(range(0, 300, 3))), [], PARAMS)
    first, second = ({row["clip_id"] for row in planned if row["noise_ids"] == [content_id(["noise", number])]} for number in (0, 3))
    assert len(first) == len(second) == 7 and first != second


def test_mix_a_changed_parameter_changes_the_recipe() -> None:
    tables = rows("noise", {0}), rows("speech", {0, 3, 6}), rows("room", set())
    first = {row["recipe_hash"] for row in plan(*tables, PARAMS) if row["noise_ids"]}
    second = {row["recipe_hash"] for row in plan(*tables, PARAMS.model_copy(update={"peak": 0.9})) if row["noise_ids"]}
    assert not first & second
