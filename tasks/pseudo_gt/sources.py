"""Who may write a Pseudo-GT, one function a source: the template, the clean-audio teacher, an LLM that reads metadata, or both agreeing."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.common.errors import UserError
from tasks.common.fanout import FanOut
from tasks.engines import model_revision
from tasks.items.answers import parse_answer
from tasks.pseudo_gt.checking import TOO_LONG, Reply, check
from tasks.pseudo_gt.params import AuthorParams
from tasks.pseudo_gt.prompting import load_template, metadata_of, render
from tasks.pseudo_gt.template import stated
from tasks.pseudo_gt.writing import Job, Prompted, key_of, resumed, write
from tasks.references.parts import driver, read_parts

Row = dict[str, Any]
NO_REFERENCE = "no_reference"
NO_CONSENSUS = "no_consensus"
log = logging.getLogger("dinproof")


@dataclass(frozen=True)
class Draft:
    """What a source has for an item: a text, or a reason for having none; of an LLM also its reply and the reply's key."""

    item: Row
    author: str
    text: str | None = None
    reason: str | None = None
    key: str | None = None
    reply: Reply | None = None


def from_template(items: Sequence[Row]) -> list[Draft]:
    """Transcript and answer, stated."""
    return [Draft(item, "template", stated(item)) for item in items]


def from_audio(items: Sequence[Row], references: Mapping[str, Row]) -> list[Draft]:
    """The clean-audio teacher's greedy response, right or wrong (CAAD's weaker ablation); `no_reference` where there is none."""
    drafts = []
    for item in items:
        reference = references.get(item["item_id"])
        if reference is None:
            drafts.append(Draft(item, "audio", reason=NO_REFERENCE))
        else:
            cut = reference["finish_reason"] == "length"
            drafts.append(Draft(item, reference["teacher"], reference["text"], TOO_LONG if cut else None, reference["key"]))
    return drafts


def from_metadata(
    items: Sequence[Row], clips: Mapping[str, Row], author: AuthorParams, known: Mapping[str, Reply], parts: Path, shards: int, fan_out: FanOut
) -> tuple[list[Draft], int]:
    """(drafts of an LLM that reads metadata, requests it took). Raises UserError for a template that does not fit the items.

    Args:
        items: what is asked.
        clips: catalog rows by clip_id.
        author: the LLM and its prompt.
        known: replies of earlier runs by key.
        parts: folder of replies on their way.
        shards: pieces the work is split into.
        fan_out: who runs them.
    """
    revision, template = model_revision(author.model), load_template(author.prompt)
    prompts: dict[str, Prompted] = {}
    keys = []
    for item in items:
        metadata = metadata_of(clips[item["clip_id"]])
        prompted = Prompted(item, metadata, render(template, author.prompt, item, metadata))
        keys.append(key_of(prompted, revision, author))
        prompts.setdefault(keys[-1], prompted)
    latest = resumed(known, read_parts(parts), prompts, author.attempts)
    jobs = []
    for shard in range(shards):
        own = {key: prompts[key] for key in sorted(prompts) if int(key, 16) % shards == shard}
        jobs.append(Job(own, {key: latest[key] for key in own if key in latest}, author, revision, parts))
    outcomes = [write(job) for job in jobs if not job.is_open()]
    outcomes += driver(author.engine, fan_out)(write, [job for job in jobs if job.is_open()], "pseudo_gt")
    replies = {key: reply for outcome in outcomes for key, reply in outcome.replies.items()}
    drafts = []
    for item, key in zip(items, keys, strict=True):
        # Items of one prompt share the reply, and each is judged by what is known about it.
        verdict = check(replies[key], item, metadata_of(clips[item["clip_id"]]))
        drafts.append(Draft(item, f"{author.model}@{revision}", verdict.text, verdict.reason, key, replies[key]))
    return drafts, sum(outcome.asked for outcome in outcomes)


def consensus(items: Sequence[Row], drafts: Sequence[Draft], references: Mapping[str, Row]) -> list[Draft]:
    """The drafts whose answer the clean-audio teacher gives too; `no_consensus` where it does not, `no_reference` where it was not asked."""
    written = {draft.item["item_id"]: draft for draft in drafts}
    compared = [draft for draft in drafts if draft.text is not None]
    kept = {draft.item["item_id"] for draft in compared if _answer(draft) in (references[draft.item["item_id"]]["answer"], None)}
    if compared:
        share = 100 * len(kept) / len(compared)
        log.info("pseudo_gt: author and clean-audio teacher agree on %.1f %% of %d items", share, len(compared))
    judged = []
    for item in items:
        draft = written.get(item["item_id"], Draft(item, "consensus", reason=NO_REFERENCE))
        agrees = draft.text is None or item["item_id"] in kept
        judged.append(draft if agrees else replace(draft, text=None, reason=NO_CONSENSUS))
    return judged


def _answer(draft: Draft) -> str | None:
    return parse_answer(draft.text or "", draft.item["options"])


def references_of(source: str, rows: Sequence[Row] | None) -> dict[str, Row]:
    """References by item; raises UserError where there are none."""
    if not rows:
        raise UserError("data/references", f"no references, and source '{source}' needs them", "Run python -m tasks.references")
    return {row["item_id"]: row for row in rows}
