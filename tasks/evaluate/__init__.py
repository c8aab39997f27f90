"""The test: greedy answers of every method in noise, in quiet and under two controls, and the figures made of them."""
