"""What one changed noise clip in 40 costs: the rebuild over the full build, catalog to references, both as plain functions in one fresh process.

Utterances and noises of 10 s, more than 2,000 mixtures; imports are done before either is timed. The teacher is a Qwen2-Audio of random
weights that answers in 4 tokens: a real teacher makes the full build dearer and the rebuild no dearer, since no reference is made again.
"""

import contextlib
import subprocess
import sys
import tempfile
import time

from bench.table import Row


def measure() -> None:
    """Print the CPU seconds of the full build and of the median rebuild after an edit, the mixtures, and those of a rebuild."""
    from tests.incremental.small_build import noise_path, rebuild, write_project, write_sound

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_project(utterance_s=10.0, noise_s=10.0)
        start = time.process_time()
        full = rebuild()
        seconds, times = time.process_time() - start, []
        for edit in range(3):
            write_sound(noise_path(7), 10.0, "edit", edit)
            start = time.process_time()
            build = rebuild()
            times.append(time.process_time() - start)
            assert build["references"]["done"]["references"] == 0
        print(seconds, sorted(times)[1], full["mix"]["done"]["mixtures"], build["mix"]["done"]["mixtures"], file=sys.stdout)


def rows() -> list[Row]:
    """`incremental_1_of_40`."""
    answer = subprocess.run([sys.executable, "-m", "bench.incremental"], check=True, capture_output=True, text=True).stdout.split()
    full, again, mixtures, rendered = map(float, answer)
    note = f"CPU time: {again:.2f} s and {rendered:.0f} mixtures over {full:.2f} s and {mixtures:,.0f}; median of 3 edits, no teacher call"
    return [Row("incremental_1_of_40", "share", round(again / full, 3), note=note)]


if __name__ == "__main__":
    measure()
