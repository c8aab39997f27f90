"""The stage writes what the parameters name, and removes what they do not."""

import shutil
from pathlib import Path

import pytest
import yaml

from tasks.common.fanout import in_process
from tasks.synthesis.stage import run

SECTION = {
    "corpora": ["words", "noise"],
    "words": {"words": ["dog", "fish"], "voices": {"male": ["gmw/en-US+m1"], "female": ["gmw/en+f2"]}, "speeds_wpm": [200], "pitches": [50]},
    "noise": {"types": ["white", "hum"], "clips": 2, "clip_s": 1.0, "level_dbfs": -25.0, "babble": {"voices": ["gmw/en+m4"], "talkers": 2}},
}


def write_params(corpora: list[str], types: list[str]) -> None:
    section = SECTION | {"corpora": corpora, "noise": dict(SECTION["noise"], types=types)}  # type: ignore[call-overload]
    Path("params.yaml").write_text(yaml.safe_dump({"profile": "tiny", "corpora": "data/corpora", "synthesis": section}))
    Path("profiles").mkdir(exist_ok=True)
    Path("profiles/tiny.yaml").write_text("synthesis: {}\n")


def snapshot() -> dict[str, bytes]:
    return {path.as_posix(): path.read_bytes() for path in sorted(Path("data/corpora").rglob("*")) if path.is_file()}


def test_stage_writes_prunes_and_repeats_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_params(["words", "noise"], ["white", "hum"])
    assert run(fan_out=in_process).done == {"words": 4, "noise": 4}
    first = snapshot()
    assert set(first) == {
        "data/corpora/README.txt",
        "data/corpora/words/en-US_m1.parquet",
        "data/corpora/words/en_f2.parquet",
        "data/corpora/noise/white.parquet",
        "data/corpora/noise/hum.parquet",
    }
    shutil.rmtree("data")
    run(fan_out=in_process)
    assert snapshot() == first
    write_params(["words", "noise"], ["white"])
    run(fan_out=in_process)
    assert set(first) - set(snapshot()) == {"data/corpora/noise/hum.parquet"}
    write_params([], ["white"])
    run(fan_out=in_process)
    assert set(snapshot()) == {"data/corpora/README.txt"}
