"""The small build of `tests.promises.golden`, made once in this process."""

from pathlib import Path

import pytest

from tests.promises.golden import build


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; read only."""
    folder = tmp_path_factory.mktemp("small")
    build(folder)
    return folder
