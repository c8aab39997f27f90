"""What the catalog holds follows from the recordings alone: not from order, workers, names or earlier runs."""

import itertools
import json
import shutil
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from catalog_project import DIGITS, NOISE, Listing, Project, as_wav, sound

from tasks.catalog.audio import load_clips
from tasks.catalog.found import clip_id_of
from tasks.common.audio import RATE, resample
from tasks.common.fanout import in_workers


@pytest.fixture
def full(project: Project) -> Project:
    project.digits()
    project.entry(NOISE)
    project.write("din/rain.wav", as_wav(sound(1, 6.5, 16000, 2), 16000))
    project.write("din/deep/hum.wav", as_wav(sound(2, 1.4, 11025), 11025))
    project.write("din/deep/hum-again.wav", as_wav(sound(2, 1.4, 11025), 11025))  # which of the two is the duplicate?
    project.use(speech=["digits"], noise=["din"])
    project.build()
    return project


def test_splits_labels_and_licences(full: Project) -> None:
    words = [row for row in full.rows("speech") if row["kind"] == "word"]
    assert len(words) == 36 and {row["text"] for row in words} == {"zero", "one", "two"}
    assert {row["split"] for row in words if row["speaker"] == "cyd"} == {"test"}
    takes = {row["clip_id"]: json.loads(row["metadata"])["take"] for row in words}
    validating = {takes[row["clip_id"]] for row in words if row["split"] == "validation"}
    assert 1 <= len(validating) <= 2  # a quarter of four takes, each drawn by its own hash
    assert all((takes[row["clip_id"]] in validating) == (row["split"] == "validation") for row in words if row["speaker"] != "cyd")
    noise = full.rows("noise")
    assert {row["noise_type"]: row["licence"] for row in noise} == {"rain": "CC-BY-4.0", "hum": "CC0-1.0"}
    every = set(itertools.product(("rain", "hum"), ("train", "validation", "test")))
    assert {(row["noise_type"], row["split"]) for row in noise} == every


def cut_of(row: dict[str, Any]) -> tuple[int, int]:
    start, end = row["path"].rpartition("@")[2].split("-")
    return int(start), int(end)


def test_stretches_follow_each_other_and_training_comes_first(full: Project) -> None:
    rain = sorted((row for row in full.rows("noise") if row["noise_type"] == "rain"), key=cut_of)
    cuts = [cut_of(row) for row in rain]
    assert cuts[0][0] == 0 and cuts[-1][1] == 6.5 * 16000
    assert all(before[1] == after[0] for before, after in itertools.pairwise(cuts))
    assert [row["split"] for row in rain] == ["train"] * 4 + ["validation", "test"]


def test_utterances_hold_the_words_they_name_where_they_name_them(full: Project) -> None:
    rows = full.rows("speech")
    utterances = [row for row in rows if row["kind"] == "utterance"]
    assert len(utterances) == 24
    assert {row["split"] for row in utterances if row["speaker"] == "cyd"} == {"test"}
    waves = load_clips(rows)
    checked = 0
    for row in utterances:
        metadata = json.loads(row["metadata"])
        assert row["text"].split() == metadata["words"] and len(set(metadata["words"])) == len(metadata["words"])
        assert len(waves[row["clip_id"]]) / RATE == row["duration_s"] <= 2.0
        for clip, start, end in zip(metadata["word_clips"], metadata["starts_s"], metadata["ends_s"], strict=True):
            heard, word = waves[row["clip_id"]][round(start * RATE) :][: len(waves[clip])], waves[clip]
            assert round((end - start) * RATE) == pytest.approx(len(word), abs=2)
            correlation = np.dot(heard, word) / np.linalg.norm(heard) / np.linalg.norm(word)
            assert correlation > 0.999
            checked += 1
    assert checked >= 40


def test_workers_listing_order_and_a_second_run_change_no_byte(full: Project, listing_order: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    first = full.snapshot()
    assert len(first) == 5 + 5  # ann and bob in train and validation, cyd in test
    full.build()
    assert full.snapshot() == first
    shutil.rmtree("data")
    monkeypatch.setenv("WORKERS", "2")
    full.build(in_workers)
    assert full.snapshot() == first
    for backwards in (False, True):
        shutil.rmtree("data")
        listing_order(backwards)
        full.build()
        assert full.snapshot() == first


def test_renaming_changes_only_the_path(full: Project) -> None:
    before = {row["clip_id"]: row for row in full.rows("noise")}
    (full.corpora / "din/deep").rename(full.corpora / "din/zebra")
    (full.corpora / "din/rain.wav").rename(full.corpora / "din/zebra/rain-1.wav")
    full.entry(NOISE, licences={"rain-1": "CC-BY-4.0"})
    full.build()
    after = {row["clip_id"]: row for row in full.rows("noise")}
    assert {clip: {**row, "path": ""} for clip, row in before.items()} == {clip: {**row, "path": ""} for clip, row in after.items()}
    assert all(before[clip]["path"] != after[clip]["path"] for clip in before)


def test_load_clips_gives_what_the_files_hold(full: Project) -> None:
    rows = full.rows("noise") + full.rows("speech")
    waves = load_clips(rows)
    assert len(waves) == len(rows)
    one = next(row for row in rows if row["path"].endswith("0_ann_0.wav"))
    samples, rate = sf.read(full.corpora / one["path"], dtype="float32")
    assert np.array_equal(waves[one["clip_id"]], resample(samples, rate))
    stereo, _ = sf.read(full.corpora / "din/rain.wav", dtype="float32")
    for row in rows:
        if "rain.wav@" in row["path"]:
            start, end = cut_of(row)
            assert np.allclose(waves[row["clip_id"]], stereo[start:end].mean(axis=1), atol=1e-7)
    few = [row for row in rows if row["clip_id"] in sorted(waves)[:5]]
    assert all(np.array_equal(wave, waves[clip]) for clip, wave in load_clips(few).items())


def test_clip_id_names_samples_and_rate() -> None:
    samples = sound(1, 0.5, channels=2)
    same = {clip_id_of(samples, 8000), clip_id_of(samples.copy(), 8000), clip_id_of(np.asfortranarray(samples), 8000)}
    other = {clip_id_of(samples, 16000), clip_id_of(samples.reshape(-1, 1), 8000), clip_id_of(samples[:-1], 8000), clip_id_of(samples + 1e-6, 8000)}
    assert len(same) == 1 and len(same | other) == 5
    assert clip_id_of(samples[:, 0], 8000) == clip_id_of(samples[:, :1], 8000)


def test_a_corpus_that_leaves_the_build_leaves_no_shards(full: Project) -> None:
    full.use(noise=["din"])
    full.build()
    assert set(full.snapshot()) == {"speech.parquet", "noise.parquet", "rooms.parquet", "quarantine.parquet", "corpora.parquet"}
    assert full.rows("speech") == []


def test_another_speaker_can_be_kept_for_test(full: Project) -> None:
    full.use(speech=["digits"], holdout_speakers={"digits": ["ann"]})
    full.build()
    assert {row["speaker"] for row in full.rows("speech") if row["split"] == "test"} == {"ann"}
    assert {row["speaker"] for row in full.rows("speech") if row["split"] == "train"} == {"bob", "cyd"}
    full.entry(DIGITS, split={"field": "speaker", "test": ["cyd"], "validation": ["ann"]})
    full.build()  # the speaker kept for test leaves the validation
    assert {(row["speaker"], row["split"]) for row in full.rows("speech")} == {("ann", "test"), ("bob", "train"), ("cyd", "train")}
