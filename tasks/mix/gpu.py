"""The same mixtures on a torch device, a batch at a time: rooms and noise there, effects and levels as ever.

The convolution is `torchaudio.functional.fftconvolve` and the sum `torchaudio.functional.add_noise`. Their last bits are not those of
`tasks.mix.render`, so recipes rendered so are keyed apart (`tasks.mix.plan.batch_of`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tasks.common.audio import RATE, Wave
from tasks.common.errors import UserError
from tasks.mix.render import Mixed, mix, stretch
from tasks.rooms.measure import DIRECT

FRAME = RATE // 50  # of the gate of `tasks.common.audio.active_power`
GATE = 1e-4  # 40 dB, as there


def check_device(device: str) -> None:
    """Raises UserError where the parameters ask for a GPU that is not there."""
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise UserError("params.yaml, mix.device", f"'{device}' is asked for and torch finds no GPU", "Set mix.device: cpu")


def padded(waves: Sequence[Wave], length: int, device: str) -> Any:
    """(n, length) float32 tensor, zeros after each wave's end."""
    import torch

    rows = np.zeros((len(waves), length), np.float32)
    for row, wave in zip(rows, waves, strict=True):
        row[: len(wave)] = wave
    return torch.from_numpy(rows).to(device)


def active_powers(heard: Any, frames: Any) -> Any:
    """(n,) mean power over active 20 ms frames of (n, length) waves that are zero after their `frames`; 0 for silence."""
    import torch
    import torch.nn.functional as F

    squares = F.pad(heard.double().square(), (0, -heard.shape[1] % FRAME))
    power = squares.reshape(len(heard), -1, FRAME).mean(dim=2)
    short = frames < FRAME  # one frame, shorter than the others
    power[short, 0] *= FRAME / frames[short].double()
    power[torch.arange(power.shape[1], device=heard.device)[None] >= (frames // FRAME).clamp(min=1)[:, None]] = 0.0
    active = (power >= power.max(dim=1, keepdim=True).values * GATE) & (power > 0)
    return (power * active).sum(dim=1) / active.sum(dim=1).clamp(min=1)


def mixed(batch: Sequence[Mapping[str, Any]], responses: Mapping[str, Wave], device: str) -> list[Mixed | ValueError]:
    """As `tasks.mix.render.Renderer.mix` for each of the arguments in `batch`; a ValueError stands where there is no SNR."""
    import torch
    from torchaudio.functional import add_noise, fftconvolve

    speech = [parts["speech"] for parts in batch]
    lengths = [len(wave) for wave in speech]
    frames, width = torch.tensor(lengths, device=device), max(lengths)
    here = np.zeros(DIRECT + 1, np.float32)
    here[DIRECT] = 1.0  # the response of no room
    rirs = [here if parts.get("room_id") is None else responses[parts["room_id"]] for parts in batch]
    heard = fftconvolve(padded(speech, width, device), padded(rirs, max(map(len, rirs)), device))[:, DIRECT : DIRECT + width]
    inside = torch.arange(width, device=device)[None] < frames[:, None]
    heard = torch.where(inside, heard, 0.0)

    unders, on = [], []
    for parts, length in zip(batch, lengths, strict=True):
        noise, envelope = parts.get("noise"), parts.get("envelope")
        under = np.zeros(length, np.float32) if noise is None else stretch(noise, length, parts.get("offset", 0.0))
        unders.append(under if envelope is None else under * envelope)
        on.append(1.0 if envelope is None else np.count_nonzero(envelope) / max(length, 1))
    under = padded(unders, width, device)
    share = torch.tensor(on, dtype=torch.float64, device=device)
    speech_power, noise_power = active_powers(heard, frames), under.double().square().sum(dim=1) / frames / share
    asked = torch.tensor([parts.get("snr_db", 0.0) for parts in batch], dtype=torch.float64, device=device)
    # `add_noise` takes both powers over the whole of the clip; ours are over active speech, and where the noise is on.
    whole = heard.double().square().sum(dim=1) / frames
    ready = (speech_power > 0) & (noise_power > 0)
    snr = torch.where(ready, asked + 10 * torch.log10(whole / speech_power / share), 0.0)
    total = torch.where(ready[:, None], add_noise(heard, torch.where(ready[:, None], under, heard), snr.float(), frames), heard)
    rest = (total - heard).double().square().sum(dim=1) / frames / share
    achieved = (10 * torch.log10(speech_power / rest)).tolist()

    results: list[Mixed | ValueError] = []
    waves = total.cpu().numpy()
    for row, parts in enumerate(batch):
        if parts.get("noise") is not None and not ready[row]:
            results.append(ValueError(f"the {'speech' if speech_power[row] <= 0 else 'noise'} is silent"))
            continue
        level = {name: parts[name] for name in ("effects", "level_dbfs", "peak") if name in parts}
        plain = speech[row] if parts.get("room_id") is None and parts.get("noise") is None else waves[row, : lengths[row]]
        made = mix(plain, **level)
        results.append(made if parts.get("noise") is None else replace(made, snr_db=achieved[row]))
    return results
