"""The embedded audio LLM: a Qwen2-Audio small enough to be trained from scratch on clean speech by a stage of the DAG."""
