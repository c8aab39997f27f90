"""python -m tasks.pseudo_gt: responses written from metadata, into data/pseudo_gt."""

from tasks.common.cli import main
from tasks.pseudo_gt.stage import run

if __name__ == "__main__":
    main("pseudo_gt", run)
