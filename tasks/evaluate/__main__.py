"""python -m tasks.evaluate: answers of the test split, metrics.json, results.parquet and plots in reports/."""

from tasks.common.cli import main
from tasks.evaluate.stage import run

if __name__ == "__main__":
    main("evaluate", run)
