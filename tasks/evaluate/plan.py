"""Which questions are asked, and on which audio: pure functions from the tables of earlier stages to a list of questions.

Every core, conflict and background question is asked of a noisy test mixture. The first two are asked again of the same clip
without noise, and a sample of the core ones with no information at all (`silence`: zeros of the same length; `shuffled`: the
clean audio of another test clip that says something else). A model that answers those as well as the real thing is
reading the prompt, not listening.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.common.seeds import choose, choose_many
from tasks.engines.base import SHORTEST_S
from tasks.evaluate.params import CORE, EvaluateParams
from tasks.items.pairs import pair
from tasks.items.prompt import prompt_text

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """One question put to one piece of audio.

    `mixture_id` names the audio heard (for `silence`, the one whose length is kept), `clip_id` the clip that was asked about:
    the speech clip of the mixture for background questions too. `noise_type` and `snr_db` are None without noise.
    """

    condition: str
    mixture_id: str
    item_id: str
    clip_id: str
    noise_type: str | None
    snr_db: float | None
    task: str
    prompt: str
    options: tuple[str, ...]
    target: str


def _question(condition: str, mixture: Row, item: Row, clip_id: str) -> Question:
    noisy = condition == "noisy"
    return Question(
        condition=condition,
        mixture_id=mixture["mixture_id"],
        item_id=item["item_id"],
        clip_id=clip_id,
        noise_type=mixture["noise_type"] if noisy else None,
        snr_db=mixture["snr_db"] if noisy else None,
        task=item["task"],
        prompt=prompt_text(item["question"], item["options"]),
        options=tuple(item["options"]),
        target=item["answer"],
    )


def fits(mixtures: Sequence[Row], durations: Mapping[str, float], window_s: float) -> tuple[list[Row], int]:
    """The mixtures that a model with a window of `window_s` seconds can hear whole, and how many clips are left out because it cannot."""
    refused = {clip_id for clip_id in {row["clip_id"] for row in mixtures} if not SHORTEST_S <= durations[clip_id] <= window_s}
    return [row for row in mixtures if row["clip_id"] not in refused], len(refused)


def plan(mixtures: Sequence[Row], items: Sequence[Row], texts: Mapping[str, str], params: EvaluateParams) -> list[Question]:
    """Every question of the test, in the order of condition, mixture and item; the order of the inputs does not matter.

    Args:
        mixtures: test rows with `mixture_id`, `clip_id`, `noise_ids`, `noise_type`, `snr_db`, `corruption`.
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
    questions = [_question("noisy", mixture, item, mixture["clip_id"]) for mixture, item in asked]

    about_speech = {item["item_id"]: item for _, item in asked if item["task"] != "background"}
    questions += [_question("clean", clean_of[item["clip_id"]], item, item["clip_id"]) for item in about_speech.values()]

    core = [item_id for item_id, item in about_speech.items() if item["task"].partition("/")[0] in CORE]
    for item_id in choose_many(core, params.control_items, "control"):
        item = item_of[item_id]
        questions.append(_question("silence", clean_of[item["clip_id"]], item, item["clip_id"]))
        others = [clip_id for clip_id in clean_of if texts[clip_id] != texts[item["clip_id"]]]
        if others:
            questions.append(_question("shuffled", clean_of[choose(others, "shuffled", item_id)], item, item["clip_id"]))
    return sorted(questions, key=lambda question: (question.condition, question.mixture_id, question.item_id))
