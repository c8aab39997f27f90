"""python -m tasks.report: reports/index.html, one file that opens from disk, and five lines of result."""

from tasks.common.cli import main
from tasks.report.stage import closing_lines, run

if __name__ == "__main__":
    main("report", run)
    print("\n".join(closing_lines()))
