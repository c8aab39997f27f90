"""Files by MD5 on an fsspec URL, in the layout of a DVC remote. They arrive whole or not at all, their hashes checked."""

import functools
import hashlib
import uuid
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fsspec.core import url_to_fs

from tasks.common.errors import UserError, full_disk
from tasks.common.fanout import progress
from tasks.common.tables import publish, temporary_name

AT_ONCE = 8  # transfers: they wait for the network, not for a core


class StoreError(UserError):
    """The store did not do what it was asked; another attempt may help."""

    def __init__(self, url: str, what: str) -> None:
        super().__init__(f"DATA_URL={url}", what, "Check the address, this machine's credentials for it and the network, and run again")
        self.url = url

    def __reduce__(self) -> tuple[Any, ...]:
        return StoreError, (self.url, self.what)


def md5(data: bytes) -> str:
    """What DVC knows bytes by."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def md5_of(file: Path) -> str:
    """The same of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "md5").hexdigest()


class Store:
    """Files by MD5 on an fsspec URL. Raises UserError where the URL is not understood or its package is missing, else StoreError."""

    def __init__(self, url: str) -> None:
        if urlsplit(url).password is not None:  # messages show the address
            raise UserError("DATA_URL", "holds a password", "Leave it to the environment, as the package of that file system reads it")
        if "://" not in url:  # a path means another folder in every process
            raise UserError(f"DATA_URL={url}", "is no URL", "Name the scheme: s3://bucket/folder, gs://bucket/folder, file:///folder")
        try:
            self.fs, self.root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UserError(f"DATA_URL={url}", str(error), "Correct the address, or install the package here and on every worker") from None
        self.url = url
        self.there: set[str] | None = None

    def place(self, digest: str) -> str:
        """Where a file lies, as DVC has it."""
        return f"{self.root}/files/md5/{digest[:2]}/{digest[2:]}"

    def send(self, files: Mapping[str, Path | bytes]) -> None:
        """Put those of some files, by MD5, that are not there."""
        if self.there is None:
            self.there = {"".join(path.rsplit("/", 2)[-2:]) for path in self._ask(lambda: self.fs.find(f"{self.root}/files/md5"))}
        new = {digest: file for digest, file in files.items() if digest not in self.there}
        _side_by_side(lambda digest: self._put(digest, new[digest]), new, "to the store")
        self.there |= new.keys()

    def _put(self, digest: str, file: Path | bytes) -> None:
        temporary, final = f"{self.root}/tmp/{uuid.uuid4().hex}", self.place(digest)

        def put() -> None:
            for path in (temporary, final):
                self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            if isinstance(file, bytes):
                self.fs.pipe_file(temporary, file)
            else:
                self.fs.put_file(str(file), temporary)
            self.fs.mv(temporary, final)

        self._ask(put)

    def fetch(self, targets: Mapping[Path, str]) -> None:
        """Bring files to where they belong, from (path, MD5)."""
        _side_by_side(lambda target: self._get(targets[target], target), targets, "from the store")

    def _get(self, digest: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(target)
        self._ask(lambda: self.fs.get_file(self.place(digest), str(temporary)))
        if md5_of(temporary) != digest:
            temporary.unlink()
            raise StoreError(self.url, f"{self.place(digest)} holds something else: delete it there")
        publish(temporary, target)

    def _ask(self, what: Callable[[], Any]) -> Any:
        try:
            return what()
        except Exception as error:  # each file system has exceptions of its own
            raise full_disk(error) or StoreError(self.url, f"{type(error).__name__}: {error}") from error


def _side_by_side(transfer: Callable[[Any], None], what: Collection[Any], label: str) -> None:
    long = len(what) > AT_ONCE
    with ThreadPoolExecutor(AT_ONCE) as pool, progress(len(what), label, "file") if long else nullcontext() as bar:
        for _ in pool.map(transfer, what):
            if bar is not None:
                bar.update()


@functools.cache
def store_at(url: str) -> Store:
    """The store, one a process: it remembers what is there."""
    return Store(url)
