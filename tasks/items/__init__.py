"""Questions with exact answers about what is said, and about the noise behind it."""
