"""Small voices, questions and settings that a random model of a second can be taught with."""

import pytest
from backbone_samples import WORDS, tone

from tasks.backbone.lessons import Lessons, Voice
from tasks.backbone.model import build_processor
from tasks.backbone.params import AugmentParams, TrainingParams
from tasks.backbone.stage import texts_of
from tasks.items.params import Questions


@pytest.fixture(scope="session")
def questions() -> Questions:
    return Questions(first="first word?", last="last word?", count="how many words?", present="is {word} said?", background="what noise?")


@pytest.fixture(scope="session")
def voices() -> list[Voice]:
    """Two speakers whose words are tones, one an octave above the other."""
    return [
        Voice("tones", name, {word: [tone(base * (1 + index / 3), 0.2 + 0.03 * index)] for index, word in enumerate(WORDS)})
        for name, base in (("low", 200.0), ("high", 400.0))
    ]


@pytest.fixture(scope="session")
def augment_params() -> AugmentParams:
    return AugmentParams(
        speeds=[0.9, 1.0, 1.1],
        tempo=0.1,
        gain_db=6.0,
        floor_db=(12.0, 40.0),
        equaliser=0.1,
        frequency_masks=1,
        frequency_mask_bins=6,
        time_mask_frames=4,
    )


@pytest.fixture(scope="session")
def training_params() -> TrainingParams:
    return TrainingParams(
        threads=1,
        seed=0,
        text_steps=2,
        steps=4,
        batch=4,
        audio_learning_rate=0.01,
        text_learning_rate=0.006,
        learning_rate=0.004,
        weight_decay=0.01,
        warm_up=2,
        language_rate=0.25,
        answer_weight=4.0,
        grow=0.5,
        word_loss_until=0.8,
        text_every=3,
        question_every=5,
        log_every=2,
    )


@pytest.fixture(scope="session")
def processor(questions):
    return build_processor(texts_of(WORDS, questions, 3), window_s=2, mel_bins=32)


@pytest.fixture(scope="session")
def lessons(processor, voices, questions, augment_params) -> Lessons:
    return Lessons(processor, voices, questions, 4, 3, augment_params)
