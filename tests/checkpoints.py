"""PyTorch checkpoints without PyTorch: what `torch.save` writes, and small L2MU networks to put in.

`test_torchfile.py` reads them back; that PyTorch reads them too, with `weights_only=True`, was
checked with 2.13.0 by `python tests/checkpoints.py FILE` and `torch.load(FILE)`.
"""

from __future__ import annotations

import struct
import sys
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
}
STOP = b"."


@dataclass
class Raw:
    """Opcodes put into the pickle as they stand; they leave one object on its stack."""

    opcodes: bytes


@dataclass
class Tensor:
    """A tensor whose storage, place in it and kind are said, to say them wrongly too."""

    values: np.ndarray
    offset: int = 0
    size: tuple[int, ...] | None = None
    stride: tuple[int, ...] | Raw | None = None
    storage: str | None = None
    count: int | None = None
    key: str | None = None
    parameter: bool = False


class Program:
    """The pickle of an object, in protocol 2, and the storages that it refers to."""

    def __init__(self, obj: object) -> None:
        self.storages: dict[str, bytes] = {}
        self.counts: dict[str, int] = {}
        self.pickled = b"\x80\x02" + self.opcodes(obj) + STOP

    def opcodes(self, obj: object) -> bytes:
        if isinstance(obj, Raw):
            return obj.opcodes
        if isinstance(obj, (np.ndarray, np.generic, Tensor)):
            return self._tensor(obj if isinstance(obj, Tensor) else Tensor(np.asarray(obj)))
        if isinstance(obj, dict):
            new = name("collections", "OrderedDict") + b")R" if type(obj) is not dict else b"}"
            return new + b"(" + b"".join(self.opcodes(x) for kv in obj.items() for x in kv) + b"u"
        if isinstance(obj, list):
            return b"](" + b"".join(map(self.opcodes, obj)) + b"e"
        if isinstance(obj, tuple):
            return b"(" + b"".join(map(self.opcodes, obj)) + b"t"
        if isinstance(obj, str):
            return b"X" + struct.pack("<I", len(obj.encode())) + obj.encode()
        if isinstance(obj, float):
            return b"G" + struct.pack(">d", obj)
        if obj is None or isinstance(obj, bool):
            return {None: b"N", True: b"\x88", False: b"\x89"}[obj]
        assert isinstance(obj, int)
        number = obj.to_bytes(obj.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(number)]) + number

    def _tensor(self, tensor: Tensor) -> bytes:
        key = tensor.key or str(len(self.storages))
        values = np.ascontiguousarray(tensor.values).reshape(-1)
        self.storages[key] = values.tobytes()
        self.counts[key] = len(values)
        size = tensor.values.shape if tensor.size is None else tensor.size
        stride = tensor.stride
        if stride is None:
            stride = tuple(int(np.prod(size[axis + 1 :])) for axis in range(len(size)))
        kind = tensor.storage or STORAGES[values.dtype.name]
        count = len(values) if tensor.count is None else tensor.count
        storage = self.opcodes(("storage", Raw(name("torch", kind)), key, "cpu", count)) + b"Q"
        arguments = (Raw(storage), tensor.offset, size, stride, tensor.parameter, OrderedDict())
        rebuilt = name("torch._utils", "_rebuild_tensor_v2") + self.opcodes(arguments) + b"R"
        if not tensor.parameter:
            return rebuilt
        wrapped = self.opcodes((Raw(rebuilt), True, OrderedDict()))
        return name("torch._utils", "_rebuild_parameter") + wrapped + b"R"


def name(module: str, attribute: str) -> bytes:
    """The opcode that names something of a module."""
    return f"c{module}\n{attribute}\n".encode()


def write_archive(
    path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED
) -> Path:
    """A zip archive as torch.save lays it out, of the given parts."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for part, content in parts.items():
            archive.writestr(f"archive/{part}", content)
    return path


def write_torch(path: Path, obj: object) -> Path:
    """What `torch.save(obj, path)` would write; arrays, `Tensor`s and `Raw` opcodes as they say."""
    program = Program(obj)
    parts = {"data.pkl": program.pickled, "byteorder": b"little", "version": b"3\n"}
    storages = {f"data/{key}": content for key, content in program.storages.items()}
    return write_archive(path, {**parts, **storages})


def write_legacy(path: Path, obj: object) -> Path:
    """What `torch.save(obj, path)` wrote before PyTorch 1.6, in one file without an archive."""
    program = Program(obj)
    sizes = {"short": 2, "int": 4, "long": 4}
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
    parts = [
        Program(0x1950A86A20F9469CFC6C).pickled, Program(1001).pickled, Program(machine).pickled,
        program.pickled, Program(list(program.storages)).pickled,
    ]  # fmt: skip
    for key, content in program.storages.items():
        parts += [struct.pack("<q", program.counts[key]), content]
    path.write_bytes(b"".join(parts))
    return path


def l2mu_state(
    *,
    channels: int = 3,
    memories: int = 3,
    order: int = 4,
    hidden: int = 6,
    classes: int = 4,
    encoder: tuple[int, ...] = (),
    cuba: bool = False,
    seed: int = 0,
) -> OrderedDict[str, np.ndarray]:
    """The state_dict of a random L2MU that is neither silent nor always on."""
    rng = np.random.default_rng(seed)
    state: OrderedDict[str, Any] = OrderedDict()

    def weight(key: str, outputs: int, inputs: int, spread: float) -> None:
        state[key + ".weight"] = rng.normal(0, spread, (outputs, inputs)).astype(np.float32)

    def neurons(key: str) -> None:
        state[key + ".threshold"] = np.float32(rng.uniform(0.3, 0.6))
        state[key + ".graded_spikes_factor"] = np.float32(1)
        state[key + ".reset_mechanism_val"] = np.int64(0)
        state[key + ".beta"] = np.float32(rng.uniform(0.4, 0.9))
        if cuba:
            state[key + ".alpha"] = np.float32(rng.uniform(0.3, 0.7))

    for n, size in enumerate(encoder):
        weight(f"encoder.{n}.linear", size, channels, 0.5)
        state[f"encoder.{n}.linear.bias"] = rng.normal(0, 0.1, size).astype(np.float32)
        neurons(f"encoder.{n}.spk")
        channels = size
    cell = "l2mu_cell."
    for layer, outputs, inputs, spread in (
        ("e_x", memories, channels, 0.5),
        ("e_h", memories, hidden, 0.2),
        ("e_m", memories, memories * order, 0.2),
        ("A", order, order, 0.4),
        ("B", order, 1, 0.6),
        ("W_x", hidden, channels, 0.4),
        ("W_h", hidden, hidden, 0.3),
        ("W_m", hidden, memories * order, 0.4),
        ("output_transformation", classes, hidden, 0.6),
    ):
        weight(cell + layer, outputs, inputs, spread)
    state[cell + "output_transformation.bias"] = rng.normal(0, 0.1, classes).astype(np.float32)
    for population in ("u", "m", "h", "output"):
        neurons(f"{cell}spk_{population}")
    return state


if __name__ == "__main__":
    model = {f"model.{key}": value for key, value in l2mu_state(encoder=(5,), cuba=True).items()}
    write_torch(
        Path(sys.argv[1]),
        {
            "state_dict": OrderedDict(model),
            "hyper_parameters": {"params": {"order": 4.0}, "classes": ["a", "b"], "none": None},
            "kinds": [np.arange(3).astype(kind) for kind in STORAGES],
            "bfloat16": Tensor(np.array([0x3FC0], np.uint16), storage="BFloat16Storage"),
            "transposed": Tensor(np.arange(6.0), size=(2, 3), stride=(1, 2)),
            "parameter": Tensor(np.float32(1.5), parameter=True),
        },
    )
