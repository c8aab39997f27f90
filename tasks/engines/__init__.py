"""Answers, log-probabilities and next-token distributions of an audio or text LLM, behind one interface."""

from tasks.engines.base import (
    ENGINES,
    AudioRefusedError,
    Completion,
    ContextOverflowError,
    EngineError,
    Generator,
    Request,
    TopK,
    load_generator,
    model_revision,
    refusal,
    shared_generator,
)
from tasks.engines.options import EngineOptions

__all__ = [
    "ENGINES",
    "AudioRefusedError",
    "Completion",
    "ContextOverflowError",
    "EngineError",
    "EngineOptions",
    "Generator",
    "Request",
    "TopK",
    "load_generator",
    "model_revision",
    "refusal",
    "shared_generator",
]
