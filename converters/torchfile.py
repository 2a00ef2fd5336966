"""PyTorch checkpoints as NumPy arrays, without PyTorch and without running code from the file.

A file that `torch.save` writes (PyTorch 1.6 and later) is an uncompressed zip archive of one pickle
and the raw bytes of every tensor. Before, it was five pickles, one behind the other (a magic
number, a version, the machine, the object, the keys of the tensors' storages), and then the length
and the bytes of each storage (`torch/serialization.py`, `_legacy_save`). A pickle is a program, and
Python's own unpickler lets it call what it names, set attributes of what it can reach and reserve
memory at will. The one here runs only the opcodes that plain data needs, gives the handful of names
that tensors and containers need a meaning of its own, and imports nothing.
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from edgesnn.errors import FormatError, MissingError

STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
    "BFloat16Storage": "<u2",
    "ComplexFloatStorage": "<c8",
    "ComplexDoubleStorage": "<c16",
}
MAX_AXES = 32
MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001


class _Storage(NamedTuple):
    values: npt.NDArray[Any]


def read_torch(path: Path) -> Any:
    """What was given to `torch.save`, with tensors as read-only NumPy arrays, bfloat16 as float32.

    Raises:
        MissingError: the file cannot be read.
        FormatError: it is not such a file, it is damaged, or it names code to run.
    """
    try:
        if _is_legacy(path):
            return _Legacy(path).load()
        with _open(path) as archive:
            return _Archive(archive, path).load()
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror or error}") from None
    except FormatError:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        raise FormatError(f"{path} is damaged ({error}): copy or save it again") from None


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise FormatError(
            f"{path} is no whole PyTorch checkpoint (what torch.save writes): copy or save it again"
        ) from None


def _is_legacy(path: Path) -> bool:
    """Whether a file starts with the magic number of PyTorch before 1.6, as a pickle."""
    with path.open("rb") as file:
        return MAGIC.to_bytes(10, "little") in file.read(32)


class _Reader:
    """Runs pickles; how the storages that they name are found is for who inherits from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.storages: dict[str, tuple[str, _Storage]] = {}

    def _values(self, kind: str, key: str, count: int) -> npt.NDArray[Any]:
        """The values of a storage, as they lie in the file."""
        raise NotImplementedError

    def run(self, pickled: bytes | BinaryIO) -> Any:
        """What a pickle makes; of a stream, the first in it."""
        stack: list[Any] = []
        marks: list[int] = []
        memo: dict[Any, Any] = {}

        def marked() -> list[Any]:
            first = marks.pop()
            items = stack[first:]
            del stack[first:]
            return items

        # genops decodes opcodes and their arguments and does nothing else
        for opcode, arg, _ in pickletools.genops(pickled):
            match opcode.name:
                case "STOP":
                    return stack.pop()
                case "PROTO" | "FRAME":
                    pass
                case "MARK":
                    marks.append(len(stack))
                case "NONE" | "NEWTRUE" | "NEWFALSE":
                    stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
                case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                    stack.append(arg)
                case "BINUNICODE" | "SHORT_BINUNICODE":
                    stack.append(arg)
                case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE":
                    stack.append({"LIST": [], "DICT": {}, "TUPLE": ()}[opcode.name[6:]])
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    count = int(opcode.name[-1])
                    stack[-count:] = [tuple(stack[-count:])]
                case "TUPLE":
                    stack.append(tuple(marked()))
                case "APPEND":
                    _extend(stack[-2], [stack.pop()])
                case "APPENDS":
                    items = marked()
                    _extend(stack[-1], items)
                case "SETITEM":
                    items = [stack.pop(-2), stack.pop()]
                    _update(stack[-1], items)
                case "SETITEMS":
                    items = marked()
                    _update(stack[-1], items)
                case "BINPUT" | "LONG_BINPUT":
                    memo[arg] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[arg])
                case "GLOBAL":
                    stack.append(self._named(*str(arg).split(" ", 1)))
                case "STACK_GLOBAL":
                    stack[-2:] = [self._named(*stack[-2:])]
                case "REDUCE" | "NEWOBJ":
                    arguments = stack.pop()
                    stack[-1] = _call(stack[-1], arguments)
                case "BUILD":  # attributes, such as a state_dict's _metadata: not data
                    stack.pop()
                case "BINPERSID":
                    stack[-1] = self._storage(*stack[-1])
                case _:
                    raise ValueError(f"opcode {opcode.name}, which no weights need")
        raise AssertionError("genops ends with STOP")

    def _named(self, module: object, name: object) -> Any:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        if module == "torch" and name in STORAGES:
            return name
        if (module, name) not in NAMES:
            called = repr(f"{module}.{name}"[:100])
            raise FormatError(
                f"{self.path} asks to run {called}, which no weights need: save the state_dict "
                "alone, or do not trust this file"
            )
        return NAMES[module, name]

    def _storage(
        self, tag: str, kind: str, key: str, _: object, count: int, view: object = None
    ) -> _Storage:
        if tag != "storage" or not isinstance(kind, str) or kind not in STORAGES:
            raise ValueError("a storage of an unknown kind")
        if not isinstance(key, str) or not key.isdecimal():
            raise ValueError("a storage whose key is not a number")
        if view is not None or type(count) is not int or count < 0:
            raise ValueError("a storage that is part of another, or of no size")
        if key not in self.storages:
            values = self._values(kind, key, count)
            if kind == "BFloat16Storage":
                values = (values.astype(np.uint32) << 16).view(np.float32)
                values.flags.writeable = False
            self.storages[key] = kind, _Storage(values)
        first_kind, storage = self.storages[key]
        if kind != first_kind or len(storage.values) != count:
            raise ValueError(f"storage {key} is not what it was declared to be")
        return storage


class _Archive(_Reader):
    """A zip archive, of PyTorch 1.6 and later."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        parts = archive.infolist()
        pickles = [part.filename for part in parts if part.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise FormatError(f"{path} is a zip archive without one data.pkl: give a checkpoint")
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise FormatError(f"{path} is a compressed archive, which torch.save never writes")
        if sum(max(part.file_size, part.compress_size) for part in parts) > path.stat().st_size:
            raise FormatError(f"{path} claims to hold more than it does: copy or save it again")
        super().__init__(path)
        self.archive = archive
        self.folder = pickles[0].removesuffix("data.pkl")
        order = self.folder + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise FormatError(f"{path} was saved on a big-endian machine: save it on a usual one")

    def load(self) -> Any:
        """What was saved."""
        return self.run(self.archive.read(self.folder + "data.pkl"))

    def _values(self, kind: str, key: str, count: int) -> npt.NDArray[Any]:
        return np.frombuffer(self.archive.read(f"{self.folder}data/{key}"), STORAGES[kind])


class _Legacy(_Reader):
    """Pickles and storages one behind the other, of PyTorch before 1.6."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.stream = io.BytesIO(path.read_bytes())
        self.found: dict[str, bytes] | None = None
        self.left = len(self.stream.getbuffer())

    def load(self) -> Any:
        """What was saved: its pickle is run once to learn what storages follow, and once again."""
        magic, version, machine = (self.run(self.stream) for _ in range(3))
        if magic != MAGIC or version != LEGACY_VERSION or not isinstance(machine, dict):
            raise ValueError("not what PyTorch before 1.6 wrote")
        if machine.get("little_endian") is not True:
            raise FormatError(
                f"{self.path} was saved on a big-endian machine: save it on a usual one"
            )
        start = self.stream.tell()
        self.run(self.stream)
        kinds = {key: kind for key, (kind, _) in self.storages.items()}
        keys = self.run(self.stream)
        if not isinstance(keys, list) or set(keys) != set(kinds):
            raise ValueError("storages are named that are not there, or the other way round")
        self.found = {key: self._following(kinds[key]) for key in keys}
        self.storages = {}
        self.stream.seek(start)
        return self.run(self.stream)

    def _following(self, kind: str) -> bytes:
        """The bytes of the storage that comes next."""
        count = int.from_bytes(self.stream.read(8), "little")
        size = count * np.dtype(STORAGES[kind]).itemsize
        content = self.stream.read(min(size, len(self.stream.getbuffer())))
        if len(content) != size:
            raise ValueError("a storage is cut short")
        return content

    def _values(self, kind: str, key: str, count: int) -> npt.NDArray[Any]:
        if self.found is not None:
            return np.frombuffer(self.found[key], STORAGES[kind])
        self.left -= count * np.dtype(STORAGES[kind]).itemsize
        if self.left < 0:
            raise FormatError(f"{self.path} claims to hold more than it does: copy it again")
        return np.zeros(count, STORAGES[kind])


def _call(function: object, arguments: object) -> Any:
    if not callable(function) or not isinstance(arguments, tuple):
        raise ValueError("a call of something that is no function")
    return function(*arguments)


def _extend(target: object, items: list[Any]) -> None:
    if not isinstance(target, list):
        raise ValueError("items for something that is no list")
    target.extend(items)


def _update(target: object, items: list[Any]) -> None:
    keys = items[::2]
    # hashing a tuple recurses without bound, and no weight has such a name
    if not isinstance(target, dict) or not all(isinstance(key, (str, int)) for key in keys):
        raise ValueError("entries for something that is no dictionary, or under no name")
    target.update(zip(keys, items[1::2], strict=True))


def _new_dict() -> dict[Any, Any]:
    return {}


def _size(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return items


def _tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> npt.NDArray[Any]:
    if not isinstance(storage, _Storage) or type(size) is not tuple or type(stride) is not tuple:
        raise ValueError("a tensor without storage")
    if len(size) > MAX_AXES or any(type(n) is not int or n < 0 for n in (offset, *size, *stride)):
        raise ValueError("a tensor of an impossible shape")
    values = storage.values
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 in size:
        return np.zeros(size, values.dtype)
    # a tensor that repeats its values could be of any size: none of a network's does
    if math.prod(size) > len(values) or last >= len(values):
        raise ValueError(f"a tensor of shape {size} leaves its storage")
    strides = [step * values.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(values[offset:], size, strides, writeable=False)


def _parameter(data: npt.NDArray[Any], *_: object) -> npt.NDArray[Any]:
    return data


NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _new_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _size,
    ("lightning.fabric.utilities.data", "AttributeDict"): _new_dict,
    ("lightning_fabric.utilities.data", "AttributeDict"): _new_dict,
    ("pytorch_lightning.utilities.parsing", "AttributeDict"): _new_dict,
}
