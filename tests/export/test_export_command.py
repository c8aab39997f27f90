"""The command: whole or absent, the same bytes every time, and each mistake in one line."""

import fcntl
import os
import shutil
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.cli import guarded
from tasks.common.errors import UserError
from tasks.common.seeds import file_sha256, rng_of
from tasks.common.tables import read_rows, write_parquet
from tasks.curriculum.dataset import SCHEMA
from tasks.export import __main__ as program
from tasks.export import nemo
from tasks.export.card import COLUMNS
from tasks.export.command import FORMS, Form, export, run
from tasks.export.shards import cut
from tasks.export.source import FIELDS, Part, Row, parts_of, rows_of, voices
from tests.export import export_build

EASY = Path("data/curriculum/train/1-easy.parquet")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir())


@pytest.mark.parametrize("name", FORMS)
def test_the_same_bytes_wherever_and_whenever(built: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    export(name, shard_bytes=8_000)
    first = contents(Path("exports", name))
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    export(name, out=Path("elsewhere"), shard_bytes=8_000)
    assert contents(Path("elsewhere")) == first and len(first) > 5


@pytest.mark.parametrize("name", ["hf", "webdataset", "ms-swift"])
def test_shards_are_named_by_what_is_in_them(built: Path, name: str) -> None:
    export(name, shard_bytes=8_000)
    shards = [path for path in Path("exports", name).rglob("0*") if path.is_file() and "audio" not in path.parts]
    assert len(shards) > 8
    assert all(path.stem.split("-")[1] == file_sha256(path)[:16] for path in shards)
    rows = read_rows(EASY)
    write_parquet(EASY, [*rows[:-1], rows[-1] | {"answer": "other"}], SCHEMA)
    before = {path.relative_to("exports") for path in shards}
    export(name, shard_bytes=8_000)
    after = {path.relative_to("exports") for path in Path("exports", name).rglob("0*") if path.is_file() and "audio" not in path.parts}
    assert len(before - after) == len(after - before) == 1


@given(questions=st.lists(st.integers(1, 4), min_size=1, max_size=12), shard_bytes=st.integers(1, 100))
def test_shards_are_full_but_never_cut_a_mixture(questions: list[int], shard_bytes: int) -> None:
    rows: list[Row] = [{"mixture_id": number, "audio": b"x" * 10} for number, count in enumerate(questions) for _ in range(count)]
    shards = []
    for number, shard in cut(rows, shard_bytes):
        assert number == len(shards)
        shards.append(list(shard))
    assert [row for shard in shards for row in shard] == rows
    for shard in shards:
        mixtures = sorted({row["mixture_id"] for row in shard})
        assert len(shard) == sum(questions[mixture] for mixture in mixtures)
        before_the_last = sum(questions[mixture] for mixture in mixtures[:-1])
        assert not before_the_last or 10 * (before_the_last + 1) <= shard_bytes
    for shard in shards[:-1]:
        assert 10 * (len(shard) + 1) > shard_bytes


def test_a_split_alone(built: Path) -> None:
    assert set(export("nemo", split="train")) == {"train/1-easy", "train/2-hard"}
    assert set(export("nemo", split="heldout")) == {"heldout/test", "heldout/validation"}
    assert sorted(path.name for path in Path("exports/nemo").iterdir()) == ["README.md", "export.json", "heldout"]


def test_an_export_is_replaced_and_nothing_else_is(built: Path) -> None:
    export("nemo")
    Path("exports/nemo/stale").write_text("")
    export("hf", out=Path("exports/nemo"))
    assert "stale" not in contents(Path("exports/nemo")) and list(Path("exports/nemo/train/1-easy").glob("*.parquet"))
    for name, make in {"folder": Path.mkdir, "file": Path.touch, "link": lambda path: path.symlink_to("exports/nemo")}.items():
        path = Path(f"taken-{name}")
        make(path)
        with pytest.raises(UserError, match="exists and is no export"):
            export("nemo", out=path)
    Path("foreign").mkdir()
    Path("foreign/export.json").write_text('{"made_by": "someone"}')
    with pytest.raises(UserError, match="exists and is no export"):
        export("nemo", out=Path("foreign"))
    with pytest.raises(UserError, match="exists and is no export"):
        export("nemo", out=Path())
    assert EASY.is_file()


def test_a_failure_leaves_the_earlier_export_alone(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_later(rows: Iterator[Row], root: Path, part: Part, shard_bytes: int) -> None:
        nemo.write(rows, root, part, shard_bytes)
        if part.path == "heldout/test":
            raise KeyboardInterrupt

    monkeypatch.setitem(FORMS, "nemo", Form(fails_later, nemo.OPEN))
    with pytest.raises(KeyboardInterrupt):
        export("nemo")
    assert beside(Path("exports/nemo")) == []
    monkeypatch.setitem(FORMS, "nemo", Form(nemo.write, nemo.OPEN))
    export("nemo")
    before = contents(Path("exports/nemo"))
    monkeypatch.setitem(FORMS, "nemo", Form(fails_later, nemo.OPEN))
    with pytest.raises(KeyboardInterrupt):
        export("nemo")
    assert contents(Path("exports/nemo")) == before and beside(Path("exports/nemo")) == ["nemo"]


def test_what_a_killed_run_left_goes(built: Path) -> None:
    left = Path("exports/.nemo.tmp")
    (left / "train").mkdir(parents=True)
    (left / "half").write_text("")
    export("nemo")
    assert "half" not in contents(Path("exports/nemo")) and beside(Path("exports/nemo")) == ["nemo"]


def test_two_exports_to_one_folder_do_not_mix(built: Path) -> None:
    busy = Path("exports/.nemo.tmp")
    busy.mkdir(parents=True)
    (busy / "half").write_text("")
    handle = os.open(busy, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another export to it is running"):
        export("nemo")
    assert (busy / "half").exists()
    os.close(handle)
    export("nemo")


def test_memory_does_not_grow_with_the_curriculum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_build.build(tmp_path)
    monkeypatch.chdir(tmp_path)
    first = read_rows(EASY)[0]
    head = first["audio"]["bytes"]
    rows = [first | {"audio": {"bytes": head + rng_of(number).bytes(100_000), "path": "x"}} for number in range(400)]
    write_parquet(EASY, rows, SCHEMA, row_group=32)
    part = parts_of("train")[0]
    written, arrow = 0, [0]
    held = pa.total_allocated_bytes()
    tracemalloc.start()
    for row in rows_of(part, voices()):
        written += len(row["audio"])
        arrow.append(pa.total_allocated_bytes() - held)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert part.rows == 400 and written > 40_000_000 and peak < 16_000_000 and max(arrow) < 20_000_000


def spoil(what: str) -> None:
    rows: list[dict[str, Any]] = read_rows(EASY)
    if what == "id":
        write_parquet(EASY, [rows[0] | {"mixture_id": "../../../x"}], SCHEMA)
    elif what == "columns":
        write_parquet(EASY, [{"mixture_id": "x"}], SCHEMA.empty_table().select(["mixture_id"]).schema)
    elif what == "truncated":
        EASY.write_bytes(EASY.read_bytes()[:-100])
    elif what == "none":
        shutil.rmtree("data/curriculum")
    elif what == "empty":
        for path in Path("data/curriculum/train").glob("*.parquet"):
            write_parquet(path, [], SCHEMA)
    elif what == "catalog":
        shutil.rmtree("data/catalog")
    elif what == "silent":
        write_parquet(Path("data/catalog/speech.parquet"), [], export_build.SPEECH)
    elif what == "place":
        Path("exports").write_text("")


@pytest.mark.parametrize(
    ("what", "argv", "message"),
    [
        ("", ["--format", "tfrecord"], r"--format tfrecord: unknown format. Choose one of: hf, webdataset, lhotse-shar, ms-swift, nemo, kaldi"),
        ("", ["--format", "hf", "--split", "dev"], r"--split dev: unknown split. Choose one of: train, heldout, all"),
        ("none", ["--format", "hf"], r"data/curriculum: no curriculum here. .*make curriculum"),
        ("empty", ["--format", "hf", "--split", "train"], r"--split train: no questions in it"),
        ("catalog", ["--format", "hf"], r"data/catalog/speech.parquet: no such file"),
        ("id", ["--format", "ms-swift"], r"1-easy.parquet: mixture_id is '../../../x', not 16 hex digits"),
        ("columns", ["--format", "hf"], r"1-easy.parquet: lacks the columns item_id, .*Build it again"),
        ("truncated", ["--format", "hf"], r"1-easy.parquet: its content is not what was written"),
        ("silent", ["--format", "kaldi"], r"nobody knows what is said in any of the clips"),
        ("place", ["--format", "hf"], r"exports/hf: cannot be written"),
    ],
)
def test_a_mistake_is_named_in_one_line(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str, argv: list[str], message: str
) -> None:
    spoil(what)
    with pytest.raises(UserError, match=message):
        run(*argv)
    monkeypatch.setattr(sys, "argv", ["export", *argv])
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        guarded(program.main)
    assert end.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert not Path("exports").is_dir() or beside(Path("exports/any")) == []


def test_the_command_counts(built: Path) -> None:
    counts = run("--format", "nemo", "--split", "heldout", "--out", "given/there")
    assert counts.done == {"questions": sum(len(export_build.rows_of(part)) for part in ("heldout/test", "heldout/validation"))}
    assert Path("given/there/README.md").is_file()


def test_the_card_explains_every_column() -> None:
    named = [name for names in COLUMNS for name in names.split(", ")]
    assert sorted(named) == sorted([*FIELDS, "speaker", "text"])
