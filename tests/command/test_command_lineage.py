"""Lineage: forward from a recording, back from a model, and after the recording is gone."""

import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from command_world import ROOT, catalog, curriculum, mixtures, uid
from dvc.cli import main as dvc
from dvc.repo import Repo
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.command import main
from flows.command.card import card
from flows.command.recorded import recorded_lineage, recorded_models
from flows.graph import Stage, stale_stages
from flows.retraining.heard import job_of, last_model
from tasks.common.errors import UserError
from tasks.engines import model_revision
from tasks.lineage.edges import SCHEMA, Heard, edges
from tasks.lineage.trace import Traced, nodes_of, trace, untraced
from tasks.training.heard import files_read, write_heard


def forward(name: str) -> Traced:
    lineage = edges(Path("data"), recorded_models()[0])
    return trace(lineage, nodes_of(lineage, [name]), forward=True)


def back(name: str) -> dict[str, list[str]]:
    lineage = edges(Path("data"), recorded_models()[0])
    return trace(lineage, nodes_of(lineage, [name]), forward=False).reached


def test_a_noise_file_leads_to_the_mixtures_and_models_that_hold_it(world: Path) -> None:
    found = forward("noise/rain.ogg")
    assert found.reached["clip"] == sorted([uid("rain"), uid("rain2")])
    assert found.reached["mixture"] == sorted([uid("m1"), uid("m4")])
    assert found.reached["shard"] == ["data/mixtures/all.parquet"]
    assert found.reached["curriculum"] == ["data/curriculum/train/1-easy.parquet"]
    assert found.models == {"models/caad": [("mixture", "trained on", 1)]}  # m4 is in no curriculum


def test_one_stretch_of_a_file_leads_to_its_own_mixture_alone(world: Path) -> None:
    assert forward("noise/rain.ogg@64000-128000").reached["mixture"] == [uid("m4")]
    assert not forward("noise/rain.ogg@64000-128000").models


def test_a_word_is_heard_by_the_backbone_and_by_what_starts_from_it(world: Path) -> None:
    found = forward("words/ann.parquet")
    assert found.models["models/backbone"] == [("clip", "trained on", 2)]
    assert sorted(found.models["models/caad"]) == [("mixture", "trained on", 2), ("model", "starts from or is taught by", 1)]


def test_validation_voices_and_rooms_count_too(world: Path) -> None:
    assert forward("talk/bob@home.flac").models == {"models/caad": [("mixture", "validated on", 1)]}
    assert forward("talk/cyd@home.flac").models == {"models/caad": [("mixture", "trained on", 1)]}
    assert forward("rooms/hall.sofa").models == {"models/caad": [("mixture", "validated on", 1)]}


def test_a_model_leads_back_to_every_file_licence_and_parameter(world: Path) -> None:
    found = back("models/caad")
    assert found["file"] == ["noise/fan.flac", "noise/rain.ogg", "rooms/hall.sofa", "talk/bob@home.flac", "talk/cyd@home.flac", "words/ann.parquet"]
    assert found["licence"] == ["CC-BY-3.0", "CC-BY-4.0", "CC0-1.0"]
    assert "params.yaml training.caad.alpha = 0.5" in found["parameter"]
    assert any(code.startswith("tasks/backbone ") for code in found["code"])
    assert back("models/backbone")["file"] == ["words/ann.parquet"]


def test_models_that_heard_a_withdrawn_recording_stay_known(world: Path) -> None:
    catalog(world, ("fan",))
    mixtures(world, ("m2", "m3"))
    found = forward("noise/rain.ogg")
    assert found.models == {"models/caad": [("mixture", "trained on", 1)]}
    assert "shard" not in found.reached  # nothing of it is left in data/


def test_dvc_lock_and_the_cache_alone_are_enough(world: Path) -> None:
    before = back("models/caad")
    shutil.rmtree(world / "data")
    shutil.rmtree(world / "models")
    assert back("models/caad") == before
    assert forward("halls").models == {"models/caad": [("mixture", "validated on", 1)]}


def test_what_can_no_longer_be_known_is_said(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixtures(world, ("m2", "m3"))
    shutil.rmtree(world / ".dvc/cache")
    (world / "models/found").mkdir()
    (world / "models/found/config.json").write_text("{}")
    (world / "models/caad/model.safetensors").write_bytes(b"other")
    with pytest.raises(SystemExit) as left:
        main(["lineage", "noise/rain.ogg"])
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert "models/caad: data/mixtures_manifest.parquet, which it was made from, is neither here nor in DVC's cache" in said
    assert "models/found: no stage of dvc.lock made it" in said
    assert "models/caad: is not what dvc.lock records" in said
    assert "models/backbone" not in said  # its inputs are all still here


def test_noise_drawn_while_training_counts_as_heard(world: Path) -> None:
    models, _ = recorded_models()
    caad = next(model for model in models if model.folder == "models/caad")
    drawn = Heard(caad.folder, caad.module, caad.read, {"params.yaml training.common.curriculum.mixtures": "on_demand"})
    lineage = edges(Path("data"), [drawn])
    found = trace(lineage, nodes_of(lineage, ["noise/rain.ogg@64000-128000"]), forward=True)
    assert found.models == {"models/caad": [("clip", "trained on some of", 1)]}


def run_from_a_shell(name: str) -> None:
    """What `python -m tasks.training <name>` leaves, without the training."""
    folder = Path("models") / name
    shutil.copytree("models/caad", folder)
    write_heard(folder, files_read(), {"models/backbone": model_revision(Path("models/backbone"))}, {"run.seed": 1})


def test_a_run_from_a_shell_is_known_after_its_tables_are_gone(world: Path) -> None:
    run_from_a_shell("caad@1")
    rebuild(world, ("fan",), ("m2", "m3"), ("m3",))
    unknown = recorded_lineage()[2]
    assert unknown == []
    assert forward("noise/rain.ogg@0-64000").models["models/caad@1"] == [("mixture", "trained on", 1)]
    assert "models/caad@1/heard.yaml run.seed = 1" in back("models/caad@1")["parameter"]
    assert back("models/caad@1")["file"] == back("models/caad")["file"]
    assert "`python -m tasks.training caad@1`" in card("caad@1")


def test_a_statement_that_is_none_is_one_line(world: Path) -> None:
    run_from_a_shell("caad@1")
    Path("models/caad@1/heard.yaml").write_text("read: {data/rooms: {train.parquet: ../../x}}\nmodels: {}\nrecipe: {}\n")
    with pytest.raises(UserError, match=r"models/caad@1/heard.yaml: 'read.data/rooms.train.parquet'"):
        recorded_models()


def test_what_a_killed_stage_left_was_not_heard(world: Path) -> None:
    before = files_read()
    Path("data/rooms/.train.parquet.17.tmp").touch()
    assert files_read() == before and before["data/rooms"].keys() == {"train.parquet"}


def test_a_run_from_a_shell_whose_tables_nobody_kept_has_no_card(world: Path) -> None:
    run_from_a_shell("grpo")
    Path("models/backbone/config.json").write_text("{}")
    curriculum(world, ("m3",))
    shutil.rmtree(".dvc/cache")
    _, unknown = recorded_models()
    assert "models/grpo: data/curriculum, which it was made from, is neither here nor in DVC's cache; try dvc fetch" in unknown
    assert "models/grpo: models/backbone, which it started from or was taught by, is another one now" in unknown
    with pytest.raises(UserError, match="models/grpo: data/curriculum"):
        card("grpo")


def retrain(outcome: str, method: str = "caad") -> None:
    """What flows.retrain leaves of a promoted model, without the training."""
    lineage = job_of(last_model(Stage(f"train@{method}", "tasks.training", (method,), frozenset()))).lineage
    lineage["retrainings"] = [*lineage["retrainings"], {"outcome": {"verdict": outcome}, "settings": {"retrain.replay_share": 0.5}}]
    folder = Path(f"models/{method}.retrained")
    shutil.copytree(f"models/{method}", folder, dirs_exist_ok=True)
    (folder / "lineage.yaml").write_text(yaml.safe_dump(lineage))


def rebuild(root: Path, noises: tuple[str, ...], planned: tuple[str, ...], taught: tuple[str, ...]) -> None:
    """Everything before training, as a build after a change makes and records it; train@caad stays as it was: retraining is no stage."""
    catalog(root, noises)
    mixtures(root, planned)
    curriculum(root, taught)
    with Repo() as repo:
        for name in ("catalog", "rooms", "mix", "curriculum"):
            repo.commit(name, force=True)


def test_a_retrained_model_heard_the_old_curriculum_and_the_new(world: Path) -> None:
    rebuild(world, ("rain2", "fan"), ("m2", "m3", "m4"), ("m3", "m4"))
    retrain("first")
    catalog(world, ("fan",))
    mixtures(world, ("m2", "m3"))
    found = forward("noise/rain.ogg@64000-128000").models
    assert found == {"models/caad.retrained": [("mixture", "trained on", 1)]}
    found = forward("noise/rain.ogg@0-64000").models
    assert found["models/caad"] == [("mixture", "trained on", 1)]
    assert found["models/caad.retrained"] == [("mixture", "trained on", 1), ("model", "starts from or is taught by", 1)]
    assert recorded_models()[1] == []


def test_a_model_retrained_twice_leads_back_to_every_recording_it_ever_heard(world: Path) -> None:
    rebuild(world, ("rain2", "fan"), ("m2", "m4"), ("m4",))  # rain and the talk are withdrawn
    retrain("first")
    rebuild(world, ("fan",), ("m2",), ())  # and rain2, which the first retraining heard alone
    retrain("second")
    shutil.rmtree(world / "data")
    models, unknown = recorded_models()
    assert unknown == [] and untraced(edges(Path("data"), models)) == {}
    found = back("models/caad.retrained")
    assert found["file"] == ["noise/fan.flac", "noise/rain.ogg", "rooms/hall.sofa", "talk/bob@home.flac", "talk/cyd@home.flac", "words/ann.parquet"]
    assert set(found["clip"]) >= {uid(name) for name in ("rain", "rain2", "fan", "talk cyd")}
    told = [
        f"models/caad.retrained/lineage.yaml retrainings.{number}.outcome.verdict = {verdict}" for number, verdict in enumerate(("first", "second"))
    ]
    assert set(told) <= set(found["parameter"])
    for stretch, own in (
        ("noise/rain.ogg@0-64000", {"models/caad", "models/caad.retrained"}),
        ("noise/rain.ogg@64000-128000", {"models/caad.retrained"}),
    ):
        heard = forward(stretch).models
        assert set(heard) == own and ("mixture", "trained on", 1) in heard["models/caad.retrained"], stretch


def test_a_curriculum_in_between_that_nobody_kept_is_told(world: Path) -> None:
    rebuild(world, ("rain2", "fan"), ("m2", "m4"), ("m4",))
    retrain("first")
    with Repo() as repo:
        between = next(out.hash_info.value for stage in repo.index.stages for out in stage.outs if out.def_path == "data/mixtures_manifest.parquet")
        Path(repo.cache.local.oid_to_path(between)).unlink()
    rebuild(world, ("fan",), ("m2",), ())
    retrain("second")
    assert any("models/caad.retrained: data/mixtures_manifest.parquet of curriculum 2" in line for line in recorded_models()[1])


def sh(*words: str) -> None:
    """A line of docs/retraining.md: git as a program, dvc by the function behind its command."""
    if words[0] == "dvc":
        assert dvc([*words[1:], "-q"]) == 0, words
    else:
        subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words[1:]], check=True, capture_output=True)


def test_a_team_shares_a_retrained_model_with_its_lineage(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / ".dvc/config").write_text("")  # made without git, now with it
    (world / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    sh("git", "init")
    sh("dvc", "remote", "add", "-d", "store", str(tmp_path / "store"))
    shutil.copy(ROOT / ".gitignore", world)
    sh("git", "add", "-A")
    sh("git", "commit", "-m", "A build")
    sh("dvc", "push")
    rebuild(world, ("rain2", "fan"), ("m2", "m3", "m4"), ("m3", "m4"))
    retrain("first")
    sh("dvc", "add", "models/caad.retrained")
    sh("git", "add", "models/caad.retrained.dvc", "dvc.lock", "params.yaml")
    sh("git", "commit", "-m", "caad goes on")
    sh("dvc", "push")
    assert not any(name.endswith(".dvc") for name in stale_stages())
    here = back("models/caad.retrained")

    sh("git", "clone", str(world), str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    sh("dvc", "pull")
    assert model_revision(Path("models/caad.retrained")) == model_revision(world / "models/caad.retrained")
    assert any("try dvc fetch" in line for line in recorded_models()[1]), "the curriculum before is of an earlier commit"
    sh("dvc", "fetch", "--all-commits")
    assert recorded_models()[1] == [] and back("models/caad.retrained") == here
    assert last_model(Stage("train@caad", "tasks.training", ("caad",), frozenset())).folder == Path("models/caad.retrained"), (
        "the clone goes on from it"
    )


def test_a_mixture_that_nobody_can_look_into_is_told(world: Path) -> None:
    models = [Heard("models/x", "tasks.training", {"data/curriculum": {"train/1-easy.parquet": Path("data/curriculum/train/1-easy.parquet")}})]
    assert untraced(edges(Path("data"), models)) == {}
    mixtures(world, ("m2", "m3"))
    assert untraced(edges(Path("data"), models)) == {"models/x": 1}


def test_a_fetched_backbone_heard_nothing_of_ours(world: Path) -> None:
    models, _ = recorded_models()
    backbone = next(model for model in models if model.folder == "models/backbone")
    fetched = Heard(backbone.folder, backbone.module, backbone.read, {"profiles/gpu.yaml backbone.from": "Qwen/Qwen2-Audio-7B-Instruct"})
    into = [row["kind_from"] for row in edges(Path("data"), [fetched]).to_pylist() if row["id_to"] == "models/backbone"]
    assert into == ["parameter"]


def test_the_command_prints_and_writes(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["lineage", "noise/rain.ogg", "--write"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert "models/caad: trained on 1 mixture\n" in said
    written = pq.read_table("reports/lineage.parquet")
    assert written.schema.names == SCHEMA.names
    assert {"kind_from": "clip", "id_from": uid("rain"), "kind_to": "mixture", "id_to": uid("m1"), "role": "noise"} in written.to_pylist()
    assert written.to_pylist() == sorted(written.to_pylist(), key=lambda row: tuple(row.values()))


def test_a_name_that_is_nothing_gets_the_nearest(world: Path) -> None:
    with pytest.raises(UserError, match=r"Did you mean 'noise/rain\.ogg'"):
        nodes_of(edges(Path("data"), []), ["rein.ogg"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 9)), max_size=16), st.integers(0, 9), st.integers(0, 9))
def test_what_goes_forward_comes_back(pairs: list[tuple[int, int]], one: int, other: int) -> None:
    rows = [(str(low), str(low + high)) for low, high in pairs]
    columns = [["clip"] * len(rows), [low for low, _ in rows], ["clip"] * len(rows), [high for _, high in rows], [""] * len(rows)]
    lineage = pa.table([pa.array(column, pa.string()) for column in columns], schema=SCHEMA)
    there = trace(lineage, [("clip", str(one))], forward=True).reached.get("clip", [])
    here = trace(lineage, [("clip", str(other))], forward=False).reached.get("clip", [])
    assert (str(other) in there) == (str(one) in here)
