"""The lineage as edges: what was made from what, read off the tables of a build.

An edge leads from a node to one made from it; a node is a kind and an id:

| kind | id |
|---|---|
| `corpus`, `licence`, `file` | its name; a file's path as in the catalog, without the part that names a clip inside of it |
| `clip`, `room`, `mixture`, `item` | its id |
| `shard`, `references`, `pseudo_gt`, `curriculum` | the file under `data/` |
| `model`, `parameter`, `code` | its folder; `params.yaml training.caad.alpha = 1.0`; `tasks/mix` with its hash |

A mixture id is decided by content, so tables of several versions lie side by side: what a model heard stays known after its recordings are gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from tasks.common.tables import SOUNDS, checked

SCHEMA = pa.schema([(name, pa.string()) for name in ("kind_from", "id_from", "kind_to", "id_to", "role")])
COMPOSED = "data/catalog/utterances/"  # clips made of other clips
# The forms of `path` that tasks.catalog.audio reads, cut where the clip inside of a file begins.
_FORMS = r"^(.+?\.(?:parquet|arrow|sofa))#.+$|^(.+)@\d+-\d+$"
_FILE = "coalesce({}, path)".format(", ".join(f"nullif(regexp_extract(path, '{_FORMS}', {group}, 'is'), '')" for group in (1, 2)))
_HOLDS = "rtrim('holds ' || substr(path, length(file) + 1))"
Files = Mapping[str, Path]  # relative path to where its bytes can be read


@dataclass(frozen=True)
class Heard:
    """A model: what its stage read, as files that hold the very bytes it read, and its settings.

    Attributes:
        folder: `models/caad`.
        module: of its stage, `tasks.training`.
        read: files by dependency, then by their path below it ("" for a dependency that is a file).
        parameters: `params.yaml training.caad.alpha` to its value.
        code: paths of source to their hashes.
    """

    folder: str
    module: str
    read: Mapping[str, Files] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)


def edges(data: Path, models: Sequence[Heard]) -> pa.Table:
    """All edges of a build whose tables lie in `data`, and of the models it made; each once, in order. Tables that are not there give none."""
    connection = duckdb.connect()
    connection.execute("CREATE TABLE edges (kind_from TEXT, id_from TEXT, kind_to TEXT, id_to TEXT, role TEXT)")
    for table in ("speech", "noise", "rooms"):
        for file in _versions(data / f"catalog/{table}.parquet", f"data/catalog/{table}.parquet", models):
            _clips(connection, file)
    for files in _folders(data / "rooms", "data/rooms", models):
        _rooms(connection, files)
    for file in _versions(data / "mixtures_manifest.parquet", "data/mixtures_manifest.parquet", models):
        _mixtures(connection, file)
    _derived(connection, data)
    for model in models:
        _model(connection, model)
    found: pa.Table = connection.sql("SELECT DISTINCT * FROM edges WHERE id_from IS NOT NULL AND id_to IS NOT NULL ORDER BY ALL").to_arrow_table()
    return found.cast(SCHEMA)


def _versions(now: Path, name: str, models: Sequence[Heard]) -> list[str]:
    """A table as it is now, and as each model read it."""
    then = (path for model in models for files in _within(model, name) for path in files.values())
    return list(dict.fromkeys(str(path) for path in (now, *then) if path.is_file()))


def _folders(now: Path, name: str, models: Sequence[Heard]) -> list[list[str]]:
    versions = [sorted(str(path) for path in now.glob("*.parquet"))]
    versions += [sorted(str(path) for path in files.values()) for model in models for files in _within(model, name)]
    return [files for number, files in enumerate(versions) if files and files not in versions[:number]]


def _within(model: Heard, name: str) -> list[Files]:
    return [model.read[name]] if name in model.read else []


def _add(connection: duckdb.DuckDBPyConnection, query: str, **params: Any) -> None:
    checked(map(Path, [*params.get("files", ()), *([params["file"]] if "file" in params else ())]), SOUNDS)
    connection.execute(f"INSERT INTO edges {query}", params or None)


def _clips(connection: duckdb.DuckDBPyConnection, file: str) -> None:
    """Corpus to file to clip, licence to clip, and the word clips of a composed utterance."""
    checked([Path(file)])
    connection.execute(f"CREATE OR REPLACE TEMP TABLE clips AS SELECT *, {_FILE} AS file FROM read_parquet($file)", {"file": file})
    made = f"starts_with(path, '{COMPOSED}')"
    _add(connection, f"SELECT DISTINCT 'corpus', corpus, 'file', file, 'holds' FROM clips WHERE NOT {made}")
    _add(connection, f"SELECT 'file', file, 'clip', clip_id, {_HOLDS} FROM clips WHERE NOT {made}")
    _add(connection, "SELECT 'licence', licence, 'clip', clip_id, 'covers' FROM clips")
    words = "SELECT clip_id, unnest(from_json(metadata->'word_clips', '[\"VARCHAR\"]')) AS word FROM clips"
    _add(connection, f"SELECT 'clip', word, 'clip', clip_id, 'word of' FROM ({words} WHERE {made})")


def _rooms(connection: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    """Measured responses and the files they lie in, which a model's stage does not read a catalog of; a simulated one comes from no recording."""
    checked(map(Path, files), SOUNDS)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE rooms AS SELECT *, {_FILE} AS file FROM (
        SELECT room_id, licence, metadata->>'clip_id' AS clip_id, metadata->>'path' AS path FROM read_parquet($files) WHERE source = 'measured')""",
        {"files": files},
    )
    _add(connection, "SELECT 'clip', clip_id, 'room', room_id, 'response' FROM rooms")
    _add(connection, f"SELECT 'file', file, 'clip', clip_id, {_HOLDS} FROM rooms")
    _add(connection, "SELECT 'licence', licence, 'clip', clip_id, 'covers' FROM rooms")


def _mixtures(connection: duckdb.DuckDBPyConnection, file: str) -> None:
    for role, value in (("speech", "clip_id"), ("noise", "unnest(noise_ids)"), ("voice", "unnest(voice_ids)")):
        _add(connection, f"SELECT 'clip', {value}, 'mixture', mixture_id, '{role}' FROM read_parquet($file)", file=file)
    _add(connection, "SELECT 'corpus', unnest(corpora), 'mixture', mixture_id, 'in' FROM read_parquet($file)", file=file)
    _add(connection, "SELECT 'room', room_id, 'mixture', mixture_id, 'room' FROM read_parquet($file)", file=file)


def _derived(connection: duckdb.DuckDBPyConnection, data: Path) -> None:
    """What lies under data/ now: shards of mixtures, items, references, Pseudo-GTs and the curriculum's parts."""
    manifest, items = data / "mixtures_manifest.parquet", data / "items.parquet"
    if manifest.is_file():
        query = "SELECT 'mixture', mixture_id, 'shard', 'data/mixtures/' || shard, 'in' FROM read_parquet($file)"
        _add(connection, query, file=str(manifest))
    if items.is_file():
        _add(connection, "SELECT 'clip', clip_id, 'item', item_id, 'asked about' FROM read_parquet($file)", file=str(items))
    for kind, key, pattern in (("references", "item", "references"), ("pseudo_gt", "item", "pseudo_gt"), ("curriculum", "mixture", "curriculum/*")):
        for file in sorted(data.glob(f"{pattern}/*.parquet")):
            query = f"SELECT DISTINCT '{key}', {key}_id, '{kind}', $name, 'in' FROM read_parquet($file)"
            _add(connection, query, file=str(file), name=f"data/{file.relative_to(data)}")


def _model(connection: duckdb.DuckDBPyConnection, model: Heard) -> None:
    """What a model heard, where it started, and its settings."""
    for dependency in model.read:
        if dependency.startswith("models/"):
            _add(connection, "SELECT 'model', $start, 'model', $folder, 'starts from or is taught by'", start=dependency, folder=model.folder)
    for name, value in model.parameters.items():
        _add(connection, "SELECT 'parameter', $name, 'model', $folder, 'set'", name=f"{name} = {value}", folder=model.folder)
    for path, revision in model.code.items():
        _add(connection, "SELECT 'code', $name, 'model', $folder, 'made by'", name=f"{path} {revision}", folder=model.folder)
    for files, query in _heard(model):
        if files:
            _add(connection, query, folder=model.folder, files=files)


def _heard(model: Heard) -> list[tuple[list[str], str]]:
    """Files, and a query over them for the edges into the model. Where a stage draws from a pool, all of the pool counts as heard."""

    def files(name: str, below: str = "") -> list[str]:
        return [str(path) for found in _within(model, name) for relative, path in found.items() if relative.startswith(below)]

    def clips(where: str, role: str) -> str:
        return f"SELECT 'clip', clip_id, 'model', $folder, '{role}' FROM read_parquet($files) WHERE {where}"

    speech, noise = files("data/catalog/speech.parquet"), files("data/catalog/noise.parquet")
    if model.module == "tasks.backbone":
        if any(name.endswith(" backbone.from") and value is not None for name, value in model.parameters.items()):
            return []  # fetched, not trained here
        return [
            (speech, clips("kind = 'word' AND split = 'train'", "trained on")),
            (speech, clips("kind = 'word' AND split = 'validation'", "validated on")),
        ]
    if model.module == "tasks.see":
        return [
            (speech, clips("kind = 'utterance' AND split = 'train'", "calibrated on some of")),
            (noise, clips("split = 'train'", "calibrated on some of")),
        ]
    mixtures = "SELECT DISTINCT 'mixture', mixture_id, 'model', $folder, '{}' FROM read_parquet($files)"
    found = [
        (files("data/curriculum", "train/"), mixtures.format("trained on")),
        (files("data/curriculum", "heldout/validation"), mixtures.format("validated on")),
    ]
    if any(name.endswith("curriculum.mixtures") and value == "on_demand" for name, value in model.parameters.items()):
        drawn = "SELECT DISTINCT 'clip', unnest(noise_ids || voice_ids), 'model', $folder, 'trained on some of' FROM read_parquet($files)"
        found.append((files("data/mixtures_manifest.parquet"), f"{drawn} WHERE split = 'train'"))
    return found
