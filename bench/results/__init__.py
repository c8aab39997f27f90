"""What training gives: every method over several seeds, compared at equal compute, with intervals; docs/results.md comes out of it.

    python -m bench.results                                             # all comparisons that the folder's world allows
    python -m bench.results echodistill --folder embedded=. --folder recorded=DIR --split validation --seeds 1

A *world* is a built folder as the methods find it (`worlds.py`), a *job* one training run and its answers to held-out questions (`jobs.py`,
kept in a store, so nothing is run twice), a *comparison* a module of this package with `jobs(split, seeds)` and `section(results)`.
"""
