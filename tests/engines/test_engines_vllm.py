"""The vllm engine's own half: its processes, their shares and their deaths (with a stand-in for vLLM), the extended folder, and real cache hits."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tasks.common.audio import RATE
from tasks.common.errors import UserError
from tasks.engines import EngineError, Generator, Request, load_generator, shared_generator, vllm_engine
from tasks.engines.vllm_folder import vllm_folder

STAND_IN = """
import os, sys
from multiprocessing.connection import Connection
pipe, loaded = Connection(int(sys.argv[1])), False
while True:
    try:
        message = pipe.recv()
    except EOFError:
        break
    if not loaded:
        loaded = True
        pipe.send({"error": "ValueError: no room"} if message["gpu_memory_utilization"] == 0.5 else {})
        continue
    prompts = [prompt["prompt_token_ids"] for prompt in message["prompts"]]
    if any(params["max_tokens"] == 7 and len(ids) % 2 for params, ids in zip(message["params"], prompts)):
        os._exit(9)
    rows = [[([sum(ids) % 90 + 33] * 3, [-0.5] * 3)] * params["n"] for params, ids in zip(message["params"], prompts)]
    names = ("prefix_cache_queries", "prefix_cache_hits", "mm_cache_queries", "mm_cache_hits")
    pipe.send({"rows": rows, "counters": dict.fromkeys(names, len(rows))})
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options under which the engine talks to a process that stands in for vLLM."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(vllm_engine, "WORKER", script)
    return {"python": sys.executable}


def test_shares_do_not_change_results(stand_in: dict[str, Any], random_folder: Path, mixed: list[Request], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_engine, "CHUNK", 32)
    results = []
    for count in (1, 3):
        engine: Any = load_generator("vllm", random_folder, data_parallel=count, **stand_in)
        results.append(engine.generate(mixed[:90], n=2, temperature=1.0, max_new_tokens=8))
        assert engine.statistics()["mm_cache_hits"] > 0
        assert len({worker.process.pid for worker in engine.workers}) == count
        engine.close()
        assert [worker.process.returncode for worker in engine.workers] == [0] * count
    assert results[0] == results[1]
    assert len({tuple(row[0].token_ids) for row in results[0]}) > 1


def test_a_process_that_dies_keeps_what_was_finished(stand_in: dict[str, Any], random_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_engine, "CHUNK", 2)
    engine: Any = load_generator("vllm", random_folder, **stand_in)
    lengths = engine.prompts.lengths([Request("lamp"), Request("lamp tree")])
    assert sum(length % 2 for length in lengths) == 1
    fine, fatal = (
        (Request(text) for text, length in zip(("lamp", "lamp tree"), lengths, strict=True))
        if lengths[1] % 2
        else (
            Request("lamp tree"),
            Request("lamp"),
        )
    )
    with pytest.raises(EngineError, match=r"its process ended with status 9; 3 of 5 requests failed") as caught:
        engine.generate([fine, fine, fine, fatal, fine], max_new_tokens=7)
    assert set(caught.value.finished) == {0, 1} and set(caught.value.failed) == {2, 3, 4}
    with pytest.raises(EngineError, match="status 9; 1 of 1"):  # and says so again, instead of waiting for ever
        engine.generate([fine], max_new_tokens=8)


def test_a_shared_engine_is_kept_and_ends_before_the_next_starts(stand_in: dict[str, Any], random_folder: Path) -> None:
    first: Any = shared_generator("vllm", random_folder, "a", **stand_in)
    assert shared_generator("vllm", random_folder, "a", **stand_in) is first
    process = first.workers[0].process
    del first
    assert process.poll() is None
    second: Any = shared_generator("vllm", random_folder, "b", **stand_in)
    assert process.poll() == 0
    second.close()


def test_mistakes_of_the_user_are_one_line(stand_in: dict[str, Any], random_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"cannot load .*: ValueError: no room"):
        load_generator("vllm", random_folder, gpu_memory_utilization=0.5, **stand_in)
    with pytest.raises(UserError, match=r"cannot run .*python: No such file"):
        load_generator("vllm", random_folder, python="/nowhere/python")
    with pytest.raises(UserError, match=r"unknown key 'tensor_paralel'\. Did you mean 'tensor_parallel'"):
        load_generator("vllm", random_folder, tensor_paralel=2)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="vLLM is not in this environment"):
        load_generator("vllm", random_folder)


def test_what_does_not_fit_is_refused_by_the_original_window(stand_in: dict[str, Any], random_folder: Path) -> None:
    engine: Any = load_generator("vllm", random_folder, max_model_len=64, **stand_in)
    assert (engine.window_s, engine.context) == (2.0, 64)
    requests = [Request("q", np.zeros(3 * RATE, np.float32)), Request("lamp " * 60), Request("q")]
    assert engine.refusals(requests, 8) == ["longer_than_window", "context_overflow", None]
    for request in requests[:2]:
        with pytest.raises(UserError):
            engine.generate([request], max_new_tokens=8)
    engine.close()


@given(st.lists(st.integers(-3, 5), max_size=40), st.integers(1, 5))
def test_a_chunk_is_dealt_whole_and_by_clip(clips: list[int], workers: int) -> None:
    keys = [None if clip < 0 else f"clip {clip}" for clip in clips]
    order = sorted(range(len(clips)), key=lambda i: (clips[i], i))
    shares = vllm_engine._shares(keys, order, workers)
    assert sorted(i for share in shares for i in share) == list(range(len(clips)))
    for clip in {clip for clip in clips if clip >= 0}:
        assert sum(any(clips[i] == clip for i in share) for share in shares) == 1


def test_each_copy_has_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    options = vllm_engine.EngineOptions(data_parallel=2, tensor_parallel=2)
    assert [vllm_engine._environment(options, number)["CUDA_VISIBLE_DEVICES"] for number in (0, 1)] == ["4,5", "6,7"]


def test_the_extended_folder_keeps_what_was_learnt(random_folder: Path) -> None:
    copy = vllm_folder(random_folder)
    assert copy == vllm_folder(random_folder) and copy.parent == random_folder.parent / ".vllm"
    assert vllm_folder(copy) == copy  # what says 30 s is used as it is
    before, after = load_file(random_folder / "model.safetensors"), load_file(copy / "model.safetensors")
    assert set(before) == set(after)
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name][: len(tensor)] if "embed_positions" in name else after[name])
    assert json.loads((copy / "preprocessor_config.json").read_text())["chunk_length"] == 30


def test_a_learnt_position_table_cannot_be_extended(random_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for file in random_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("embed_positions.weight"))
    tensors[name] = tensors[name] + 1
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match="not Whisper's sinusoidal table"):
        vllm_folder(folder)
    assert not (tmp_path / ".vllm").exists()


def test_questions_and_samples_of_a_clip_share_its_reading(vllm_generator: Generator) -> None:
    wave = (0.1 * np.random.default_rng(7).standard_normal(2 * RATE - 400)).astype(np.float32)
    engine: Any = vllm_generator
    before = engine.statistics()
    engine.generate([Request(f"{word} word?", wave) for word in ("first", "last", "other")], n=4, temperature=1.0, max_new_tokens=4)
    gained = {name: count - before[name] for name, count in engine.statistics().items()}
    assert gained["mm_cache_queries"] - gained["mm_cache_hits"] == 1
    # Of 12 readings of a prompt one is in full, and the others start after the whole blocks of 32 they share.
    assert gained["prefix_cache_hits"] >= 11 * 32
