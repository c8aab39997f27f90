"""Names that recordings come with, and things in a folder that are named like a recording and are none."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Name:
    """A recording's name as it is in the file system, what is odd about it, and the reason it is refused for."""

    name: bytes
    what: str
    reason: str = ""

    @property
    def shown(self) -> str:
        """As the tables show it."""
        return self.name.decode("utf-8", "replace")


NAMES = [
    Name(b"two\nlines.wav", "a line end"),
    Name(b"tab\tand\x1b[31mcolour.wav", "a tab and a terminal code"),
    Name("party \U0001f389\U0001f468\u200d\U0001f469\u200d\U0001f467.wav".encode(), "emoji"),
    Name("\u202egnp.\u05e9\u05dc\u05d5\u05dd.wav".encode(), "right-to-left, with an override"),
    Name("e\u0301.wav".encode(), "a letter and its accent"),
    Name("\u00e9.wav".encode(), "the same in one character"),
    Name(b"x" * 251 + b".wav", "255 bytes"),
    Name(b"-rf.wav", "a dash in front"),
    Name(b" .wav", "a space"),
    Name(b"\"'`$(id)%s{}.wav", "quotes and what shells and formats expand"),
    Name(b"back\\slash.wav", "a backslash"),
    Name(b"a#b[3].wav", "a hash and brackets"),
    Name(b"a@1-2.wav", "an at sign and numbers"),
    Name(b"<script>alert(1)<\xc3\xb7>.wav", "a script"),
    Name(b"a.wav.wav", "two suffixes"),
    Name(b"LOUD.WAV", "capital letters"),
    Name(b"a.parquet#b.wav", "what reads like a place in a shard", "bad_path"),
    Name(b"\xff\xfe.wav", "bytes that are not UTF-8", "bad_path"),
    Name(b"nul\xc0\x80.wav", "an overlong NUL", "bad_path"),
]


@dataclass(frozen=True)
class Thing:
    """Something named like a recording: what it is, how it is made at a path, and the reason it is refused for."""

    name: str
    what: str
    make: Callable[[Path], None]
    reason: str = "bad_path"


def _bind(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


THINGS = [
    Thing("pipe.wav", "a FIFO", os.mkfifo),
    Thing("socket.wav", "a socket", _bind),
    Thing("gone.wav", "a link to nothing", lambda path: path.symlink_to("nowhere.wav")),
    Thing("self.wav", "a link to itself", lambda path: path.symlink_to("self.wav")),
    Thing(
        "loop.wav",
        "a link to a link that leads back",
        lambda path: (path.symlink_to("pool.wav"), path.with_name("pool.wav").symlink_to("loop.wav"))[0],
    ),
    Thing("up", "a link to the folder it is in", lambda path: path.symlink_to(".")),
    Thing("zero.wav", "a link to /dev/zero", lambda path: path.symlink_to("/dev/zero")),
    Thing("passwd.wav", "a link to a file elsewhere", lambda path: path.symlink_to("/etc/passwd")),
    Thing("through.wav", "a link through a file", lambda path: path.symlink_to("whole.wav/../whole.wav"), "unreadable"),
    Thing("hard.wav", "a hard link to another recording", lambda path: path.hardlink_to(path.with_name("whole.wav")), "duplicate"),
]
