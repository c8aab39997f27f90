"""Every entry of catalogs/ reads a small tree in the published layout of its corpus, and says all there is to say of it."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from catalog_layouts_trees import TREES, Tree, entries
from catalog_project import Project

from tasks.catalog.audio import load_clips
from tasks.catalog.found import Recording, Refused, clip_id_of
from tasks.catalog.layouts import LAYOUTS
from tasks.catalog.params import Entry, read_entry
from tasks.common.audio import resample, to_mono

SHIPPED = Path(__file__).resolve().parents[2]
ENTRIES = list(entries(SHIPPED / "catalogs"))
NO_COUNT = {"nemo", "sofa", "common-voice", "dynamic-superb"}  # two to copy; one differs by language and release, one grows by task


def planted(kind: str, corpus: str, corpora: Path) -> Entry:
    assert (kind, corpus) in TREES, f"give catalogs/{kind}/{corpus}.yaml a tree in catalog_layouts_trees.py"
    entry = read_entry(kind, corpus)  # type: ignore[arg-type]
    root = corpora / entry.root
    root.mkdir(parents=True, exist_ok=True)
    TREES[kind, corpus][0](Tree(root))
    return entry


def read_all(entry: Entry, root: Path) -> tuple[list[Recording], list[Refused]]:
    recordings: list[Recording] = []
    refused: list[Refused] = []
    layout = LAYOUTS[entry.layout]
    for found in layout.find(entry, root):
        for one in [found] if isinstance(found, Refused) else layout.read(entry, root, found):
            (refused if isinstance(one, Refused) else recordings).append(one)  # type: ignore[arg-type]
    return recordings, refused


@pytest.mark.parametrize(("kind", "corpus"), ENTRIES)
def test_entry_reads_its_corpus(kind: str, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHIPPED)
    entry = planted(kind, corpus, tmp_path)
    recordings, refused = read_all(entry, tmp_path / entry.root)
    assert (len(recordings), len(refused)) == TREES[kind, corpus][1:], refused
    assert len({one.path for one in recordings}) == len(recordings)
    for one in recordings:
        assert entry.duration_s[0] <= len(one.samples) / one.rate <= entry.duration_s[1]
        assert entry.licence_of(one.fields, one.path.partition("@")[0])
        for field in {"speech": [entry.text, entry.speaker], "noise": [entry.noise_type]}.get(kind, []):
            assert field and entry.label(one.fields, field), (field, one.fields)
        assert entry.split.field == "position" or entry.split.field in one.fields

    monkeypatch.setattr("tasks.catalog.audio.corpora_root", lambda: tmp_path)
    rows = [{"clip_id": clip_id_of(one.samples, one.rate), "path": f"{entry.root}/{one.path}", "sampling_rate": one.rate} for one in recordings]
    waves = load_clips(reversed(rows))
    for row, one in zip(rows, recordings, strict=True):
        assert np.array_equal(waves[row["clip_id"]], resample(to_mono(one.samples), one.rate)), row["path"]


def test_every_entry_says_where_it_comes_from_and_what_it_owes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHIPPED)
    for kind, corpus in ENTRIES:
        entry = read_entry(kind, corpus)  # type: ignore[arg-type]
        assert entry.source.startswith("http") and entry.citation and entry.fetch, corpus
        assert entry.expected is not None or corpus in NO_COUNT, corpus
    assert set(ENTRIES) == set(TREES)


def test_the_page_of_corpora_is_true_of_every_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHIPPED)
    page = (SHIPPED / "docs/corpora.md").read_text()
    for kind, corpus in ENTRIES:
        entry = read_entry(kind, corpus)  # type: ignore[arg-type]
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{corpus}` |"))
        assert f"`{entry.root}` | {entry.layout} |" in row and entry.licence in row and entry.fetch in row, row


def test_all_entries_in_one_build(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, list[str]] = defaultdict(list)
    (project.root / "catalogs").symlink_to(SHIPPED / "catalogs")
    for kind, corpus in ENTRIES:
        planted(kind, corpus, project.corpora)
        if (kind, corpus) not in {("speech", "words"), ("speech", "speech-commands"), ("speech", "digits")}:  # they compose a thousand utterances
            names[kind].append(corpus)
    project.use(**names)
    project.build()
    rows = [row for table in ("speech", "noise", "rooms") for row in project.rows(table)]
    counts = {corpus: sum(row["corpus"] == corpus for row in rows) for kind in names for corpus in names[kind]}
    assert counts == {corpus: TREES[kind, corpus][1] for kind in names for corpus in names[kind]}
    assert project.rows("quarantine") == []
    licences = {row["path"].rpartition("/")[2].partition("@")[0]: row["licence"] for row in rows}
    assert licences["noise-sound-bible-0001.wav"] == "CC-BY-3.0" and licences["101.wav"] == "CC0-1.0" and licences["102.wav"] == "CC-BY-NC-3.0"
    asked = {row["corpus"] for row in rows if "questions" in json.loads(row["metadata"])}
    assert asked == set(names["questions"])
    assert {row["split"] for row in rows if row["corpus"] in asked - {"avqa"}} == {"test"}
