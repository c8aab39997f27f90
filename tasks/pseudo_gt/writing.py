"""The author at work: a reply to every prompt, asked for again where its form is wrong, and nothing asked twice."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.common.seeds import content_id
from tasks.common.versions import made_by
from tasks.engines import Completion, Generator, Request, shared_generator
from tasks.pseudo_gt.checking import FORM, NO_ROOM, Reply, check, reply_schema
from tasks.pseudo_gt.params import AuthorParams
from tasks.references.parts import ask, chunks

Row = dict[str, Any]


@dataclass(frozen=True)
class Prompted:
    """An item with what is known about its clip and the prompt made of both."""

    item: Row
    metadata: Row
    prompt: str


@dataclass(frozen=True)
class Job:
    """Prompts by key, the replies earlier runs hold under those keys, who writes, and where parts go."""

    prompts: dict[str, Prompted]
    known: dict[str, Reply]
    author: AuthorParams
    revision: str
    parts: Path

    def is_open(self) -> bool:
        """Whether a prompt of the job still needs a request."""
        return any(_next_attempt(self.known.get(key), prompted, self.author.attempts) is not None for key, prompted in self.prompts.items())


@dataclass(frozen=True)
class Outcome:
    """A final reply for every key, and how many requests that took."""

    replies: dict[str, Reply]
    asked: int


def key_of(prompted: Prompted, revision: str, author: AuthorParams) -> str:
    """Names a reply by all it depends on: prompt, options, model, decoding, code and libraries. Never the engine or how often it may try."""
    decoding = {"temperature": author.temperature, "max_new_tokens": author.max_new_tokens}
    return content_id([prompted.prompt, prompted.item["options"], revision, decoding, made_by("tasks.pseudo_gt.writing", "tasks.engines")])


def resumed(known: Mapping[str, Reply], parts: Mapping[str, Sequence[Completion]], keys: Iterable[str], attempts: int) -> dict[str, Reply]:
    """The latest reply under each key: what outputs hold, or what an interrupted run left."""
    replies = {key: known[key] for key in keys if key in known}
    for attempt in range(attempts):
        for key in keys:
            if made := parts.get(_attempt_key(key, attempt)):
                replies[key] = Reply(made[0].text, made[0].finish_reason, attempt)
    return replies


def write(job: Job) -> Outcome:
    """Ask until every reply is final."""
    replies, author = dict(job.known), job.author
    todo = [key for key, prompted in job.prompts.items() if _next_attempt(replies.get(key), prompted, author.attempts) is not None]
    if not todo:
        return Outcome(replies, 0)
    generator = shared_generator(author.engine, author.model, job.revision, **author.engine_options.model_dump(exclude_defaults=True))
    return Outcome(replies, sum(_write_chunk(generator, job, chunk, replies) for chunk in chunks(todo)))


def _write_chunk(generator: Generator, job: Job, keys: Sequence[str], replies: dict[str, Reply]) -> int:
    """Bring `replies` to a final one for each of `keys`, attempt by attempt; returns how many requests that took."""
    author, requests = job.author, {key: Request(job.prompts[key].prompt) for key in keys}
    refused = generator.refusals(list(requests.values()), author.max_new_tokens)
    replies.update({key: Reply("", NO_ROOM, 0) for key, reason in zip(keys, refused, strict=True) if reason is not None})
    asked = 0
    for attempt in range(author.attempts):
        due = [key for key in keys if _next_attempt(replies.get(key), job.prompts[key], author.attempts) == attempt]
        forms = [reply_schema(job.prompts[key].item["options"]) for key in due]
        drawn = {"temperature": author.temperature if attempt else 0.0, "seed": attempt, "max_new_tokens": author.max_new_tokens}
        found = ask(generator, {_attempt_key(key, attempt): requests[key] for key in due}, job.parts, schema=forms, **drawn)
        replies.update({key: Reply(made[0].text, made[0].finish_reason, attempt) for key, made in zip(due, found.values(), strict=True)})
        asked += len(due)
    return asked


def _next_attempt(reply: Reply | None, prompted: Prompted, attempts: int) -> int | None:
    """Number of the attempt an item needs now, or None where its reply stands: its form is right, or no further attempt is allowed."""
    if reply is None or reply.attempt >= attempts:
        return 0
    retried = check(reply, prompted.item, prompted.metadata).reason in FORM and reply.attempt + 1 < attempts
    return reply.attempt + 1 if retried else None


def _attempt_key(key: str, attempt: int) -> str:
    """Names one attempt's reply among the parts."""
    return content_id([key, attempt])
