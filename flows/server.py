"""A Prefect server on loopback: whether one answers, and one that lives as long as a block of code."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tasks.common.errors import UserError

LOG = Path(".prefect/server.log")


def answers(url: str) -> bool:
    """Whether a Prefect API answers at `url` (".../api")."""
    try:
        return httpx.get(f"{url}/health", timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def free_url() -> str:
    """An address on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/api"


def stop(process: subprocess.Popen[bytes], seconds: float = 10.0) -> None:
    """Ask a process to end, and end it if it does not within `seconds`."""
    process.terminate()
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def server(url: str, seconds: float = 300.0) -> Iterator[None]:
    """A Prefect server at `url` for the length of the block; raises UserError where none answers within `seconds`."""
    LOG.parent.mkdir(exist_ok=True)
    address = urlsplit(url)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", str(address.hostname), "--port", str(address.port)]
    with LOG.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + seconds
        while not answers(url):
            if process.poll() is not None:
                raise UserError(url, "the Prefect server stopped while starting", f"See {LOG}; is the port taken? Then set api.url in prefect.toml")
            if time.monotonic() > deadline:
                raise UserError(url, f"the Prefect server did not answer within {seconds:.0f} s", f"See {LOG}, and try again")
            time.sleep(0.5)
        yield
    finally:
        stop(process)
