"""The palette one can hear: draws docs/corruptions from generated speech and noise, and measures what each corruption costs."""
