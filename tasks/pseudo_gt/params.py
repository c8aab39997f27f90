"""Parameters of the pseudo_gt stage."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.common.params import Section
from tasks.engines.options import EngineOptions


class AuthorParams(Section):
    """The text LLM that writes where `source` is `metadata` or `consensus`. It is never given audio.

    Attributes:
        model: its folder.
        engine: what runs it (tasks.engines).
        engine_options: where it runs and how (tasks.engines.options).
        prompt: the Jinja template of what it reads.
        max_new_tokens: longest reply.
        attempts: how often it is asked for a reply in the right form: greedily first, then at `temperature` with a new seed each time.
        temperature: of the later attempts.
    """

    model: Path
    engine: Literal["transformers", "vllm", "openai"]
    engine_options: EngineOptions
    prompt: Path
    max_new_tokens: int = Field(ge=1)
    attempts: int = Field(ge=1)
    temperature: float = Field(gt=0)


class PseudoGtParams(Section):
    """Section `pseudo_gt` of params.yaml.

    Attributes:
        source: who writes. `template`: transcript and answer in the embedded models' form; `metadata`: an LLM that reads the clip's metadata;
            `audio`: the clean-audio teacher's response; `consensus`: the LLM's, where that teacher gives the same answer.
        author: the LLM.
        tokenizer: folder of the model whose tokens the responses are stored in.
        max_tokens: longest Pseudo-GT in those tokens, its end included.
        corrupt_share: share of items given a wrong answer on purpose, to see what a method makes of imperfect Pseudo-GTs.
        shards: files of data/pseudo_gt.
    """

    source: Literal["template", "metadata", "audio", "consensus"]
    author: AuthorParams
    tokenizer: Path
    max_tokens: int = Field(ge=1)
    corrupt_share: float = Field(ge=0, le=1)
    shards: int = Field(ge=1)
