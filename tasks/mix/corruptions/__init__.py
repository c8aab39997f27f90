"""The palette of corruptions: what a curriculum file can name, each one module of this package."""

from tasks.mix.corruptions import (
    agc,
    babble,
    band_limit,
    clipping,
    competing,
    device,
    downsample,
    gain,
    gsm,
    mp3,
    mulaw,
    music,
    noises,
    opus,
    packet_loss,
    partial,
    saturation,
    snr_walk,
    telephone,
)
from tasks.mix.corruptions.form import Effect, Envelope, Source

EFFECTS: dict[str, Effect] = {
    "agc": agc,
    "band_limit": band_limit,
    "clipping": clipping,
    "device": device,
    "downsample": downsample,
    "gain": gain,
    "gsm": gsm,
    "mp3": mp3,
    "mulaw": mulaw,
    "opus": opus,
    "packet_loss": packet_loss,
    "saturation": saturation,
    "telephone": telephone,
}
ENVELOPES: dict[str, Envelope] = {"partial": partial, "snr_walk": snr_walk}
SOURCES: dict[str, Source] = {"babble": babble, "competing": competing, "music": music, "noises": noises}
