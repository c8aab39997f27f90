"""The backbone stage: word clips of the training split in, models/backbone out."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tasks.backbone.accuracy import Question, accuracy
from tasks.backbone.lessons import Lessons, Voice, vocabulary, voices_of
from tasks.backbone.model import build_model, build_processor, save
from tasks.backbone.params import BackboneParams
from tasks.backbone.pretrained import fetch
from tasks.backbone.train import train
from tasks.catalog.audio import load_clips
from tasks.catalog.compose import LEAD_S
from tasks.common.audio import RATE
from tasks.common.cli import Counts
from tasks.common.errors import UserError
from tasks.common.params import load
from tasks.common.seeds import rng_of
from tasks.common.tables import publish_folder, read_rows, temporary_name, write_text
from tasks.items.build import number_word
from tasks.items.params import Questions, read_questions
from tasks.items.prompt import prompt_text, response_text, text_only

SPEECH = Path("data/catalog/speech.parquet")
BACKBONE = Path("models/backbone")
COLUMNS = ["clip_id", "path", "sha256", "sampling_rate", "corpus", "speaker", "text"]
log = logging.getLogger("dinproof")


def voices_in(split: str) -> list[Voice]:
    """The catalogued word clips of a split, loaded."""
    rows = read_rows(SPEECH, COLUMNS, [("kind", "=", "word"), ("split", "=", split)])
    return voices_of(rows, load_clips(rows))


def texts_of(words: Sequence[str], questions: Questions, max_words: int) -> list[str]:
    """Everything the model reads and says, for the tokenizer to learn: every word follows a space somewhere."""
    options = [*words, *(number_word(count) for count in range(1, max_words + 1)), "yes", "no"]
    asked = [wording.replace("{word}", words[0]) for wording in questions.model_dump().values()]
    heard = [prompt_text(text_only(word, asked[0]), ["", word, ""]) for word in options]
    return ["user", "assistant", *(prompt_text(question, options) for question in asked), *heard, *(response_text([word], word) for word in options)]


def exam(lessons: Lessons, count: int) -> list[Question]:
    """`count` questions about utterances of the lessons' voices, as they are: no augmentation, no noise floor."""
    rng = rng_of("backbone", "exam")
    questions = []
    for index in range(count):
        spoken = lessons.utterance(rng, 1 + index % lessons.max_words, augmented=False)
        item = lessons.ask(spoken, rng)
        questions.append(Question(item["task"], spoken.wave, prompt_text(item["question"], item["options"]), item["options"], item["answer"]))
    return questions


def train_from_scratch(params: BackboneParams, folder: Path = BACKBONE) -> list[dict[str, Any]]:
    """Train on the catalog's words and save the model to `folder`; returns the rows of its log, the last one the accuracy on the validation split."""
    voices = voices_in("train")
    if not voices:
        raise UserError(str(SPEECH), "no single words to train on (kind 'word', split 'train')", "Catalog a corpus of words, or set backbone.from")
    longest_s = max(len(wave) for voice in voices for takes in voice.words.values() for wave in takes) / RATE
    if longest_s / min(params.augment.speeds) + LEAD_S[1] > params.window_s:
        raise UserError("params.yaml, backbone", f"a word of {longest_s:.2f} s does not fit window_s {params.window_s}", "Raise window_s")
    questions = read_questions(params.questions)
    processor = build_processor(texts_of(vocabulary(voices), questions, params.max_words), params.window_s, params.mel_bins)
    model = build_model(processor, params.model)
    settings = (questions, params.options, params.max_words, params.augment)
    torch.set_num_threads(params.training.threads)
    rows: list[dict[str, Any]] = [*train(model, Lessons(processor, voices, *settings), params.training)]
    save(model, processor, folder)
    if validation := voices_in("validation"):
        right = accuracy(folder, exam(Lessons(processor, validation, *settings), params.validation_questions))
        log.info("backbone: right on clean validation speech: %s", ", ".join(f"{task} {share:.1%}" for task, share in right.items()))
        rows.append({"step": rows[-1]["step"], "validation": right})
    return rows


def run() -> Counts:
    """Write models/backbone."""
    params = load("backbone", BackboneParams)
    fresh = temporary_name(BACKBONE)
    if params.source is not None:
        fetch(params.source, fresh)
        publish_folder(fresh, BACKBONE)
        return Counts(done={"models": 1})
    rows = train_from_scratch(params, fresh)
    write_text(fresh / "train_log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    publish_folder(fresh, BACKBONE)
    return Counts(done={"steps": params.training.text_steps + params.training.steps})
