"""SHA256SUMS: what the files of a folder held when they were written, in the form that `sha256sum -c SHA256SUMS` checks.

Weights, tokenizers and configurations have no checksums of their own. A folder without the file, from elsewhere, is taken as it is.
"""

from collections.abc import Mapping
from pathlib import Path

from tasks.common.checksums import ChangedError
from tasks.common.seeds import file_sha256

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """List every file below `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    _write(folder, {path.relative_to(folder).as_posix(): file_sha256(path) for path in files})


def add_sum(path: Path) -> None:
    """List a file that came into a folder later, where the folder has a list."""
    if (path.parent / SUMS).is_file():
        _write(path.parent, {**read_sums(path.parent), path.name: file_sha256(path)})


def _write(folder: Path, sums: Mapping[str, str]) -> None:
    from tasks.common.tables import write_text  # which lists the files of the folders it publishes

    write_text(folder / SUMS, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))


def read_sums(folder: Path) -> dict[str, str]:
    """SHA-256 by relative path; none where the folder has no list. Raises ChangedError where the list is none."""
    path = folder / SUMS
    if not path.is_file():
        return {}
    try:
        pairs = [line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
        return {name: sha256 for sha256, name in pairs}
    except ValueError:  # also what bytes that are no text raise
        raise ChangedError(path) from None


def check_sums(folder: Path, found: Mapping[str, str] | None = None) -> None:
    """Raises ChangedError for the first listed file that holds something else now, or is gone.

    Args:
        folder: what `write_sums` was given.
        found: SHA-256 of files by relative path, where they are known: those alone are compared.
    """
    for name, sha256 in read_sums(folder).items():
        path = folder / name
        if found is not None and name not in found and path.is_file():
            continue
        if not path.is_file() or sha256 != (file_sha256(path) if found is None else found[name]):
            raise ChangedError(path)


def check_sum(path: Path) -> None:
    """Raises ChangedError where the list beside a file says that it held something else."""
    listed = read_sums(path.parent)
    if path.name in listed and listed[path.name] != file_sha256(path):
        raise ChangedError(path)
