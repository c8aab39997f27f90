"""Which questions are asked: what each condition hears, and that the order of the inputs decides nothing."""

import random
from typing import Any

import pytest

from tasks.evaluate.params import CORE, EvaluateParams
from tasks.evaluate.plan import Question, fits, plan

PARAMS = EvaluateParams(methods=("base",), items_per_mixture=2, control_items=15, max_new_tokens=8, bootstrap=100, shard_size=8)
CLIPS = {f"clip{i}": f"word{i % 4} word{i % 3}" for i in range(12)}


def mixtures() -> list[dict[str, Any]]:
    rows = []
    for i, clip in enumerate(CLIPS):
        plain = {"clip_id": clip, "noise_ids": [], "noise_type": None, "snr_db": None}
        rows.append({"mixture_id": f"clean{i}", "corruption": "clean", **plain})
        rows.append({"mixture_id": f"reverb{i}", "corruption": "reverb", **plain})
        for snr in (-5.0, 10.0):
            noisy = {"clip_id": clip, "noise_ids": [f"noise{i % 2}"], "noise_type": f"type{i % 2}", "snr_db": snr}
            rows.append({"mixture_id": f"noisy{i}/{snr}", "corruption": "noise" if snr > 0 else "reverb+noise", **noisy})
    return rows


def items() -> list[dict[str, Any]]:
    def item(owner: str, task: str) -> dict[str, Any]:
        return {"item_id": f"{owner}:{task}", "clip_id": owner, "task": task, "question": f"{task}?", "options": ["a", "b"], "answer": "a"}

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
    silence = [question for question in questions if question.condition == "silence"]
    shuffled = [question for question in questions if question.condition == "shuffled"]
    assert len(silence) == len(shuffled) == PARAMS.control_items
    assert {question.item_id for question in silence} == {question.item_id for question in shuffled}
    assert all(question.task in CORE for question in silence)
    for question in shuffled:
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
    more = plan([*mixtures(), row], items(), CLIPS, PARAMS)
    before = {question for question in questions if question.condition == "noisy"}
    assert before == {question for question in more if question.condition == "noisy" and question.mixture_id != "new"}


def test_a_clip_outside_the_window_is_left_out_and_counted_not_cut() -> None:
    durations = dict.fromkeys(CLIPS, 1.5) | {"clip3": 2.01, "clip4": 2.0, "clip5": 0.05}
    kept, refused = fits(mixtures(), durations, 2.0)
    assert refused == 2
    assert {row["clip_id"] for row in kept} == set(CLIPS) - {"clip3", "clip5"}


@pytest.mark.parametrize("methods", [("caad",), ("caad", "base"), ("base", "caad", "caad"), ()])
def test_base_comes_first_and_no_method_twice(methods: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"base|twice"):
        EvaluateParams(methods=methods, items_per_mixture=1, control_items=1, max_new_tokens=1, bootstrap=100, shard_size=1)
