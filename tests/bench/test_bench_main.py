"""`python -m bench`: a module that fails is named, the others still run, and rows that were not measured again stay."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as bench


def row(name: str, ours: float) -> dict[str, Any]:
    return {"name": name, "unit": "s", "ours": ours, "peer_name": None, "peer": None, "ratio": None, "note": ""}


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bench.json"
    monkeypatch.setattr(bench, "REPORT", path)
    monkeypatch.setattr(bench, "modules", lambda: ["fails", "fast", "slow"])
    return path


def test_bench_rows_are_written_and_a_failure_is_named(report: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "measured", lambda module: None if module == "fails" else [row(module, 1.0)])
    assert bench.main([]) == 1
    assert "failed: fails" in capsys.readouterr().err
    monkeypatch.setattr(bench, "measured", lambda module: [row(module, 2.0)])
    assert bench.main(["fast"]) == 0
    assert [(one["name"], one["ours"]) for one in json.loads(report.read_text())] == [("fast", 2.0), ("slow", 1.0)]


def test_bench_a_wrong_name_is_refused(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["fats"]) == 2
    assert "fats" in capsys.readouterr().err and not report.exists()


def test_bench_modules_are_those_with_rows() -> None:
    names = bench.modules()
    assert {"mixing", "workers", "orchestration", "convolution", "steps"} <= set(names)
    assert not {"table", "material", "peers_dns", "holdout_speakers"} & set(names)
    assert bench.measured("no_such_module") is None
