"""The report: one self-contained page of what was built, what it did to understanding in noise, and how it sounds."""
