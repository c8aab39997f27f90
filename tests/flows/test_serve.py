"""`make serve` and a deployment run, for real: a server, a process work pool, a worker and a run on loopback."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.flows.test_flow_drivers import ROOT, environment, shell, toy  # noqa: F401  (toy is a fixture)
from tests.promises.listening import addresses


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_deployment_run_builds_and_shows_stages_shards_and_the_result(toy: Path) -> None:  # noqa: F811
    for name in ("flows", "tasks"):
        shutil.copytree(ROOT / name, toy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("prefect.yaml", "prefect.toml"):
        shutil.copy2(ROOT / name, toy / name)
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    env = environment() | {"PREFECT_API_URL": url, "PREFECT_SERVER_API_PORT": str(port), "PYTHONPATH": str(toy)}
    log = toy / "serve.log"
    with log.open("wb") as out:
        serve = subprocess.Popen([sys.executable, "-m", "flows.serve"], cwd=toy, env=env, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 150
        while "\nserving " not in log.read_text():
            assert serve.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        assert addresses(serve.pid) == {"127.0.0.1"}
        elsewhere = {"Origin": "http://example.org", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        asked = httpx.options(f"{url}/flow_runs/filter", headers=elsewhere)
        assert asked.status_code == 400 and "access-control-allow-origin" not in asked.headers, "a page from elsewhere could start runs"

        prefect = (sys.executable, "-m", "prefect", "deployment", "run")
        bare = subprocess.run([*prefect, "build-curriculum"], cwd=toy, env=env, capture_output=True, text=True, timeout=120)
        assert bare.returncode != 0, "the README says that the bare name is refused"
        run = subprocess.run([*prefect, "build-curriculum/local", "--watch"], cwd=toy, env=env, capture_output=True, text=True, timeout=240)
        assert run.returncode == 0, run.stdout + run.stderr + log.read_text()
        assert (toy / "out/right.txt").read_text() == "rightABC"

        flows = {run["name"] for run in httpx.post(f"{url}/flow_runs/filter", json={}).json()}
        assert "letters" in flows, "a stage of shards is a subflow named after it"
        tasks = {run["name"] for run in httpx.post(f"{url}/task_runs/filter", json={}).json()}
        assert {"letters 1 of 3", "letters 3 of 3", "copy@left", "copy@right"} <= tasks
        artifacts = httpx.post(f"{url}/artifacts/latest/filter", json={}).json()
        assert any(found["key"] == "curriculum-result" and "3 of 3 stages ran" in found["data"] for found in artifacts)
        table = next(found["data"] for found in artifacts if found["key"] == "stages")
        assert '"letters"' in table and '"copy@left"' in table

        pools = {pool["name"]: pool["concurrency_limit"] for pool in httpx.post(f"{url}/work_pools/filter", json={}).json()}
        assert pools == {"cpu": 1, "gpu": 1}
        deployed = {one["name"] for one in httpx.post(f"{url}/deployments/filter", json={}).json()}
        assert {"local", "recorded", "gpu"} <= deployed
    finally:
        serve.send_signal(signal.SIGTERM)
        serve.wait(timeout=60)
    assert "up to date" in shell(toy, "dvc", "status").stdout
