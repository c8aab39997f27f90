"""The pseudo_gt stage (CAAD, arXiv 2606.23052, stage 1): a response to every item, by default written without hearing anything."""

import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.cli import Counts
from tasks.common.errors import UserError
from tasks.common.fanout import FanOut, in_process
from tasks.common.params import load
from tasks.common.seeds import folder_hashes
from tasks.common.sha256sums import check_sums
from tasks.common.tables import prune, read_rows, write_parquet
from tasks.engines.qwen2_audio import END_OF_TURN
from tasks.pseudo_gt.checking import NO_ROOM, TOO_LONG, Reply
from tasks.pseudo_gt.params import PseudoGtParams
from tasks.pseudo_gt.planting import is_corrupted, planted
from tasks.pseudo_gt.sources import Draft, consensus, from_audio, from_metadata, from_template, references_of

ITEMS = Path("data/items.parquet")
CATALOG = Path("data/catalog")
REFERENCES = Path("data/references")
PSEUDO_GT = Path("data/pseudo_gt")
EXCLUDED = Path("data/pseudo_gt_excluded.parquet")
PARTS = Path("data/.parts/pseudo_gt")
# What an LLM said, so that a later run need not ask again.
REPLY = [("key", pa.string()), ("reply", pa.string()), ("finish_reason", pa.string()), ("attempt", pa.int32())]
SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("author", pa.string()),
        ("text", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("corrupted", pa.bool_()),
        *REPLY,
    ]
)
EXCLUDED_SCHEMA = pa.schema([("item_id", pa.string()), ("reason", pa.string()), ("text", pa.string()), *REPLY])
Row = dict[str, Any]
log = logging.getLogger("dinproof")


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a `from_pretrained` folder; raises UserError where there is none, or one that is not what was written."""
    if not (folder / "tokenizer_config.json").is_file():
        raise UserError(str(folder), "no tokenizer here (tokenizer_config.json is missing)", "Run python -m tasks.backbone")
    check_sums(folder, folder_hashes(folder, ("*.json", "*.jinja", "*.txt", "*.model")))
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def rows_of(drafts: Sequence[Draft], tokenizer: Any, params: PseudoGtParams) -> tuple[list[Row], list[Row]]:
    """Rows of data/pseudo_gt and of data/pseudo_gt_excluded.parquet. `token_ids` ends with the end-of-turn token, as a model's own response does."""
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    rows, excluded = [], []
    for draft in drafts:
        text, reason = draft.text, draft.reason
        corrupted = text is not None and is_corrupted(draft.item, params.corrupt_share)
        if text is not None and corrupted:
            text = planted(draft.item, text)
        ids = [] if text is None else [*tokenizer(text, add_special_tokens=False)["input_ids"], end]
        if reason is None and len(ids) > params.max_tokens:
            reason = TOO_LONG
        said: Row = {"key": draft.key} | dict.fromkeys(("reply", "finish_reason", "attempt"))
        if draft.reply is not None:
            said |= {"reply": draft.reply.text, "finish_reason": draft.reply.finish_reason, "attempt": draft.reply.attempt}
        if reason is None:
            rows.append({"item_id": draft.item["item_id"], "author": draft.author, "text": text, "token_ids": ids, "corrupted": corrupted, **said})
        else:
            shown = text if draft.reply is None else draft.reply.text
            excluded.append({"item_id": draft.item["item_id"], "reason": reason, "text": shown, **said})
    return rows, excluded


def run(*, fan_out: FanOut = in_process) -> Counts:
    """Write data/pseudo_gt, sharded by item, and data/pseudo_gt_excluded.parquet.

    Only what an LLM said is kept from run to run; the rest costs less to write again than to compare.
    """
    params = load("pseudo_gt", PseudoGtParams)
    tokenizer = load_tokenizer(params.tokenizer)
    items = sorted(read_rows(ITEMS), key=lambda item: item["item_id"])
    drafts, asked = _drafts(params, items, fan_out)
    rows, excluded = rows_of(drafts, tokenizer, params)
    shards: dict[str, list[Row]] = {_shard(item["item_id"], params.shards): [] for item in items}
    for row in rows:
        shards[_shard(row["item_id"], params.shards)].append(row)
    for name, own in shards.items():
        write_parquet(PSEUDO_GT / name, own, SCHEMA)
    PSEUDO_GT.mkdir(parents=True, exist_ok=True)
    prune(PSEUDO_GT, set(shards))
    write_parquet(EXCLUDED, excluded, EXCLUDED_SCHEMA)
    shutil.rmtree(PARTS, ignore_errors=True)

    for reason, count in sorted(Counter(row["reason"] for row in excluded).items()):
        log.info("pseudo_gt: %d of %d items have none: %s", count, len(items), reason)
    wrong = sum(row["corrupted"] for row in rows)
    if wrong:
        log.info("pseudo_gt: %d of %d answers are wrong on purpose (corrupt_share %g)", wrong, len(rows), params.corrupt_share)
    return Counts(done={"pseudo_gt": len(rows), "excluded": len(excluded), "generations": asked})


def _drafts(params: PseudoGtParams, items: list[Row], fan_out: FanOut) -> tuple[list[Draft], int]:
    """(what the source has for each item, requests it took)."""
    if params.source == "template":
        return from_template(items), 0
    references = {} if params.source == "metadata" else references_of(params.source, _references())
    if params.source == "audio":
        return from_audio(items, references), 0
    clips = {row["clip_id"]: row for name in ("speech", "noise") for row in read_rows(CATALOG / f"{name}.parquet")}
    # Where the teacher has to agree, nothing is written that it was not asked.
    asked = items if params.source == "metadata" else [item for item in items if item["item_id"] in references]
    drafts, requests = from_metadata(asked, clips, params.author, _known(), PARTS, params.shards, fan_out)
    return (consensus(items, drafts, references) if params.source == "consensus" else drafts), requests


def _shard(item_id: str, shards: int) -> str:
    return f"{int(item_id, 16) % shards:04d}.parquet"


def _references() -> list[Row]:
    columns = ["item_id", "key", "teacher", "text", "finish_reason", "answer"]
    return read_rows(REFERENCES, columns) if any(REFERENCES.glob("*.parquet")) else []


def _known() -> dict[str, Reply]:
    """Replies of earlier outputs by key. An engine option may shorten the context, and no key names it."""
    files = [*sorted(PSEUDO_GT.glob("*.parquet")), *([EXCLUDED] if EXCLUDED.is_file() else [])]
    rows = [row for file in files for row in read_rows(file)]
    return {
        row["key"]: Reply(row["reply"], row["finish_reason"], row["attempt"])
        for row in rows
        if row.get("reply") is not None and row["finish_reason"] != NO_ROOM
    }
