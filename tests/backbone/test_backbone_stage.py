import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile as sf
import yaml
from backbone_samples import SMALL, WORDS, tone

from tasks.backbone.lessons import Lessons, voices_of
from tasks.backbone.model import build_model, save
from tasks.backbone.pretrained import fetch
from tasks.backbone.stage import exam, run
from tasks.backbone.train import draw, mode_of, train
from tasks.common.errors import UserError
from tasks.common.seeds import content_id, file_sha256, folder_revision
from tasks.common.tables import read_rows, write_parquet


def test_two_runs_give_the_same_bytes(processor, lessons, training_params, tmp_path):
    logs = []
    for name in ("one", "two"):
        model = build_model(processor, SMALL)
        logs.append(train(model, lessons, training_params))
        save(model, processor, tmp_path / name)
    assert logs[0] == logs[1] and logs[0][-1]["step"] == training_params.text_steps + training_params.steps
    assert folder_revision(tmp_path / "one") == folder_revision(tmp_path / "two")


def test_training_lowers_the_loss(processor, voices, questions, augment_params, training_params):
    lessons = Lessons(processor, voices, questions, 4, 1, augment_params)
    params = training_params.model_copy(update={"text_steps": 0, "steps": 150, "batch": 16, "log_every": 10})
    log = train(build_model(processor, SMALL), lessons, params)
    assert log[-1]["loss"] < 0.5 * log[0]["loss"] and log[-1]["token_accuracy"] > log[0]["token_accuracy"]


def test_utterances_grow_and_every_mode_has_its_turn(lessons, training_params):
    params = training_params.model_copy(update={"text_steps": 24, "steps": 60, "text_every": 6, "question_every": 12, "batch": 16})
    modes = [mode_of(step, params) for step in range(84)]
    assert [modes[:24].count(mode) for mode in ("words", "text", "question", "audio")] == [10, 12, 2, 0]
    assert [modes[24:].count(mode) for mode in ("words", "text", "question", "audio")] == [0, 10, 5, 45]
    one, other = (draw(lessons, step, params).inputs["input_ids"] for step in (82, 81))
    assert one.shape != other.shape or not one.equal(other)  # no step repeats another
    counts = [(draw(lessons, step, params).labels != -100).sum(1).max().item() for step in (0, 25, 83)]
    assert counts[0] == counts[2] == counts[1] + 2  # two words more


def test_voices_do_not_hang_on_the_order_of_rows():
    rows = [
        {"clip_id": f"{index}{name}", "corpus": "c", "speaker": name, "text": word} for name in "ab" for index, word in enumerate(["x", "x", "y"])
    ]
    waves = {row["clip_id"]: np.full(3, position, np.float32) for position, row in enumerate(rows)}
    one, other = voices_of(rows, waves), voices_of(rows[::-1], waves)
    assert [voice.speaker for voice in one] == ["a", "b"]
    for left, right in zip(one, other, strict=True):
        assert list(left.words) == list(right.words)
        assert all(np.array_equal(left.words[word], right.words[word]) for word in left.words)


def test_the_exam_is_plain_speech_and_always_the_same(lessons):
    one, two = exam(lessons, 12), exam(lessons, 12)
    assert all(a.prompt == b.prompt and np.array_equal(a.wave, b.wave) for a, b in zip(one, two, strict=True))
    assert {question.task for question in one} <= {"first", "last", "count", "present"}
    assert all(question.answer in question.options for question in one)
    assert min(np.abs(question.wave[:100]).max() for question in one) == 0.0  # no noise floor


@pytest.fixture
def project(tmp_path: Path, monkeypatch, training_params, augment_params) -> Path:
    """A project with a catalog of tones and a backbone of a few steps."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for split, base in (("train", 200.0), ("validation", 220.0)):
        for index, word in enumerate(WORDS):
            path = Path("corpora") / f"{split}-{word}.wav"
            path.parent.mkdir(exist_ok=True)
            sf.write(path, tone(base * (1 + index / 3), 0.25), 16_000, subtype="PCM_16")
            row = {"clip_id": content_id(path.name), "path": path.name, "sampling_rate": 16_000, "corpus": "tones", "speaker": split, "text": word}
            rows.append({**row, "sha256": file_sha256(path), "kind": "word", "split": split})
    write_parquet(Path("data/catalog/speech.parquet"), pa.Table.from_pylist(rows))
    wording = {"first": "first word?", "last": "last word?", "count": "how many words?", "present": "is {word} said?", "background": "what noise?"}
    Path("words.yaml").write_text(yaml.safe_dump(wording))
    section = {
        "window_s": 2,
        "mel_bins": 32,
        "max_words": 3,
        "questions": "words.yaml",
        "options": 4,
        "validation_questions": 8,
        "model": SMALL.model_dump(),
        "augment": json.loads(augment_params.model_dump_json()),
        "training": training_params.model_dump(),
    }
    Path("params.yaml").write_text(yaml.safe_dump({"profile": "tiny", "corpora": "corpora", "backbone": section}))
    Path("profiles").mkdir()
    Path("profiles/tiny.yaml").write_text("backbone: {}\n")
    return tmp_path


def test_the_stage_writes_a_folder_and_its_log(project, training_params):
    assert run().done == {"steps": training_params.text_steps + training_params.steps}
    first = folder_revision(Path("models/backbone"))
    Path("models/backbone/model-00001-of-00005.safetensors").touch()  # of a pretrained model that was here before
    log = [json.loads(line) for line in Path("models/backbone/train_log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [2, 4, 6, 6] and 0.0 <= log[-1]["validation"]["all"] <= 1.0
    run()
    assert folder_revision(Path("models/backbone")) == first


def test_no_words_is_the_users_mistake(project):
    texts = ("clip_id", "path", "sha256", "corpus", "speaker", "text", "kind", "split")
    write_parquet(Path("data/catalog/speech.parquet"), [], pa.schema([*((name, pa.string()) for name in texts), ("sampling_rate", pa.int32())]))
    with pytest.raises(UserError, match="no single words"):
        run()


def test_a_pretrained_folder_is_copied(processor, tmp_path):
    save(build_model(processor, SMALL), processor, tmp_path / "theirs")
    (tmp_path / "theirs" / "pytorch_model.bin").write_bytes(b"the same weights again")
    (tmp_path / "backbone").mkdir()
    (tmp_path / "backbone" / "left.over").touch()
    fetch(str(tmp_path / "theirs"), tmp_path / "backbone")
    names = {path.name for path in (tmp_path / "backbone").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "train_log.jsonl"} <= names
    assert not {"pytorch_model.bin", "left.over"} & names


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        fetch(str(tmp_path), tmp_path / "backbone")


def test_a_word_that_does_not_fit_the_window_is_refused(project):
    long = Path("corpora/train-lamp.wav")
    sf.write(long, tone(200.0, 1.8), 16_000, subtype="PCM_16")
    table = Path("data/catalog/speech.parquet")
    rows = [row | ({"sha256": file_sha256(long)} if row["path"] == long.name else {}) for row in read_rows(table)]
    write_parquet(table, pa.Table.from_pylist(rows))
    with pytest.raises(UserError, match="does not fit window_s 2"):
        run()


def test_words_are_spelled_as_items_spell_them():
    rows = [{"clip_id": "1", "corpus": "c", "speaker": "a", "text": "LAMP,"}]
    assert list(voices_of(rows, {"1": np.zeros(3, np.float32)})[0].words) == ["lamp"]
