"""Make a CPU-only torch and torchaudio live together.

    python -m tasks.common.environment

The torchaudio wheel on PyPI is a CUDA build. Beside a CPU build of torch its native libraries fail to load, and their
presence breaks `import torchaudio` and with it `transformers`. Without them torchaudio is pure Python, and everything
this project uses of it (resampling, mixing, filters, features) works. On a CUDA torch nothing is touched.
"""

import importlib.metadata
import importlib.util
from pathlib import Path


def main() -> None:
    """Delete torchaudio's native libraries where torch is a CPU build, and say so."""
    spec = importlib.util.find_spec("torchaudio")
    cpu_torch = importlib.metadata.version("torch").endswith("+cpu")
    if spec is None or spec.origin is None or not cpu_torch:
        return
    libraries = sorted((Path(spec.origin).parent / "lib").glob("*.so"))
    for library in libraries:
        library.unlink()
    if libraries:
        print(f"torch is a CPU build: removed {len(libraries)} CUDA libraries of torchaudio, which stays usable in pure Python")


if __name__ == "__main__":
    main()
