"""lhotse: `reverb_rir` and `mix` of cuts, manifests made beforehand. Its audio cache is off: it made these cuts no faster."""

import io
from collections.abc import Callable

import torch
from lhotse import Recording
from lhotse.audio.backend import save_audio

from bench.material import CLIPS, NOISES, ROOMS, SNR_DB, Material
from tasks.common.audio import RATE, Wave


def encode(wave: Wave) -> bytes:
    """FLAC as lhotse's own shards hold it."""
    buffer = io.BytesIO()
    save_audio(buffer, torch.from_numpy(wave)[None], RATE, format="flac")
    return buffer.getvalue()


def renderer(material: Material) -> Callable[[int], Wave]:
    """Clip index to mixture."""
    torch.set_num_threads(1)
    clips = [Recording.from_file(material.clip(index)).to_cut() for index in range(CLIPS)]
    noises = [Recording.from_file(material.noise(index)).to_cut() for index in range(NOISES)]
    rooms = [Recording.from_file(material.room(index)) for index in range(ROOMS)]

    def render(index: int) -> Wave:
        clip = clips[index]
        noise = noises[index % NOISES].truncate(offset=float(index % 20), duration=clip.duration)
        samples: Wave = clip.reverb_rir(rooms[index % ROOMS]).mix(noise, snr=SNR_DB).load_audio()[0]
        return samples

    return render
