"""What is in a `.tflite` file: one chain of operations, their tensors and options.

The format is a FlatBuffer (tensorflow/lite/schema/schema.fbs, version 3), read by the package
`tflite`, which is generated from that schema and runs nothing.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import FormatError, MissingError, ModelError
from edgesnn.graph import MAX_SIZE

MAX_BYTES = 1 << 26
TYPES = {0: np.float32, 2: np.int32, 9: np.int8, 4: np.int64}
NAMES = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}
# what computes the shape that a reshape is given, which its output has anyway
SHAPES = ("SHAPE", "STRIDED_SLICE", "PACK")
RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
# with what the generated code answers to offsets that lead nowhere
BROKEN = (
    struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, KeyError,
)  # fmt: skip
WINDOW = ("StrideH", "StrideW", "Padding")
OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "FULLY_CONNECTED": ("FullyConnectedOptions", ()),
    "CONV_2D": ("Conv2DOptions", (*WINDOW, "DilationHFactor", "DilationWFactor")),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions",
                          (*WINDOW, "DilationHFactor", "DilationWFactor")),
    "AVERAGE_POOL_2D": ("Pool2DOptions", (*WINDOW, "FilterHeight", "FilterWidth")),
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A tensor.

    Attributes:
        name: in the file.
        shape: without the first axis, the batch, where it is an activation.
        dtype: of its values.
        scale, zero: () or (channels,): a real value is `scale * (value - zero)`; of no size
            where it is not quantised.
        axis: along which the scales run.
        data: its values where it is a constant, else None.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Any
    scale: npt.NDArray[np.float32]
    zero: npt.NDArray[np.int64]
    axis: int
    data: npt.NDArray[Any] | None


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        kind: its name in the schema.
        inputs, output: its tensors; None for an input that is left out.
        activation: fused into it: NONE, RELU, RELU6, RELU_N1_TO_1.
        options: the others, by their name in the schema.
        called: how errors name it.
    """

    kind: str
    inputs: tuple[Tensor | None, ...]
    output: Tensor
    called: str
    activation: str = "NONE"
    options: dict[str, int] = field(default_factory=dict)


def looks_like_tflite(path: Path) -> bool:
    """Whether a file has the mark of the format."""
    try:
        with path.open("rb") as file:
            return file.read(8)[4:] == b"TFL3"
    except OSError:
        return False


def read_tflite_file(path: Path) -> tuple[Tensor, list[Operation]]:
    """The input of a model, and its operations in order, each taking what the one before gave.

    Raises:
        MissingError: no such file, or the package `tflite` is not there.
        FormatError: the file is damaged.
        ModelError: it branches, or has more than one input, output or subgraph.
    """
    try:
        import tflite
    except ImportError:
        raise MissingError(
            "reading .tflite files needs the package tflite: pip install 'edgesnn[tflite]'"
        ) from None
    try:
        content = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror or error}") from None
    if not looks_like_tflite(path):
        raise FormatError(f"{path} is no .tflite file: it has not its mark, TFL3")
    if not content:
        raise ModelError(f"{path} has more than {MAX_BYTES >> 20} MB: no board holds it")
    try:
        return _Reader(path, content, tflite).chain()
    except BROKEN as error:
        raise FormatError(f"{path} is damaged ({type(error).__name__}): export it again") from None


class _Reader:
    def __init__(self, path: Path, content: bytes, tflite: Any) -> None:
        self.path, self.content, self.tflite = path, content, tflite
        self.model = tflite.Model.GetRootAsModel(content, 0)
        if self.model.SubgraphsLength() != 1:
            raise ModelError(f"{path} has {self.model.SubgraphsLength()} subgraphs, not one")
        self.graph = self.model.Subgraphs(0)
        operators = tflite.BuiltinOperator
        self.kinds = {
            value: name for name, value in vars(operators).items() if isinstance(value, int)
        }
        if self.graph.InputsLength() != 1 or self.graph.OutputsLength() != 1:
            raise ModelError(
                f"{path} has {self.graph.InputsLength()} inputs and {self.graph.OutputsLength()} "
                "outputs: only models of one each are supported"
            )

    def chain(self) -> tuple[Tensor, list[Operation]]:
        first = last = int(self.graph.Inputs(0))
        alike = {last}  # the same values in other shapes
        made = []
        for k in range(self._length(self.graph.OperatorsLength())):
            operator = self.graph.Operators(k)
            kind = self._kind(operator)
            if kind in SHAPES:
                continue
            called = f"operation {k} ({kind}) of {self.path}"
            inputs = [int(operator.Inputs(n)) for n in range(self._length(operator.InputsLength()))]
            takes = alike if kind in RESHAPES else {last}
            if operator.OutputsLength() != 1 or not inputs or inputs[0] not in takes:
                raise ModelError(
                    f"{called} does not take what the one before gave: models that branch are not "
                    "supported, cut the chain out of it"
                )
            last = int(operator.Outputs(0))
            alike = {*alike, last} if kind in RESHAPES else {last}
            if kind in RESHAPES:
                inputs = inputs[:1]
            tensors = tuple(None if n < 0 else self._tensor(n) for n in inputs)
            activation, options = self._options(called, kind, operator)
            made.append(
                Operation(kind, tensors, self._tensor(last), called, activation, options)
            )  # fmt: skip
        if last != int(self.graph.Outputs(0)) or not made:
            raise ModelError(f"{self.path} does not end with what its last operation gives")
        return self._tensor(first), made

    def _length(self, count: int) -> int:
        if not 0 <= count <= len(self.content):
            raise ValueError(count)
        return count

    def _kind(self, operator: Any) -> str:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        return str(self.kinds.get(number, f"number {number}"))

    def _options(self, called: str, kind: str, operator: Any) -> tuple[str, dict[str, int]]:
        if kind not in OPTIONS:
            return "NONE", {}
        table, names = OPTIONS[kind]
        raw = operator.BuiltinOptions()
        if raw is None:
            raise FormatError(f"{called} lacks its options: export it again")
        options = getattr(self.tflite, table)()
        options.Init(raw.Bytes, raw.Pos)
        activation = int(options.FusedActivationFunction())
        if activation not in NAMES:
            raise ModelError(f"{called} has activation number {activation}: not supported")
        return NAMES[activation], {name: int(getattr(options, name)()) for name in names}

    def _tensor(self, index: int) -> Tensor:
        tensor = self.graph.Tensors(index)
        name = (tensor.Name() or b"").decode("utf-8", "replace")
        shape = tuple(int(n) for n in np.atleast_1d(tensor.ShapeAsNumpy()))
        dtype = TYPES.get(tensor.Type())
        if dtype is None:
            raise ModelError(
                f"tensor '{name}' of {self.path} is of type number {tensor.Type()}: int8, int32 "
                "and float32 are supported"
            )
        scale, zero, axis = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        quantised = tensor.Quantization()
        if quantised is not None and quantised.ScaleLength():
            scale = np.asarray(quantised.ScaleAsNumpy(), np.float32)
            zero = np.zeros(len(scale), np.int64)
            if quantised.ZeroPointLength() == len(scale):
                zero = np.asarray(quantised.ZeroPointAsNumpy(), np.int64)
            axis = int(quantised.QuantizedDimension())
            if not np.all(np.isfinite(scale) & (scale > 0)):
                raise FormatError(f"tensor '{name}' of {self.path} has a scale that is not above 0")
        data = None
        buffer = self.model.Buffers(tensor.Buffer())
        if buffer is not None and buffer.DataLength():
            data = np.frombuffer(buffer.DataAsNumpy().tobytes(), dtype).reshape(shape)
        elif len(shape) < 2 or shape[0] not in (1, -1) or min(shape[1:]) < 1:
            raise ModelError(
                f"tensor '{name}' of {self.path} has shape {shape}: the batch is not 1"
            )
        elif math.prod(shape[1:]) > MAX_SIZE:
            raise ModelError(
                f"tensor '{name}' of {self.path} has shape {shape}: at most {MAX_SIZE} values fit"
            )
        else:
            shape = shape[1:]
        return Tensor(name, shape, dtype, scale, zero, axis, data)
