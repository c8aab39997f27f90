"""Shards on machines that share no disk: what a stage reads goes to an fsspec URL, DATA_URL, and what its shards write comes back from there.

The flow puts the files a stage reads on the store, each under its MD5, and a listing of them. A worker makes a folder of its own from the listing,
runs a shard in it and puts on the store what the shard wrote; the flow takes that into its folder. Stages know nothing of it. The layout is that of
a DVC remote, so DATA_URL may be one: what `dvc push` sent is not sent again. Files arrive whole or not at all, their hashes checked.
"""

import contextlib
import fcntl
import functools
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dvc.fs import localfs
from dvc.repo import Repo
from dvc_data.hashfile.hash import hash_file

from flows.graph import Stage
from flows.store import Store, StoreError, md5, md5_of, store_at
from tasks.catalog.audio import holder
from tasks.common.errors import UserError
from tasks.common.params import PARAMS, PROFILES, corpora_root
from tasks.common.tables import read_parquet
from tasks.common.versions import made_by

CATALOG = [Path(f"data/catalog/{kind}.parquet") for kind in ("speech", "noise", "rooms")]
CORPORA = Path("corpora")  # in a worker's folder
PROBE = b"written to see that it can be\n"


@dataclass(frozen=True)
class Offer:
    """A listing on a store: what the shards of a stage may read."""

    url: str
    listing: str


def data_url() -> str | None:
    """The store that shards share instead of a disk, if they do."""
    return os.environ.get("DATA_URL") or None


def store_of(stage: Stage) -> Store | None:
    """The store of DATA_URL, tried out; None without one, or for a stage that reads the corpora where they are and keeps its index beside them.

    Raises UserError where it cannot be written to.
    """
    url = data_url()
    if url is None or any(Path(dep.fs_path).resolve() == corpora_root().resolve() for dep in Repo().stage.get_target(stage.name).deps):
        return None
    store = store_at(url)
    try:
        store.send({md5(PROBE): PROBE})
    except StoreError as error:
        raise UserError(error.where, error.what, error.todo) from None  # not tried again: it is new to this build
    return store


def offer(store: Store, stage: Stage) -> Offer:
    """Put on the store whatever the stage may read: its dependencies but code, what it wrote before, and the files of catalogued clips.

    Raises UserError for a dependency outside of the project.
    """
    repo, corpora = Repo(), corpora_root()
    node, inside = repo.stage.get_target(stage.name), CORPORA if corpora.is_absolute() else corpora
    paths = [PROFILES, *(Path(os.path.relpath(out.fs_path)) for out in [*node.deps, *node.outs])]
    files = {file: file for path in paths for file in _files(path)}
    for table in filter(files.__contains__, CATALOG):
        for path in {holder(path) for path in read_parquet(table, ["path"])["path"].to_pylist()}:
            files |= {Path(path): Path(path)} if path.startswith("data/") else {inside / path: corpora / path}
    for outside in (file for file in files if ".." in file.parts):
        raise UserError(str(outside), "lies outside of the project's folder, so a worker cannot have it", "Put it inside, or do without DATA_URL")
    # DVC remembers the hashes of files it has seen.
    digests = {str(path): hash_file(os.path.abspath(file), localfs, "md5", repo.state)[1].value for path, file in files.items()}  # noqa: PTH100
    repo.close()
    params = re.sub(r"^corpora:.*$", f"corpora: {inside}", PARAMS.read_text(encoding="utf-8"), count=1, flags=re.M).encode()
    sent: dict[str, Path | bytes] = {digests[str(path)]: file for path, file in files.items()}
    digests[str(PARAMS)] = md5(params)
    listing = json.dumps({"module": stage.module, "made_by": made_by(stage.module), "files": digests}, sort_keys=True).encode()
    store.send({**sent, md5(params): params})
    store.send({md5(listing): listing})  # last: what it names is there
    return Offer(store.url, md5(listing))


def _files(path: Path) -> Iterator[Path]:
    """A file, or those below a folder, without code and without what a killed writer left."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.suffix not in (".py", ".pyc", ".tmp") and file.is_file():
            yield file


@contextlib.contextmanager
def workplace(place: Offer | str, written: dict[str, str]) -> Iterator[None]:
    """Work in the project's folder, or in one that is made from an offer, where what is written goes to the store at the end.

    Args:
        place: the project's folder or the offer.
        written: gets path and MD5 of what was written, for `collect`.

    Raises UserError where this worker has other code than the flow.
    """
    if isinstance(place, str):
        with contextlib.chdir(place):
            yield
        return
    store = store_at(place.url)
    folder, there = _folder_of(place)
    with contextlib.chdir(folder):
        try:
            yield
        finally:
            digests = {path: md5_of(Path(path)) for path, inode in _below("") if there.get(path) != inode and not path.endswith(".tmp")}
            store.there = set()  # a worker does not list the store: it sends what it made
            store.send({digest: Path(path) for path, digest in digests.items()})
            for path in digests.keys() - there.keys():
                Path(path).unlink()
            there.update(pair for pair in _below("") if pair[0] in digests)
            written |= digests


@functools.lru_cache(1)
def _folder_of(offered: Offer) -> tuple[Path, dict[str, int]]:
    """A folder of this process with the files of an offer, and their inodes by path. The machine keeps the files of one listing."""
    cache, store = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dinproof", store_at(offered.url)
    kept, folder = cache / "files", cache / f"{platform.node()}-{os.getpid()}"
    kept.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        store.fetch({cache / "listing.json": offered.listing})
        listing = json.loads((cache / "listing.json").read_bytes())
        if made_by(listing["module"]) != listing["made_by"]:
            todo = "Install on every worker what is installed with the flow (the same commit and constraints.txt), and start the workers again"
            raise UserError(f"worker {platform.node()}", "its code or its libraries are not those of the flow", todo)
        files = {kept / digest[:2] / digest[2:]: digest for digest in listing["files"].values()}
        for other in set(kept.glob("*/*")) - files.keys():
            other.unlink()
        store.fetch({file: digest for file, digest in files.items() if not file.exists()})
        for old in cache.glob(f"{platform.node()}-*"):
            if old == folder or not _runs(int(old.name.rpartition("-")[2])):
                shutil.rmtree(old)
        for path, digest in listing["files"].items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            os.link(kept / digest[:2] / digest[2:], folder / path)
    with contextlib.chdir(folder):
        return folder, dict(_below(""))


def _below(folder: str) -> Iterator[tuple[str, int]]:
    """(path, inode) of every file; the listings of folders tell both, so that a million files take about a second."""
    with os.scandir(folder or ".") as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _below(f"{folder}{entry.name}/")
            else:
                yield f"{folder}{entry.name}", entry.inode()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, PermissionError)  # somebody else's
    return True


def collect(store: Store, written: Mapping[str, str]) -> None:
    """Bring what a shard wrote into this folder."""
    store.fetch({Path(path): digest for path, digest in written.items()})
