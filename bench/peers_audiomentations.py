"""audiomentations: ApplyImpulseResponse, which keeps 128 responses by default, then AddBackgroundNoise at an SNR."""

import io
from collections.abc import Callable

import soundfile as sf
from audiomentations import AddBackgroundNoise, ApplyImpulseResponse, Compose

from bench.material import SNR_DB, Material
from tasks.common.audio import RATE, Wave


def encode(wave: Wave) -> bytes:
    """FLAC as soundfile writes floating-point samples."""
    buffer = io.BytesIO()
    sf.write(buffer, wave, RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def renderer(material: Material) -> Callable[[int], Wave]:
    """Clip index to mixture. Noise and response are drawn by the library, which reads the drawn stretch of the noise from its WAV file."""
    augment = Compose(
        [
            ApplyImpulseResponse(material.folder / "rooms", p=1.0),
            AddBackgroundNoise(material.folder / "noises", min_snr_db=SNR_DB, max_snr_db=SNR_DB, p=1.0),
        ]
    )

    def render(index: int) -> Wave:
        samples, rate = sf.read(material.clip(index), dtype="float32")
        mixed: Wave = augment(samples=samples, sample_rate=rate)
        return mixed

    return render
