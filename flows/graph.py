"""The graph as DVC holds it: which stages there are, what follows what, which are stale, and recording what was run.

`dvc.yaml` is the only statement of what depends on what. Everything here goes through DVC's own index, so a stage run
by the flow and recorded with `commit` is indistinguishable from one run by `dvc repro`.
Two processes may call these at once, or one of them be `dvc` itself: whoever finds the other at work waits. DVC writes its own files in place,
so a process that is killed may leave them cut off: `heal` puts them right.
"""

import importlib
import inspect
import json
import logging
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import networkx as nx
from dvc.dependency import ParamsDependency
from dvc.dvcfile import Lockfile
from dvc.exceptions import DvcException
from dvc.lock import LockError, make_lock
from dvc.repo import Repo
from dvc.rwlock import rwlock
from dvc.stage.cache import RunCacheNotFoundError

from tasks.common import versions
from tasks.common.cli import Counts
from tasks.common.errors import UserError
from tasks.common.tables import remove_leftovers, write_bytes

T = TypeVar("T")
_LINK_TRIAL = re.compile(r"\.[\w-]{22}\.tmp")  # beside the outputs, named by a short UUID
DVC_LOCK, LAST_LOCK = Path("dvc.lock"), Path(".dvc/tmp/dvc.lock")  # the second as of the last stage that was recorded here

logging.getLogger("dvc").setLevel(logging.WARNING)  # "Updating lock file", once a stage, is for DVC's own command line


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml: its name, its module and arguments, and the stages it waits for."""

    name: str
    module: str
    args: tuple[str, ...]
    upstream: frozenset[str]

    def function(self) -> Callable[..., Counts]:
        """The stage's `run`; the command `python -m tasks.mix` is the function `tasks.mix.stage.run`."""
        run: Callable[..., Counts] = importlib.import_module(f"{self.module}.stage").run
        return run

    def fans_out(self) -> bool:
        """Whether the stage splits its work into shards (its `run` takes `fan_out`) or is one piece."""
        return "fan_out" in inspect.signature(self.function()).parameters


def read_graph() -> list[Stage]:
    """The stages of dvc.yaml, every one after those it waits for; raises UserError where dvc.yaml is not valid.

    Whoever asks looks for stale stages next, so versions.yaml is brought up to date: an upgraded library is a change.
    """
    versions.refresh()
    _patiently(heal)
    try:
        graph = Repo().index.graph
        _all_there(graph)
    except DvcException as error:
        raise UserError("dvc.yaml", str(error).strip().replace("\n", " "), "Correct it, or restore it from git") from None
    # DVC's edges point from a stage to what it needs. Ties are broken by name: the same order on every machine.
    order = nx.lexicographical_topological_sort(graph.reverse(), key=lambda stage: stage.addressing)
    # What was given to DVC as it is (dvc add, dvc import-url: a .dvc file) has no command.
    return [_stage(node, frozenset(need.addressing for need in graph.successors(node) if need.cmd)) for node in order if node.cmd]


def sweep() -> None:
    """Take away what killed stages left beside their outputs: each does so when it runs again, but DVC's run cache may spare it that.

    For who holds the folder alone: on a shared disk a writer on another machine looks dead from here.
    """
    for out in Repo().index.outs:
        remove_leftovers(Path(out.def_path))


def _all_there(graph: Iterable[object]) -> None:
    """Raises UserError for a parameter that a stage names and its file lacks: DVC would say so only once that stage has run."""
    for file in (dep for node in graph for dep in node.deps if isinstance(dep, ParamsDependency)):  # type: ignore[attr-defined]
        present = file.read_params()
        for name in file.params:
            if name not in present:
                raise UserError(str(file), f"'{name}' is missing, and dvc.yaml names it", f"Add it; for a section left as it is: {name}: {{}}")


def _stage(node: object, upstream: frozenset[str]) -> Stage:
    name, command = node.addressing, node.cmd  # type: ignore[attr-defined]
    words = shlex.split(command)
    if words[:2] != ["python", "-m"] or len(words) < 3:
        raise UserError(f"dvc.yaml: {name}", f"cmd is '{command}'", "A stage's command has the form: python -m tasks.<stage> [ARGS]")
    return Stage(name, words[2], tuple(words[3:]), upstream)


def stale_stages(names: list[str] | None = None) -> set[str]:
    """Those of `names` (default: all) whose dependencies, parameters, command or outputs differ from dvc.lock.

    A stage's upstream is not asked: a stage below a stale one shows only once that one has run and changed something.
    """
    return {name for name in _patiently(lambda: Repo().status(targets=names)) if not name.endswith(".dvc")}


@contextmanager
def held(name: str) -> Iterator[None]:
    """As DVC does while it runs a stage: no other build and no `dvc` works on its outputs, or changes what it reads. Waits for those that do."""
    repo = Repo()
    stage = repo.stage.get_target(name)
    reads, writes = [dep.fs_path for dep in stage.deps], [out.fs_path for out in stage.outs]
    with ExitStack() as hold:
        _patiently(lambda: hold.enter_context(rwlock(repo.tmp_dir, repo.fs, " ".join(sys.argv), reads, writes, False)))
        yield


def _patiently(ask: Callable[[], T]) -> T:
    """`ask()`, again and again while another process of DVC has what it needs."""
    said = ""
    while True:
        try:
            return ask()
        except LockError as error:
            if not said:
                said = " ".join(str(error).split())
                print(f"a dvc command works in this folder: waiting for it ({said})", file=sys.stderr, flush=True)
            time.sleep(1)


def heal() -> None:
    """Put right a list of held paths, and a dvc.lock, that a killed process left cut off; the latter as of the last stage that was recorded.

    Files with which DVC tried how the disk links, and did not come to remove, go too.
    """
    repo = Repo()
    paths = Path(repo.tmp_dir, "rwlock")
    with make_lock(f"{paths}.lock", tmp_dir=repo.tmp_dir):
        try:
            json.loads(paths.read_text(encoding="utf-8"))
        except FileNotFoundError:
            pass
        except ValueError:
            paths.unlink()
    with repo.lock:
        for path in Path().glob("*/.*.tmp"):
            if _LINK_TRIAL.fullmatch(path.name):
                path.unlink()
        try:
            whole = bool(Lockfile(repo, str(DVC_LOCK.resolve())).load()) or not DVC_LOCK.exists()
        except DvcException:
            whole = False
        if whole:
            return
        if LAST_LOCK.exists():
            write_bytes(DVC_LOCK, LAST_LOCK.read_bytes())
        else:
            DVC_LOCK.unlink()
    print("dvc.lock was cut off by a process that was killed while it wrote: put back as of the last stage before", file=sys.stderr, flush=True)


def restore(name: str) -> bool:
    """What DVC does before it runs a stage: drop outputs that do not persist, and take them from the run cache if it can.

    Returns True where the same stage ran before on the same inputs, so that its outputs are back and recorded.
    """
    repo = Repo()
    stage = repo.stage.get_target(name)
    _patiently(repo.lock.lock)
    try:
        stage.remove_outs(ignore_remove=False, force=False)
        try:
            repo.stage_cache.restore(stage)
        except RunCacheNotFoundError:
            return False
    finally:
        repo.lock.unlock()
    commit(name)
    return True


def commit(name: str) -> None:
    """Hash the outputs of a finished stage into the cache and record it in dvc.lock and the run cache."""
    _patiently(lambda: Repo().commit(name, force=True))
    write_bytes(LAST_LOCK, DVC_LOCK.read_bytes())


def leading_to(graph: list[Stage], names: Sequence[str]) -> list[Stage]:
    """Those of `graph` that are named or that a named one waits for, in its order; raises UserError for a name that is no stage."""
    known = {stage.name: stage for stage in graph}
    for name in names:
        if name not in known:
            raise UserError(name, "no such stage in dvc.yaml", f"Choose from: {', '.join(known)}")
    wanted: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += known[name].upstream
    return [stage for stage in graph if stage.name in wanted]
