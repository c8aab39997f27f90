"""One shard of references: the teacher's greedy responses to the items of some clips, keeping those it gave before."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.catalog.audio import load_clips
from tasks.common.seeds import content_id
from tasks.engines import Completion, Request, refusal, shared_generator
from tasks.items.answers import parse_answer
from tasks.items.prompt import prompt_text
from tasks.references.params import ReferencesParams

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Items of one shard, the catalog rows of their clips, and what earlier outputs hold under the items' keys."""

    params: ReferencesParams
    revision: str
    items: list[Row]
    clips: list[Row]
    earlier: dict[str, Row]


@dataclass(frozen=True)
class Outcome:
    """Rows for data/references and for data/references_excluded.parquet; `made` of them are new."""

    references: list[Row]
    excluded: list[Row]
    made: int


def key_of(item: Mapping[str, Any], revision: str, max_new_tokens: int) -> str:
    """Names a reference by all it depends on: clip, prompt, order of the options, model, decoding."""
    prompt = prompt_text(item["question"], item["options"])
    return content_id([item["clip_id"], prompt, item["options"], revision, {"temperature": 0, "max_new_tokens": max_new_tokens}])


def answer(job: Job) -> Outcome:
    """References and exclusions of the job's items, in their order."""
    keys = [key_of(item, job.revision, job.params.max_new_tokens) for item in job.items]
    missing = {key: item for key, item in zip(keys, job.items, strict=True) if key not in job.earlier}
    known = {**job.earlier, **(_new(job, missing) if missing else {})}
    references, excluded = [], []
    for key, item in zip(keys, job.items, strict=True):
        found = known[key]
        if "reason" in found:
            excluded.append({"item_id": item["item_id"], "key": key, "reason": found["reason"]})
            continue
        chosen = parse_answer(found["text"], item["options"])
        references.append(
            {
                "item_id": item["item_id"],
                "key": key,
                "teacher": f"{job.params.teacher}@{job.revision}",
                "text": found["text"],
                "token_ids": found["token_ids"],
                "token_logprobs": found["token_logprobs"],
                "finish_reason": found["finish_reason"],
                "answer": chosen,
                "correct": chosen == item["answer"],
            }
        )
    return Outcome(references, excluded, len(missing))


def _new(job: Job, missing: dict[str, Row]) -> dict[str, Row]:
    """Responses (or reasons for having none) by key."""
    heard = {item["clip_id"] for item in missing.values()}
    waves = load_clips([clip for clip in job.clips if clip["clip_id"] in heard])
    generator = shared_generator(job.params.engine, Path(job.params.teacher), job.revision)
    reasons = {clip_id: refusal(wave, generator.window_s) for clip_id, wave in waves.items()}
    asked = {key: item for key, item in missing.items() if reasons[item["clip_id"]] is None}
    requests = [Request(prompt_text(item["question"], item["options"]), waves[item["clip_id"]]) for item in asked.values()]
    completions = generator.generate(requests, max_new_tokens=job.params.max_new_tokens)
    refused: dict[str, Row] = {key: {"reason": reasons[item["clip_id"]]} for key, item in missing.items() if key not in asked}
    return refused | {key: _response(found[0]) for key, found in zip(asked, completions, strict=True)}


def _response(completion: Completion) -> Row:
    return {
        "text": completion.text,
        "token_ids": completion.token_ids,
        "token_logprobs": completion.token_logprobs,
        "finish_reason": completion.finish_reason,
    }
