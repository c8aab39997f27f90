"""Difficulty: which items are asked of which noisy mixture, and how far noise throws the un-adapted student off."""
