"""HDF5 files as plain dictionaries of NumPy arrays, for the sources that come in them.

An HDF5 file may point into other files, hold objects in circles and claim arrays of any size. Here
links out of the file are refused, and an array is only read where the file is large enough to hold
it: deflate, the densest filter in use, makes nothing smaller than by 1032.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from edgesnn.errors import FormatError, MissingError

MAGIC = b"\x89HDF\r\n\x1a\n"
DEFLATE_RATIO = 1032
MAX_OBJECTS = 100_000
ATTRIBUTES = "@"

Tree = dict[str, Any]


def is_hdf5(path: Path) -> bool:
    """Whether a file starts as HDF5 files do; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_hdf5(path: Path, content: bytes | None = None) -> Tree:
    """Everything in a file: groups as dictionaries, arrays as NumPy arrays, texts as `str`.

    With `content`, of a file that lies in the one of that path.

    What a group or array has of attributes stands in its group under `"@"` and the name of the
    array (`""` for the group itself).

    Raises:
        MissingError: h5py is not installed, or the file cannot be read.
        FormatError: it is no HDF5 file, damaged, points out of itself, or claims more than it has.
    """
    try:
        import h5py
    except ImportError:
        raise MissingError(
            "h5py, which reads HDF5 files, is not installed: pip install 'edgesnn[hdf5]'"
        ) from None
    if content is None and not is_hdf5(path):
        if not path.is_file():
            raise MissingError(f"there is no file {path}: check the path")
        raise FormatError(f"{path} is no HDF5 file: give the file that the framework exported")
    try:
        with h5py.File(io.BytesIO(content) if content else path, "r") as file:
            size = len(content) if content else path.stat().st_size
            return _Reader(path, size, h5py).group(file)
    except FormatError:
        raise
    except Exception as error:  # h5py raises whatever damaged bytes lead to
        said = " ".join(str(error).split())
        raise FormatError(f"{path} is damaged ({said}): copy or export it again") from None


class _Reader:
    def __init__(self, path: Path, size: int, h5py: Any) -> None:
        self.path, self.h5py = path, h5py
        self.left = DEFLATE_RATIO * size
        self.objects = 0

    def group(self, group: Any) -> Tree:
        tree: Tree = {}
        attributes = {"": self._attributes(group)}
        for name in group:
            self.objects += 1
            if self.objects > MAX_OBJECTS:
                raise FormatError(f"{self.path} holds too many objects, or objects in a circle")
            if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                raise FormatError(f"{self.path}: '{group.name}/{name}' is a link: export it anew")
            item = group[name]
            attributes[name] = self._attributes(item)
            if isinstance(item, self.h5py.Group):
                tree[name] = self.group(item)
            elif isinstance(item, self.h5py.Dataset):
                tree[name] = self._array(item)
        attributes = {name: found for name, found in attributes.items() if found}
        if attributes:
            tree[ATTRIBUTES] = attributes
        return tree

    def _attributes(self, item: Any) -> Tree:
        return {name: _plain(item.attrs[name]) for name in item.attrs}

    def _array(self, dataset: Any) -> Any:
        if dataset.external:
            raise FormatError(f"{self.path}: '{dataset.name}' lies in another file: export it anew")
        if dataset.shape is None:
            return None
        self.left -= dataset.size * dataset.dtype.itemsize
        if self.left < 0:
            raise FormatError(
                f"{self.path}: '{dataset.name}' of shape {dataset.shape} claims more than the file "
                "can hold: copy or export it again"
            )
        return _plain(dataset[()])


def _plain(value: Any) -> Any:
    """Texts as str, lists of texts as lists of str, everything else as it is."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.dtype.kind in "OS":
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
