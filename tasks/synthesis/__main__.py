"""python -m tasks.synthesis

Makes the embedded corpora below data/corpora: words of many espeak-ng voices, and generated noise.
"""

from tasks.common.cli import main
from tasks.synthesis.stage import run

if __name__ == "__main__":
    main("synthesis", run)
