"""Answers, log-probabilities and next-token distributions of an audio LLM, behind one interface."""

from tasks.engines.base import AudioRefusedError, Completion, Generator, Request, load_generator, model_revision, refusal, shared_generator

__all__ = ["AudioRefusedError", "Completion", "Generator", "Request", "load_generator", "model_revision", "refusal", "shared_generator"]
