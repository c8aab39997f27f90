"""A Qwen2-Audio with random weights, requests to put to it, and the engines that answer them: in this process, in vLLM's, and on a server."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tasks.common.audio import resample
from tasks.engines import Generator, Request, load_generator
from tasks.engines.vllm_folder import vllm_folder
from tests import teacher_side

WORDS = ("lamp", "tree", "boat", "cow", "red", "blue")
RATES = (8000, 11025, 16000, 22050, 44100, 48000)
START_S = 280


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "teacher"
    teacher_side.write_model(folder)
    return folder


@pytest.fixture(scope="session")
def generator(random_folder: Path) -> Generator:
    return load_generator("transformers", random_folder)


@pytest.fixture(scope="session")
def requests_() -> list[Request]:
    """Text-only and audio requests in turn, of many lengths."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(60):
        options = ", ".join(rng.permutation(WORDS)[: int(rng.integers(2, 6))])
        audio = (0.1 * rng.standard_normal(int(rng.integers(4000, 32000)))).astype(np.float32)
        made.append(Request(f"first word? options: {options}", None if number % 4 == 0 else audio))
    return made


@pytest.fixture(scope="session")
def mixed() -> list[Request]:
    """Two hundred requests: audio of 0.1 to 2 s recorded at six rates, three questions a clip, and every fourth one text alone."""
    rng = np.random.default_rng(1)
    clips = []
    for number in range(50):
        rate = RATES[number % len(RATES)]
        seconds = rng.uniform(0.11, 1.98)  # nearer to the window's end the last frame differs: docs/engines.md
        tone = 0.1 * np.sin(2 * np.pi * rng.uniform(100, 3000) * np.arange(round(seconds * rate)) / rate)
        wave = (tone + 0.03 * rng.standard_normal(len(tone))).astype(np.float32)
        clips.append(resample(wave, rate))
    made = []
    for number in range(200):
        options = ", ".join(rng.permutation(WORDS)[: int(rng.integers(2, 6))])
        made.append(Request(f"first word? options: {options}", None if number % 4 == 0 else clips[number // 4]))
    return made


@pytest.fixture(scope="session")
def vllm_generator(random_folder: Path) -> Iterator[Generator]:
    """vLLM's offline engine. Without vLLM this fails; `make test` installs it."""
    engine = load_generator("vllm", random_folder)
    yield engine
    engine.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def server(random_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a vLLM server on this machine with the random model, as docs/engines.md says to start it on a CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(vllm_folder(random_folder)), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--served-model-name", "teacher", "--dtype", "float32", "--enforce-eager", "--block-size", "32"]
    command += ["--no-enable-chunked-prefill"]
    command += ["--max-num-batched-tokens", "4096", "--max-logprobs", "-1", "--enable-scale-out", "--limit-mm-per-prompt", '{"audio": 1}']
    command += ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **settings, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}, stdout=output, stderr=output
        )
        try:
            url = f"http://127.0.0.1:{port}/v1"
            deadline = time.monotonic() + START_S
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the vLLM server did not start:\n{log.read_text()[-3000:]}")
                time.sleep(0.5)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/models", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="session")
def served_generator(server: str, random_folder: Path) -> Generator:
    return load_generator("openai", random_folder, url=server)
