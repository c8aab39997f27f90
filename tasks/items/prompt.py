"""The one form of what a model reads and of what an embedded model answers.

Short on purpose: a model of a million parameters reads it. `first word? options: lamp, tree, boat, cow`.
"""

from collections.abc import Sequence


def prompt_text(question: str, options: Sequence[str]) -> str:
    """Question and options as one line, `first word? options: lamp, tree`; the question alone where there are none."""
    return f"{question} options: {', '.join(options)}" if options else question


def text_only(transcript: str, prompt: str) -> str:
    """The form without audio: the transcript stands in for it, `transcript: lamp tree. first word? ...`.

    A conflict item states its wrong transcript in these very words, so a question gives no hint of which one it is.
    """
    return f"transcript: {transcript}. {prompt}"


def response_text(transcript_words: Sequence[str], answer: str) -> str:
    """What an embedded model says: `<think> w1 w2 </think><answer> x </answer>`."""
    return f"<think> {' '.join(transcript_words)} </think><answer> {answer} </answer>"
