"""Shared fixtures: one Prefect API for the session, and the real recordings where they are present."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.update(DO_NOT_TRACK="1", DVC_NO_ANALYTICS="1", PREFECT_SERVER_ANALYTICS_ENABLED="false", PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW="ignore")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """A Prefect API of the session's own, on a temporary database."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings: DINPROOF_RECORDINGS, or shared/data beside the checkout."""
    folder = Path(os.environ.get("DINPROOF_RECORDINGS", ROOT.parent / "shared" / "data"))
    if not (folder / "speech").is_dir():
        pytest.skip("no recordings here: set DINPROOF_RECORDINGS to a folder that holds speech/ noise/ rooms/")
    return folder
