"""An OpenAI-compatible server that answers by rule, misbehaves on demand, and counts what it was asked."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What to do wrong: (handler, the right response) to nothing; the handler writes the answer itself.
Fault = Callable[["Handler", dict[str, Any]], None]


class Stub(ThreadingHTTPServer):
    """`respond(body)` makes the right response; `faults[text of a question]` are done wrong, one an attempt, before it is given."""

    daemon_threads = True

    def __init__(self, respond: Callable[[dict[str, Any]], dict[str, Any]], cards: list[dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.respond, self.cards = respond, cards
        self.faults: dict[str, list[Fault]] = {}
        self.asked: Counter[str] = Counter()
        self.under_way, self.most = 0, 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.give({"object": "list", "data": self.server.cards})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][0]["content"][-1]["text"]
        stub = self.server
        with stub.lock:
            stub.asked[question] += 1
            stub.under_way += 1
            stub.most = max(stub.most, stub.under_way)
            fault = stub.faults[question].pop(0) if stub.faults.get(question) else None
        try:
            time.sleep(0.002)
            right = stub.respond(body)
            if fault is None:
                self.give(right)
            else:
                fault(self, right)
        finally:
            with stub.lock:
                stub.under_way -= 1

    def give(self, body: Any, status: int = 200) -> None:
        self.give_bytes(json.dumps(body).encode(), status)

    def give_bytes(self, data: bytes, status: int = 200, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)


def edited(change: Callable[[dict[str, Any]], None]) -> Fault:
    """The right response with something wrong in it."""

    def fault(handler: Handler, right: dict[str, Any]) -> None:
        wrong = json.loads(json.dumps(right))
        change(wrong)
        handler.give(wrong)

    return fault


def closed_in_the_middle(handler: Handler, right: dict[str, Any]) -> None:
    data = json.dumps(right).encode()
    handler.give_bytes(data[: len(data) // 2], length=len(data))
    handler.close_connection = True


def dripping(handler: Handler, right: dict[str, Any]) -> None:
    """A byte now and then, so that no wait between two bytes is long."""
    data = json.dumps(right).encode()
    handler.give_bytes(b"", length=len(data))
    try:
        for byte in data:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        handler.close_connection = True


def with_nan(handler: Handler, right: dict[str, Any]) -> None:
    right = json.loads(json.dumps(right))
    right["choices"][0]["logprobs"]["content"][0]["logprob"] = float("nan")
    handler.give(right)


FAULTS: dict[str, Fault] = {
    "http_500": lambda handler, right: handler.give({"error": {"message": "boom"}}, 500),
    "http_429": lambda handler, right: handler.give({"error": {"message": "slow down"}}, 429),
    "html": lambda handler, right: handler.give_bytes(b"<html>gateway</html>"),
    "cut_json": lambda handler, right: handler.give_bytes(json.dumps(right).encode()[:-20]),
    "not_an_object": lambda handler, right: handler.give([1, 2]),
    "closed_in_the_middle": closed_in_the_middle,
    "dripping": dripping,
    "truncated_logprobs": edited(lambda wrong: wrong["choices"][0]["logprobs"]["content"].pop()),
    "no_logprobs": edited(lambda wrong: wrong["choices"][0].update(logprobs=None)),
    "nan": with_nan,
    "null_logprob": edited(lambda wrong: wrong["choices"][0]["logprobs"]["content"][0].update(logprob=None)),
    "a_choice_too_few": edited(lambda wrong: wrong["choices"].pop()),
    "a_choice_twice": edited(lambda wrong: wrong["choices"][-1].update(index=0) or wrong["choices"].append(dict(wrong["choices"][0]))),
    "aborted": edited(lambda wrong: wrong["choices"][0].update(finish_reason="abort")),
}


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.shutdown()
        stub.server_close()
        thread.join(5)
