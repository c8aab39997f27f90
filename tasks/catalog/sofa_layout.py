"""Layout `sofa`: impulse responses in an AES69 (SOFA) file; every measurement at every receiver is one recording."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from tasks.catalog import folder_layout
from tasks.catalog.found import BadFileError, Found, Recording, Refused
from tasks.catalog.hdf5 import own
from tasks.catalog.params import Entry


def find(entry: Entry, root: Path) -> Iterator[Found | Refused]:
    """The SOFA files whose path matches the pattern."""
    return folder_layout.find(entry, root, (".sofa",))


def read(entry: Entry, root: Path, found: Found) -> Iterator[Recording | Refused]:
    """Responses in the order of their azimuth; a response's path is `<file>#<measurement>/<receiver>`."""
    path = root / found.path
    try:
        with h5py.File(path, "r") as file:
            responses = np.asarray(own(file, "Data.IR"), dtype=np.float32)  # (measurements, receivers, frames)
            rate = round(float(np.ravel(own(file, "Data.SamplingRate"))[0]))
            azimuths = np.asarray(own(file, "SourcePosition"), dtype=np.float64)[:, 0]
    except (OSError, KeyError, ValueError, IndexError, TypeError, RuntimeError, OverflowError) as error:  # RuntimeError is HDF5's own
        raise BadFileError(
            "unreadable", f"not a SOFA file of impulse responses: {error if isinstance(error, ValueError) else type(error).__name__}"
        ) from None
    if responses.ndim != 3 or responses.shape[2] == 0 or len(azimuths) not in (1, len(responses)):
        raise BadFileError("unreadable", f"Data.IR has the shape {responses.shape}")
    if rate <= 0:
        raise BadFileError("unreadable", f"Data.SamplingRate is {rate}")
    degrees = np.broadcast_to((azimuths + 180.0) % 360.0 - 180.0, len(responses))
    for rank, measurement in enumerate(np.argsort(degrees, kind="stable").tolist()):
        for receiver in range(responses.shape[1]):
            fields = {**found.fields, "azimuth_deg": f"{degrees[measurement]:g}", "receiver": str(receiver)}
            samples = responses[measurement, receiver, :, None]
            yield Recording(f"{found.path}#{measurement}/{receiver}", samples, rate, found.sha256, fields, (rank, len(responses)))
