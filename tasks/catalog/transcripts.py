"""Transcripts that lie beside the audio: a text file a recording, or one file of `key words ...` lines for a folder of them."""

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from tasks.catalog.files import Listed, locate
from tasks.catalog.found import Fields
from tasks.catalog.params import Entry


def fill(template: str, values: Mapping[str, str]) -> str:
    """`a/{b}` with the value of b in its place; raises KeyError where there is none."""
    return re.sub(r"\{([^{}]+)\}", lambda name: values[name[1]], template)


def transcripts(entry: Entry, root: Path) -> Callable[[str, Fields], Fields]:
    """A function of a recording's path and of the groups of its pattern that gives `{"text": ...}`, or nothing where there is no transcript."""
    rule = entry.transcript
    if rule is None:
        return lambda path, groups: {}

    @functools.lru_cache(maxsize=4)  # recordings come folder by folder
    def lines(path: str) -> dict[str, str]:
        pairs = (line.split(maxsplit=1) for line in _read(root, path).splitlines())
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def text_of(path: str, groups: Fields) -> Fields:
        pure = PurePosixPath(path)
        values = {**groups, "folder": pure.parent.as_posix(), "stem": pure.stem}
        try:
            beside = PurePosixPath(fill(rule.path, values)).as_posix()
            text = _read(root, beside) if rule.key is None else lines(beside).get(fill(rule.key, values), "")
        except KeyError:  # a group that took no part in the match
            return {}
        return {"text": " ".join(text.split())} if text.strip() else {}

    return text_of


def _read(root: Path, path: str) -> str:
    if not isinstance(locate(root, path), Listed):
        return ""
    try:
        return (root / path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""
