"""python -m tasks.items: questions with exact answers for every utterance and every noise clip, in data/items.parquet."""

from tasks.common.cli import main
from tasks.items.stage import run

if __name__ == "__main__":
    main("items", run)
