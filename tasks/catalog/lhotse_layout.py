"""Layout `lhotse`: manifests of cuts, or of recordings and supervisions, read through the lhotse library."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tasks.catalog.files import reasonable, regular, within
from tasks.catalog.found import Fields, Found, Refused
from tasks.catalog.manifest import Named, find_named, seconds_of
from tasks.catalog.params import Entry
from tasks.common import bounded_yaml
from tasks.common.errors import UserError


class _Stretch(NamedTuple):
    """What one row of a manifest means: a stretch of a recording, what is said in it, and where the row stands."""

    recording: Any
    channels: Any
    start: Any
    duration: Any
    supervisions: list[Any]
    where: str


def find(entry: Entry, root: Path) -> Iterator[Found | Refused]:
    """The cuts, or the supervisions of the recordings, that `manifests` hold; their fields are the supervision's: text, speaker, language, ..."""
    yield from find_named(entry, root, _rows(entry, root), f"no row of {', '.join(entry.manifests)}")


def _rows(entry: Entry, root: Path) -> Iterator[Named]:
    for one in _stretches(entry, root):
        if isinstance(one, Named):
            yield one
            continue
        try:
            yield _named(one)
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            # Lhotse takes the values of a manifest as they are.
            yield Named(str(getattr(one.recording, "id", "")), None, None, {}, f"{one.where}: {error}", "bad_cut")


def _stretches(entry: Entry, root: Path) -> Iterator[_Stretch | Named]:
    # Here, because the import takes seconds and other layouts do without it.
    from lhotse import CutSet, RecordingSet, SupervisionSet

    paths = [within(root, root / name) for name in entry.manifests]
    sets = [_opened(path) for path in paths]
    recordings: dict[str, Any] = {}
    for path, one in zip(paths, sets, strict=True):
        for recording in _each(path, one) if isinstance(one, RecordingSet) else ():
            if str(recording.id) in recordings:
                raise UserError(str(path), f"recording '{recording.id}' stands twice", "Keep one recording an id")
            recordings[str(recording.id)] = recording
    for path, name, one in zip(paths, entry.manifests, sets, strict=True):
        if isinstance(one, CutSet):
            for cut in _each(path, one):
                where = f"cut {cut.id} of {name}"
                if not hasattr(cut, "recording") or cut.recording is None:
                    detail = f"{where}: a cut without a recording of its own ({type(cut).__name__})"
                    yield Named(str(cut.id), None, None, {}, detail, "bad_path")
                else:
                    yield _Stretch(cut.recording, cut.channel, cut.start, cut.duration, cut.supervisions, where)
        elif isinstance(one, SupervisionSet):
            for said in _each(path, one):
                where, recording = f"supervision {said.id} of {name}", recordings.get(str(said.recording_id))
                if recording is None:
                    yield Named(str(said.recording_id), None, None, {}, f"{where}: its recording is in no manifest", "bad_path")
                else:
                    yield _Stretch(recording, said.channel, said.start, said.duration, [said], where)
    if not any(isinstance(one, CutSet | SupervisionSet) for one in sets):
        for recording in recordings.values():
            yield _Stretch(recording, recording.channel_ids, 0.0, recording.duration, [], f"recording {recording.id}")


def _opened(path: Path) -> Any:
    from lhotse.serialization import load_manifest_lazy_or_eager

    try:
        reasonable(regular(path))
        if ".yaml" in path.name:  # aliases that stand for themselves a billion times would be copied out
            bounded_yaml.check((gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode())
        return load_manifest_lazy_or_eager(path)
    except UserError:
        raise
    except Exception as error:  # lhotse asserts and raises what its parsers raise
        raise _no_manifest(path, error) from None


def _each(path: Path, manifest: Any) -> Iterator[Any]:
    """The rows of a manifest that is read as it is used."""
    try:
        yield from manifest
    except Exception as error:  # as above
        raise _no_manifest(path, error) from None


def _no_manifest(path: Path, error: Exception) -> UserError:
    return UserError(str(path), f"not a lhotse manifest ({type(error).__name__})", "Correct 'manifests' in the catalog entry")


def _named(one: _Stretch) -> Named:
    recording, where = one.recording, one.where
    kinds = {source.type for source in recording.sources}
    if len(recording.sources) != 1 or kinds != {"file"}:
        detail = f"{where}: {len(recording.sources)} sources of type {', '.join(sorted(map(str, kinds)))}"
        return Named(str(recording.id), None, None, {}, detail, "pipe" if "command" in kinds else "bad_path")
    file = str(recording.sources[0].source)
    if set([one.channels] if isinstance(one.channels, int) else one.channels) != set(recording.channel_ids):
        detail = f"{where}: channels {one.channels} of {recording.channel_ids}; only all of them can be read"
        return Named(file, None, None, {}, detail, "channels")
    start, duration = seconds_of(one.start), seconds_of(one.duration)
    whole = start == 0.0 and abs(duration - seconds_of(recording.duration)) < 1.0 / recording.sampling_rate
    fields = _fields(one.supervisions) if one.supervisions else {"recording": str(recording.id)}
    return Named(file, None if whole else start, None if whole else start + duration, fields, where)


def _fields(supervisions: list[Any]) -> Fields:
    """Of one supervision all, of several what they say one after another and what they agree on."""
    every = [{**one.to_dict(), **(one.custom or {})} for one in supervisions]
    fields = {
        key: str(value) for key, value in every[0].items() if isinstance(value, str | int | float) and all(row.get(key) == value for row in every)
    }
    text = " ".join(str(row["text"]) for row in every if row.get("text"))
    return {key: value for key, value in fields.items() if key not in ("start", "duration", "channel") and value} | ({"text": text} if text else {})
