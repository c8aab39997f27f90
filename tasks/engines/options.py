"""Options of the engines: what a user may set beside the engine's name, with what each is for."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from tasks.common.params import Section


class EngineOptions(Section):
    """Every key has a default; the transformers engine needs none of them.

    Attributes:
        url: openai: base address of the server, its version path included.
        served_model: openai: name of the model there; needed only where the server has several.
        api_key_env: openai: environment variable that holds the key, where the server wants one.
        concurrency: openai: requests under way at once; enough to fill a server's batch.
        timeout_s: openai: longest wait for one response, seconds.
        retries: openai: further attempts after a passing failure; 0.5 s before the first, twice as long before each next.
        tensor_parallel: vllm: GPUs that share one copy of the model.
        data_parallel: vllm: copies of the model, each in a process of its own; a clip's requests go to one of them.
        gpu_memory_utilization: vllm: share of a GPU's memory for weights and key-value cache.
        max_model_len: vllm, openai: longest prompt and response in tokens, where it is to be less than the model's.
        python: vllm: interpreter of another environment that has vLLM, where this one cannot.
    """

    url: str = "http://127.0.0.1:8000/v1"
    served_model: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = Field(default=32, ge=1)
    timeout_s: float = Field(default=300.0, gt=0)
    retries: int = Field(default=5, ge=0)
    tensor_parallel: int = Field(default=1, ge=1)
    data_parallel: int = Field(default=1, ge=1)
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    max_model_len: int | None = Field(default=None, ge=1)
    python: Path | None = None

    @model_validator(mode="after")
    def _holds_no_key(self) -> "EngineOptions":
        # Of the whole section, so that the message shows no value; parameters are in git and dvc.lock.
        if urlsplit(self.url).username is not None or urlsplit(self.url).query:
            raise ValueError("'url' holds a password or a query; a key belongs in the environment variable that 'api_key_env' names")
        if not (self.api_key_env.isidentifier() and self.api_key_env.isascii()):
            raise ValueError("'api_key_env' is no name of an environment variable; the key itself belongs in that variable, never here")
        return self
