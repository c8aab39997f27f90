"""Files below a corpus' root: a walk in an order that does not hang on the file system, and paths that may not leave the root."""

import gzip
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tasks.catalog.found import Refused
from tasks.common.errors import UserError

_PLACE = re.compile(r"\.(?:parquet|arrow|sofa)#|@\d+-\d+$", re.I)  # what tasks.catalog.audio takes apart
RATIO, ROOM = 200, 2**28  # bytes unpacked for one of a gzipped manifest, once they are more than so many: JSON packs to a tenth


class Listed(NamedTuple):
    """A regular file: its path below the root and what one stat says of it."""

    path: str
    size: int
    mtime_ns: int
    inode: int


def listing(root: Path, suffixes: tuple[str, ...]) -> Iterator[Listed | Refused]:
    """Every file below `root` with one of the suffixes, or why it is none, ascending by `path.split("/")`; one folder in memory a level.

    Hidden files are not part of a corpus. Links to files are followed where they stay below the root; links to folders are not.
    """
    inside = os.path.realpath(root)
    levels = [_sorted(inside, "")]
    while levels:
        one = next(levels[-1], None)
        if one is None:
            levels.pop()
            continue
        if isinstance(one, Refused):
            yield one
            continue
        prefix, item = one
        path = prefix + item.name
        if item.is_dir(follow_symlinks=False):
            levels.append(_sorted(item.path, f"{path}/"))
        elif item.is_symlink() and os.path.isdir(item.path):  # noqa: PTH112, it is False, not an error, of links that go round
            yield Refused(_shown(path), "bad_path", "a link to a folder is not followed")
        elif path.lower().endswith(suffixes):
            yield _located(inside, path) if item.is_symlink() else _described(path, item.stat)


def locate(root: Path, path: str) -> Listed | Refused:
    """The file that a manifest names by its path below `root`, or why it may not be used."""
    return _located(os.path.realpath(root), path) if below(path) else Refused(_shown(path), "bad_path", "leaves the folder")


def regular(path: Path) -> Path:
    """The path of a manifest; raises UserError where something else than a file is there: reading a pipe would wait for ever."""
    if path.exists() and not path.is_file():
        raise UserError(str(path), "not a regular file", "Put the manifest itself there, or correct the catalog entry")
    return path


def within(root: Path, path: Path) -> Path:
    """The path of a manifest that an entry names; raises UserError where it leaves the root, by `..` or by a link."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise UserError(str(path), f"leaves the corpus' folder {root}", "Put the manifest below it, and correct the catalog entry")
    return path


def reasonable(path: Path) -> Path:
    """The path of a manifest; raises UserError where it is gzipped and far larger than itself: such a one would fill memory."""
    if path.suffix.lower() == ".gz" and path.is_file():
        most, read = max(ROOM, RATIO * path.stat().st_size), 0
        with gzip.open(path) as file:
            while (chunk := file.read(2**20)) and read <= most:
                read += len(chunk)
        if read > most:
            raise UserError(str(path), f"{path.stat().st_size} bytes that unpack to more than {most}", "Unpack it yourself if it is meant to be so")
    return path


def below(path: str) -> bool:
    """Whether a path that a table names is relative and stays below its root."""
    parts = PurePosixPath(path).parts
    return len(parts) > 0 and parts[0][0] != "/" and ".." not in parts and "\x00" not in path


def _sorted(folder: str, prefix: str) -> Iterator["tuple[str, os.DirEntry[str]] | Refused"]:
    try:
        with os.scandir(folder) as found:
            items = sorted((item for item in found if not item.name.startswith(".")), key=lambda item: item.name)
    except OSError as error:
        yield Refused(_shown(prefix.rstrip("/") or "."), "unreadable", f"a folder that cannot be listed: {error.strerror}")
        return
    yield from ((prefix, item) for item in items)


def _located(inside: str, path: str) -> Listed | Refused:
    target = os.path.realpath(f"{inside}/{path}")
    if os.path.commonpath([inside, target]) != inside:
        return Refused(_shown(path), "bad_path", "a link that leaves the folder")
    return _described(path, Path(target).stat)


def _described(path: str, status_of: Callable[[], os.stat_result]) -> Listed | Refused:
    try:
        path.encode()
        status = status_of()
    except UnicodeEncodeError:
        return Refused(_shown(path), "bad_path", "its name is not UTF-8")
    except OSError as error:
        return Refused(path, "bad_path", f"no such file: {error.strerror}")
    if not stat.S_ISREG(status.st_mode):
        return Refused(path, "bad_path", "not a regular file")
    if _PLACE.search(path):
        return Refused(path, "bad_path", "its name reads like a place in a shard or a recording")
    return Listed(path, status.st_size, status.st_mtime_ns, status.st_ino)


def _shown(path: str) -> str:
    """A path of the file system that can be written to a table."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
