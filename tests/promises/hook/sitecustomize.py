"""Python imports this by itself where this folder is on PYTHONPATH: it numbers the writes of a process tree and kills at one of them.

A write is an opening for writing, the first `write` to a file so opened, an fsync, a rename (`from` and `rename`), a removal or a new folder. Each is
a line of FAULT_LOG, `<kind> <path> <process> <main or worker>`, before it happens. FAULT_AT is the number of the line at which to kill, of those
that hold FAULT_ON; FAULT_HOW is `tree` (the process group) or `self`. A `write` is torn: half of it is in the file when the process dies.
"""

import builtins
import fcntl
import io
import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

ROOT, LOG = os.environ.get("FAULT_ROOT", ""), os.environ.get("FAULT_LOG", "")
AT, ON, HOW = int(os.environ.get("FAULT_AT", "0")), os.environ.get("FAULT_ON", ""), os.environ.get("FAULT_HOW", "tree")
WATCHED = ("data/", "models/", "reports/", "dvc.lock", ".dvc/cache", ".dvc/tmp/rwlock", ".dvc/tmp/dvc.lock")
QUIET = (".lock.lock", "/.build.lock", "rwlock.lock")
open_file, open_number, fsync = builtins.open, os.open, os.fsync


def below(path: Any) -> str:
    """The path below the root where it is watched, else nothing."""
    if isinstance(path, int) or path is None:
        return ""
    name = os.path.relpath(os.fsdecode(path), ROOT)
    return name if f"{name}/".startswith(WATCHED) and not name.endswith(QUIET) else ""


def count(kind: str, name: str) -> bool:
    """Log a write; whether it is the one to die at."""
    parent = multiprocessing.parent_process()
    line = f"{kind} {name} {os.getpid()} {'worker' if parent else 'main'}\n"
    log = open_number(LOG, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        fcntl.flock(log, fcntl.LOCK_EX)
        os.write(log, line.encode())
        if not AT or ON not in line:
            return False
        with open_file(LOG, encoding="utf-8") as lines:
            return sum(ON in one for one in lines) == AT
    finally:
        os.close(log)


def die() -> None:
    if HOW == "tree":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def counted(function: Callable[..., Any], *kinds: str) -> Callable[..., Any]:
    """`function`, counted before it acts: a line of each of `kinds` for the argument in its place."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        for kind, path in zip(kinds, args, strict=False):
            if (name := below(path)) and count(kind, name):
                die()
        return function(*args, **kwargs)

    return wrapped


def synced(file: Any) -> None:
    number = file if isinstance(file, int) else file.fileno()
    if (name := below(os.path.realpath(f"/proc/self/fd/{number}"))) and count("fsync", name):
        die()
    fsync(number)


def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
    name = below(file) if set(mode) & set("wax+") else ""
    if name and count("open", name):
        die()
    made = open_file(file, mode, *args, **kwargs)
    if not name:
        return made
    write = made.write

    def first(data: Any) -> Any:
        made.write = write
        if count("write", name):
            write(data[: len(data) // 2])
            made.flush()
            die()
        return write(data)

    made.write = first
    return made


if ROOT and LOG:
    builtins.open = io.open = opened
    os.fsync = synced
    os.replace, os.rename = counted(os.replace, "from", "rename"), counted(os.rename, "from", "rename")
    os.unlink, os.remove, os.rmdir = counted(os.unlink, "remove"), counted(os.remove, "remove"), counted(os.rmdir, "remove")
    os.mkdir = counted(os.mkdir, "mkdir")
