"""Who can reach what a build starts: real processes, and the addresses they listen on. Server and workers are in tests/flows/test_serve.py."""

import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from flows.runners import task_runner
from tasks.engines import Request, load_generator
from tests import teacher_side
from tests.promises.listening import addresses

LOOPBACK = {"127.0.0.1", "::1"}


def test_a_socket_for_everyone_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        before = addresses(os.getpid())
        assert "127.0.0.1" in before
        with socket.create_server(("", 0)):
            assert addresses(os.getpid()) - before - LOOPBACK == {"0.0.0.0"}


@pytest.mark.soak
@pytest.mark.skipif(find_spec("prefect_dask") is None, reason="Dask is not installed")
def test_a_dask_cluster_of_ours_is_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client, LocalCluster

    monkeypatch.setenv("WORKERS", "1")
    with LocalCluster(**task_runner("dask").cluster_kwargs) as cluster, Client(cluster) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        assert addresses(os.getpid()) <= LOOPBACK


RAY = """
import json, os, ray
from flows.runners import task_runner
ray.init(**task_runner("ray").init_kwargs)
print(ray.get_runtime_context().gcs_address, flush=True)
input()
"""
KNOCK = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
print("inside", ray.get(ray.remote(lambda: 1).remote()))
"""


@pytest.mark.soak
@pytest.mark.skipif(find_spec("prefect_ray") is None, reason="Ray is not installed")
def test_a_ray_cluster_of_ours_lets_nobody_in_without_its_token(tmp_path: Path) -> None:
    """Ray cannot be bound to loopback (docs/security.md), so what it asks of a stranger is what counts."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = plain | {"HOME": str(tmp_path), "WORKERS": "1", "PYTHONPATH": str(Path.cwd())}
    cluster = subprocess.Popen([sys.executable, "-c", RAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert cluster.stdin and cluster.stdout
    try:
        place = next(line for line in cluster.stdout if ":" in line and " " not in line.strip()).strip()
        token = (tmp_path / ".ray/auth_token").read_text()
        assert len(token) >= 32

        def knock(**more: str) -> subprocess.CompletedProcess[str]:
            told = environment | {"HOME": str(tmp_path / "stranger"), **more}
            return subprocess.run([sys.executable, "-c", KNOCK, place], env=told, capture_output=True, text=True, timeout=120)

        for stranger in (knock(RAY_AUTH_MODE="disabled"), knock(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * len(token))):
            assert stranger.returncode != 0 and "inside" not in stranger.stdout
        assert "inside 1" in knock(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token).stdout
    finally:
        cluster.communicate("\n", timeout=60)


@pytest.mark.soak
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_an_engine_process_of_vllm_is_on_loopback(tmp_path: Path) -> None:
    teacher_side.write_model(tmp_path / "model")
    generator = load_generator("vllm", tmp_path / "model")
    assert generator.generate([Request("first word?", None)], max_new_tokens=2)
    process = generator.workers[0].process.pid  # type: ignore[attr-defined]
    assert addresses(process) <= LOOPBACK
    assert process and addresses(process), "it has sockets: this would see them elsewhere"
