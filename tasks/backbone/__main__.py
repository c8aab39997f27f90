"""python -m tasks.backbone

Trains the embedded audio LLM on clean speech into models/backbone, or puts a pretrained one there.
"""

from tasks.backbone.stage import run
from tasks.common.cli import main

if __name__ == "__main__":
    main("backbone", run)
