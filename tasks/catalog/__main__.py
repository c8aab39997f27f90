"""python -m tasks.catalog

Reads the corpora that catalogs/<kind>/<name>.yaml describe into data/catalog, and composes single words into utterances.
"""

from tasks.catalog.stage import run
from tasks.common.cli import main

if __name__ == "__main__":
    main("catalog", run)
