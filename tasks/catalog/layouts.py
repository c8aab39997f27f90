"""How corpora lie on disk. Each layout finds the files of an entry, and reads the recordings in one of them.

A layout is a pair of functions. `find(entry, root)` streams the files and those refused by name or row alone, each path once, ascending by
`path.split("/")`; `read(entry, root, found)` yields the recordings of one file, or why one is refused, and raises BadFileError where the file
as a whole is of no use. What `read` yields follows from the bytes, the suffix and the cuts of a file: its name and its fields decide nothing.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tasks.catalog import folder_layout, huggingface_layout, kaldi_layout, lhotse_layout, sofa_layout, table_layout
from tasks.catalog.found import Found, Recording, Refused
from tasks.catalog.params import Entry


class Layout(NamedTuple):
    """How to find the files of a layout and how to read one."""

    find: Callable[[Entry, Path], Iterator[Found | Refused]]
    read: Callable[[Entry, Path, Found], Iterator[Recording | Refused]]


LAYOUTS = {
    "folder": Layout(folder_layout.find, folder_layout.read),
    "table": Layout(table_layout.find, folder_layout.read),
    "kaldi": Layout(kaldi_layout.find, folder_layout.read),
    "lhotse": Layout(lhotse_layout.find, folder_layout.read),
    "huggingface": Layout(huggingface_layout.find, huggingface_layout.read),
    "parquet": Layout(huggingface_layout.find, huggingface_layout.read),
    "sofa": Layout(sofa_layout.find, sofa_layout.read),
}
