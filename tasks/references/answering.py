"""One shard of references: the teacher's responses to the items of some clips, keeping those it gave before."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.catalog.audio import load_clips
from tasks.common.seeds import content_id
from tasks.common.versions import made_by
from tasks.engines import Completion, Generator, Request, shared_generator
from tasks.items.answers import parse_answer
from tasks.items.prompt import prompt_text
from tasks.references.params import ReferencesParams
from tasks.references.parts import ask, chunks

Row = dict[str, Any]


@dataclass(frozen=True)
class Earlier:
    """What earlier runs hold: completions by key, and why an item was left out by key."""

    completions: dict[str, list[Completion]]
    reasons: dict[str, str]


@dataclass(frozen=True)
class Job:
    """Items of one shard, the catalog rows of their clips, what is known under the items' keys, and where parts go."""

    params: ReferencesParams
    revision: str
    items: list[Row]
    clips: list[Row]
    earlier: Earlier
    parts: Path


@dataclass(frozen=True)
class Outcome:
    """Rows for data/references and for data/references_excluded.parquet; `made` of the references took a request."""

    references: list[Row]
    excluded: list[Row]
    made: int


def key_of(item: Mapping[str, Any], revision: str, max_new_tokens: int) -> str:
    """Names a greedy response by all it depends on: clip, prompt, order of the options, model, decoding, code and libraries. Never the engine."""
    return _key(item, revision, {"temperature": 0, "max_new_tokens": max_new_tokens})


def samples_key_of(item: Mapping[str, Any], revision: str, params: ReferencesParams) -> str | None:
    """The same for an item's samples, or None where none are asked for; the greedy response does not hang on how many there are."""
    if not params.samples:
        return None
    return _key(item, revision, params.model_dump(include={"samples", "temperature", "seed", "max_new_tokens"}))


def _key(item: Mapping[str, Any], revision: str, decoding: Mapping[str, Any]) -> str:
    prompt = prompt_text(item["question"], item["options"])
    return content_id([item["clip_id"], prompt, item["options"], revision, decoding, made_by("tasks.references.answering", "tasks.engines")])


def is_open(item: Mapping[str, Any], revision: str, params: ReferencesParams, earlier: Earlier) -> bool:
    """Whether the item still needs a request."""
    key, samples_key = key_of(item, revision, params.max_new_tokens), samples_key_of(item, revision, params)
    if key in earlier.reasons:
        return False
    return key not in earlier.completions or (samples_key is not None and samples_key not in earlier.completions)


def answer(job: Job) -> Outcome:
    """References and exclusions of the job's items, in their order."""
    todo = [item for item in job.items if is_open(item, job.revision, job.params, job.earlier)]
    known = Earlier(dict(job.earlier.completions), dict(job.earlier.reasons))
    if todo:
        options = job.params.engine_options.model_dump(exclude_defaults=True)
        generator = shared_generator(job.params.engine, job.params.teacher, job.revision, **options)
        for chunk in chunks(todo):
            _respond(job, generator, chunk, known)
    references, excluded = [], []
    for item in job.items:
        key = key_of(item, job.revision, job.params.max_new_tokens)
        if key in known.reasons:
            excluded.append({"item_id": item["item_id"], "key": key, "reason": known.reasons[key]})
        else:
            references.append(_reference(job, item, key, known.completions))
    answered = {row["item_id"] for row in references}
    return Outcome(references, excluded, sum(item["item_id"] in answered for item in todo))


def _respond(job: Job, generator: Generator, items: Sequence[Row], known: Earlier) -> None:
    """Add the responses of one chunk (or the reasons for having none) to `known`, greedy ones first."""
    heard = {item["clip_id"] for item in items}
    waves = load_clips([clip for clip in job.clips if clip["clip_id"] in heard])
    requests = [Request(prompt_text(item["question"], item["options"]), waves[item["clip_id"]]) for item in items]
    greedy: dict[str, Request] = {}
    sampled: dict[str, Request] = {}
    for item, request, reason in zip(items, requests, generator.refusals(requests, job.params.max_new_tokens), strict=True):
        key, samples_key = key_of(item, job.revision, job.params.max_new_tokens), samples_key_of(item, job.revision, job.params)
        if reason is not None:
            known.reasons[key] = reason
            continue
        if key not in known.completions:
            greedy[key] = request
        if samples_key is not None and samples_key not in known.completions:
            sampled[samples_key] = request
    params = job.params
    known.completions.update(ask(generator, greedy, job.parts, max_new_tokens=params.max_new_tokens))
    drawn = {"n": params.samples, "temperature": params.temperature, "seed": params.seed, "max_new_tokens": params.max_new_tokens}
    known.completions.update(ask(generator, sampled, job.parts, **drawn))


def _reference(job: Job, item: Row, key: str, completions: Mapping[str, list[Completion]]) -> Row:
    """A row of data/references."""
    greedy = completions[key][0]
    chosen = parse_answer(greedy.text, item["options"])
    samples_key = samples_key_of(item, job.revision, job.params)
    samples = [_sample(drawn, item) for drawn in (completions[samples_key] if samples_key is not None else [])]
    return {
        "item_id": item["item_id"],
        "key": key,
        "teacher": f"{job.params.teacher}@{job.revision}",
        "text": greedy.text,
        "token_ids": greedy.token_ids,
        "token_logprobs": greedy.token_logprobs,
        "finish_reason": greedy.finish_reason,
        "answer": chosen,
        "correct": chosen == item["answer"],
        "confidence": sum(greedy.token_logprobs) / len(greedy.token_logprobs),
        "samples_key": samples_key,
        "samples": samples,
        "sample_agreement": _share([drawn["answer"] == chosen for drawn in samples]),
        "sample_correct_share": _share([drawn["correct"] for drawn in samples]),
    }


def _sample(completion: Completion, item: Row) -> Row:
    chosen = parse_answer(completion.text, item["options"])
    return {**asdict(completion), "answer": chosen, "correct": chosen == item["answer"]}


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
