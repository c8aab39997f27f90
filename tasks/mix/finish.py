"""From rows of the plan to finished rows: reads the clips, renders, encodes and measures, a stretch of a shard at a time."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile as sf

from tasks.catalog.audio import load_clips
from tasks.catalog.found import BadFileError
from tasks.common.audio import RATE, Wave, encode_flac
from tasks.common.errors import UserError
from tasks.common.seeds import rng_of
from tasks.common.tables import AUDIO, read_parquet, read_rows
from tasks.mix.corruptions import EFFECTS, ENVELOPES, SOURCES
from tasks.mix.gpu import mixed
from tasks.mix.plan import PLAN
from tasks.mix.render import Mixed, Renderer

CATALOG = Path("data/catalog")
ROOMS = Path("data/rooms")
SCHEMA = pa.schema(
    [
        *(PLAN.field(name) for name in ("mixture_id", "owner", "kind", "clip_id", "noise_ids", "voice_ids", "noise_type", "room_id", "snr_db")),
        ("snr_db_measured", pa.float64()),
        PLAN.field("corruption"),
        ("level_dbfs", pa.float64()),
        *(PLAN.field(name) for name in ("recipe_hash", "recipe", "split")),
        ("audio", AUDIO),
        ("sampling_rate", pa.int32()),
    ]
)
Row = dict[str, Any]
log = logging.getLogger("dinproof")


def clips_of(recipe: Row) -> list[str]:
    """Ids of the clips a recipe holds, the speech first."""
    return [recipe["speech"], *recipe.get("noises", []), *recipe.get("voices", [])]


def responses(ids: set[str]) -> dict[str, Wave]:
    """Responses of rooms, by id."""
    if not ids:
        return {}
    table = read_parquet(ROOMS, ["room_id", "rir"], [("room_id", "in", ids)])
    column = table["rir"].combine_chunks()
    starts, samples = column.offsets.to_numpy(), column.values.to_numpy()
    return {room: samples[starts[row] : starts[row + 1]].astype(np.float32) for row, room in enumerate(table["room_id"].to_pylist())}


def parts_of(recipe: Row, text: str, waves: dict[str, Wave]) -> Row:
    """Arguments of `Renderer.mix`: the waves of a recipe, with the added sound mixed down, its envelope, and its effects as one function.

    `text` is the recipe as written; it seeds the envelope and the effects.
    """
    frames = len(waves[recipe["speech"]])
    parts = {"speech": waves[recipe["speech"]], "room_id": recipe.get("room")}
    parts |= {name: recipe[name] for name in ("snr_db", "offset", "level_dbfs", "peak") if name in recipe}
    added = [waves[clip] for clip in clips_of(recipe)[1:]]
    if added:
        name, drawn = _step(recipe.get("source"))
        parts["noise"] = SOURCES[name].mixdown(added, frames, **drawn) if name else added[0]
    if "envelope" in recipe:
        name, drawn = _step(recipe["envelope"])
        parts["envelope"] = ENVELOPES[name].gain(frames, rng_of("envelope", text), **drawn)
    if "effects" in recipe:
        steps = [(*_step(effect), place) for place, effect in enumerate(recipe["effects"])]

        def effects(wave: Wave) -> Wave:
            for name, drawn, place in steps:
                wave = EFFECTS[name].apply(wave, rng_of("effect", place, text), **drawn)
            return wave

        parts["effects"] = effects
    return parts


def _step(values: Row | None) -> tuple[str, Row]:
    """Name and drawn values of a corruption; an empty name for none."""
    values = dict(values or {"name": ""})
    return values.pop("name"), values


class Finisher:
    """Renders the rows of one shard; its clips and rooms are looked up once, and spectra of responses are kept."""

    def __init__(self, plan: pa.Table, device: str) -> None:
        self.device = device
        columns = (plan["clip_id"], plan["noise_ids"].combine_chunks().flatten(), plan["voice_ids"].combine_chunks().flatten())
        used = {name for column in columns for name in column.unique().to_pylist()}
        wanted = [("clip_id", "in", used)]
        names = ["clip_id", "path", "sha256", "sampling_rate", "metadata"]
        found = [row for kind in ("speech", "noise") for row in read_rows(CATALOG / f"{kind}.parquet", names, wanted)] if used else []
        self.clips: dict[str, Row] = {row["clip_id"]: row for row in found}
        self.responses = responses({room for room in plan["room_id"].unique().to_pylist() if room})
        self.renderer = Renderer(self.responses.__getitem__)

    def rows(self, plan: pa.Table) -> pa.Table:
        """Finished rows of a stretch of the plan, as `SCHEMA`; one whose speech or noise is silent is left out, and said so."""
        texts = plan["recipe"].to_pylist()
        recipes: list[Row] = [json.loads(text) for text in texts]
        waves = self._waves(recipes)
        parts = (parts_of(recipe, text, waves) for recipe, text in zip(recipes, texts, strict=True))
        made = mixed(list(parts), self.responses, self.device) if self.device != "cpu" else map(self._mix, parts)
        rows, finished, audio = [], [], []
        for row, (one, name) in enumerate(zip(made, plan["mixture_id"].to_pylist(), strict=True)):
            if isinstance(one, ValueError):
                log.warning("mix: %s is left out: %s", " + ".join(self.clips[clip]["path"] for clip in clips_of(recipes[row])), one)
                continue
            rows.append(row)
            finished.append(one)
            audio.append({"bytes": encode_flac(one.wave), "path": f"{name}.flac"})
        kept = plan.take(pa.array(rows, pa.int64()))
        columns = {name: kept[name] for name in kept.column_names} | {
            "snr_db_measured": pa.array([one.snr_db for one in finished], pa.float64()),
            "level_dbfs": pa.array([one.level_dbfs for one in finished], pa.float64()),
            "audio": pa.array(audio, AUDIO),
            "sampling_rate": pa.array([RATE] * len(rows), pa.int32()),
        }
        return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)

    def _mix(self, parts: Row) -> Mixed | ValueError:
        try:
            return self.renderer.mix(**parts)
        except ValueError as error:
            return error

    def _waves(self, recipes: list[Row]) -> dict[str, Wave]:
        used = sorted({clip for recipe in recipes for clip in clips_of(recipe)})
        try:
            return load_clips([self.clips[clip] for clip in used])
        except (sf.SoundFileError, OSError, BadFileError) as error:
            raise UserError("mix", f"a catalogued clip cannot be read: {error}", "Run python -m tasks.catalog, then this again") from error
