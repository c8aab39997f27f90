"""What a simulated room is drawn from: a request (split, number, parameters), and the place that an attempt at it gives."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tasks.common.errors import UserError
from tasks.common.seeds import rng_of
from tasks.rooms.image import Directivity
from tasks.rooms.params import RoomsParams

RECIPE = 3  # raise it when the same request would give another response
SHARES = {"omni": 1.0, "cardioid": 0.5, "hypercardioid": 0.25, "figure_of_eight": 0.0}  # p of the gain p + (1 - p) cos(angle)
HEARD = 0.5  # least gain of a directive microphone towards a source, -6 dB: a response without direct sound cannot be aligned
TRIES = 20  # positions of the microphones in one room
CANDIDATES = 100  # positions of a source for each of them
SAME_RT60 = 8  # attempts before the RT60 is drawn again too
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Place:
    """A shoebox with its sources and microphones, all in metres; `aim` is where the microphones point."""

    rt60_asked_s: float
    dims_m: Point
    sources_m: tuple[Point, ...]
    microphones_m: tuple[Point, ...]
    share: float
    aim: Point

    @property
    def directivity(self) -> Directivity:
        return self.share, self.aim

    def described(self) -> dict[str, Any]:
        """For the metadata of a row."""
        return asdict(self)


def request(split: str, index: int, params: RoomsParams) -> dict[str, Any]:
    """All that decides room number `index` of a split; how many rooms there are does not."""
    return {"version": RECIPE, "split": split, "index": index, **params.model_dump(exclude={"simulated"})}


def point(values: Any) -> Point:
    """To the millimetre, so that a place reads well and its text is exact."""
    x, y, z = (round(float(value), 3) for value in values)
    return x, y, z


def place(asked: dict[str, Any], attempt: int) -> Place | None:
    """The room that this attempt at a request draws, from its own seed; None where it finds no position for all."""
    name = ("rooms", asked["split"], asked["index"])
    rng = rng_of(*name, "place", attempt)
    rt60_s = round(float(rng_of(*name, "rt60", attempt // SAME_RT60).uniform(*asked["rt60_s"])), 3)
    dims = point([rng.uniform(*asked[side]) for side in ("length_m", "width_m", "height_m")])
    low, high = np.full(3, asked["wall_m"]), np.array(dims) - asked["wall_m"]
    if np.any(high <= low):
        return None
    line = asked["microphones"]
    share = SHARES[line["pattern"]]
    for _ in range(TRIES):
        first, azimuth = rng.uniform(low, high), rng.uniform(0.0, 2.0 * np.pi)
        aim, along = np.array([np.cos(azimuth), np.sin(azimuth), 0.0]), np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
        microphones = [first + number * line["spacing_m"] * along for number in range(line["count"])]
        candidates = rng.uniform(low, high, (CANDIDATES, 3))
        way = candidates - first
        metres = np.linalg.norm(way, axis=1)
        near = (metres >= asked["distance_m"][0]) & (metres <= asked["distance_m"][1])
        heard = np.abs(share + (1.0 - share) * (way @ aim) / metres) >= HEARD
        sources = candidates[near & heard][: asked["sources"]]
        if len(sources) == asked["sources"] and np.all((microphones[-1] >= low) & (microphones[-1] <= high)):
            return Place(rt60_s, dims, tuple(map(point, sources)), tuple(map(point, microphones)), share, (float(aim[0]), float(aim[1]), 0.0))
    return None


def impossible(asked: dict[str, Any], attempts: int) -> UserError:
    """The mistake behind a request that no attempt could fulfil."""
    return UserError(
        "params.yaml, rooms",
        f"{attempts} shoeboxes were drawn for room {asked['index']} of {asked['split']}, and none rings as long as asked ({asked['rt60_s']} s)",
        "Bring rt60_s and the sides closer together: large rooms do not ring short, nor small ones long",
    )
