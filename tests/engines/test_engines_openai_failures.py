"""The openai engine against a server that misbehaves on purpose: nothing lost, nothing doubled, one clear line where it cannot be helped."""

import base64
import io
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from tasks.common.audio import RATE
from tasks.common.errors import UserError
from tasks.common.seeds import content_id, rng_of
from tasks.engines import AudioRefusedError, ContextOverflowError, EngineError, Request, calls, load_generator
from tasks.engines.prompts import Prompts
from tests.engines.stub_server import FAULTS, Stub, serving

OPTIONS: dict[str, Any] = {"timeout_s": 1.0, "retries": 2, "concurrency": 4}
CARD = {"id": "teacher", "owned_by": "vllm", "max_model_len": 300}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.01)


@pytest.fixture(scope="module")
def prompts(random_folder: Path) -> Prompts:
    return Prompts(random_folder)


def token_rows(question: str, audio: str, n: int) -> list[list[int]]:
    """What this server says: tokens that follow from the question and the bytes of the audio."""
    return [[*rng_of(question, audio, number).integers(33, 120, size=4).tolist(), 374] for number in range(n)]


@pytest.fixture
def stub(prompts: Prompts) -> Iterator[Stub]:
    def respond(body: dict[str, Any]) -> dict[str, Any]:
        content = body["messages"][0]["content"]
        question, audio = content[-1]["text"], content[0]["input_audio"]["data"] if len(content) > 1 else ""
        wave = np.zeros(RATE, np.float32) if audio else None
        ids = prompts.processor.tokenizer(prompts.text(Request(question, wave)))["input_ids"]
        ends = [prompts.end_ids[0] if token == 374 else token for token in range(400)]
        rows = [[ends[token] for token in row] for row in token_rows(question, content_id(audio), body.get("n", 1))]
        choices = [
            {
                "index": index,
                "token_ids": row,
                "message": {"content": prompts.processor.tokenizer.decode(row[:-1])},
                "finish_reason": "stop",
                "logprobs": {"content": [{"token": str(token), "logprob": -0.25} for token in row]},
            }
            for index, row in enumerate(rows)
        ]
        expanded = [token for t in ids for token in ([t] * 25 if t == prompts.audio_id else [t])]
        return {"choices": choices[::-1], "prompt_token_ids": expanded}

    with serving(Stub(respond, [CARD])) as made:
        yield made


def questions(count: int) -> list[Request]:
    rng = np.random.default_rng(0)
    return [Request(f"question {i}", None if i % 2 else rng.standard_normal(RATE).astype(np.float32)) for i in range(count)]


def test_every_fault_once_loses_and_doubles_nothing(stub: Stub, random_folder: Path) -> None:
    engine = load_generator("openai", random_folder, url=stub.url, **OPTIONS)
    requests = questions(3 * len(FAULTS))
    right = engine.generate(requests, n=2, temperature=1.0, max_new_tokens=8, seed=1)
    assert set(stub.asked.values()) == {1} and stub.most <= 4
    assert len({tuple(row[0].token_ids) for row in right}) == len(requests)
    stub.asked.clear()
    stub.faults = {requests[3 * i].prompt: [fault] for i, fault in enumerate(FAULTS.values())}
    assert engine.generate(requests, n=2, temperature=1.0, max_new_tokens=8, seed=1) == right
    assert stub.asked == {request.prompt: 1 + (i % 3 == 0) for i, request in enumerate(requests)}


@pytest.mark.parametrize("name", FAULTS)
def test_a_lasting_fault_names_its_request_and_keeps_the_others(name: str, stub: Stub, random_folder: Path) -> None:
    engine = load_generator("openai", random_folder, url=stub.url, **{**OPTIONS, "timeout_s": 0.4})
    requests = questions(6)
    right = engine.generate(requests, n=2, temperature=1.0, max_new_tokens=8)
    stub.asked.clear()
    stub.faults = {"question 2": [FAULTS[name]] * 3}
    with pytest.raises(EngineError, match=r"request 'question 2'.*1 of 6 requests failed") as caught:
        engine.generate(requests, n=2, temperature=1.0, max_new_tokens=8)
    assert caught.value.finished == {i: right[i] for i in (0, 1, 3, 4, 5)}
    assert list(caught.value.failed) == [2] and "3 attempts" in caught.value.failed[2]
    assert stub.asked == {request.prompt: 1 + 2 * (i == 2) for i, request in enumerate(requests)}
    assert "\n" not in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.finished, again.failed, str(again)) == (caught.value.finished, caught.value.failed, str(caught.value))


def test_a_mistake_of_ours_is_not_repeated(stub: Stub, random_folder: Path) -> None:
    engine = load_generator("openai", random_folder, url=stub.url, **OPTIONS)
    stub.faults = {"question 1": [lambda handler, right: handler.give({"error": {"message": "no such\nfield"}}, 400)]}
    with pytest.raises(EngineError, match="HTTP 400: no such field"):
        engine.generate(questions(3), max_new_tokens=8)
    assert stub.asked["question 1"] == 1


def test_a_server_that_reads_another_prompt_is_noticed(stub: Stub, random_folder: Path) -> None:
    engine = load_generator("openai", random_folder, url=stub.url, **OPTIONS)
    respond = stub.respond
    stub.respond = lambda body: {**respond(body), "prompt_token_ids": respond(body)["prompt_token_ids"][1:]}
    with pytest.raises(EngineError, match="reads another prompt"):
        engine.generate(questions(1), max_new_tokens=8)


def test_a_server_that_goes_away_keeps_what_it_gave(stub: Stub, random_folder: Path) -> None:
    engine = load_generator("openai", random_folder, url=stub.url, **{**OPTIONS, "concurrency": 1})

    def leave(handler: Any, right: dict[str, Any]) -> None:
        stub.socket.close()
        handler.close_connection = True

    stub.faults = {"question 3": [leave]}
    with pytest.raises(EngineError) as caught:
        engine.generate(questions(40), max_new_tokens=8)
    assert set(caught.value.finished) == {0, 1, 2} and len(caught.value.failed) == 37
    assert "no server answers" in caught.value.failed[39]


def test_the_server_hears_the_very_samples(stub: Stub, random_folder: Path) -> None:
    engine = load_generator("openai", random_folder, url=stub.url, **OPTIONS)
    heard = []
    respond = stub.respond
    stub.respond = lambda body: heard.append(body["messages"][0]["content"][0]["input_audio"]) or respond(body)
    wave = np.random.default_rng(0).standard_normal(20000).astype(np.float32)  # beyond full scale too
    engine.generate([Request("question", wave)], max_new_tokens=8)
    samples, rate = sf.read(io.BytesIO(base64.b64decode(heard[0]["data"])), dtype="float32")
    assert rate == RATE
    np.testing.assert_array_equal(samples, wave)


def test_requests_that_do_not_fit_are_never_sent(stub: Stub, random_folder: Path) -> None:
    engine = load_generator("openai", random_folder, url=stub.url, **OPTIONS)
    assert engine.context == 300  # the server's, shorter than the model's
    with pytest.raises(AudioRefusedError, match="longer_than_window"):
        engine.generate([Request("q", np.zeros(3 * RATE, np.float32))], max_new_tokens=8)
    with pytest.raises(ContextOverflowError, match="the model reads 300"):
        engine.generate([Request("lamp " * 290)], max_new_tokens=20)
    assert engine.refusals([Request("lamp " * 290), Request("lamp")], 20) == ["context_overflow", None]
    assert not stub.asked


def test_a_plain_server_gives_text_and_cannot_score(stub: Stub, random_folder: Path, prompts: Prompts) -> None:
    stub.cards = [{"id": "gpt", "owned_by": "somebody"}]
    engine = load_generator("openai", random_folder, url=stub.url, **OPTIONS)
    text = "lamp tree"
    ids = prompts.processor.tokenizer(text)["input_ids"]

    def respond(body: dict[str, Any]) -> dict[str, Any]:
        assert not set(body) & {"return_token_ids", "bad_words", "top_k", "stop_token_ids"}
        entries = [{"token": "x", "logprob": -0.5}] * (len(ids) + (body["messages"][0]["content"][-1]["text"] == "with end"))
        return {"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop", "logprobs": {"content": entries}}]}

    stub.respond = respond
    with_end, without = (row[0] for row in engine.generate([Request("with end"), Request("without")], max_new_tokens=8))
    assert with_end.token_ids == [*ids, prompts.end_ids[0]] and without.token_ids == ids
    assert with_end.text == without.text == text
    with pytest.raises(UserError, match="this server cannot score"):
        engine.score([Request("q")], [[1]])


def test_mistakes_of_the_user_are_one_line(stub: Stub, random_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(UserError, match=r"no server answers .*Start one, e\.g\. `python -m vllm"):
        load_generator("openai", random_folder, url=nobody)
    with pytest.raises(UserError, match=r"served_model: other: no such model there\. Choose: teacher"):
        load_generator("openai", random_folder, url=stub.url, served_model="other")
    with pytest.raises(UserError, match=r"unknown key 'concurency'\. Did you mean 'concurrency'"):
        load_generator("openai", random_folder, concurency=3)
    with pytest.raises(UserError, match="'concurrency' is 0"):
        load_generator("openai", random_folder, concurrency=0)
    stub.cards = [CARD, {**CARD, "id": "second"}]
    with pytest.raises(UserError, match=r"several models there\. Choose: teacher, second"):
        load_generator("openai", random_folder, url=stub.url)
    stub.cards = "nonsense"  # type: ignore[assignment]
    with pytest.raises(UserError, match="not an OpenAI-compatible server"):
        load_generator("openai", random_folder, url=stub.url)
    monkeypatch.setattr(stub.RequestHandlerClass, "do_GET", lambda handler: handler.give({"error": {"message": "bad key"}}, 401))
    with pytest.raises(UserError, match="refuses the key: bad key"):
        load_generator("openai", random_folder, url=stub.url)
    (tmp_path / "config.json").write_bytes((random_folder / "config.json").read_bytes())
    for engine in ("openai", "vllm", "transformers"):
        with pytest.raises(UserError, match="no processor here"):
            load_generator(engine, tmp_path)
