"""Files below a corpus' root, in an order that does not hang on the file system."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tasks.catalog.found import Refused


def listing(root: Path, suffixes: tuple[str, ...], refused: list[Refused]) -> Iterator[tuple[str, int]]:
    """(path below `root`, size in bytes) of every file with one of the suffixes, sorted by path.

    Hidden files are not part of a corpus. A name that is not UTF-8 cannot be written to a table: it goes to `refused`.
    """
    found: list[tuple[str, int]] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if name.startswith(".") or not name.lower().endswith(suffixes):
                continue
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            try:
                relative.encode()
            except UnicodeEncodeError:
                refused.append(Refused(os.fsencode(relative).decode("utf-8", "replace"), "bad_path", "its name is not UTF-8"))
                continue
            found.append((relative, path.stat().st_size if path.exists() else 0))
    yield from sorted(found)


def below(path: str) -> bool:
    """Whether a path that a table names is relative and stays below its root."""
    return path not in ("", ".") and not path.startswith("/") and ".." not in PurePosixPath(path).parts and "\x00" not in path
