"""HDF5 files as plain dictionaries of NumPy arrays, for the sources that come in them.

An HDF5 file may point into other files, hold objects in circles and claim arrays of any size. Here
links out of the file are refused, and an array is only read where the file is large enough to hold
it: deflate, the densest filter in use, makes nothing smaller than by 1032.

The HDF5 library itself can crash or hang on a damaged file. So it runs in a process of its own,
which this module is as a program: it is given the bytes of a file and gives back what is in them,
as JSON and plain numbers.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import threading
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgesnn.errors import FormatError, MissingError

MAGIC = b"\x89HDF\r\n\x1a\n"
DEFLATE_RATIO = 1032
MAX_OBJECTS = 100_000
ATTRIBUTES = "@"
SECONDS = 60.0
ARRAY = "/"  # no name in a file can be that

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
    if content is None:
        if not is_hdf5(path):
            if not path.is_file():
                raise MissingError(f"there is no file {path}: check the path")
            raise FormatError(f"{path} is no HDF5 file: give the file that the framework exported")
        content = path.read_bytes()
    answer = _library.ask(content)
    if answer is None:
        raise FormatError(f"{path} is damaged (the HDF5 library fails on it): export it again")
    kind, told = answer
    if kind == "missing":
        raise MissingError(
            "h5py, which reads HDF5 files, is not installed: pip install 'edgesnn[hdf5]'"
        )
    if kind == "refused":
        raise FormatError(f"{path}{told}")
    tree: Tree = told
    return tree


class _Library:
    """The process that has the HDF5 library, started when it is needed first."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, content: bytes) -> tuple[str, Any] | None:
        """What it says of the bytes of a file; None where it dies or hangs on them."""
        with self._lock:
            process = self._process
            # to a fork of the program that has started it, it counts as ended
            if process is None or process.poll() is not None:
                process = self._process = subprocess.Popen(
                    [sys.executable, "-m", "edgesnn.converters.hdf5"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            assert process.stdin is not None
            assert process.stdout is not None
            alarm = threading.Timer(SECONDS, process.kill)
            alarm.start()
            try:
                _put(process.stdin, content)
                return _unpacked(_get(process.stdout))
            except (OSError, EOFError, RecursionError):
                process.kill()
                process.communicate()
                self._process = None
                return None
            finally:
                alarm.cancel()


_library = _Library()


def _put(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(struct.pack("<Q", len(data)) + data)
    pipe.flush()


def _get(pipe: IO[bytes]) -> bytes:
    (size,) = struct.unpack("<Q", _exactly(pipe, 8))
    return _exactly(pipe, size)


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _packed(kind: str, told: object) -> bytes:
    """JSON, in which arrays are the place of their bytes behind it."""
    arrays: list[bytes] = []

    def place(array: object) -> dict[str, Any]:
        assert isinstance(array, np.ndarray)
        arrays.append(np.ascontiguousarray(array).tobytes())
        return {ARRAY: [sum(map(len, arrays[:-1])), array.dtype.str, array.shape]}

    text = json.dumps([kind, told], default=place).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(arrays)


def _unpacked(data: bytes) -> tuple[str, Any]:
    (size,) = struct.unpack_from("<Q", data)
    arrays = memoryview(data)[8 + size :]

    def placed(found: dict[str, Any]) -> Any:
        if list(found) != [ARRAY] or not isinstance(found[ARRAY], list):
            return found
        at, dtype, shape = found[ARRAY]
        return np.frombuffer(arrays, dtype, prod(shape), at).reshape(shape).copy()

    kind, told = json.loads(data[8 : 8 + size], object_hook=placed)
    return kind, told


# ---- in the process of its own ----


def main() -> None:
    """Read the files that come on standard input until it ends."""
    try:
        import h5py
    except ImportError:
        h5py = None
    while True:
        try:
            content = _get(sys.stdin.buffer)
        except EOFError:
            return
        _put(sys.stdout.buffer, _answer(content, h5py))


def _answer(content: bytes, h5py: Any) -> bytes:
    if h5py is None:
        return _packed("missing", None)
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            return _packed("read", _Reader(len(content), h5py).group(file))
    except FormatError as error:
        return _packed("refused", str(error))
    except Exception as error:  # h5py raises whatever damaged bytes lead to
        said = " ".join(str(error).split())
        return _packed("refused", f" is damaged ({said}): copy or export it again")


class _Reader:
    """Reads a file; what it refuses is worded to stand behind the file's name."""

    def __init__(self, size: int, h5py: Any) -> None:
        self.h5py = h5py
        self.left = DEFLATE_RATIO * size
        self.objects = 0

    def group(self, group: Any) -> Tree:
        tree: Tree = {}
        attributes = {"": self._attributes(group)}
        for name in group:
            self.objects += 1
            if self.objects > MAX_OBJECTS:
                raise FormatError(" holds too many objects, or objects in a circle")
            if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                raise FormatError(f": '{group.name}/{name}' is a link: export it anew")
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
        return {name: _plain(item.attrs[name], item.name) for name in item.attrs}

    def _array(self, dataset: Any) -> Any:
        if dataset.external:
            raise FormatError(f": '{dataset.name}' lies in another file: export it anew")
        if dataset.shape is None:
            return None
        self.left -= dataset.size * dataset.dtype.itemsize
        if self.left < 0:
            raise FormatError(
                f": '{dataset.name}' of shape {dataset.shape} claims more than the file can hold: "
                "copy or export it again"
            )
        return _plain(dataset[()], dataset.name)


def _plain(value: Any, where: str) -> Any:
    """Texts as str, lists of texts as lists of str, numbers as arrays.

    Raises:
        FormatError: it is something else.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.dtype.kind in "OS":
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item, where) for item in value]
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        return np.asarray(value)
    if value is None or isinstance(value, str):
        return value
    raise FormatError(f": '{where}' holds something other than numbers and texts: export it anew")


if __name__ == "__main__":
    main()
