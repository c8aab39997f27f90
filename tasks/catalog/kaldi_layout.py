"""Layout `kaldi`: data folders with `wav.scp`, and `segments`, `text`, `utt2spk` where there are any (kaldi-asr.org/doc/data_prep.html)."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from tasks.catalog.files import regular, within
from tasks.catalog.found import Found, Refused
from tasks.catalog.manifest import BATCH, Named, find_named, seconds_of
from tasks.catalog.params import Entry
from tasks.common.errors import UserError

RECORDINGS = r"^(?P<recording>\S+)\s+(?P<path>.*\S)"
SEGMENTS = r"^(?P<utterance>\S+)\s+(?P<recording>\S+)\s+(?P<start>[\d.]+)\s+(?P<end>-?[\d.]+)"
TEXTS = r"^(?P<utterance>\S+)\s+(?P<text>.*\S)"
SPEAKERS = r"^(?P<utterance>\S+)\s+(?P<speaker>\S+)"


def find(entry: Entry, root: Path) -> Iterator[Found | Refused]:
    """The utterances of every data folder that `manifests` names; their fields are utterance, recording, text, speaker.

    A line of wav.scp that is a command is refused with the reason `pipe`, never run.
    """
    rows = (row for folder in entry.manifests for row in _rows(root, folder))
    yield from find_named(entry, root, rows, f"no line of {', '.join(entry.manifests)}")


def _rows(root: Path, name: str) -> Iterator[Named]:
    folder = root / name
    table = _columns(within(root, folder / "wav.scp"), RECORDINGS)
    if (folder / "segments").is_file():
        table = _columns(within(root, folder / "segments"), SEGMENTS).join(table, "recording", use_threads=False)
    else:
        none = pa.nulls(len(table), pa.string())
        table = table.append_column("utterance", table["recording"]).append_column("start", none).append_column("end", none)
    for file, pattern in (("text", TEXTS), ("utt2spk", SPEAKERS)):
        if (folder / file).is_file():
            table = table.join(_columns(within(root, folder / file), pattern), "utterance", use_threads=False)
    for batch in table.to_batches(max_chunksize=BATCH):
        for row in batch.to_pylist():
            path, start, end = row.pop("path"), row.pop("start"), row.pop("end")
            where = f"utterance {row['utterance']} of {name}"
            if path is None:
                yield Named(row["recording"], None, None, {}, f"{where}: its recording is not in wav.scp", "bad_path")
            elif path.startswith("|") or path.endswith("|"):
                yield Named(row["recording"], None, None, {}, f"{where}: wav.scp gives a command, {path[:80]}", "pipe")
            else:
                fields = {key: value for key, value in row.items() if value}
                try:
                    first, last = (None if value is None else seconds_of(value) for value in (start, end))
                except ValueError as error:
                    yield Named(path, None, None, {}, f"{where}: {error}", "bad_cut")
                else:  # Kaldi writes -1 for the end of the recording
                    yield Named(path, first, None if last is None or last < 0 else last, fields, where)


def _columns(path: Path, pattern: str) -> pa.Table:
    """The named groups of a pattern in every line that matches it; the first is unique."""
    try:
        lines = csv.read_csv(
            regular(path),
            csv.ReadOptions(column_names=["line"]),
            csv.ParseOptions(delimiter="\x01", quote_char=False),
            csv.ConvertOptions(column_types={"line": pa.string()}, strings_can_be_null=False),
        )
        found = pa.Table.from_struct_array(pc.extract_regex(lines["line"], pattern).drop_null())
    except (OSError, pa.ArrowException) as error:
        todo = "Write it as kaldi does, UTF-8 and a line an entry, or correct 'manifests' in the catalog entry"
        raise UserError(str(path), f"not a readable kaldi file ({type(error).__name__})", todo) from None
    counts = pc.value_counts(found[found.column_names[0]])
    for twice in pc.filter(counts.field("values"), pc.greater(counts.field("counts"), 1)).to_pylist()[:1]:
        raise UserError(str(path), f"'{twice}' stands twice", "Keep one line an id, as kaldi's validate_data_dir.sh asks")
    return found
