"""Parameters of the pseudo_gt stage."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.common.params import Section


class PseudoGtParams(Section):
    """Section `pseudo_gt` of params.yaml.

    Attributes:
        author: who writes; `template` states the transcript and the answer in the embedded models' form.
        tokenizer: folder of the model whose tokens the responses are stored in.
        corrupt_share: share of items given a wrong answer on purpose, to see what a method makes of imperfect Pseudo-GTs.
        shards: files of data/pseudo_gt.
    """

    author: Literal["template"]
    tokenizer: Path
    corrupt_share: float = Field(ge=0, le=1)
    shards: int = Field(ge=1)
