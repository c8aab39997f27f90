"""Pseudo-GTs: responses written from what is known about a clip, never from its audio."""
