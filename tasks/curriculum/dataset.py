"""The dataset's files: Parquet with the noisy audio in it, typed for Hugging Face datasets, written a mixture shard at a time."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Audio, Features, List, Value

from tasks.common.audio import RATE
from tasks.common.tables import parquet_writer, read_parquet

# The audio stays encoded until a user asks otherwise (cast_column), so that opening the dataset needs no audio codec.
FEATURES = Features(
    {
        "mixture_id": Value("string"),
        "item_id": Value("string"),
        "clip_id": Value("string"),
        "stage": Value("int32"),
        "split": Value("string"),
        "task": Value("string"),
        "noise_type": Value("string"),
        "snr_db": Value("float64"),
        "prompt": Value("string"),
        "options": List(Value("string")),
        "answer": Value("string"),
        "transcript": Value("string"),
        "audio": Audio(sampling_rate=RATE, decode=False),
        "sampling_rate": Value("int32"),
        "reference_text": Value("string"),
        "reference_token_ids": List(Value("int32")),
        "reference_token_logprobs": List(Value("float64")),
        "reference_correct": Value("bool"),
        "pseudo_gt_text": Value("string"),
        "pseudo_gt_token_ids": List(Value("int32")),
        "see": Value("float64"),
        "kl_to_clean": Value("float64"),
        "feature_distance": Value("float64"),
        "student_correct": Value("bool"),
        "agrees_with_clean": Value("bool"),
        "licences": List(Value("string")),
    }
)
SCHEMA: pa.Schema = FEATURES.arrow_schema
ROW_GROUP = 256


def with_audio(rows: pa.Table, shard: Path) -> pa.Table:
    """Rows about mixtures of one shard, with their audio, in the dataset's schema."""
    audio = read_parquet(shard, ["mixture_id", "audio"], [("mixture_id", "in", rows["mixture_id"].unique().to_pylist())])
    places = pc.index_in(rows["mixture_id"], value_set=audio["mixture_id"].combine_chunks())
    return rows.append_column("audio", audio["audio"].take(places)).select(SCHEMA.names).cast(SCHEMA)


def write_dataset(path: Path, rows: pa.Table) -> None:
    """Write rows with their audio atomically; memory holds one mixture shard at a time. `rows` is sorted by its column `shard`."""
    with parquet_writer(path, SCHEMA, compression="zstd") as writer:
        for shard in rows["shard"].unique().to_pylist():
            writer.write_table(with_audio(rows.filter(pc.equal(rows["shard"], shard)), Path(shard)), row_group_size=ROW_GROUP)
