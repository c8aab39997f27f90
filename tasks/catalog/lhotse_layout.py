"""Layout `lhotse`: manifests of cuts, or of recordings and supervisions, read through the lhotse library."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.catalog.found import Fields, Found, Refused
from tasks.catalog.manifest import Named, find_named
from tasks.catalog.params import Entry
from tasks.common.errors import UserError


def find(entry: Entry, root: Path) -> Iterator[Found | Refused]:
    """The cuts, or the supervisions of the recordings, that `manifests` hold; their fields are the supervision's: text, speaker, language, ..."""
    yield from find_named(entry, root, _rows(entry, root), f"no row of {', '.join(entry.manifests)}")


def _rows(entry: Entry, root: Path) -> Iterator[Named]:
    # Here, because the import takes seconds and other layouts do without it.
    from lhotse import CutSet, RecordingSet, SupervisionSet

    sets = [_opened(root / name) for name in entry.manifests]
    recordings = {recording.id: recording for one in sets if isinstance(one, RecordingSet) for recording in one}
    for name, one in zip(entry.manifests, sets, strict=True):
        if isinstance(one, CutSet):
            for cut in one:
                where = f"cut {cut.id} of {name}"
                if not hasattr(cut, "recording") or cut.recording is None:
                    yield Named(cut.id, None, None, {}, f"{where}: a cut without a recording of its own ({type(cut).__name__})", "bad_path")
                else:
                    yield _named(cut.recording, cut.channel, cut.start, cut.duration, _fields(cut.supervisions), where)
        elif isinstance(one, SupervisionSet):
            for supervision in one:
                where, recording = f"supervision {supervision.id} of {name}", recordings.get(supervision.recording_id)
                if recording is None:
                    yield Named(supervision.recording_id, None, None, {}, f"{where}: its recording is in no manifest", "bad_path")
                else:
                    yield _named(recording, supervision.channel, supervision.start, supervision.duration, _fields([supervision]), where)
    if not any(isinstance(one, CutSet | SupervisionSet) for one in sets):
        for recording in recordings.values():
            yield _named(recording, recording.channel_ids, 0.0, recording.duration, {"recording": recording.id}, f"recording {recording.id}")


def _opened(path: Path) -> Any:
    from lhotse.serialization import load_manifest_lazy_or_eager

    try:
        return load_manifest_lazy_or_eager(path)
    except Exception as error:  # lhotse asserts and raises what its parsers raise
        raise UserError(str(path), f"not a lhotse manifest ({type(error).__name__})", "Correct 'manifests' in the catalog entry") from None


def _named(recording: Any, channels: int | list[int], start: float, duration: float, fields: Fields, where: str) -> Named:
    source = recording.sources[0]
    if len(recording.sources) != 1 or source.type != "file":
        detail = f"{where}: {len(recording.sources)} sources, the first of type {source.type}"
        return Named(recording.id, None, None, {}, detail, "pipe" if source.type == "command" else "bad_path")
    if set([channels] if isinstance(channels, int) else channels) != set(recording.channel_ids):
        return Named(
            str(source.source), None, None, {}, f"{where}: channels {channels} of {recording.channel_ids}; only all of them can be read", "channels"
        )
    whole = start == 0.0 and abs(duration - recording.duration) < 1.0 / recording.sampling_rate
    return Named(str(source.source), None if whole else start, None if whole else start + duration, fields, where)


def _fields(supervisions: list[Any]) -> Fields:
    """Of one supervision all, of several what they say one after another and what they agree on."""
    every = [{**one.to_dict(), **(one.custom or {})} for one in supervisions]
    if not every:
        return {}
    fields = {
        key: str(value) for key, value in every[0].items() if isinstance(value, str | int | float) and all(row.get(key) == value for row in every)
    }
    text = " ".join(row["text"] for row in every if row.get("text"))
    return {key: value for key, value in fields.items() if key not in ("start", "duration", "channel") and value} | ({"text": text} if text else {})
