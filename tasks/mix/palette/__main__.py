"""The palette of corruptions, for eye and ear.

python -m tasks.mix.palette         # draws docs/corruptions: spectrograms, audio, index.html
python -m tasks.mix.palette --time  # measures each corruption, and writes the table of its README
"""

import argparse
import os

# One thread, as in the workers that render; numpy reads these when it is imported.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

if __name__ == "__main__":
    from tasks.common.cli import guarded
    from tasks.mix.palette.costs import write_table
    from tasks.mix.palette.pages import write_pages

    parser = argparse.ArgumentParser(description="Draw the palette of corruptions, or measure what it costs.")
    parser.add_argument("--time", action="store_true", help="measure CPU time and write the table of docs/corruptions/README.md")
    guarded(write_table if parser.parse_args().time else write_pages)
