"""The stage: what it writes, what of the catalogs decides it, and what it refuses. The catalogs hold tones as speech and coloured noise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
import yaml

from tasks.common.audio import RATE, active_power, encode_flac, mean_power
from tasks.common.errors import UserError
from tasks.common.seeds import rng_of
from tasks.common.tables import read_rows, write_parquet
from tasks.engines import load_generator, model_revision
from tasks.see import material, stage
from tasks.see.basis import SEE, Basis, basis_path, load_basis, save_basis
from tasks.see.score import see_scores
from tests import teacher_side
from tests.teacher_side import SPEECH, clip

BACKBONE = Path("models/backbone")
TYPES = ("hum", "rain")
CLIPS = 12


def noise_wave(noise_type: str, number: int) -> Any:
    drawn = rng_of("noise", noise_type, number).standard_normal(2 * RATE)
    return (0.05 * (np.cumsum(drawn - drawn.mean()) / 40 if noise_type == "hum" else drawn)).astype(np.float32)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("see") / "project"
    speech, noise = [], []
    for split in ("train", "test"):
        for number in range(CLIPS if split == "train" else 2):
            row, wave = clip("speech", split, 0, 0.9)
            row |= {"clip_id": f"{split}{number}", "path": f"speech/{split}-{number}.flac"}
            wave = wave * rng_of("envelope", number).uniform(0.1, 1.0, 9).astype(np.float32).repeat(len(wave) // 9)
            speech.append((row, wave))
        for noise_type in TYPES:
            for number in range(2):
                row, _ = clip("noise", split, 0, 2.0)
                row |= {"clip_id": f"{split}-{noise_type}-{number}", "path": f"noise/{split}-{noise_type}-{number}.flac", "noise_type": noise_type}
                noise.append((row, noise_wave(noise_type, number)))
    long, wave = clip("speech", "train", 1, 3.0)
    speech.append((long | {"clip_id": "long", "path": "speech/long.flac"}, wave))
    for row, wave in speech + noise:
        path = root / "data/corpora" / row["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_flac(wave))
    write_parquet(root / material.SPEECH, [row for row, _ in speech], SPEECH)
    write_parquet(root / material.NOISE, [row for row, _ in noise], SPEECH)
    for name in ("params.yaml", "profiles"):
        (root / name).symlink_to(teacher_side.ROOT / name)
    teacher_side.write_model(root / BACKBONE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        settings(clips=CLIPS)
        stage.run()
    return root


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return teacher_side.enter_copy(built, tmp_path / "project", monkeypatch)


def settings(**changes: Any) -> None:
    """Change the section `see` of the working folder's params.yaml."""
    path = Path("params.yaml")
    params = yaml.safe_load(path.read_text())
    if path.is_symlink():
        path.unlink()
    params["see"] |= {"form": "paired", "layers": "rule", "no_layer": "all", "delta": "width", "rho": 0.95} | changes
    path.write_text(yaml.safe_dump(params))


def test_each_noise_type_and_their_mixture_has_a_basis_that_says_where_it_is_from(project: Path) -> None:
    assert {path.name for path in SEE.iterdir()} == {"hum.safetensors", "rain.safetensors", "mixed.safetensors", "layers.json", "SHA256SUMS"}
    readable = json.loads((SEE / "layers.json").read_text())
    for noise_type in (*TYPES, None):
        basis = load_basis(basis_path(noise_type))
        said = readable[noise_type or "mixed"]
        assert said["revision"] == model_revision(BACKBONE) and said["noise_type"] == (noise_type or "mixed") and said["form"] == "paired"
        assert said["layers"] == list(basis.layers) and said["ranks"] == [directions.shape[1] for directions in basis.layers.values()]
        assert len(said["M"]) == len(said["D"]) == 2 and said["chosen_by"] in ("rule", "all, because the rule selects none")
    assert json.loads(basis.meta["D"]) == readable["mixed"]["D"]


def test_the_same_inputs_give_the_same_bytes_and_what_is_no_basis_any_more_goes(project: Path) -> None:
    before = {path.name: path.read_bytes() for path in SEE.iterdir()}
    (SEE / "siren.safetensors").write_bytes(b"")
    stage.run()
    assert {path.name: path.read_bytes() for path in SEE.iterdir()} == before


def test_only_the_training_split_decides(project: Path) -> None:
    before = {path.name: path.read_bytes() for path in SEE.iterdir()}
    for path in (material.SPEECH, material.NOISE):
        write_parquet(path, [row for row in read_rows(path) if row["split"] == "train"][::-1], SPEECH)
    stage.run()
    assert {path.name: path.read_bytes() for path in SEE.iterdir()} == before


def test_segments_are_as_long_and_as_loud_as_the_speech_they_stand_beside(project: Path) -> None:
    found = material.draw(CLIPS, 2.0)
    assert set(found.noise) == set(TYPES)
    for segments in found.noise.values():
        for speech, noise in zip(found.speech, segments, strict=True):
            assert len(noise) == len(speech)
            assert mean_power(noise) == pytest.approx(active_power(speech), rel=1e-4)
    levels = [
        round(10 * np.log10(active_power(speech) / mean_power(noisy - speech)))
        for speech, noisy in zip(found.speech, material.mixtures(found, "hum", (-10.0, 0.0, 20.0)), strict=True)
    ]
    assert sorted(levels) == [-10] * 4 + [0] * 4 + [20] * 4


def test_louder_noise_is_perceived_as_more(project: Path) -> None:
    generator: Any = load_generator("transformers", BACKBONE)
    found = material.draw(CLIPS, 2.0)
    at = [np.mean(see_scores(generator, material.mixtures(found, "rain", [snr_db]), load_basis(basis_path(None)))) for snr_db in (20.0, 5.0, -10.0)]
    assert at[0] < at[1] < at[2]


def test_the_published_form(project: Path) -> None:
    settings(clips=CLIPS, form="published", delta=0.99, rho=0.9)
    stage.run()
    basis = load_basis(basis_path("hum"))
    assert not basis.readers and basis.meta["delta"] == "0.99" and basis.meta["form"] == "published"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "published", "delta": 1e-6}, r"see.delta: 1e-06: no noise direction of 'hum' passes"),
        ({"clips": 2}, r"see.clips: \d+ frames are fewer than the 256 channels"),
        ({"clips": 2, "form": "published", "rho": 1.0}, r"see.clips: 2 clips are no more than the directions"),
        ({"layers": [0, 7]}, r"see.layers: there is no layer 7: the audio encoder has 0 to 1"),
        ({"layers": []}, r"'layers.+' is \[\]"),
        ({"delta": "wide"}, r"'delta.+' is 'wide'"),
    ],
)
def test_mistakes_are_named(project: Path, changes: dict[str, Any], message: str) -> None:
    settings(**{"clips": CLIPS} | changes)
    with pytest.raises(UserError, match=message):
        stage.run()


def test_the_rule_that_selects_no_layer_falls_back_or_stops_as_params_say(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tasks.see.stage.distances", lambda speech, noise: (1.0, 1.0))
    settings(clips=CLIPS, no_layer="stop")
    with pytest.raises(UserError, match=r"see.layers: rule: it selects no layer for 'hum'"):
        stage.run()
    settings(clips=CLIPS)
    with caplog.at_level("INFO", logger="dinproof"):
        stage.run()
    assert "see: hum: no layer has both M and D above their means" in caplog.text
    said = json.loads((SEE / "layers.json").read_text())["hum"]
    assert said["layers"] == [0, 1] and said["chosen_by"] == "all, because the rule selects none"


@pytest.mark.parametrize(("name", "message"), [("mixed", "a noise type is called 'mixed'"), (None, "no noise in the training split")])
def test_noise_that_cannot_be_used_is_named(project: Path, name: str | None, message: str) -> None:
    rows = [row | {"noise_type": name} for row in read_rows(material.NOISE)] if name else []
    write_parquet(material.NOISE, rows, SPEECH)
    with pytest.raises(UserError, match=message):
        stage.run()


def test_silent_noise_is_named(project: Path) -> None:
    for row in read_rows(material.NOISE):
        sf.write(Path("data/corpora") / row["path"], np.zeros(RATE), RATE)
    with pytest.raises(UserError, match=r"every noise clip of type .hum. is silent"):
        stage.run()


def test_a_basis_survives_its_file_and_nothing_else_is_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    with pytest.raises(UserError, match="no noise basis here"):
        load_basis(path)
    path.write_bytes(b"not a basis")
    with pytest.raises(UserError, match="the file holds no noise basis"):
        load_basis(path)
    drawn = np.random.default_rng(0)
    layers = {layer: torch.from_numpy(drawn.standard_normal((6, 2)).astype(np.float32)) for layer in (11, 2)}
    readers = {layer: 2 * value for layer, value in layers.items()}
    save_basis(Basis(layers, {"noise_type": "rain"}, readers, {2: torch.ones(2)}), path)
    found = load_basis(path)
    assert list(found.layers) == [2, 11] and found.meta == {"noise_type": "rain"} and list(found.offsets) == [2]
    assert all(torch.equal(found.layers[layer], value) and torch.equal(found.readers[layer], 2 * value) for layer, value in layers.items())
    for empty in ({}, {0: torch.zeros(6, 0)}):
        with pytest.raises(ValueError, match="at least one direction"):
            Basis(empty, {})
    assert basis_path("street/traffic").name == "street%2Ftraffic.safetensors"


def test_a_corpus_smaller_than_asked_for_is_taken_whole(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = basis_path(None).read_bytes()
    settings(clips=CLIPS + 1)
    with caplog.at_level("INFO", logger="dinproof"):
        stage.run()
    assert "see: 12 utterances, all there are, instead of 13" in caplog.text
    assert basis_path(None).read_bytes() == before


def test_silence_between_sounds_is_not_taken_for_noise(project: Path) -> None:
    rows = [row for row in read_rows(material.NOISE) if row["split"] == "train" and row["noise_type"] == "hum"]
    for row in rows[1:]:
        (project / "data/corpora" / row["path"]).write_bytes(encode_flac(np.zeros(RATE, np.float32)))
    drawn = material.draw(CLIPS, 2.0)
    assert len(drawn.noise["hum"]) == CLIPS and all(np.any(segment) for segment in drawn.noise["hum"])
    (project / "data/corpora" / rows[0]["path"]).write_bytes(encode_flac(np.zeros(RATE, np.float32)))
    with pytest.raises(UserError, match="every noise clip of type 'hum' is silent"):
        material.draw(CLIPS, 2.0)
