"""python -m tasks.mix: plan and render the mixtures of data/mixtures."""

from tasks.common.cli import main
from tasks.mix.stage import run

if __name__ == "__main__":  # worker processes import this module again
    main("mix", run)
