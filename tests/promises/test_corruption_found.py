"""Promise 4: a bit that flips in a file of a build is found by the next stage that reads it; its line names the file, and its advice works."""

import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.checksums import ChangedError, CheckedFile, Checksums
from tasks.common.errors import UserError
from tasks.common.fanout import in_process
from tasks.common.sha256sums import write_sums
from tasks.common.tables import AUDIO, read_parquet, read_rows, read_schema, write_parquet
from tasks.curriculum import stage as curriculum
from tasks.difficulty import stage as difficulty
from tasks.items import stage as items
from tasks.mix import stage as mix
from tasks.pseudo_gt import stage as pseudo_gt
from tasks.references import stage as references
from tasks.rooms import stage as rooms
from tasks.training import stage as training
from tests.promises.flips import LINE, anywhere, bit_of, flip, flipped, found_share, outcome

SCHEMA = pa.schema([("id", pa.string()), ("x", pa.float64()), ("tokens", pa.list_(pa.int32())), ("audio", AUDIO)])
LONG = [pytest.mark.soak, pytest.mark.timeout(3000)]
STAGES: dict[str, Callable[[], Any]] = {
    "rooms": lambda: rooms.run(fan_out=in_process),
    "items": items.run,
    "mix": lambda: mix.run(fan_out=in_process),
    "references": lambda: references.run(fan_out=in_process),
    "pseudo_gt": lambda: pseudo_gt.run(fan_out=in_process),
    "difficulty": lambda: difficulty.run(fan_out=in_process),
    "curriculum": curriculum.run,
    "train": lambda: training.run("caad"),
}
# (pattern of a file, a column of it, the stage that makes it, a stage that reads it)
CASES = [
    ("data/catalog/speech.parquet", "text", None, "items"),
    ("data/catalog/noise.parquet", "split", None, "mix"),
    ("data/rooms/train-simulated.parquet", "rir", "rooms", "mix again"),
    ("data/items.parquet", "question", "items", "references"),
    ("data/mixtures/train-noise-*.parquet", "audio", "mix", "curriculum"),
    ("data/mixtures_manifest.parquet", "licences", "mix", "curriculum"),
    ("data/references/*.parquet", "token_logprobs", "references", "curriculum"),
    ("data/pseudo_gt/*.parquet", "text", "pseudo_gt", "curriculum"),
    ("data/difficulty.parquet", "kl_to_clean", "difficulty", "curriculum"),
    ("data/curriculum/train/*.parquet", "audio", "curriculum", "train"),
    ("models/backbone/model.safetensors", None, None, "references"),
    ("models/backbone/config.json", None, None, "pseudo_gt"),
    ("models/backbone/tokenizer.json", None, None, "train"),
    ("models/see/mixed.safetensors", None, None, "difficulty"),
]


def small_table(path: Path, rows: int = 20, row_group: int = 8) -> Path:
    rng = np.random.default_rng(0)
    made = [
        {"id": f"{row % 7}", "x": row / 2 if row % 3 else None, "tokens": [*range(row % 4)], "audio": {"bytes": rng.bytes(20), "path": "p"}}
        for row in range(rows)
    ]
    write_parquet(path, made, SCHEMA, row_group)
    return path


@pytest.mark.parametrize("step", [pytest.param(37, id="cut"), pytest.param(1, id="every bit", marks=LONG)])
def test_every_bit_of_a_table_is_found_or_changes_nothing(tmp_path: Path, step: int) -> None:
    path = small_table(tmp_path / "table.parquet")
    right = read_parquet(path)
    counted = Counter(outcome(path, bit, lambda: read_parquet(path), right) for bit in range(0, 8 * path.stat().st_size, step))
    print(f"\n{path.stat().st_size} bytes: {dict(counted)}")
    assert counted["found"] > 0.99 * counted.total()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_read_is_what_was_written_whatever_part_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("parts") / "table.parquet"
    small_table(path, rows=data.draw(st.integers(0, 60)), row_group=data.draw(st.integers(1, 40)))
    columns = data.draw(st.lists(st.sampled_from(["id", "x", "tokens", "audio"]), min_size=1, unique=True))
    filters = data.draw(st.sampled_from([None, [("id", "=", "3")], [("x", ">", 4.0)]]))
    bit = data.draw(st.integers(0, 8 * path.stat().st_size - 1))

    def by_group() -> list[Any]:
        with CheckedFile(path) as file:
            return [file.read_row_group(group, columns).to_pylist() for group in range(file.num_row_groups)]

    outcome(path, bit, lambda: read_parquet(path, columns, filters), read_parquet(path, columns, filters))
    outcome(path, bit, by_group, by_group())


def test_a_file_without_checksums_is_read_and_a_row_of_bits_in_the_footer_is_found(tmp_path: Path) -> None:
    table = read_parquet(small_table(tmp_path / "ours.parquet"))
    pq.write_table(table, tmp_path / "theirs.parquet")
    assert read_parquet(tmp_path / "theirs.parquet").equals(table) and Checksums(tmp_path / "theirs.parquet").blocks is None
    assert read_schema(tmp_path / "ours.parquet").equals(SCHEMA)
    data = bytearray((tmp_path / "ours.parquet").read_bytes())
    data[-400:-390] = bytes(10)
    (tmp_path / "ours.parquet").write_bytes(data)
    with pytest.raises(ChangedError, match=r"ours\.parquet: its content is not what was written"):
        read_schema(tmp_path / "ours.parquet")


@pytest.fixture(scope="module")
def world(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small build to break; its model and bases are listed as the stages that make them list them."""
    folder = tmp_path_factory.mktemp("broken") / "build"
    shutil.copytree(small, folder, symlinks=True)
    for name in ("models/backbone", "models/see"):
        write_sums(folder / name)
    return folder


@pytest.mark.parametrize("flips", [pytest.param(150, id="cut"), pytest.param(3000, id="many", marks=LONG)])
def test_flips_anywhere_in_a_build(world: Path, flips: int) -> None:
    counted = anywhere(world, flips)
    assert len({kind for kind, _ in counted}) >= 15 and found_share(counted) >= 0.97


@pytest.mark.parametrize(("pattern", "column", "maker", "reader"), CASES, ids=[case[0].removesuffix(".parquet") for case in CASES])
def test_the_next_stage_names_the_file_and_its_advice_makes_it_again(
    world: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, column: str | None, maker: str | None, reader: str
) -> None:
    monkeypatch.chdir(world)
    path = sorted(Path().glob(pattern))[0]
    right, bit = path.read_bytes(), bit_of(path, column, "stage")
    aside: list[tuple[Path, bytes]] = []
    if reader == "mix again":  # a finished shard is known by its name; one that is missing is rendered from the rooms
        aside = [(shard, shard.read_bytes()) for shard in Path("data/mixtures").glob("train-*.parquet")]
        for shard, _ in aside:
            shard.unlink()
    flip(path, bit)
    try:
        with pytest.raises(UserError) as raised:
            STAGES[reader.partition(" ")[0]]()
        told = LINE.fullmatch(str(raised.value))
        assert told and told[1] == told[2] == str(path)
        if maker:
            Path(told[2]).unlink()
            STAGES[maker]()
            assert path.read_bytes() == right
            STAGES[reader.partition(" ")[0]]() if reader != "train" else None
    finally:
        path.write_bytes(right)
        for shard, data in aside:
            shard.write_bytes(data)


def test_a_recording_that_is_not_the_catalogued_one_is_named(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    row = next(row for row in read_rows(Path("data/catalog/noise.parquet")) if row["split"] == "train")
    path = Path("sounds") / row["path"]
    shards = {shard: shard.read_bytes() for shard in Path("data/mixtures").glob("train-*.parquet")}
    for shard in shards:
        shard.unlink()
    with flipped(path, 8 * path.stat().st_size - 40), pytest.raises(UserError, match=re.escape(f"{path}: its content is not what was catalogued")):
        STAGES["mix"]()
    STAGES["mix"]()
    assert {shard: shard.read_bytes() for shard in shards} == shards


def test_a_checkpoint_that_is_not_what_was_written_is_not_gone_on_from(
    world: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(world)
    before = Path("profiles/tiny.yaml").read_text()
    profile = yaml.safe_load(before)
    profile["training"]["common"] |= {"save_every": 1}
    Path("profiles/tiny.yaml").write_text(yaml.safe_dump(profile))

    try:
        right = Path("models/caad/model.safetensors").read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(training.Run, "finish_draft", ending_after(2, training.Run.finish_draft))
            with pytest.raises(StoppedError):
                training.run("caad")
        newest = max(Path("models/.runs").glob("caad-*/checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
        flip(newest / "weights.safetensors", bit_of(newest / "weights.safetensors", None, "checkpoint"))
        with caplog.at_level("INFO", "dinproof"):
            training.run("caad")
        said = [record.getMessage() for record in caplog.records]
        assert any(f"{newest}/weights.safetensors: its content is not what was written" in line for line in said)
        assert any("resuming from step 1" in line for line in said)
        assert Path("models/caad/model.safetensors").read_bytes() == right, "as without a checkpoint"
    finally:
        Path("profiles/tiny.yaml").write_text(before)


class StoppedError(Exception):
    """Stands for whatever ends a run."""


def ending_after(last: int, finish: Callable[..., None]) -> Callable[..., None]:
    """`finish`, and the end of the run with the checkpoint of step `last`."""

    def finishing(self: Any, step: int) -> None:
        finish(self, step)
        if step == last:
            raise StoppedError

    return finishing
