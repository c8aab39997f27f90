"""A key of an engine's server is in the environment and nowhere else: a planted one is looked for in everything that a run writes or says."""

import json
import logging
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.store import Store
from tasks.common.cli import record
from tasks.common.errors import UserError
from tasks.common.fanout import in_process
from tasks.common.params import load
from tasks.common.tables import read_rows
from tasks.engines import EngineError, load_generator
from tasks.engines.options import EngineOptions
from tasks.engines.prompts import Prompts
from tasks.items.prompt import prompt_text
from tasks.references import stage
from tasks.references.params import ReferencesParams
from tests import teacher_side
from tests.engines.stub_server import Handler, Stub, serving

CANARY = "sk-canary-9f3b1c77d0aa4e55"
VARIABLE = "SOME_SERVERS_KEY"


def refuses(handler: Handler, right: dict[str, Any]) -> None:
    handler.give({"error": {"message": f"incorrect key provided: {handler.headers['Authorization']}"}}, 400)


def fails(handler: Handler, right: dict[str, Any]) -> None:
    handler.give({"error": {"message": handler.headers["Authorization"]}}, 500)


def garbles(handler: Handler, right: dict[str, Any]) -> None:
    right["choices"][0]["finish_reason"] = handler.headers["Authorization"]
    handler.give(right)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("keys")
    teacher_side.build(root)
    return root


@pytest.fixture
def stub(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A server that gives text, in a small project that asks it for its references."""
    teacher_side.enter_copy(built, tmp_path / "project", monkeypatch)
    tokenizer = Prompts(Path("models/backbone")).processor.tokenizer

    def respond(body: dict[str, Any]) -> dict[str, Any]:
        count = len(tokenizer(" lamp", add_special_tokens=False)["input_ids"])
        logprobs = {"content": [{"token": "x", "logprob": -0.5}] * (count + 1)}
        return {"choices": [{"index": 0, "message": {"content": " lamp"}, "finish_reason": "stop", "logprobs": logprobs}]}

    with serving(Stub(respond, [{"id": "teacher", "owned_by": "somebody"}])) as made:
        params = yaml.safe_load(Path("params.yaml").read_text())
        params["references"] |= {"engine": "openai", "engine_options": {"url": made.url, "api_key_env": VARIABLE, "retries": 0}}
        Path("params.yaml").write_text(yaml.safe_dump(params))
        yield made


def test_a_key_is_sent_and_is_found_nowhere(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, CANARY)
    caplog.set_level(logging.DEBUG)
    sent, said = [], []
    asked = [prompt_text(item["question"], item["options"]) for item in read_rows(stage.ITEMS) if item["task"] == "first" and item["split"] == "test"]

    def notes(handler: Handler, right: dict[str, Any]) -> None:
        sent.append(handler.headers["Authorization"])
        handler.give(right)

    for fault in (refuses, fails, garbles):
        stub.faults = {question: [fault] for question in asked}
        with pytest.raises(EngineError) as caught:
            stage.run(fan_out=in_process)
        error = caught.value
        said += [*traceback.format_exception(error), repr(error), str(pickle.loads(pickle.dumps(error))), repr(vars(error))]
    stub.faults = {question: [notes] for question in asked}
    record("references", 1.0, stage.run(fan_out=in_process))
    assert f"Bearer {CANARY}" in sent, "a test that sends no key finds none"
    assert len(said) > 8 and any("<key>" in text for text in said), "the servers did repeat it"
    captured = capfd.readouterr()
    said += [captured.out, captured.err, caplog.text, repr(load("references", ReferencesParams))]
    assert [text for text in said if CANARY in text] == []
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert "build.json" in [path.name for path in written] and list(stage.REFERENCES.glob("*.parquet"))
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []
    # Parquet is compressed, so its values are looked at too.
    assert CANARY not in json.dumps([read_rows(path) for path in (stage.REFERENCES, stage.EXCLUDED)])


def test_a_server_that_wants_another_key_is_told_without_it(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, CANARY)
    monkeypatch.setattr(Handler, "do_GET", lambda handler: handler.give({"error": {"message": f"no: {handler.headers['Authorization']}"}}, 401))
    with pytest.raises(UserError, match=rf"refuses the key: no: Bearer <key>\. Put the key into {VARIABLE}"):
        load_generator("openai", Path("models/backbone"), url=stub.url, api_key_env=VARIABLE)


@pytest.mark.parametrize("key", [f"{CANARY}\nX-Other: 1", f"Bearer {CANARY}", f"{CANARY}\u2026"], ids=["two lines", "with Bearer", "beyond ASCII"])
def test_what_no_header_can_hold_is_refused_unseen(key: str, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, key)
    with pytest.raises(UserError, match=f"environment variable {VARIABLE}") as caught:
        load_generator("openai", Path("models/backbone"), url=stub.url, api_key_env=VARIABLE)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "options",
    [{"api_key_env": CANARY}, {"url": f"http://me:{CANARY}@127.0.0.1:8000/v1"}, {"url": f"http://127.0.0.1:8000/v1?key={CANARY}"}],
    ids=["the key for its name", "password in the address", "key in the address"],
)
def test_a_key_among_the_parameters_is_refused_unseen(options: dict[str, str], stub: Stub) -> None:
    """Parameters are in git and in dvc.lock; the message goes to a log."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["references"]["engine_options"] = options
    Path("params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match="belongs in") as caught:
        load("references", ReferencesParams)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(UserError, match="belongs in"):
        load_generator("openai", Path("models/backbone"), **options)


@pytest.mark.parametrize("address", [f"sftp://me:{CANARY}@host/data", f"s3://{CANARY}:{CANARY}@bucket/data"])
def test_a_store_with_a_password_in_its_address_is_refused_unseen(address: str) -> None:
    with pytest.raises(UserError, match="DATA_URL: holds a password") as caught:
        Store(address)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_key_is_no_option() -> None:
    assert not [name for name in EngineOptions.model_fields if "key" in name and name != "api_key_env"]
