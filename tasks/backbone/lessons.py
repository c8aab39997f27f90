"""Training batches: utterances composed of single words on the fly, and the questions that `tasks.items` asks about them.

A batch is decided by its generator alone, so it is the same whenever and wherever it is drawn.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from tasks.backbone.features import LogMel, augment, stretch
from tasks.backbone.params import AugmentParams
from tasks.catalog.compose import compose
from tasks.common.audio import RATE, Wave, at_speed
from tasks.items.build import Corpus, speech_items, words_of
from tasks.items.params import Questions
from tasks.items.prompt import prompt_text, response_text, text_only

TASKS = ("first", "last", "count", "present")
END_OF_TURN = "<|im_end|>"
IGNORE = -100
Mode = Literal["audio", "words", "text", "question"]
"""What stands in for the speech: the audio, the word said at each audio token, the transcript, or nothing (CAAD's way without audio)."""


@dataclass(frozen=True)
class Voice:
    """A speaker's single words."""

    corpus: str
    speaker: str
    words: Mapping[str, list[Wave]]


@dataclass(frozen=True)
class Spoken:
    """An utterance: its words, their places in seconds, and its sound."""

    corpus: str
    words: list[str]
    wave: Wave
    starts_s: Sequence[float]
    ends_s: Sequence[float]


@dataclass(frozen=True)
class Batch:
    """Tensors of a step: the model's inputs, labels (batch, tokens), and the word at each audio token (batch, positions)."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    words_at: torch.Tensor


def voices_of(rows: Sequence[Mapping[str, Any]], waves: Mapping[str, Wave]) -> list[Voice]:
    """Word clips of the catalog by speaker, in an order that hangs on their names and ids only; words are spelled as items spell them."""
    spoken: dict[tuple[str, str], dict[str, list[Wave]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda row: (row["corpus"], row["speaker"], row["text"], row["clip_id"])):
        spoken[row["corpus"], row["speaker"]][" ".join(words_of(row["text"]))].append(waves[row["clip_id"]])
    return [Voice(corpus, speaker, dict(words)) for (corpus, speaker), words in spoken.items()]


def vocabulary(voices: Sequence[Voice]) -> list[str]:
    """Every word that any voice says."""
    return sorted({word for voice in voices for word in voice.words})


def coloured_noise(count: int, seconds: float) -> list[Wave]:
    """`count` noises of unit power whose spectra fall by -1.5 to 6 dB an octave: the floor of the "clean" recordings."""
    rng = np.random.default_rng(count)
    size = int(seconds * RATE)
    frequency = np.maximum(np.fft.rfftfreq(size, 1 / RATE), 50.0)
    noises = []
    for slope in np.linspace(-0.25, 1.0, count):
        noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(size)) * frequency**-slope, size)
        noises.append((noise / np.sqrt(np.mean(noise**2))).astype(np.float32))
    return noises


class Lessons:
    """Draws utterances of `voices`, asks about them, and lays out batches for one processor."""

    def __init__(self, processor: Any, voices: Sequence[Voice], questions: Questions, options: int, max_words: int, params: AugmentParams) -> None:
        self.tokenizer, self.extractor, self.audio_id = processor.tokenizer, processor.feature_extractor, processor.audio_token_id
        self.voices, self.questions, self.options, self.max_words, self.params = voices, questions, options, max_words, params
        self.vocabulary = vocabulary(voices)
        self.log_mel = LogMel(self.extractor)
        self.noises = coloured_noise(24, 2.0 * self.extractor.chunk_length)  # longer than any utterance
        by_corpus: dict[str, set[str]] = defaultdict(set)
        for voice in voices:
            by_corpus[voice.corpus] |= set(voice.words)
        # Any word may begin or end an utterance, and all lengths occur.
        self.corpora = {name: Corpus.of([[word] * max_words for word in sorted(words)]) for name, words in by_corpus.items()}
        self.ids = lru_cache(200_000)(lambda text: self.tokenizer(text)["input_ids"])
        self.word_ids: list[list[int]] = [self.ids(f" {word}") for word in self.vocabulary]

    def utterance(self, rng: Generator, words: int, augmented: bool) -> Spoken:
        """`words` distinct words of one speaker; fewer where they do not fit the window together."""
        voice = self.voices[int(rng.integers(len(self.voices)))]
        known = list(voice.words)
        said = [known[index] for index in rng.choice(len(known), min(words, len(known)), replace=False)]
        waves = [voice.words[word][rng.integers(len(voice.words[word]))] for word in said]
        if augmented:
            speed = self.params.speeds[rng.integers(len(self.params.speeds))]
            waves = [at_speed(wave, speed) for wave in waves]
        wave, starts_s, ends_s = compose(waves, rng, max_s=self.extractor.n_samples / RATE)
        return Spoken(voice.corpus, said[: len(starts_s)], wave, starts_s, ends_s)

    def ask(self, spoken: Spoken, rng: Generator) -> dict[str, Any]:
        """An item about the utterance, of a task drawn evenly."""
        row = {"clip_id": f"{rng.integers(2**63):016x}", "text": " ".join(spoken.words), "split": "train"}
        items = speech_items(row, self.corpora[spoken.corpus], self.questions, self.options)
        task = TASKS[rng.integers(len(TASKS))]
        return next((item for item in items if item["task"] == task), items[0])

    def floor(self, wave: Wave, rng: Generator) -> Wave:
        """With a stretch of coloured noise below it, and at a level of its own."""
        low, high = self.params.floor_db
        noise = self.noises[rng.integers(len(self.noises))]
        start = rng.integers(len(noise) - len(wave))
        power = float(np.mean(np.square(wave)))
        noisy = wave + noise[start : start + len(wave)] * np.sqrt(power * 10 ** (-rng.uniform(low, high) / 10))
        gain = 10 ** (rng.uniform(-self.params.gain_db, self.params.gain_db) / 20)
        return (gain * noisy).astype(np.float32)

    def prompt_ids(self, prompt: str, heard: list[int]) -> list[int]:
        """Tokens of the chat template's user turn and the opening of the answer; without audio where nothing is heard."""
        head, tail = self.ids("<|im_start|>user\n"), self.ids(f"{prompt}<|im_end|>\n<|im_start|>assistant\n")
        if not heard:
            return head + tail
        return head + self.ids("<|audio_bos|>") + heard + self.ids("<|audio_eos|>\n") + tail

    def batch(self, rng: Generator, size: int, max_words: int, mode: Mode) -> Batch:
        """A batch of `size` rows of 1 to `max_words` words."""
        hop, window = self.extractor.hop_length, self.extractor.n_samples
        waves = torch.zeros(size, window)
        frames = np.zeros(size, dtype=np.int64)
        tempo = np.exp(rng.uniform(-self.params.tempo, self.params.tempo, size))
        words_at = torch.full((size, window // hop // 4), IGNORE)
        rows: list[tuple[list[int], list[int]]] = []
        for index in range(size):
            spoken = self.utterance(rng, int(rng.integers(1, max_words + 1)), augmented=True)
            item = self.ask(spoken, rng)
            prompt = prompt_text(item["question"], item["options"])
            response = self.ids(response_text(item["transcript"].split(), item["answer"]) + END_OF_TURN)
            heard: list[int] = []
            if mode in ("audio", "words"):
                tempo[index] = min(tempo[index], window / len(spoken.wave))
                frames[index] = min(int(-(-len(spoken.wave) // hop) * tempo[index]), window // hop)
                tokens = ((int(frames[index]) - 1) // 2 - 1) // 2 + 1
                said = self.frame_words(spoken, tokens, tempo[index])
                words_at[index, :tokens] = torch.from_numpy(said)
                heard = [self.audio_id] * tokens if mode == "audio" else self.spelled(said)
            if mode == "audio":
                waves[index, : len(spoken.wave)] = torch.from_numpy(self.floor(spoken.wave, rng))
            rows.append((self.prompt_ids(text_only(item["transcript"], prompt) if mode == "text" else prompt, heard), response))
        inputs, labels = self.pad(rows)
        if mode != "audio":
            return Batch(inputs, labels, words_at)
        mel = augment(stretch(self.log_mel(waves), tempo), rng, self.params)
        mask = (torch.arange(mel.shape[2])[None, :] < torch.from_numpy(frames)[:, None]).long()
        return Batch({**inputs, "input_features": mel, "feature_attention_mask": mask}, labels, words_at)

    def frame_words(self, spoken: Spoken, tokens: int, tempo: float) -> NDArray[np.int64]:
        """(tokens,) what is said in the middle of each 40 ms audio token: 0 for nothing, else 1 + the word's number."""
        middle = (np.arange(tokens) + 0.5) * 0.04
        said = np.zeros(tokens, dtype=np.int64)
        for word, start, end in zip(spoken.words, spoken.starts_s, spoken.ends_s, strict=True):
            said[(middle >= start * tempo) & (middle < end * tempo)] = 1 + self.vocabulary.index(word)
        return said

    def spelled(self, said: NDArray[np.int64]) -> list[int]:
        """The words' own tokens in place of audio tokens; the placeholder stays where nothing is said."""
        return [self.word_ids[word - 1][place % len(self.word_ids[word - 1])] if word else self.audio_id for place, word in enumerate(said)]

    def pad(self, rows: Sequence[tuple[list[int], list[int]]]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Prompt and response tokens as (inputs, labels), padded on the right; only responses are labelled."""
        longest = max(len(prompt) + len(response) for prompt, response in rows)
        ids = torch.full((len(rows), longest), self.tokenizer.pad_token_id)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORE)
        for index, (prompt, response) in enumerate(rows):
            end = len(prompt) + len(response)
            ids[index, :end] = torch.tensor(prompt + response)
            mask[index, :end] = 1
            labels[index, len(prompt) : end] = torch.tensor(response)
        return {"input_ids": ids, "attention_mask": mask}, labels
