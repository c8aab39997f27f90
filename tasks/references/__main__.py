"""python -m tasks.references: the frozen clean teacher's greedy answer to every item, into data/references."""

from tasks.common.cli import main
from tasks.references.stage import run

if __name__ == "__main__":
    main("references", run)
