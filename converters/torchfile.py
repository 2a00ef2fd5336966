"""PyTorch checkpoints as NumPy arrays, without PyTorch and without running code from the file.

A file that `torch.save` writes (PyTorch 1.6 and later) is an uncompressed zip archive of one pickle
and the raw bytes of every tensor. The unpickler here knows the handful of names that tensors and
plain containers need and refuses every other, so that no file can make it call anything.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
}


class _Dict(dict[Any, Any]):
    """Stands for Lightning's dictionaries, whose attributes we do not need."""

    def __setstate__(self, state: object) -> None:
        pass


@dataclass(frozen=True)
class _Storage:
    kind: str
    values: npt.NDArray[Any]


def read_torch(path: Path) -> Any:
    """What was given to `torch.save`, with tensors as NumPy arrays (bfloat16 as float32).

    Raises:
        MissingError: the file cannot be read.
        FormatError: it is not such a file, it is damaged, or it names code to run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Unpickler.of(archive, path).load()
    except zipfile.BadZipFile:
        raise FormatError(
            f"{path} is no PyTorch checkpoint (a zip archive written by torch.save): a file of "
            "PyTorch before 1.6 has to be loaded and saved again with a newer one"
        ) from None
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror or error}") from None
    except FormatError:
        raise
    except Exception as error:  # the pickle machine raises whatever damaged bytes lead it to
        raise FormatError(f"{path} is damaged ({error}): copy or save it again") from None


class _Unpickler(pickle.Unpickler):
    @classmethod
    def of(cls, archive: zipfile.ZipFile, path: Path) -> _Unpickler:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise FormatError(
                f"{path} is a zip archive without PyTorch's data.pkl: give a checkpoint"
            )
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise FormatError(f"{path} is a compressed archive, which torch.save never writes")
        folder = pickles[0][: -len("data.pkl")]
        order = folder + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise FormatError(f"{path} was saved on a big-endian machine: save it on a usual one")
        return cls(archive, path, folder)

    def __init__(self, archive: zipfile.ZipFile, path: Path, folder: str) -> None:
        super().__init__(archive.open(folder + "data.pkl"))
        self._archive, self._path, self._folder = archive, path, folder

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
            ("lightning.fabric.utilities.data", "AttributeDict"): _Dict,
            ("lightning_fabric.utilities.data", "AttributeDict"): _Dict,
            ("pytorch_lightning.utilities.parsing", "AttributeDict"): _Dict,
            ("torch", "Size"): tuple,
        }
        if module == "torch" and name in STORAGES:
            return name
        if (module, name) not in known:
            raise FormatError(
                f"{self._path} asks to run '{module}.{name}', which no weights need: save the "
                "state_dict alone, or do not trust this file"
            )
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        tag, kind, key, _, count = pid
        if tag != "storage" or kind not in STORAGES:
            raise ValueError(f"unknown storage {tag} {kind}")
        raw = self._archive.read(f"{self._folder}data/{key}")
        values = np.frombuffer(raw, np.dtype(STORAGES[kind]))
        if len(values) != count:
            raise ValueError(f"storage {key} holds {len(values)} values, not {count}")
        return _Storage(kind, values)


def _rebuild_tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> npt.NDArray[Any]:
    values = storage.values
    count = int(np.prod(size, dtype=object))
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if (
        min((offset, *size, *stride, 0)) < 0
        or count > len(values)
        or (count and last >= len(values))
    ):
        raise ValueError(f"a tensor of shape {tuple(size)} leaves its storage")
    if count == 0:
        return np.zeros(size, values.dtype)
    strides = [step * values.itemsize for step in stride]
    tensor: npt.NDArray[Any] = np.lib.stride_tricks.as_strided(values[offset:], size, strides)
    if storage.kind == "BFloat16Storage":
        tensor = (tensor.astype(np.uint32) << 16).view(np.float32)
    return np.array(tensor)


def _rebuild_parameter(data: npt.NDArray[Any], *_: object) -> npt.NDArray[Any]:
    return data
