"""What exists: every recording that may be used, decoded to its end, hashed, measured, split and licensed; and what was refused, and why."""
