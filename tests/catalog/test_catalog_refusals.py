"""Bad recordings are refused one by one with a stable reason; mistakes of the user stop the stage with one line."""

import json
import os
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from catalog_project import DIGITS, NOISE, Project, as_wav, sound

from tasks.common.audio import encode_flac
from tasks.common.errors import UserError

ROOMS = NOISE | {"corpus": "halls", "kind": "rooms", "root": "halls", "segment_s": None, "pattern": r"(?P<room>.*)\.(?:wav|sofa)"}
ROOMS |= {"split": {"field": "room", "test": 0.3, "validation": 0.15}}


def test_every_file_is_a_row_or_a_refusal_and_the_rest_goes_on(project: Project) -> None:
    project.digits()
    whole = as_wav(sound(7, 0.5))
    nan = sound(8)
    nan[100] = np.nan
    project.write("digits/0_ann_10.wav", b"\x01\x02 this is no sound at all")
    project.write("digits/0_ann_11.wav", b"")
    project.write("digits/0_ann_12.wav", as_wav(np.zeros((0, 1), np.float32)))
    project.write("digits/0_ann_13.wav", whole[: len(whole) // 2])
    project.write("digits/0_ann_14.wav", as_wav(nan, subtype="FLOAT"))
    project.write("digits/0_ann_15.wav", as_wav(np.full((4000, 1), 0.25, np.float32)))
    project.write("digits/0_ann_16.wav", as_wav(sound(9, 0.05)))
    project.write("digits/0_ann_17.wav", as_wav(sound(10, 1.5)))
    project.write("digits/0_ann_18.wav", (project.corpora / "digits/0_ann_0.wav").read_bytes())
    project.write("digits/9_ann_19.wav", as_wav(sound(11)))
    project.write("digits/zero_ann.wav", as_wav(sound(12)))
    project.write("digits/notes.txt", b"not part of the corpus")
    (project.corpora / "digits/0_ann_20.wav").symlink_to("nowhere.wav")
    os.mkfifo(project.corpora / "digits/0_ann_21.wav")
    project.use(speech=["digits"])
    project.build()
    assert project.refused() == {
        "digits/0_ann_10.wav": "unreadable",
        "digits/0_ann_11.wav": "empty",
        "digits/0_ann_12.wav": "empty",
        "digits/0_ann_13.wav": "truncated",
        "digits/0_ann_14.wav": "not_finite",
        "digits/0_ann_15.wav": "silent",
        "digits/0_ann_16.wav": "too_short",
        "digits/0_ann_17.wav": "too_long",
        "digits/0_ann_18.wav": "duplicate",
        "digits/9_ann_19.wav": "no_label",
        "digits/zero_ann.wav": "no_label",
        "digits/0_ann_20.wav": "bad_path",
        "digits/0_ann_21.wav": "bad_path",
    }
    on_disk = {f"digits/{path.name}" for path in (project.corpora / "digits").glob("*.wav")}
    used = {row["path"] for row in project.rows("speech") if row["kind"] == "word"}
    assert used | project.refused().keys() == on_disk and used.isdisjoint(project.refused())


@pytest.mark.parametrize(("name", "form"), [("rain.flac", "FLAC"), ("rain.ogg", "OGG"), ("rain.wav", "WAV")])
def test_a_recording_cut_off_anywhere_is_refused(project: Project, name: str, form: str) -> None:
    sf.write(project.corpora / "whole", sound(1, 8.0, 16000), 16000, format=form, subtype="VORBIS" if form == "OGG" else "PCM_16")
    whole = (project.corpora / "whole").read_bytes()
    project.entry(NOISE)
    project.write(f"din/{name}", whole)
    project.use(noise=["din"])
    project.build()
    assert project.refused() == {} and len(project.rows("noise")) == 8
    project.write("din/wind.wav", as_wav(sound(2, 4.0)))
    for share in (0.3, 0.9, 0.999):
        project.write(f"din/{name}", whole[: int(share * len(whole))])
        project.build()
        assert project.refused().keys() == {f"din/{name}"} and project.refused()[f"din/{name}"] in ("truncated", "unreadable")
        assert {row["noise_type"] for row in project.rows("noise")} == {"wind"}


def test_a_header_that_leaves_the_length_open_is_no_truncation(project: Project) -> None:
    data = bytearray(as_wav(sound(3, 4.0)))
    at = data.index(b"data")
    data[4:8] = data[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    project.entry(NOISE)
    project.write("din/rain.wav", bytes(data))
    project.use(noise=["din"])
    project.build()
    assert project.refused() == {}


def test_a_table_names_what_is_used(project: Project) -> None:
    entry = DIGITS | {"corpus": "talks", "layout": "table", "table": {"path": "texts.csv"}, "unit": "utterance", "text": "text", "compose": None}
    entry |= {"pattern": r"(?P<speaker>\w+)-\d+\.wav", "labels": {}, "split": {"field": "speaker", "test": 0.3, "validation": 0.3}}
    project.entry(entry)
    for number, name in enumerate(["ann-1.wav", "bob-1.wav", "cyd-1.wav", "cyd-2.wav", "dan-1.wav", "odd.wav"]):
        project.write(f"digits/{name}", as_wav(sound(number)))
    project.write("outside.wav", as_wav(sound(50)))
    named = ["ann-1.wav,ONE  Two", "./bob-1.wav,two", "cyd-1.wav,", "dan-1.wav,three", "odd.wav,four"]
    lost = ["gone-1.wav,five", "../outside.wav,six", "/etc/x-1.wav,seven"]
    table = "\n".join(["file,text", *named, *lost])
    project.write("digits/texts.csv", table.encode())
    project.use(speech=["talks"])
    project.build()
    assert {row["path"]: row["text"] for row in project.rows("speech")} == {
        "digits/ann-1.wav": "one two",
        "digits/bob-1.wav": "two",
        "digits/dan-1.wav": "three",
    }
    assert sorted(row["split"] for row in project.rows("speech")) == ["test", "train", "validation"]
    assert project.refused() == {
        "digits/cyd-1.wav": "no_label",
        "digits/cyd-2.wav": "no_label",
        "digits/odd.wav": "no_label",
        "digits/gone-1.wav": "bad_path",
        "digits/../outside.wav": "bad_path",
        "digits//etc/x-1.wav": "bad_path",
    }


def test_parquet_rows_are_refused_one_by_one(project: Project) -> None:
    def row(key: str | None, data: bytes | None, metadata: str = '{"noise_type": "rain"}') -> dict[str, Any]:
        return {"audio": {"bytes": data, "path": key}, "sampling_rate": 16000, "metadata": metadata}

    def flac(seed: int) -> bytes:
        return encode_flac(sound(seed, 0.5, 16000)[:, 0])

    rows = [row("a", flac(1)), row("b", None), row("c", b"no sound"), row("d", flac(2)), row("d", flac(3)), row(None, flac(4))]
    rows += [row("e", flac(5), "not JSON"), row("f", flac(6), "{}"), row("g", flac(7)[:-200])]
    project.write("din/bad.parquet", b"PAR1 and nothing else")
    pq.write_table(pa.Table.from_pylist(rows), project.corpora / "din/some.parquet")
    project.entry(NOISE, layout="parquet", pattern=r".*\.parquet", segment_s=None, split={"field": "noise_type", "test": 0.2, "validation": 0.2})
    project.use(noise=["din"])
    project.build()
    assert [row["path"] for row in project.rows("noise")] == ["din/some.parquet#a"]
    reasons = sorted((row["path"], row["reason"]) for row in project.rows("quarantine"))
    assert [(path.removeprefix("din/"), reason) for path, reason in reasons if "#g" not in path] == [
        ("bad.parquet", "unreadable"),
        ("some.parquet#5", "bad_path"),
        ("some.parquet#b", "empty"),
        ("some.parquet#c", "unreadable"),
        ("some.parquet#d", "bad_path"),
        ("some.parquet#d", "bad_path"),
        ("some.parquet#e", "unreadable"),
        ("some.parquet#f", "no_label"),
    ]
    assert project.refused()["din/some.parquet#g"] in ("truncated", "unreadable")


def test_every_response_of_a_sofa_file_is_a_row_and_azimuths_stay_together(project: Project) -> None:
    responses = np.random.default_rng(1).normal(0, 0.1, (10, 2, 4000))
    responses[4, 1] = 0.0
    (project.corpora / "halls").mkdir()
    with h5py.File(project.corpora / "halls/a.sofa", "w") as file:
        file["Data.IR"], file["Data.SamplingRate"] = responses, np.array([8000.0])
        file["SourcePosition"] = np.stack([np.roll(np.arange(270, 370, 10) % 360, 3), np.zeros(10), np.ones(10)], axis=1)
    project.write("halls/b.sofa", b"no HDF5")
    project.entry(ROOMS, layout="sofa", split=NOISE["split"])
    project.use(rooms=["halls"])
    project.build()
    rows = project.rows("rooms")
    assert len(rows) == 19 and project.refused() == {"halls/a.sofa#4/1": "silent", "halls/b.sofa": "unreadable"}
    azimuths: dict[str, set[float]] = {"train": set(), "validation": set(), "test": set()}
    for row in rows:
        azimuths[row["split"]].add(float(json.loads(row["metadata"])["azimuth_deg"]))
    assert azimuths == {"train": {-90, -80, -70, -60, -50, -40}, "validation": {-30, -20}, "test": {-10, 0}}


def mistake(project: Project, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        project.build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"patern": "x"}, "unknown key 'patern'.*Did you mean 'pattern'"),
        ({"pattern": "(unclosed"}, "'pattern' is .*not a regular expression"),
        ({"pattern": r"nothing\.wav"}, "no file below .* matches"),
        ({"root": "elsewhere"}, "no folder"),
        ({"root": "../digits"}, "'root' is"),
        ({"split": {"field": "speaker", "test": ["cid"], "validation": 0.1}}, "no usable recording has speaker 'cid'.*Did you mean 'cyd'"),
        ({"split": {"field": "room", "test": 0.1, "validation": 0.1}}, "has no field 'room'.*digit, speaker, take"),
        ({"split": {"field": "speaker", "test": 1.5, "validation": 0.1}}, "a share lies between 0 and 1"),
        ({"unit": None}, "digits.yaml: speech needs 'unit'"),
        ({"unit": "utterance"}, "'compose' is for a corpus of single words"),
        ({"layout": "table"}, "'table' and 'layout: table' go together"),
        ({"segment_s": 1.0}, "'segment_s' cuts noise recordings"),
        ({"duration_s": [2.0, 1.0]}, "'duration_s' is a range"),
        ({"compose": {"words": [3, 1], "utterances": {"train": 1}}}, "words is a range of counts"),
        ({"duration_s": [5.0, 6.0]}, "every recording was refused"),
    ],
)
def test_a_mistake_in_an_entry_is_named(project: Project, change: dict[str, Any], match: str) -> None:
    project.digits()
    project.entry(DIGITS, **change)
    project.use(speech=["digits"])
    mistake(project, match)


def test_a_mistake_in_the_parameters_is_named(project: Project) -> None:
    project.digits()
    project.use(speech=["digit"])
    mistake(project, "there is no catalogs/speech/digit.yaml.*Did you mean 'digits'")
    project.use(speech=["digits"], holdout_speakers={"digits": ["an"]})
    mistake(project, "speaker 'an'.*Did you mean 'ann'")
    project.use(speech=["digits"], holdout_speakers={"numbers": ["ann"]})
    mistake(project, "'numbers' is not a speech corpus of this build")
    project.use(speech=["digits"], noises=["din"])
    mistake(project, "unknown key 'noises'.*Did you mean 'noise'")


def test_a_table_without_its_column_is_named(project: Project) -> None:
    project.digits()
    project.entry(DIGITS, layout="table", table={"path": "texts.csv", "file": "name"}, compose=None)
    project.use(speech=["digits"])
    mistake(project, "no such table")
    project.write("digits/texts.csv", b"file,text\n0_ann_0.wav,zero\n")
    mistake(project, "has no column 'name'.*file, text")
