"""Shards of workers that cannot see the project's folder: the same bytes by way of a store, and what goes wrong there is said."""

import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from dvc.repo import Repo

from flows.graph import Stage
from flows.remote import _folder_of, collect, offer, store_of, workplace
from flows.runners import may_pass
from flows.shards import shard
from flows.store import Store, StoreError, md5, md5_of, store_at
from tasks.common.errors import UserError
from tasks.common.fanout import in_process
from tasks.mix.manifest import MANIFEST
from tasks.mix.stage import run
from tests.flows.test_flow_drivers import shell, toy  # noqa: F401  (toy is a fixture)
from tests.mix.test_mix_stage import files, project, write_catalog  # noqa: F401  (project is a fixture)

MIX = Stage("mix", "tasks.mix", (), frozenset())
GRAPH = """
stages:
  catalog:
    cmd: python -m tasks.catalog
    deps: ["${corpora}"]
    outs: [data/catalog: {persist: true}]
  mix:
    cmd: python -m tasks.mix
    deps: [data/catalog/speech.parquet, data/catalog/noise.parquet, data/rooms, catalogs/curricula, tasks/mix]
    params: [mix]
    outs: [data/mixtures: {persist: true}, data/mixtures_manifest.parquet: {persist: true}]
"""


@pytest.fixture
def apart(project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """The project with its recordings elsewhere, and a cache of workers."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Path("data/corpora").rename(elsewhere / "corpora")
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("corpora: data/corpora", f"corpora: {elsewhere / 'corpora'}"))
    Path("dvc.yaml").write_text(GRAPH)
    Path("tasks/mix").mkdir(parents=True)
    Repo.init(str(project), no_scm=True).close()
    monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere / "cache"))
    store_at.cache_clear()
    _folder_of.cache_clear()
    fsspec.filesystem("memory").store.clear()
    return elsewhere


def out_of_sight(folder: Path, elsewhere: Path, store: Store) -> Callable[..., list[Any]]:
    """A fan-out whose shards run while neither the project's folder nor the recordings are there."""

    def fan_out(work: Any, jobs: Any, label: str) -> list[Any]:
        place, sent = offer(store, MIX), [pickle.dumps(job) for job in jobs]
        hidden = [(folder, folder.with_name("hidden")), (elsewhere / "corpora", elsewhere / "hidden")]
        for path, to in hidden:
            path.rename(to)
        try:
            outcomes = [shard.fn(work, pickle.loads(job), place) for job in sent]
        finally:
            for path, to in hidden:
                to.rename(path)
        for _, error, _, written in outcomes:
            assert error is None
            collect(store, written)
        return [result for result, *_ in outcomes]

    return fan_out


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_remote_shards_have_the_same_bytes(project: Path, apart: Path, scheme: str) -> None:  # noqa: F811
    store = Store(f"file://{apart}/store" if scheme == "file" else "memory://bucket/store")
    fan_out, folder = out_of_sight(project, apart, store), project
    there = run(fan_out)
    far, listed = files(), MANIFEST.read_bytes()
    shutil.rmtree("data/mixtures")
    here = run(in_process)
    assert here == there and here.done["shards"] > 4
    assert files() == far and MANIFEST.read_bytes() == listed

    before = len(store.there or ())
    write_catalog(list(range(10)))
    for path in Path("data/corpora").rglob("*.wav"):
        shutil.copy(path, apart / "corpora" / path.relative_to("data/corpora"))
    grown = run(fan_out)
    assert grown.done == {"mixtures": 5, "shards": 1, "removed": 0}, "a worker finds the rows of the earlier shard"
    assert len(store.there or ()) - before < 20, "what is there is not sent again"
    assert folder.is_dir()

    cache = apart / "cache/dinproof"
    with workplace(offer(store, MIX), {}):
        assert not list(Path().rglob("*.py"))
        assert str(apart) not in Path("params.yaml").read_text()
    kept = len(list(cache.glob("files/*/*")))
    shutil.rmtree("data/mixtures")
    with workplace(offer(store, MIX), {}):
        pass
    assert len(list(cache.glob("files/*/*"))) < kept, "the cache holds what one listing names"
    assert len(list(cache.glob("*-*"))) == 1, "and one folder a process"


def test_remote_the_store_keeps_and_gives_whole_files_alone(apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"file://{apart}/store")
    digest = md5(b"sound")
    with monkeypatch.context() as patch:
        patch.setattr(store.fs, "mv", lambda *_: (_ for _ in ()).throw(OSError("the line is down")))
        with pytest.raises(StoreError, match="the line is down") as lost:
            store.send({digest: b"sound"})
    assert may_pass(pickle.loads(pickle.dumps(lost.value)))
    assert not list((apart / "store/files").rglob("*.*")) and not Path(store.place(digest)).exists()
    store.send({digest: b"sound"})
    assert Path(store.place(digest)).read_bytes() == b"sound"

    Path(store.place(digest)).write_bytes(b"soond")
    with pytest.raises(StoreError, match="holds something else"):
        store.fetch({apart / "got": digest})
    assert not (apart / "got").exists() and not list(apart.glob(".got*"))
    with pytest.raises(StoreError, match="FileNotFoundError"):
        store.fetch({apart / "got": md5(b"never sent")})


def test_remote_mistakes_are_named(apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for url, said in {
        "s3://bucket/store": "Install s3fs",
        "ftpp://host": "Protocol not known: ftpp",
        "bucket/store": "is no URL",
        "file:///proc/no/such": "Check the address, this machine's credentials",
    }.items():
        monkeypatch.setenv("DATA_URL", url)
        with pytest.raises(UserError, match=said):
            store_of(MIX)
    monkeypatch.setenv("DATA_URL", f"file://{apart}/store")
    assert store_of(MIX) is not None
    assert store_of(Stage("catalog", "tasks.catalog", (), frozenset())) is None, "it reads the recordings where they are"
    monkeypatch.delenv("DATA_URL")
    assert store_of(MIX) is None


def test_remote_a_worker_of_another_version_does_nothing(apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = offer(Store(f"file://{apart}/store"), MIX)
    monkeypatch.setattr("flows.remote.made_by", lambda module: "other")
    result, error, _, written = shard.fn(abs, -1, place)
    assert result is None and written == {}
    assert "its code or its libraries are not those of the flow" in str(error)


# A shard refuses to open or list anything of the project's folder.
LETTERS = """
import os, sys
from pathlib import Path
from tasks.common.cli import Counts
from tasks.common.tables import write_text

def shout(letter):
    def watch(event, arguments):
        if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith(os.environ["PROJECT"]):
            raise AssertionError(f"{event} {arguments[0]}")
    sys.addaudithook(watch)
    assert not str(Path.cwd()).startswith(os.environ["PROJECT"])
    assert letter in Path("source.txt").read_text()
    write_text(Path(f"out/parts/{letter}.txt"), letter)
    return letter.upper()

def run(*, fan_out):
    letters = fan_out(shout, list(Path("source.txt").read_text().strip()), "letters")
    assert sorted(path.stem for path in Path("out/parts").glob("*.txt")) == sorted(path.lower() for path in letters)
    write_text(Path("out/letters.txt"), "".join(letters))
    return Counts(done={"letters": len(letters)})
"""
FLOW = "import flows.build_curriculum as b; s = b.build_curriculum(return_state=True, runner='%s'); print('STATE', s.type.value, s.message)"


@pytest.mark.soak
@pytest.mark.parametrize("runner", ["process", "dask", "ray"])
def test_remote_a_build_whose_workers_open_nothing_of_the_project(
    toy: Path,  # noqa: F811
    prefect_api: None,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    runner: str,
) -> None:
    if runner != "process":
        pytest.importorskip(f"prefect_{runner}")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "corpora").mkdir()
    (toy / "toy/letters/stage.py").write_text(LETTERS)
    (toy / "params.yaml").write_text(f"profile: tiny\ncorpora: {elsewhere / 'corpora'}\n")
    for name, value in {"DATA_URL": f"file://{elsewhere}/store", "XDG_CACHE_HOME": str(elsewhere / "cache"), "PROJECT": f"{toy}/"}.items():
        monkeypatch.setenv(name, value)
    done = shell(toy, sys.executable, "-c", FLOW % runner)
    assert "STATE COMPLETED 3 of 3" in done.stdout, done.stdout + done.stderr
    assert (toy / "out/letters.txt").read_text() == "ABC"
    assert (elsewhere / "store/files/md5").is_dir()
    assert md5_of(toy / "source.txt") in {"".join(path.parts[-2:]) for path in (elsewhere / "store/files/md5").rglob("*")}
