"""The page: complete, escaped, self-contained, the same twice; and a browser opens it without complaint."""

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_build import HOSTILE, METHODS, write_build

from tasks.common.audio import decode
from tasks.common.errors import UserError
from tasks.report import gather
from tasks.report.examples import choose_examples
from tasks.report.figures import markdown_table
from tasks.report.stage import closing_lines, read_metrics, run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Reader(HTMLParser):
    """Collects tags and text, and fails on a tag that is closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def page(built: Path) -> str:
    return (built / "reports/index.html").read_text()


@pytest.fixture
def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_hostile_names_show_as_text(page: str, read: Reader) -> None:
    assert "script" not in {tag for tag, _ in read.tags} and "b&w" not in page
    text = "".join(read.text)
    assert HOSTILE in text and "b&w <b>babble</b>" in text and "rain $x_1$" in text


def test_nothing_is_fetched_from_elsewhere(read: Reader) -> None:
    addresses = [value for _, attrs in read.tags for name in ("src", "href", "xlink:href") if (value := attrs.get(name))]
    assert addresses and all(value.startswith(("data:", "#")) for value in addresses)


def test_ids_are_unique_and_every_reference_is_met(page: str, read: Reader) -> None:
    ids = [value for _, attrs in read.tags if (value := attrs.get("id"))]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', page)) <= set(ids)


def test_page_holds_every_section_and_stays_small(page: str, read: Reader) -> None:
    assert {attrs["id"] for tag, attrs in read.tags if tag == "h2" and "id" in attrs} == {
        "noise",
        "controls",
        "listen",
        "checks",
        "curriculum",
        "dag",
        "quarantine",
        "corpora",
    }
    assert sum(tag == "svg" for tag, _ in read.tags) == 6
    assert len(page.encode()) < 10_000_000
    assert "truncated" in page and "CC0-1.0" in page


def test_audio_is_whole(read: Reader) -> None:
    sounds = [attrs["src"] or "" for tag, attrs in read.tags if tag == "audio"]
    assert len(sounds) == 2 * sum(attrs.get("class") == "pair" for tag, attrs in read.tags if tag == "article") >= 16
    for sound in sounds:
        wave, rate = decode(base64.b64decode(sound.removeprefix("data:audio/flac;base64,")))
        assert (len(wave), rate) == (16000, 16000)


def test_figures_of_the_page_are_those_of_the_metrics(page: str, here: Path) -> None:
    metrics, methods = read_metrics()
    assert methods == list(METHODS)
    for method in methods:
        assert f"{100 * metrics[method]['acc_noisy']['value']:.1f}<small>" in page
    lines = closing_lines()
    assert len(lines) == 5 and lines[-1] == "report: reports/index.html"
    assert f"{100 * metrics['caad']['gain_acc_noisy']['value']:+.1f} points" in lines[3]
    assert f"| caad | {100 * metrics['caad']['acc_clean']['value']:.1f} | " in markdown_table(metrics, methods)


def test_same_inputs_same_bytes(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_build(tmp_path)
    run()
    assert (tmp_path / "reports/index.html").read_text() == page


def test_without_a_build_the_user_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="Build first"):
        gather.connect()


def test_worst_failures_come_first() -> None:
    def row(number: int, wrong: float, snr: float, noise: str = "rain", clean: bool = True) -> dict[str, object]:
        return {
            "mixture_id": f"m{number}",
            "item_id": f"i{number}",
            "clip_id": f"c{number}",
            "wrong": wrong,
            "snr_db": snr,
            "noise_type": noise,
            "clean_correct": clean,
        }

    candidates = [row(0, 0.0, 20), row(1, 0.0, -10), row(2, 1.0, -10), row(3, 1.0, 20, clean=False), row(4, 1.0, 10), row(5, 0.5, 0)]
    chosen = [entry["mixture_id"] for entry in choose_examples(candidates)]
    assert chosen == ["m4", "m2", "m5", "m1", "m0"]  # m3 would be the third of its noise type among the failures


def chromium(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command = [str(CHROMIUM), *quiet, "--disable-sync", f"--user-data-dir={folder}", "--virtual-time-budget=15000", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_reports_no_error(built: Path, tmp_path: Path) -> None:
    done = chromium(["--enable-logging=stderr", "--v=0", "--dump-dom", f"file://{built}/reports/index.html"], tmp_path / "profile")
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_plays_the_audio(page: str, tmp_path: Path) -> None:
    check = """<script>
    const sounds = [...document.querySelectorAll("audio")];
    const loaded = sounds.map(sound => new Promise(done => {
      sound.addEventListener("canplaythrough", () => done(sound.duration));
      sound.addEventListener("error", () => done("error"));
      sound.preload = "auto";
      sound.load();
    }));
    Promise.all(loaded).then(found => document.body.dataset.loaded = found.join(" "));
    </script>"""
    probe = tmp_path / "probe.html"
    probe.write_text(page.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';").replace("</body>", check + "</body>"))
    done = chromium(["--dump-dom", f"file://{probe}"], tmp_path / "profile")
    loaded = re.search(r'data-loaded="([^"]*)"', done.stdout)
    assert loaded and set(loaded.group(1).split()) == {"1"}
