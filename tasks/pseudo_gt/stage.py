"""The pseudo_gt stage (CAAD, arXiv 2606.23052, stage 1): a response to every item, written without hearing anything."""

import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.cli import Counts
from tasks.common.errors import UserError
from tasks.common.params import load
from tasks.common.tables import prune, read_rows, write_parquet
from tasks.engines.qwen2_audio import END_OF_TURN
from tasks.pseudo_gt.params import PseudoGtParams
from tasks.pseudo_gt.template import write

ITEMS = Path("data/items.parquet")
PSEUDO_GT = Path("data/pseudo_gt")
SCHEMA = pa.schema(
    [("item_id", pa.string()), ("author", pa.string()), ("text", pa.string()), ("token_ids", pa.list_(pa.int32())), ("corrupted", pa.bool_())]
)
log = logging.getLogger("dinproof")


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a `from_pretrained` folder; raises UserError where there is none."""
    if not (folder / "tokenizer_config.json").is_file():
        raise UserError(str(folder), "no tokenizer here (tokenizer_config.json is missing)", "Run python -m tasks.backbone")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def rows_of(items: list[dict[str, Any]], tokenizer: Any, params: PseudoGtParams) -> list[dict[str, Any]]:
    """Rows of data/pseudo_gt. `token_ids` ends with the end-of-turn token, as a model's own response does."""
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    written = [write(item, params.corrupt_share) for item in items]
    tokens = tokenizer([text for text, _ in written], add_special_tokens=False)["input_ids"] if items else []
    return [
        {"item_id": item["item_id"], "author": params.author, "text": text, "token_ids": [*ids, end], "corrupted": corrupted}
        for item, (text, corrupted), ids in zip(items, written, tokens, strict=True)
    ]


def run() -> Counts:
    """Write data/pseudo_gt, sharded by item; writing all of it again costs less than finding out what changed."""
    params = load("pseudo_gt", PseudoGtParams)
    tokenizer = load_tokenizer(params.tokenizer)
    buckets: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for item in sorted(read_rows(ITEMS), key=lambda item: item["item_id"]):
        buckets[int(item["item_id"], 16) % params.shards].append(item)
    planted = 0
    for bucket, items in sorted(buckets.items()):
        rows = rows_of(items, tokenizer, params)
        planted += sum(row["corrupted"] for row in rows)
        write_parquet(PSEUDO_GT / f"{bucket:04d}.parquet", rows, SCHEMA)
    PSEUDO_GT.mkdir(parents=True, exist_ok=True)
    prune(PSEUDO_GT, {f"{bucket:04d}.parquet" for bucket in buckets})
    total = sum(map(len, buckets.values()))
    if planted:
        log.info("pseudo_gt: %d of %d answers are wrong on purpose (corrupt_share %g)", planted, total, params.corrupt_share)
    return Counts(done={"pseudo_gt": total})
