"""python -m tasks.curriculum: the stages of training joined into one dataset, data/curriculum."""

from tasks.common.cli import main
from tasks.curriculum.stage import run

if __name__ == "__main__":
    main("curriculum", run)
