"""Which questions are asked: what each condition hears, and that the order of the inputs decides nothing."""

import random
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.errors import UserError
from tasks.common.params import validate
from tasks.denoise import DENOISERS
from tasks.evaluate.answering import key_of
from tasks.evaluate.grid import declared_cells, empty_cells, filtered, for_front_ends
from tasks.evaluate.params import CORE, EvaluateParams, FrontEnd
from tasks.evaluate.plan import Question, conflicting, fits, plan
from tasks.items.build import Corpus, conflict
from tasks.items.params import Questions
from tasks.items.prompt import text_only

PARAMS = EvaluateParams(methods=("base",), items_per_mixture=2, control_items=15, max_new_tokens=8, bootstrap=100, shard_size=8)
CLIPS = {f"clip{i}": f"word{i % 4} word{i % 3}" for i in range(12)}


def mixtures() -> list[dict[str, Any]]:
    rows = []
    for i, clip in enumerate(CLIPS):
        plain = {"clip_id": clip, "noise_ids": [], "noise_type": None, "snr_db": None}
        none, room = {"room": "none", "room_id": None}, {"room": "simulated", "room_id": "room0"}
        rows.append({"mixture_id": f"clean{i}", "recipe_hash": f"clean{i}", "corruption": "clean", **plain, **none})
        rows.append({"mixture_id": f"reverb{i}", "recipe_hash": f"reverb{i}", "corruption": "reverb", **plain, **room})
        for snr in (-5.0, 10.0):
            noisy = {"clip_id": clip, "noise_ids": [f"noise{i % 2}"], "noise_type": f"type{i % 2}", "snr_db": snr}
            heard = {"corruption": "noise", **none} if snr > 0 else {"corruption": "reverb+noise", **room}
            rows.append({"mixture_id": f"noisy{i}/{snr}", "recipe_hash": f"noisy{i}/{snr}", **noisy, **heard})
    return rows


def items() -> list[dict[str, Any]]:
    def item(owner: str, task: str) -> dict[str, Any]:
        question = "transcript: b. first?" if task == "conflict" else f"{task}?"
        row = {"item_id": f"{owner}:{task}", "clip_id": owner, "task": task, "question": question, "options": ["a", "b"], "answer": "a"}
        return {**row, "transcript": "" if task == "background" else "a"}

    return [item(clip, task) for clip in CLIPS for task in (*CORE, "conflict")] + [item(f"noise{i}", "background") for i in range(2)]


@pytest.fixture
def questions() -> list[Question]:
    return plan(mixtures(), items(), CLIPS, PARAMS)


def test_a_noisy_mixture_gets_two_core_a_conflict_and_a_background_question(questions: list[Question]) -> None:
    asked: dict[str, list[str]] = {}
    for question in questions:
        if question.condition == "noisy":
            asked.setdefault(question.mixture_id, []).append(question.task)
    assert len(asked) == 24 and all(name.startswith("noisy") for name in asked)
    for tasks in asked.values():
        assert sum(task in CORE for task in tasks) == 2 and tasks.count("conflict") == 1 and tasks.count("background") == 1


def test_every_question_about_speech_is_asked_again_of_the_clean_clip_once(questions: list[Question]) -> None:
    noisy = {question.item_id for question in questions if question.condition == "noisy" and question.task != "background"}
    clean = [question.item_id for question in questions if question.condition == "clean"]
    assert sorted(clean) == sorted(noisy)
    for question in questions:
        if question.condition == "clean":
            assert question.mixture_id == question.clip_id.replace("clip", "clean")
            assert question.noise_type is None and question.snr_db is None


def test_controls_take_the_sound_away(questions: list[Question]) -> None:
    of = {name: [question for question in questions if question.condition == name] for name in ("silence", "length", "shuffled", "text_only", "text")}
    silence, shuffled = of["silence"], of["shuffled"]
    assert all(len(asked) == PARAMS.control_items for asked in of.values())
    assert all({question.item_id for question in asked} == {question.item_id for question in silence} for asked in of.values())
    assert all(question.task in CORE for question in silence)
    for silent, alone, read in zip(of["length"], of["text_only"], of["text"], strict=True):
        assert silent.prompt == alone.prompt and read.prompt == text_only("a", silent.prompt)
    assert all(question.mixture_id.replace("clean", "clip") == question.clip_id for question in of["length"])
    for question in [*shuffled, *silence]:
        heard = question.mixture_id.replace("clean", "clip")
        assert CLIPS[heard] != CLIPS[question.clip_id]


def test_order_of_the_tables_does_not_matter(questions: list[Question]) -> None:
    shuffler = random.Random(3)
    rows, asked = mixtures(), items()
    shuffler.shuffle(rows)
    shuffler.shuffle(asked)
    assert plan(rows, asked, dict(reversed(CLIPS.items())), PARAMS) == questions


def test_a_new_noise_clip_leaves_the_other_noisy_questions_as_they_are(questions: list[Question]) -> None:
    row = {"mixture_id": "new", "clip_id": "clip0", "noise_ids": ["noise9"], "noise_type": "type9", "snr_db": 0.0, "corruption": "noise"}
    row |= {"recipe_hash": "new", "room": "none", "room_id": None}
    more = plan([*mixtures(), row], items(), CLIPS, PARAMS)
    before = {question for question in questions if question.condition == "noisy"}
    assert before == {question for question in more if question.condition == "noisy" and question.mixture_id != "new"}


def test_a_clip_outside_the_window_is_left_out_and_counted_not_cut() -> None:
    durations = dict.fromkeys(CLIPS, 1.5) | {"clip3": 2.01, "clip4": 2.0, "clip5": 0.05}
    kept, refused = fits(mixtures(), durations, 2.0)
    assert refused == 2
    assert {row["clip_id"] for row in kept} == set(CLIPS) - {"clip3", "clip5"}


def test_a_row_says_what_was_done_to_the_speech(questions: list[Question]) -> None:
    for question in questions:
        noisy = question.condition == "noisy"
        assert question.corruption == ("noise" if noisy else "clean")  # the room is a column of its own
        assert (question.room, question.room_id) == (("simulated", "room0") if question.snr_db == -5.0 else ("none", None))
        assert question.conflicting == ("b" if question.task == "conflict" else None)
        assert question.transcript == ("a" if question.task != "background" else CLIPS[question.clip_id])


WORDING = Questions(first="first word?", last="last word?", count="how many words?", present="is {word} said?", background="what noise?")
SAID = st.lists(st.sampled_from(["oak", "elm", "ash", "fir", "yew"]), min_size=1, max_size=4)


@given(SAID, st.integers(0, 999))
def test_the_option_that_a_wrong_transcript_supports_is_a_wrong_one(words: list[str], number: int) -> None:
    corpus = Corpus.of([["oak", "elm"], ["ash"], ["fir", "yew", "oak"], words])
    item = conflict({"clip_id": f"clip{number}", "split": "test"}, words, corpus, WORDING, 4)
    assert item is not None and conflicting(item) in set(item["options"]) - {item["answer"]}


def test_the_key_of_an_answer_names_all_it_depends_on(questions: list[Question]) -> None:
    asked = questions[0]
    others = [replace(asked, **{name: "other"}) for name in ("condition", "recipe_hash", "item_id", "prompt")]
    keys = {key_of(asked, "model", 8), key_of(asked, "model", 9), key_of(asked, "model2", 8), *(key_of(other, "model", 8) for other in others)}
    assert len(keys) == 7
    assert key_of(replace(asked, axis="room", target="b", snr_db=3.0), "model", 8) == key_of(asked, "model", 8)  # what no model reads or hears


def test_front_ends_are_asked_a_share_of_every_noise_type_and_level_and_the_same_in_quiet(questions: list[Question]) -> None:
    core = [question for question in questions if question.condition in ("noisy", "clean") and question.task in CORE]
    assert set(for_front_ends(questions, 1.0)) == set(core)
    half = for_front_ends(questions, 0.5)
    cells: dict[Any, set[str]] = {}
    for question in half:
        cells.setdefault((question.condition, question.noise_type, question.snr_db), set()).add(question.mixture_id)
    assert [len(found) for cell, found in cells.items() if cell[0] == "noisy"] == [3, 3, 3, 3]
    items = {question.item_id for question in half if question.condition == "noisy"}
    assert {question.item_id for question in half if question.condition == "clean"} == items


def test_cells_are_what_was_asked_for_and_the_empty_ones_are_named(questions: list[Question]) -> None:
    cells = declared_cells(questions, PARAMS)
    tasks = {question.task for question in questions if question.condition == "noisy"}
    assert len(cells) == 2 * 2 * 2 * len(tasks)  # types, levels, rooms
    assert {cell["room"] for cell in empty_cells(cells, questions) if cell["snr_db"] == 10.0} == {"simulated"}
    more = declared_cells(questions, PARAMS.model_copy(update={"snr_db": (10.0, 30.0), "noise_types": ("type0", "type1", "type7")}))
    assert {cell["snr_db"] for cell in more} == {10.0, 30.0}
    assert {cell["corruption"] for cell in more if cell["noise_type"] == "type7"} == {"noise"}
    empty = empty_cells(more, questions)
    assert all(cell in empty for cell in more if cell["snr_db"] == 30.0 or cell["noise_type"] == "type7")


def test_the_grid_keeps_what_it_names_and_all_that_is_clean() -> None:
    kept = filtered(mixtures(), PARAMS.model_copy(update={"snr_db": (10.0,), "noise_types": ("type1",)}))
    assert {(row["noise_type"], row["snr_db"]) for row in kept} == {(None, None), ("type1", 10.0)}
    assert filtered(mixtures(), PARAMS) == mixtures()
    with pytest.raises(UserError, match=r"-5, 10 dB and the types type0, type1"):
        filtered(mixtures(), PARAMS.model_copy(update={"noise_types": ("snow",)}))


@pytest.mark.parametrize(
    "methods", [("caad",), ("caad", "base"), ("base", "caad", "caad"), (), ("base", "base@1"), ("base", "caad+seen"), ("base", "")]
)
def test_base_comes_first_and_methods_are_folders_or_their_seeds(methods: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"base|twice|neither"):
        validate(EvaluateParams, {**PARAMS.model_dump(), "methods": methods}, "evaluate")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"front_ends": {"caad": ["seen"]}}, "none of the methods"),
        ({"front_ends": {"base": ["wavelet", "wavelet"]}}, "twice"),
        ({"front_ends": {"base": ["seen"]}, "engine": "vllm"}, "only the engine transformers"),
        ({"front_ends": {"base": ["sean"]}}, "seen"),
        ({"front_end_share": 0.0}, "front_end_share"),
    ],
)
def test_front_ends_that_cannot_be_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate(EvaluateParams, {**PARAMS.model_dump(), **wrong}, "evaluate")


def test_every_denoiser_can_be_a_front_end() -> None:
    assert set(get_args(FrontEnd)) == {"seen", *DENOISERS}
