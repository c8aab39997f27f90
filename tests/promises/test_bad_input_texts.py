"""Manifests, questions and YAML with a mistake in them: a reason for each recording, or one line that stops the build."""

import json
import os
import resource
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog.entry_keys import Questions
from tasks.catalog.params import CatalogParams
from tasks.catalog.questions import BadQuestionError, ask
from tasks.common.errors import UserError
from tasks.common.params import all_params, load, validate
from tests.catalog.catalog_project import DIGITS, Project, as_wav, sound
from tests.promises.bad_texts import MANIFESTS, NAMES, QUESTIONS, YAMLS, Manifest, Question, Yaml

ENTRY = DIGITS | {"corpus": "talks", "root": "talks", "pattern": "(?P<name>.+)", "labels": {}, "unit": "utterance", "text": "text", "speaker": "name"}
ENTRY |= {"compose": None, "split": {"field": "name", "test": 0.2, "validation": 0.2}, "duration_s": [0.1, 1.0]}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest.what)
def test_a_mistake_in_a_manifest_is_named(manifest: Manifest, project: Project) -> None:
    for seed, name in enumerate(NAMES):
        project.write(f"talks/{name}", as_wav(sound(seed)))
    for name, data in manifest.files.items():
        project.write(f"talks/{name}", data.encode() if isinstance(data, str) else data)
    project.entry(ENTRY, **manifest.entry)
    project.use(speech=["talks"])
    if manifest.mistake:
        with pytest.raises(UserError) as caught:
            project.build()
        assert manifest.mistake in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 1000
        return
    project.build()
    assert {path.removeprefix("talks/"): reason for path, reason in project.refused().items()} == manifest.refused
    rows = {row["path"].removeprefix("talks/"): row["text"] for row in project.rows("speech")}
    told = {path.partition("@")[0] for path in [*rows, *manifest.refused]}
    assert set(NAMES) <= told, "a recording is in a table or in quarantine"
    assert manifest.texts.items() <= rows.items()


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.what)
def test_a_question_that_cannot_be_asked_says_why(question: Question) -> None:
    rule = validate(Questions, {"question": "q", "options": "o", "answer": "a"}, "x.yaml")
    if not question.why:
        (asked,) = ask(rule, question.row, {})
        assert asked["answer"] in asked["options"]
        return
    with pytest.raises(BadQuestionError, match=question.why):
        ask(rule, question.row, {})


@pytest.mark.parametrize("one", YAMLS, ids=lambda one: one.what)
def test_a_mistake_in_yaml_is_one_line_at_once(one: Yaml, project: Project) -> None:
    Path("params.yaml").write_bytes(one.text if isinstance(one.text, bytes) else one.text.encode())
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(UserError) as caught:
        all_params()
        load("catalog", CatalogParams)
    assert one.says in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB"
    assert time.perf_counter() - start < 20
    assert not Path("ran").exists()


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "zero"])
@pytest.mark.parametrize("layout", ["table", "kaldi", "lhotse", "entry", "params"])
@pytest.mark.timeout(60)
def test_what_is_no_file_is_not_waited_for(kind: str, layout: str, project: Project) -> None:
    for seed, name in enumerate(NAMES):
        project.write(f"talks/{name}", as_wav(sound(seed)))
    changes: dict[str, dict[str, Any]] = {
        "table": {"layout": "table", "table": {"path": "t.csv"}},
        "kaldi": {"layout": "kaldi", "manifests": ["data"]},
        "lhotse": {"layout": "lhotse", "manifests": ["t.jsonl"]},
    }
    place = {"table": "talks/t.csv", "kaldi": "talks/data/wav.scp", "lhotse": "talks/t.jsonl"}.get(layout)
    project.entry(ENTRY, **changes.get(layout, {}))
    project.use(speech=["talks"])
    path = project.corpora / place if place else Path({"entry": "catalogs/speech/talks.yaml", "params": "params.yaml"}[layout])
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.chdir(path.parent)  # the name of a socket is short
        socket.socket(socket.AF_UNIX).bind(path.name)
        os.chdir(project.root)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"not a regular file|there is no catalogs|leaves the corpus' folder") as caught:
        project.build()
    assert "\n" not in str(caught.value)


def test_the_cases_are_told_apart() -> None:
    for cases in (MANIFESTS, QUESTIONS, YAMLS):
        names = [case.what for case in cases]  # type: ignore[attr-defined]
        assert len(set(names)) == len(names)
    assert json.dumps([manifest.refused for manifest in MANIFESTS])
