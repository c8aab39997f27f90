"""The weights of a `from_pretrained` folder: all of them, or one line that says what is wrong with the folder.

transformers draws weights that a folder lacks at random and only warns, so a half-copied model would answer nonsense.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from tasks.common.errors import UserError

AGAIN = "Copy the folder again, whole, from where save_pretrained wrote it"


def load_weights(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """`kind.from_pretrained(folder)`, a class of transformers. Raises UserError where weights are missing, unreadable, or of other shapes."""
    try:
        model, found = kind.from_pretrained(folder, dtype=dtype, output_loading_info=True, use_safetensors=True, trust_remote_code=False)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(str(folder), f"the weights cannot be loaded ({reason})", AGAIN) from error
    if missing := sorted(found["missing_keys"]):
        raise UserError(str(folder), f"{len(missing)} of its weights are not there, the first {missing[0]}", AGAIN)
    return model
