"""The plan: what a change of one noise clip touches, what crosses the split, what was asked, and what order decides (nothing)."""

import json
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.seeds import content_id
from tasks.mix.chains import Chain, Chains, Step
from tasks.mix.corruptions import EFFECTS, ENVELOPES, SOURCES
from tasks.mix.params import MixParams
from tasks.mix.plan import plan
from tasks.mix.pools import Ring, id_keys

SPLITS = ("train", "validation", "test")
PARAMS = MixParams(
    snr_db=(-5.0, 0.0, 10.0),
    per_noise={"train": 7, "validation": 3, "test": 4},
    noise_reverb_share=0.5,
    speech_reverb_share=0.5,
    corruptions="",
    level_dbfs=(-32.0, -20.0),
    peak=0.99,
    shard_mixtures=16,
    device="cpu",
)
Rows = list[dict[str, Any]]


def step(modules: Any, name: str, **params: Any) -> Step:
    return Step(name, modules[name].Params(**params))


PALETTE = Chains(
    noise=(
        Chain(0.5, step(SOURCES, "noises", count=(1, 3)), None, ()),
        Chain(0.1, step(SOURCES, "music"), step(ENVELOPES, "partial"), ()),
        Chain(0.2, None, step(ENVELOPES, "snr_walk"), (step(EFFECTS, "mp3"), step(EFFECTS, "mulaw"))),
    ),
    speech=(
        Chain(0.5, step(SOURCES, "babble", count=(2, 4)), None, ()),
        Chain(0.5, step(SOURCES, "competing"), None, (step(EFFECTS, "gsm"),)),
        Chain(0.25, None, None, (step(EFFECTS, "telephone"),)),
    ),
)
TYPES = ("rain", "music", "street", "fan")


def rows(kind: str, numbers: set[int]) -> Rows:
    """Clips of three splits; a split has up to five speakers, and every seventh utterance is of nobody known."""
    key = "room_id" if kind == "room" else "clip_id"
    return [
        {
            **{key: content_id([kind, number]), "split": SPLITS[number % 3], "noise_type": TYPES[number % 4]},
            **{"corpus": "talk", "speaker": None if number % 7 == 0 else f"{SPLITS[number % 3]}{number % 5}"},
        }
        for number in sorted(numbers)
    ]


def planned(noise: Rows, speech: Rows, rooms: Rows, params: MixParams = PARAMS, chains: Chains = PALETTE) -> Rows:
    return plan(noise, speech, rooms, params, chains).to_pylist()


NUMBERS = st.sets(st.integers(0, 60), min_size=3, max_size=25)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS, st.integers(100, 200))
def test_mix_a_noise_clip_touches_rows_that_hold_it_only(noise: set[int], speech: set[int], rooms: set[int], added: int) -> None:
    fixed = (rows("speech", speech), rows("room", rooms))
    gone = min(noise)
    new, old = content_id(["noise", added]), content_id(["noise", gone])

    def places(numbers: set[int]) -> dict[tuple[str, str], dict[str, Any]]:
        """Rows by who owns them and everything in them but their noises."""
        made = planned(rows("noise", numbers), *fixed)
        by_place = {(row["owner"], json.dumps({**json.loads(row["recipe"]), "noises": None})): row for row in made}
        assert len(by_place) == len(made)
        return by_place

    def changed(before: set[int], after: set[int]) -> list[set[str]]:
        """Noise clips, before and after, of every row that is not as it was."""
        first, second = places(before), places(after)
        ids = [[rows_of[place]["noise_ids"] if place in rows_of else [] for rows_of in (first, second)] for place in first.keys() | second.keys()]
        assert all(first[place] == second[place] for place in first.keys() & second.keys() if first[place]["noise_ids"] == second[place]["noise_ids"])
        return [set(one) | set(two) for one, two in ids if one != two]

    assert all(new in held for held in changed(noise, noise | {added}))
    assert all(old in held for held in changed(noise, noise - {gone}))
    assert all({old, new} & held for held in changed(noise, (noise - {gone}) | {added}))


@settings(max_examples=40, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS, st.randoms(use_true_random=False))
def test_mix_plan_does_not_hang_on_order(noise: set[int], speech: set[int], rooms: set[int], random: Any) -> None:
    tables = [rows("noise", noise), rows("speech", speech), rows("room", rooms)]
    expected = planned(*tables)
    for table in tables:
        random.shuffle(table)
    assert planned(*tables) == expected


@settings(max_examples=40, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_mix_nothing_crosses_the_split(noise: set[int], speech: set[int], rooms: set[int]) -> None:
    tables = rows("noise", noise), rows("speech", speech), rows("room", rooms)
    split = {row.get("clip_id") or row["room_id"]: row["split"] for table in tables for row in table}
    speaker = {row["clip_id"]: row["speaker"] or row["clip_id"] for row in tables[1]}
    type_of = {row["clip_id"]: row["noise_type"] for row in tables[0]}
    made = planned(*tables)
    assert len({row["mixture_id"] for row in made}) == len(made)
    for row in made:
        recipe = json.loads(row["recipe"])
        parts = [row["clip_id"], *row["noise_ids"], *row["voice_ids"], *([row["room_id"]] if row["room_id"] else [])]
        assert {split[part] for part in parts} == {row["split"]}
        assert len(set(row["noise_ids"])) == len(row["noise_ids"])
        voices = [speaker[clip] for clip in (row["clip_id"], *row["voice_ids"])]
        assert len(set(voices)) == len(voices), "every voice is another speaker's"
        if row["kind"] == "noise":
            assert row["owner"] == row["noise_ids"][0] and row["noise_type"] == type_of[row["owner"]] and not row["voice_ids"]
        else:
            assert row["owner"] == row["clip_id"] and not row["noise_ids"] and (row["noise_type"] is None) == (row["snr_db"] is None)
        source = recipe.get("source", {}).get("name")
        if source == "music":
            assert {type_of[clip] for clip in row["noise_ids"]} == {"music"}
        if source == "noises":
            others = sum(split[clip] == row["split"] for clip in type_of) - 1
            assert len(row["noise_ids"]) - 1 == min(recipe["source"]["count"], others)
    for clip in tables[1]:
        mine = [row["corruption"] for row in made if row["clip_id"] == clip["clip_id"]]
        assert mine.count("clean") == 1, "every clip is covered"
    for clip in tables[0]:
        owned = [row for row in made if row["owner"] == clip["clip_id"]]
        any_speech = any(row["split"] == clip["split"] for row in tables[1])
        assert len(owned) == (getattr(PARAMS.per_noise, clip["split"]) if any_speech else 0)


def within_four_errors(count: int, total: int, share: float) -> bool:
    return abs(count / total - share) < 4 * (share * (1 - share) / total) ** 0.5


def test_mix_shares_and_levels() -> None:
    noise, speech, rooms = rows("noise", set(range(0, 600, 3))), rows("speech", set(range(0, 3000, 3))), rows("room", set(range(0, 12, 3)))
    made = planned(noise, speech, rooms)
    noisy = [row for row in made if row["kind"] == "noise"]
    assert within_four_errors(sum(row["room_id"] is not None for row in noisy), len(noisy), 0.5)
    for snr in PARAMS.snr_db:
        assert within_four_errors(sum(row["snr_db"] == snr for row in noisy), len(noisy), 1 / 3)
    recipes = [json.loads(row["recipe"]) for row in noisy]
    assert all(-32 <= recipe["level_dbfs"] <= -20 and 0 <= recipe["offset"] <= 1 for recipe in recipes)

    sources = Counter(recipe.get("source", {}).get("name") for recipe in recipes)
    of_music = sum(row["noise_type"] == "music" for row in noisy)
    assert within_four_errors(sources["noises"], len(noisy), 0.5) and within_four_errors(sources["music"], of_music, 0.1)
    assert within_four_errors(sum("mp3+mulaw" in row["corruption"] for row in noisy), len(noisy), 0.2)
    kinds = Counter(row["corruption"].removeprefix("reverb+") for row in made if row["kind"] == "speech")
    for name, share in {"babble": 0.5, "competing+gsm": 0.5, "telephone": 0.25}.items():
        assert within_four_errors(kinds[name], len(speech), share)


def test_mix_the_chains_leave_the_rest_as_it_was() -> None:
    """A chain adds corruptions to rows; which speech, room, SNR and level they have does not hang on it."""
    tables = rows("noise", {0, 1, 3}), rows("speech", set(range(60))), rows("room", set(range(12)))
    plain = [row for row in planned(*tables, chains=Chains()) if row["kind"] == "noise"]
    rich = [row for row in planned(*tables) if row["kind"] == "noise"]
    same = [(row["owner"], row["clip_id"], row["room_id"], row["snr_db"]) for row in plain]
    assert same == [(row["owner"], row["clip_id"], row["room_id"], row["snr_db"]) for row in rich]
    assert {row["corruption"] for row in plain} == {"noise", "reverb+noise"} and len({row["corruption"] for row in rich}) > 4


def test_mix_an_added_chain_moves_no_other() -> None:
    tables = rows("noise", {0, 1, 3}), rows("speech", set(range(60))), rows("room", set(range(12)))
    fewer = Chains(PALETTE.noise[:1], PALETTE.speech[1:])
    before = {row["recipe"] for row in planned(*tables, chains=fewer) if row["corruption"] not in ("noise", "reverb+noise")}
    assert before <= {row["recipe"] for row in planned(*tables)}


def test_mix_noise_clips_draw_different_speech() -> None:
    made = planned(rows("noise", {0, 3}), rows("speech", set(range(0, 300, 3))), [])
    first, second = ({row["clip_id"] for row in made if row["owner"] == content_id(["noise", number])} for number in (0, 3))
    assert len(first) == len(second) == 7 and first != second


def test_mix_a_changed_parameter_or_device_changes_the_recipe() -> None:
    tables = rows("noise", {0}), rows("speech", {0, 3, 6}), rows("room", set())
    ids = [
        {row["recipe_hash"] for row in planned(*tables, PARAMS.model_copy(update=change)) if row["noise_ids"]}
        for change in ({}, {"peak": 0.9}, {"device": "cuda"})
    ]
    assert all(ids) and not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])


def test_mix_one_speaker_has_no_babble() -> None:
    """Where nobody else talks there is no babble to hear, and where there are few, they are fewer."""
    alone = rows("speech", {1, 16, 31})  # validation1, three times
    assert not [row for row in planned([], alone, []) if row["voice_ids"] or row["noise_type"]]
    two = planned([], [*alone, *rows("speech", {4})], [])
    assert {len(row["voice_ids"]) for row in two if row["noise_type"]} == {1}


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 400), min_size=1, max_size=40), st.integers(401, 500), st.integers(0, 6), st.integers(0, 2**32))
def test_mix_a_new_clip_moves_only_the_draws_it_wins(numbers: set[int], added: int, count: int, seed: int) -> None:
    def drawn(of: set[int]) -> list[list[str]]:
        ids = sorted(content_id(["clip", number]) for number in of)
        groups = {content_id(["clip", number]): f"group{number % 9}" for number in of}
        keys = id_keys(content_id([seed, row]) for row in range(50))
        return Ring(ids, [groups[name] for name in ids]).others(keys, ["group0"] * 50, [count] * 50)

    new = content_id(["clip", added])
    for before, after in zip(drawn(numbers), drawn(numbers | {added}), strict=True):
        assert before == after or new in after
        assert len(before) == min(count, len({number % 9 for number in numbers} - {0}))


def test_mix_clips_are_drawn_about_equally_often() -> None:
    ids = sorted(content_id(["clip", number]) for number in range(200))
    drawn = Ring(ids, ids).others(id_keys(content_id([row]) for row in range(20_000)), [""] * 20_000, [2] * 20_000)
    counts = Counter(clip for clips in drawn for clip in clips)
    assert len(counts) == 200 and min(counts.values()) > 100 and max(counts.values()) < 320  # 200 each, were they all alike
