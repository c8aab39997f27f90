"""The page on which the palette is heard: everything is on it, nothing is fetched, and its examples are what the modules do."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from tasks.common.audio import decode
from tasks.mix.corruptions import EFFECTS, ENVELOPES, SOURCES
from tasks.mix.palette import pages
from tasks.mix.palette.material import FRAMES, example
from tests.mix.corruptions.material import band_db, lag

DOCS = Path(__file__).resolve().parents[3] / "docs/corruptions"
MODULES = [*EFFECTS, *ENVELOPES, *SOURCES]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DOCS.parents[1])


def test_palette_page_holds_every_corruption_and_fetches_nothing() -> None:
    page = (DOCS / "index.html").read_text()
    assert re.findall(r'<article id="(\w+)">', page) == MODULES
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 2 * len(MODULES) + 3 and all(source.startswith("data:") for source in sources)
    held = {base64.b64decode(source.split(",")[1]) for source in sources}
    for name in MODULES:
        assert (DOCS / f"{name}.png").read_bytes() in held and (DOCS / f"audio/{name}.mp3").read_bytes() in held
    assert sum(path.stat().st_size for path in DOCS.rglob("*") if path.is_file()) < 1.5e6


@pytest.mark.parametrize("name", MODULES)
def test_palette_audio_is_the_example_of_the_page(name: str) -> None:
    """Through the MP3 at 40 kbit/s it is stored as."""
    _, _, params = pages.page_of(name)
    shown = example(name, params)
    again = example(name, params)
    assert np.array_equal(shown.after, again.after) and shown.after.shape == (FRAMES,)
    assert not np.allclose(shown.before, shown.after, atol=1e-3)
    stored, rate = decode(DOCS / f"audio/{name}.mp3")
    assert rate == 16_000 and len(stored) == FRAMES and abs(lag(stored, shown.after)) <= 2
    assert band_db(stored, 200, 3000) == pytest.approx(band_db(np.clip(shown.after, -1, 1), 200, 3000), abs=0.5)


def test_palette_table_names_every_corruption() -> None:
    text = (DOCS / "README.md").read_text()
    rows = re.findall(r"^\| \[`(\w+)`\]\(\w+\.md\) \|.*\| (?:< )?[\d.]+ \|$", text, flags=re.M)
    assert rows == MODULES
