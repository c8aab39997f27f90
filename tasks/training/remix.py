"""Mixtures on demand: a row's clip in its room, under another stretch of noise of its kind, at any SNR.

What is heard at a place of a run is decided by the row, the SNR asked and the place, as a rendered mixture is by its recipe, and the same
code renders it. Noise clips are those that the mixtures of the row's split hold, and no other.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.catalog.audio import load_clips
from tasks.common.audio import Wave
from tasks.common.errors import UserError
from tasks.common.seeds import rng_of
from tasks.common.tables import read_rows
from tasks.mix.finish import clips_of, parts_of, responses
from tasks.mix.manifest import MANIFEST
from tasks.mix.render import Renderer

CATALOG = Path("data/catalog")
NOISE_CLIPS = 256  # kept in memory: 160 MB of ten seconds each
Row = Mapping[str, Any]
Recipe = dict[str, Any]


class Remixer:
    """Renders rows of the curriculum anew.

    Args:
        rows: curriculum rows of one split.
        waves: clean audio by clip_id, of every clip in `rows`.
        seed: of the noise clips and their stretches.
        split: that the rows are of, and the noise clips.

    Raises:
        UserError: a row's mixture is not in the manifest.
    """

    def __init__(self, rows: Sequence[Row], waves: Mapping[str, Wave], *seed: Any, split: str = "train") -> None:
        if not MANIFEST.is_file():
            raise UserError(str(MANIFEST), "no such file, and mixtures on demand are made from its recipes", "Run python -m tasks.mix")
        self.waves, self.seed = waves, seed
        listed = read_rows(MANIFEST, ["mixture_id", "noise_type", "noise_ids", "voice_ids", "room_id", "recipe"], [("split", "=", split)])
        found = {mixture["mixture_id"]: mixture for mixture in listed}
        missing = [row["mixture_id"] for row in rows if row["mixture_id"] not in found]
        if missing:
            raise UserError(str(MANIFEST), f"mixture {missing[0]} of the curriculum is not there", "Build the curriculum again: dvc repro curriculum")
        self.recipes: dict[str, str] = {row["mixture_id"]: found[row["mixture_id"]]["recipe"] for row in rows}
        kinds: dict[str | None, set[str]] = defaultdict(set)
        for mixture in listed:
            kinds[mixture["noise_type"]] |= set(mixture["noise_ids"])
        self.noises = {kind: sorted(names) for kind, names in kinds.items()}
        used = {name for mixture in listed for name in [*mixture["noise_ids"], *mixture["voice_ids"]]}
        columns = ["clip_id", "path", "sha256", "sampling_rate", "metadata"]
        catalogs = [read_rows(CATALOG / f"{kind}.parquet", columns, [("clip_id", "in", used)]) for kind in ("noise", "speech")] if used else []
        self.clips: dict[str, Row] = {clip["clip_id"]: clip for clips in catalogs for clip in clips}
        rooms = {found[row["mixture_id"]]["room_id"] for row in rows}
        self.renderer = Renderer(responses({room for room in rooms if room}).__getitem__)
        self.loaded = lru_cache(NOISE_CLIPS)(lambda clip_id: load_clips([dict(self.clips[clip_id])])[clip_id])

    def recipe(self, row: Row, snr_db: float, place: int) -> Recipe:
        """The recipe of a row at a place of the run: a single noise clip is drawn among those of its kind, and the stretch of the noise."""
        recipe: Recipe = {**json.loads(self.recipes[row["mixture_id"]]), "snr_db": round(float(snr_db), 2)}
        rng = rng_of("remix", *self.seed, place, row["mixture_id"])
        if len(recipe.get("noises", [])) == 1:
            recipe["noises"] = [str(rng.choice(self.noises[row["noise_type"]]))]
        return recipe | {"offset": round(float(rng.random()), 6)}

    def wave(self, row: Row, snr_db: float, place: int) -> Wave:
        """The mixture of `recipe`, (frames,) at 16 kHz, as long as the clip. Raises UserError where it has no SNR because a part is silent."""
        recipe = self.recipe(row, snr_db, place)
        waves = {name: self.waves[name] if name == recipe["speech"] else self.loaded(name) for name in clips_of(recipe)}
        try:
            return self.renderer.mix(**parts_of(recipe, json.dumps(recipe, sort_keys=True), waves)).wave
        except ValueError as error:
            paths = " + ".join(str(self.clips[name]["path"]) for name in clips_of(recipe)[1:])
            raise UserError(f"clip {recipe['speech']} with {paths}", str(error), "Take the silent clip out of its catalog") from None
