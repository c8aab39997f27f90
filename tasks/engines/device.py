"""Where a model runs and in which precision, with the reason."""

import torch


def place() -> tuple[torch.device, torch.dtype, str]:
    """(device, dtype, reason): a GPU in bfloat16 where there is one, else the CPU in float32."""
    if torch.cuda.is_available():
        return torch.device("cuda"), torch.bfloat16, f"cuda and bfloat16: {torch.cuda.get_device_name()} is available"
    return torch.device("cpu"), torch.float32, "cpu and float32: no GPU is available"
