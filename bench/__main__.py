"""python -m bench [MODULE ...]

Runs the modules of bench/ that have `rows()`, or those named, one after the other and each in a fresh process with single-threaded
libraries; prints their rows as a table and writes reports/bench.json. Rows of modules that were not run, or failed, stay as they were.
A module that fails is named, the others still run, and the exit status is 1.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.table import Row, markdown
from tasks.common.tables import write_text

HERE = Path(__file__).parent
REPORT = HERE.parent / "reports" / "bench.json"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "PRA_NUM_THREADS")
CHILD = "import sys, json; from importlib import import_module as m; json.dump([r.json() for r in m(sys.argv[1]).rows()], open(sys.argv[2], 'w'))"


def modules() -> list[str]:
    """Names of the modules that have `rows()`."""
    return sorted(path.stem for path in HERE.glob("*.py") if re.search(r"^def rows\(", path.read_text(encoding="utf-8"), re.M))


def measured(module: str) -> list[dict[str, Any]] | None:
    """The rows of one module, from a process of its own; None where it failed."""
    with tempfile.TemporaryDirectory() as temporary:
        answer = Path(temporary) / "rows.json"
        environment = os.environ | dict.fromkeys(THREADS, "1")
        done = subprocess.run([sys.executable, "-c", CHILD, f"bench.{module}", str(answer)], cwd=HERE.parent, env=environment, check=False)
        if done.returncode:
            return None
        found: list[dict[str, Any]] = json.loads(answer.read_text(encoding="utf-8"))
        return found


def main(asked: list[str]) -> int:
    """Run, print, write; returns the exit status."""
    known = modules()
    if unknown := [name for name in asked if name not in known]:
        print(f"error: no benchmark {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    failed = []
    for module in asked or known:
        start = time.perf_counter()
        print(f"{module} ...", file=sys.stderr, flush=True)
        found = measured(module)
        if found is None:
            failed.append(module)
        else:
            rows += [{**row, "module": module} for row in found]
        print(f"{module} {'failed' if found is None else 'done'} in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    fields = Row.__dataclass_fields__
    print(markdown([Row(**{name: value for name, value in row.items() if name in fields}) for row in rows]))
    earlier = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else []
    kept = [row for row in earlier if row.get("module") in set(known) - set(asked or known) or row.get("module") in failed]
    write_text(REPORT, json.dumps(sorted([*kept, *rows], key=lambda row: str(row["name"])), indent=1) + "\n")
    if failed:
        print(f"error: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
