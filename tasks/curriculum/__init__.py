"""The curriculum: noisy questions in stages, with references and Pseudo-GTs, as a dataset with a card."""
