"""The embedded corpora: words spoken by espeak-ng and generated noise, so that a first build needs no downloads."""
