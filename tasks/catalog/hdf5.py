"""Arrays that lie in an HDF5 file itself: a link, external storage or a virtual array would read other files of this machine."""

import h5py

RATIO, ROOM = 100, 64 * 2**20  # bytes in memory for one on disk, once they are more than so many: deflate stores silence in a thousandth


def own(file: h5py.File, name: str) -> h5py.Dataset:
    """The array of that name; raises KeyError where there is none, ValueError where it is elsewhere, or far larger in memory than on disk."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link")
    array = file[name]
    if not isinstance(array, h5py.Dataset) or array.external or array.is_virtual:
        raise ValueError(f"{name} is no array of this file")
    if array.nbytes > max(ROOM, RATIO * array.id.get_storage_size()):
        raise ValueError(f"{name} takes {array.nbytes} bytes in memory, {array.id.get_storage_size()} on disk")
    return array
