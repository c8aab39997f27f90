"""Which questions are asked, and on which audio: pure functions from the tables of earlier stages to a list of questions.

Every core, conflict and background question is asked of a noisy test mixture. The first two are asked again of the same clip
without noise, and a sample of the core ones with no information at all (`silence`: zeros, as long as another test clip that says
something else; `shuffled`: that clip's clean audio; `text_only`: the question and no audio) or with its length alone (`length`: zeros, as
long as the clip, which for clips of words tells how many they are). A model that answers those as well as the real thing is reading the
prompt or measuring the time, not listening. `text` is the same sample with the transcript in place of the audio: what the
model would know if it heard every word.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.common.seeds import choose, choose_many
from tasks.engines.base import SHORTEST_S
from tasks.evaluate.params import CORE, EvaluateParams
from tasks.items.build import number_word
from tasks.items.pairs import pair
from tasks.items.prompt import prompt_text, text_only

Row = Mapping[str, Any]
READ = ("text", "text_only")  # conditions without audio


@dataclass(frozen=True)
class Question:
    """One question put to one piece of audio.

    `mixture_id` names the audio heard (for `silence` and `length`, the one whose length it has; for `text` and `text_only`, which have none, the
    clean clip), and `recipe_hash` also how it was rendered; `clip_id` is the clip that was asked about: the speech clip of the mixture for
    background questions too. `noise_type` and `snr_db` are None without noise; `room` is `none`, `simulated` or `measured`, and `corruption` all
    else that is done to the speech. `conflicting` is the option that a wrong transcript in the question supports; `axis` and `recipe` are those
    of condition `unseen`.
    """

    condition: str
    mixture_id: str
    recipe_hash: str
    item_id: str
    clip_id: str
    noise_type: str | None
    snr_db: float | None
    room: str
    room_id: str | None
    corruption: str
    task: str
    prompt: str
    options: tuple[str, ...]
    target: str
    conflicting: str | None
    transcript: str | None
    axis: str | None = None
    recipe: str | None = None

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Unique in a plan, and its order."""
        return (self.condition, self.axis or "", self.mixture_id, self.item_id)


def question_of(condition: str, mixture: Row, item: Row, text: str | None, **more: Any) -> Question:
    """An item asked of a mixture whose speech says `text`; `mixture` has what data/mixtures has, and `room`."""
    prompt = prompt_text(item["question"], item["options"])
    return Question(
        condition=condition,
        mixture_id=mixture["mixture_id"],
        recipe_hash=mixture["recipe_hash"],
        item_id=item["item_id"],
        clip_id=mixture["clip_id"],
        noise_type=mixture["noise_type"],
        snr_db=mixture["snr_db"],
        room=mixture["room"],
        room_id=mixture["room_id"],
        corruption=mixture["corruption"].removeprefix("reverb+"),
        task=item["task"],
        prompt=text_only(item["transcript"], prompt) if condition == "text" else prompt,
        options=tuple(item["options"]),
        target=item["answer"],
        conflicting=conflicting(item) if item["task"] == "conflict" else None,
        transcript=item["transcript"] or text or None,
        **more,
    )


def conflicting(item: Row) -> str | None:
    """The option of a `conflict` item that its wrong transcript supports: the other count, or the word in the place where both differ."""
    told, said = item["question"].removeprefix("transcript: ").partition(". ")[0].split(), item["transcript"].split()
    if len(told) != len(said):
        return number_word(len(told))
    return next((lie for lie, truth in zip(told, said, strict=True) if lie != truth), None)


def fits(mixtures: Sequence[Row], durations: Mapping[str, float], window_s: float) -> tuple[list[Row], int]:
    """The mixtures that a model with a window of `window_s` seconds can hear whole, and how many clips are left out because it cannot."""
    refused = {clip_id for clip_id in {row["clip_id"] for row in mixtures} if not SHORTEST_S <= durations[clip_id] <= window_s}
    return [row for row in mixtures if row["clip_id"] not in refused], len(refused)


def plan(mixtures: Sequence[Row], items: Sequence[Row], texts: Mapping[str, str], params: EvaluateParams) -> list[Question]:
    """Every question of the test split, in the order of condition, mixture and item; the order of the inputs does not matter.

    Args:
        mixtures: test rows with `mixture_id`, `clip_id`, `noise_ids`, `noise_type`, `snr_db`, `room`, `room_id`, `corruption`.
        items: test rows of the items table.
        texts: what each speech clip says.
        params: how many questions.
    """
    noisy = [dict(row) for row in mixtures if row["snr_db"] is not None]
    item_of = {item["item_id"]: item for item in items}
    mixture_of = {row["mixture_id"]: row for row in noisy}
    clean_of = {row["clip_id"]: row for row in mixtures if row["corruption"] == "clean"}
    asked = [
        (mixture_of[mixture_id], item_of[item_id])
        for tasks, count in ((CORE, params.items_per_mixture), (("conflict",), 1), (("background",), 1))
        for mixture_id, item_id in pair(noisy, [dict(item) for item in items], count, tasks)
    ]
    questions = [question_of("noisy", mixture, item, texts[mixture["clip_id"]]) for mixture, item in asked]

    about_speech = {item["item_id"]: item for _, item in asked if item["task"] != "background"}
    questions += [question_of("clean", clean_of[item["clip_id"]], item, texts[item["clip_id"]]) for item in about_speech.values()]

    core = [item_id for item_id, item in about_speech.items() if item["task"].partition("/")[0] in CORE]
    for item_id in choose_many(core, params.control_items, "control"):
        item, own = item_of[item_id], clean_of[item_of[item_id]["clip_id"]]
        conditions = ["length", "text_only", *(["text"] if item["transcript"] else [])]
        questions += [question_of(condition, own, item, texts[item["clip_id"]]) for condition in conditions]
        others = [clip_id for clip_id in clean_of if texts[clip_id] != texts[item["clip_id"]]]
        if others:
            heard = {**clean_of[choose(others, "shuffled", item_id)], "clip_id": item["clip_id"]}
            questions += [question_of(condition, heard, item, texts[item["clip_id"]]) for condition in ("silence", "shuffled")]
    return sorted(questions, key=lambda question: question.place)
