"""python -m tasks.difficulty: how the un-adapted student fares on every noisy question, into data/difficulty.parquet."""

from tasks.common.cli import main
from tasks.difficulty.stage import run

if __name__ == "__main__":
    main("difficulty", run)
