"""Upgrades and edits are noticed: keys hold code and versions, DVC calls stages stale, and what is kept is never taken for what would be made now."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from dvc.repo import Repo

from flows.graph import read_graph, stale_stages
from tasks.common import versions
from tasks.common.cli import Counts
from tasks.difficulty import stage as difficulty
from tasks.evaluate import answering, quality
from tasks.evaluate.plan import Question
from tasks.mix import stage as mix
from tasks.mix.drafts import Draft
from tasks.mix.plan import batch_of
from tasks.pseudo_gt.cache import Forced
from tasks.pseudo_gt.writing import Prompted
from tasks.pseudo_gt.writing import key_of as author_key
from tasks.references import answering as references_answering
from tasks.references import stage as references
from tasks.rooms import stage as rooms
from tasks.training import stage as training
from tests.flows.test_flow_drivers import TOY, environment, shell, toy  # noqa: F401  (toy is a fixture)
from tests.promises.golden import backwards

ROOT = Path(__file__).resolve().parents[2]
STAGES = {name: stage.get("do", stage) for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()}
CACHED = (versions.version, versions.code_of, versions.libraries_of, versions.made_by)
# Imported, and no bit of an output hangs on it.
BITLESS = {
    "pydantic": "checks parameters",
    "yaml": "reads parameters",
    "packaging": "compares versions",
    "tqdm": "shows progress",
    "markupsafe": "marks text as safe; jinja2 is named",
    "httpx": "talks to a server, whose own versions no key can know",
    "vllm": "an engine, which keys do not name: a test holds its answers to those of transformers",
    "huggingface_hub": "fetches files, whose bytes count",
    "tokenizers": "comes with transformers",
    "pywt": "comes with skimage",
    "PIL": "draws a page of the docs",
}
ITEM = {"item_id": "i", "clip_id": "c", "question": "first word?", "options": ["a", "b"], "task": "first"}


def mixture(room: str | None) -> dict[str, Any]:
    """A row of the plan."""
    recipe = {"speech": "c", "noises": ["n"], "room": room, "snr_db": 0.0}
    rows: list[dict[str, Any]] = batch_of([Draft(1, "n", "rain", recipe)], "noise", "train", "cpu").to_pylist()
    return rows[0]


def question() -> Question:
    blank = dict.fromkeys(Question.__dataclass_fields__)
    return Question(**blank | {"recipe_hash": "r"})  # type: ignore[arg-type]


def keys() -> dict[str, str]:
    """A key of every kind of kept result, as the stages make them now."""
    from tasks.pseudo_gt.params import PseudoGtParams

    author = PseudoGtParams.model_validate(yaml.safe_load((ROOT / "params.yaml").read_text())["pseudo_gt"]).author
    return {
        "mixture": mixture(None)["recipe_hash"],
        "mixture in a room": mixture("somewhere")["recipe_hash"],
        "room": rooms.made_by("tasks.rooms.stage"),
        "utterance": versions.made_by("tasks.catalog.utterances", "tasks.common.tables"),
        "reference": references_answering.key_of(ITEM, "model", 4),
        "teacher's distribution": Forced("i", "c", "clean", references_answering.Request("?"), [1]).key("model", 20),
        "author's reply": author_key(Prompted(ITEM, {}, "?"), "model", author),
        "difficulty": difficulty.key_of({"recipe_hash": "r"}, ITEM, None, "model", 4, None, True),
        "answer": answering.key_of(question(), "model", 4),
        "quality": quality.key_of("r", "none"),
        "quality behind wavelet": quality.key_of("r", "wavelet"),
        "checkpoint": versions.made_by(*training.CODE),
    }


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's code."""
    folder = tmp_path_factory.mktemp("code")
    shutil.copytree(ROOT / "tasks", folder / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def forget() -> Iterator[Callable[[], None]]:
    """Makes the module look at code and versions again, as a new process does."""

    def clear() -> None:
        for one in CACHED:
            one.cache_clear()

    yield clear
    clear()


MODELS = {"reference", "teacher's distribution", "author's reply", "difficulty", "answer", "checkpoint"}
MIXED = {"mixture", "mixture in a room"}
MEASURED = {"quality", "quality behind wavelet"}


@pytest.mark.parametrize(
    ("library", "touched"),
    [
        ("pyroomacoustics", {"room", "mixture in a room"}),
        ("libsndfile", {*MIXED, *MODELS, *MEASURED, "room", "utterance"}),
        ("scipy", {*MIXED, *MODELS, *MEASURED, "room"}),
        ("torch", {*MIXED, *MODELS, *MEASURED, "room", "utterance"}),
        ("transformers", {*MODELS, *MEASURED}),
        ("peft", {"checkpoint"}),
        ("pywt", {"quality behind wavelet"}),
        ("matplotlib", set()),
    ],
)
def test_an_upgrade_changes_the_keys_of_what_it_decides(library: str, touched: set[str], monkeypatch: pytest.MonkeyPatch, forget: Any) -> None:
    before, identity, installed = keys(), mixture("somewhere")["mixture_id"], versions.version
    forget()
    monkeypatch.setattr(versions, "version", lambda name: "9.9.9" if name == library else installed(name))
    after = keys()
    assert {name for name in before if before[name] != after[name]} == touched
    assert mixture("somewhere")["mixture_id"] == identity, "which clips, room and SNR make a mixture is the same as before"


@pytest.mark.parametrize(
    ("file", "touched"),
    [
        ("tasks/mix/render.py", {*MIXED, *MEASURED, "difficulty", "answer", "checkpoint"}),
        ("tasks/mix/corruptions/gsm.py", {*MIXED, *MEASURED, "difficulty", "answer", "checkpoint"}),
        ("tasks/rooms/simulate.py", {"room", "mixture in a room"}),
        ("tasks/see/score.py", {"difficulty"}),
        ("tasks/engines/qwen2_audio.py", MODELS),
        ("tasks/references/answering.py", {"reference"}),
        ("tasks/denoise/wavelet.py", {"quality behind wavelet"}),
        ("tasks/training/caad.py", {"checkpoint"}),
        ("tasks/report/page.py", set()),
    ],
)
def test_an_edit_changes_the_keys_of_what_it_makes(file: str, touched: set[str], code: Path, monkeypatch: pytest.MonkeyPatch, forget: Any) -> None:
    monkeypatch.setattr(versions, "ROOT", code)
    forget()
    before = keys()
    edited = code / file
    as_it_was = edited.read_text()
    edited.write_text(as_it_was + "# a comment\n")
    forget()
    after = keys()
    edited.write_text(as_it_was)
    assert {name for name in before if before[name] != after[name]} == touched


def test_a_changed_mixer_never_reuses_an_old_shard(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project"
    shutil.copytree(small, folder)
    shutil.copytree(ROOT / "tasks", folder / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(folder)

    def shards() -> dict[str, list[str]]:
        return {path.name: pq.read_table(path)["mixture_id"].to_pylist() for path in sorted(Path("data/mixtures").glob("*.parquet"))}

    before = shards()
    assert mix.run(fan_out=backwards).done == {"mixtures": 0, "removed": 0, "shards": 0}, "nothing has changed"
    mixer = Path("tasks/mix/render.py")
    mixer.write_text(mixer.read_text() + "# a comment\n")
    env = os.environ | {"PYTHONPATH": str(folder), "WORKERS": "1"}
    subprocess.run([sys.executable, "-m", "tasks.mix"], env=env, check=True, capture_output=True, timeout=240)
    told, after = json.loads(Path("reports/build.json").read_text())["mix"], shards()
    assert told["reused"] == {"mixtures": 0, "shards": 0} and told["done"]["shards"] == len(before)
    assert not before.keys() & after.keys() and sorted(before.values()) == sorted(after.values())


@pytest.mark.parametrize(("stage", "module"), [(rooms, rooms), (references, references_answering), (difficulty, difficulty)])
def test_a_stage_keeps_what_the_same_code_made_alone(stage: Any, module: Any, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project"
    shutil.copytree(small, folder)
    monkeypatch.chdir(folder)

    def run() -> Counts:
        counts: Counts = stage.run(fan_out=backwards)
        return counts

    again = run()
    (kind, total), *_ = again.reused.items()
    assert total > 0 and again.done[kind] == 0
    monkeypatch.setattr(module, "made_by", lambda *roots: "another")
    anew = run()
    assert (anew.done[kind], anew.reused[kind]) == (total, 0)
    assert run().reused[kind] == total


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_of_the_graph_names_the_libraries_of_its_code(name: str) -> None:
    code = [dep.removesuffix(".py").replace("/", ".") for dep in STAGES[name]["deps"] if dep.startswith("tasks/")]
    named = next(part["versions.yaml"] for part in STAGES[name]["params"] if isinstance(part, dict) and "versions.yaml" in part)
    assert named == list(versions.libraries_of(*code)), "dvc.yaml: params of the stage"


def test_every_library_and_every_common_module_is_known_to_decide_bits_or_not() -> None:
    code = [versions._imports(path) for path in (ROOT / "tasks").rglob("*.py")]
    imported = {name.partition(".")[0] for names in code for name in names}
    unknown = imported - set(sys.stdlib_module_names) - {"tasks"} - versions.LIBRARIES.keys() - BITLESS.keys()
    assert not unknown, "tasks/common/versions.py: LIBRARIES, or BITLESS here with the reason"
    common = {f"tasks.common.{path.stem}" for path in (ROOT / "tasks/common").glob("*.py") if path.stem not in ("__init__", "audio", "seeds")}
    assert common == versions.PLUMBING, "a new module of tasks/common decides samples, or is PLUMBING"


def test_the_installed_versions_are_recorded() -> None:
    text = (ROOT / "versions.yaml").read_text()
    assert text.startswith(versions._HEAD), "a fresh clone's first build would change a line that nobody edited"
    told = yaml.safe_load(text)
    if told != versions.installed():
        pytest.skip("another environment than the one that versions.yaml was committed with; the flow brings it up to date")
    assert set(told) >= {"python", "libsndfile", "tokenizers", *versions.LIBRARIES}


def test_dvc_and_the_flow_call_a_stage_stale_after_an_upgrade_and_name_the_library(
    toy: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    forget: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    graph = yaml.safe_load(TOY["dvc.yaml"])
    graph["stages"]["letters"]["params"] = [{"versions.yaml": ["numpy", "scipy"]}]
    (toy / "dvc.yaml").write_text(yaml.safe_dump(graph))
    monkeypatch.chdir(toy)
    versions.main()
    shell(toy, "dvc", "repro", "-q", "letters")
    old = versions.version("scipy")

    # What pip leaves of an upgrade: metadata that says 9.9.9, found before those of the installed one.
    new = toy / "new/scipy-9.9.9.dist-info/METADATA"
    new.parent.mkdir(parents=True)
    new.write_text("Metadata-Version: 2.1\nName: scipy\nVersion: 9.9.9\n")
    monkeypatch.syspath_prepend(str(toy / "new"))
    forget()
    env = environment() | {"PYTHONPATH": f"{toy / 'new'}:{ROOT}:."}

    refused = subprocess.run([sys.executable, "-m", "toy.letters"], env=env, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 2
    todo = "Run python -m tasks.common.versions, then this again"
    assert refused.stderr.splitlines()[-1] == f"error: versions.yaml: scipy is 9.9.9 here and {old} there. {todo}"
    capsys.readouterr()
    read_graph()  # what a flow begins with
    assert versions.upgrades() == [f"scipy {old} -> 9.9.9: out/letters.txt are made again"]
    versions.main()
    assert capsys.readouterr().out == f"scipy {old} -> 9.9.9: out/letters.txt are made again\n"
    assert Repo().status(targets=["letters"]) == {"letters": [{"changed deps": {"versions.yaml": {"scipy": "modified"}}}]}

    subprocess.run(["dvc", "repro", "-q", "letters"], env=env, check=True, timeout=120)
    assert stale_stages(["letters"]) == set()
    assert yaml.safe_load(Path("dvc.lock").read_text())["stages"]["letters"]["params"]["versions.yaml"]["scipy"] == "9.9.9"
