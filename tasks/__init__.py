"""The rooms of the house: one folder a stage of the DAG.

catalog -> rooms -> items -> mix -> references -> pseudo_gt -> difficulty -> curriculum -> training -> evaluate -> report
"""

import os

# Sums change in the last bit with the number of threads, and two workers of two threads fight over two cores:
# every process computes on one thread, and a stage that wants more asks for a number fixed in params.yaml.
# Set here because numpy, numba and torch read these once, at import; whatever the shell says, as clusters do. OMP_NUM_THREADS may be
# raised for vLLM: those who compute with torch here ask for their number.
os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PRA_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # gives a read table's memory back to the process
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # stages show bars of their own
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
