"""python -m bench.results [COMPARISON ...] --folder embedded=. --folder recorded=DIR [--split validation] [--seeds 5] [--processes 2]

Runs what the store does not have yet and prints the tables; on the test split with all comparisons it writes docs/results.md.
A folder is one that `make curriculum` has built.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.results import summary
from bench.results.jobs import Results, key_of, run_all
from tasks.common.errors import UserError
from tasks.common.tables import write_text

COMPARISONS = ("echodistill", "imperfect", "best", "caad", "xopd", "curricula")
PAGE = Path("docs/results.md")
INTRODUCTION = Path(__file__).parent / "introduction.md"


def main(arguments: list[str]) -> int:
    """Run, print, write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.results", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparisons", nargs="*", help="all of them if none is named")
    parser.add_argument("--folder", action="append", default=[], metavar="NAME=DIR", help="a built folder; embedded=. if none is given")
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--store", type=Path, default=Path("reports/results"), help="where answers are kept")
    parser.add_argument("--stored", action="store_true", help="run nothing: tables of what the store has with all seeds")
    asked = parser.parse_args(arguments)
    folders = {name: Path(place) for name, _, place in (given.partition("=") for given in asked.folder or ["embedded=."])}
    for name, folder in folders.items():
        if not (folder / "data" / "curriculum").is_dir():
            raise UserError(f"--folder {name}={folder}", "no curriculum there", "Build it first: make curriculum")
    modules = {name: import_module(f"bench.results.{name}") for name in asked.comparisons or COMPARISONS}
    seeds = range(asked.seeds)
    jobs = {key_of(job): job for module in modules.values() for job in module.jobs(list(folders), asked.split, seeds)}
    results = Results(run_all(list(jobs.values()), folders, asked.store, asked.processes, asked.stored), seeds)

    def complete(module: Any) -> list[str]:
        """Folders of which the results hold every run of a comparison."""
        runs = {folder: module.jobs([folder], asked.split, seeds) for folder in folders}
        return [folder for folder in folders if runs[folder] and all(results.has(job.folder, job.name, job.world) for job in runs[folder])]

    sections = [module.section(results, complete(module)) for module in modules.values()]
    if len(modules) == len(COMPARISONS):
        sections.insert(0, summary.section(results, list(folders)))
    text = "\n".join([INTRODUCTION.read_text(encoding="utf-8"), *sections])
    print(text)
    if asked.split == "test" and len(modules) == len(COMPARISONS):
        write_text(PAGE, text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
