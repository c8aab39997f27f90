"""References: what the clean teacher says, once per clip, question and model."""
