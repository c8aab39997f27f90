"""What decides bits besides the data: our own code, and the libraries below it. Names of kept results hold both.

    python -m tasks.common.versions    # writes versions.yaml, and says what an upgrade makes again

A kept result (a mixture, a room, a reference, an answer) is known by a key, and `made_by` in it stands for the code that made it, everything of
this project which that imports, and the versions of the libraries they use: an upgrade or an edit, be it of a comment, never finds an older result.
versions.yaml holds the versions for DVC, where each stage names those that decide its bytes; it belongs to dvc.lock and is committed with it.
"""

import ast
import importlib.metadata
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from tasks.common.errors import UserError
from tasks.common.params import read_yaml
from tasks.common.seeds import content_id, file_sha256
from tasks.common.tables import write_text

ROOT = Path(__file__).resolve().parents[2]
VERSIONS, LOCK = Path("versions.yaml"), Path("dvc.lock")
_HEAD = "# Installed versions that decide bytes, by python -m tasks.common.versions. Stages of dvc.yaml name theirs; commit it with dvc.lock.\n"
# Libraries whose code decides bits of outputs, by the name they are imported by, and what each brings that decides some as well.
LIBRARIES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("accelerate", "datasets", "duckdb", "espeakng_loader", "h5py", "jinja2", "jiwer", "lhotse", "matplotlib", "noisereduce"), ()),
    **dict.fromkeys(("numpy", "peft", "pesq", "pyarrow", "pyrnnoise", "pyroomacoustics", "pystoi", "safetensors", "scipy"), ()),
    **dict.fromkeys(("torch", "torchaudio", "torchmetrics"), ()),
    "numba": ("llvmlite",),
    "onnxruntime": ("speechmos",),
    "skimage": ("pywt",),
    "soundfile": ("libsndfile",),
    "transformers": ("tokenizers",),
}
_DISTRIBUTIONS = {"skimage": "scikit-image", "pywt": "PyWavelets"}  # where it is not the name of the import
# Modules that run, read, check and record stages, and decide no sample, token or number.
_PLUMBING = ("bounded_yaml", "checksums", "cli", "environment", "errors", "fanout", "markdown", "params", "sha256sums", "tables", "versions")
PLUMBING = {f"tasks.common.{name}" for name in _PLUMBING}


@cache
def version(name: str) -> str:
    """Version of a library, `none` where it is not installed. Builds of one version (torch for CPU, for CUDA) are not told apart."""
    if name == "python":  # 3.12 sums floats otherwise than 3.11
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    if name == "libsndfile":
        import soundfile

        return str(soundfile.__libsndfile_version__)
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(name, name)).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "none"


def of(*names: str) -> dict[str, str]:
    """Versions of some libraries, by the name they are imported by."""
    return {name: version(name) for name in names}


def _file(module: str) -> Path | None:
    """The file of a module of ours."""
    path = ROOT / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def _imports(file: Path) -> frozenset[str]:
    """Dotted names that a file imports anywhere, and what they may be a part of."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(found)


@cache
def code_of(*roots: str) -> tuple[Path, ...]:
    """Files of some modules (`tasks.mix.shards`) or of whole packages, and of all of ours that they import but plumbing, in order."""
    todo = [module for root in roots for module in (root, *_members(root))]
    files: dict[str, Path] = {}
    while todo:
        module = todo.pop()
        file = _file(module)
        if file is None or module in files or (module in PLUMBING and module not in roots):
            continue
        files[module] = file
        todo += [name for name in _imports(file) if name.startswith("tasks.")]
    return tuple(sorted(set(files.values())))


def _members(package: str) -> Iterator[str]:
    folder = ROOT / package.replace(".", "/")
    return (f"{package}.{file.stem}" for file in sorted(folder.glob("*.py")) if file.stem != "__init__")


@cache
def libraries_of(*roots: str) -> tuple[str, ...]:
    """Names of the libraries that decide what this code makes, in order; Python is one."""
    imported = {name.partition(".")[0] for file in code_of(*roots) for name in _imports(file)} & LIBRARIES.keys()
    return tuple(sorted({"python", *imported, *(below for name in imported for below in LIBRARIES[name])}))


@cache
def made_by(*roots: str) -> str:
    """Content id of the code of `roots` (see `code_of`) and of the versions of its libraries, for the keys of what it makes."""
    code = [[str(file.relative_to(ROOT)), file_sha256(file)] for file in code_of(*roots)]
    return content_id([code, of(*libraries_of(*roots))])


def installed() -> dict[str, str]:
    """Versions of all that decides bits, in order."""
    return of(*sorted({"python", *LIBRARIES, *(below for more in LIBRARIES.values() for below in more)}))


def refresh() -> None:
    """Bring the versions.yaml of this folder up to date, where there is one."""
    if VERSIONS.exists() and read_yaml(VERSIONS) != installed():
        _write()


def upgrades() -> list[str]:
    """What the last build was made with and is otherwise now, e.g. `scipy 1.17.0 -> 1.17.1: data/rooms, data/mixtures are made again`."""
    outputs: dict[tuple[str, str], list[str]] = {}
    for stage in ((read_yaml(LOCK) or {}) if LOCK.exists() else {}).get("stages", {}).values():
        for name, old in (stage.get("params", {}).get(str(VERSIONS)) or {}).items():
            if old != version(name):
                outputs.setdefault((name, old), []).extend(out["path"] for out in stage.get("outs", []))
    return [f"{name} {old} -> {version(name)}: {', '.join(paths)} are made again" for (name, old), paths in sorted(outputs.items())]


def check() -> None:
    """Raises UserError where versions.yaml does not say what is installed: what is made now would be recorded under other versions."""
    recorded = read_yaml(VERSIONS) if VERSIONS.exists() else installed()
    other = [f"{name} is {version(name)} here and {recorded.get(name)} there" for name in installed() if recorded.get(name) != version(name)]
    if other:
        raise UserError(str(VERSIONS), "; ".join(other), "Run python -m tasks.common.versions, then this again")


def _write() -> None:
    write_text(VERSIONS, _HEAD + yaml.safe_dump(installed()))


def main() -> None:
    """Write versions.yaml and print `upgrades`."""
    _write()
    print("\n".join(upgrades()) or "nothing is made again")


if __name__ == "__main__":
    from tasks.common.cli import guarded

    guarded(main)
