"""Small `.tflite` files, written with the package `tflite` and nothing of TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite as t

CODES = {np.dtype(np.float32): 0, np.dtype(np.int32): 2, np.dtype(np.int8): 9}


@dataclass
class Tensor:
    shape: tuple[int, ...]
    dtype: Any = np.int8
    scale: Any = ()
    zero: Any = 0
    axis: int = 0
    data: np.ndarray | None = None


@dataclass
class Op:
    kind: str
    inputs: list[int]
    output: int
    options: dict[str, int] = field(default_factory=dict)


TABLES = {
    "FULLY_CONNECTED": "FullyConnectedOptions", "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions", "AVERAGE_POOL_2D": "Pool2DOptions",
    "RESHAPE": "ReshapeOptions", "MEAN": "ReducerOptions", "PAD": "PadOptions",
    "SOFTMAX": "SoftmaxOptions", "MAX_POOL_2D": "Pool2DOptions",
}  # fmt: skip


def _vector(b: flatbuffers.Builder, items: list[int], kind: str) -> int:
    size = {"UOffsetTRelative": 4, "Int32": 4, "Int64": 8, "Float32": 4}[kind]
    b.StartVector(size, len(items), size)
    for item in reversed(items):
        getattr(b, f"Prepend{kind}")(item)
    return int(b.EndVector())


def _tensor(b: flatbuffers.Builder, tensor: Tensor, name: str, buffer: int) -> int:
    scale = [float(x) for x in np.atleast_1d(tensor.scale)]
    quantised = None
    if scale:
        zero = np.broadcast_to(tensor.zero, (len(scale),)).tolist()
        scales, zeros = _vector(b, scale, "Float32"), _vector(b, zero, "Int64")  # type: ignore[arg-type]
        t.QuantizationParametersStart(b)
        t.QuantizationParametersAddScale(b, scales)
        t.QuantizationParametersAddZeroPoint(b, zeros)
        t.QuantizationParametersAddQuantizedDimension(b, tensor.axis)
        quantised = t.QuantizationParametersEnd(b)
    called, shape = b.CreateString(name), _vector(b, list(tensor.shape), "Int32")
    t.TensorStart(b)
    t.TensorAddShape(b, shape)
    t.TensorAddType(b, CODES[np.dtype(tensor.dtype)])
    t.TensorAddBuffer(b, buffer)
    t.TensorAddName(b, called)
    if quantised is not None:
        t.TensorAddQuantization(b, quantised)
    return int(t.TensorEnd(b))


def built(tensors: list[Tensor], ops: list[Op], into: int = 0, out: int | None = None) -> bytes:
    """A file of one subgraph: `into` and `out` (that of the last operation) are its ends."""
    b = flatbuffers.Builder(1024)
    buffers, made = [None], []
    for n, tensor in enumerate(tensors):
        at = 0
        if tensor.data is not None:
            buffers.append(b.CreateByteVector(tensor.data.astype(tensor.dtype).tobytes()))
            at = len(buffers) - 1
        made.append(_tensor(b, tensor, f"tensor {n}", at))
    tables = []
    for buffer in buffers:
        t.BufferStart(b)
        if buffer is not None:
            t.BufferAddData(b, buffer)
        tables.append(t.BufferEnd(b))
    kinds = sorted({op.kind for op in ops})
    codes = []
    for kind in kinds:
        number = getattr(t.BuiltinOperator, kind)
        t.OperatorCodeStart(b)
        t.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
        t.OperatorCodeAddBuiltinCode(b, number)
        # the first that takes weights of a scale for each channel
        versions = {"FULLY_CONNECTED": 5, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3}
        t.OperatorCodeAddVersion(b, versions.get(kind, 2 if kind != "RESHAPE" else 1))
        codes.append(t.OperatorCodeEnd(b))
    operators = []
    for op in ops:
        options, table = None, TABLES.get(op.kind)
        if table is not None:
            getattr(t, f"{table}Start")(b)
            for key, value in op.options.items():
                getattr(t, f"{table}Add{key}")(b, value)
            options = getattr(t, f"{table}End")(b)
        inputs, outputs = _vector(b, op.inputs, "Int32"), _vector(b, [op.output], "Int32")
        t.OperatorStart(b)
        t.OperatorAddOpcodeIndex(b, kinds.index(op.kind))
        t.OperatorAddInputs(b, inputs)
        t.OperatorAddOutputs(b, outputs)
        if options is not None and table is not None:
            t.OperatorAddBuiltinOptionsType(b, getattr(t.BuiltinOptions, table))
            t.OperatorAddBuiltinOptions(b, options)
        operators.append(t.OperatorEnd(b))
    parts = [_vector(b, list(x), "UOffsetTRelative") for x in (made, operators)]
    ends = [_vector(b, [x], "Int32") for x in (into, ops[-1].output if out is None else out)]
    t.SubGraphStart(b)
    t.SubGraphAddTensors(b, parts[0])
    t.SubGraphAddInputs(b, ends[0])
    t.SubGraphAddOutputs(b, ends[1])
    t.SubGraphAddOperators(b, parts[1])
    graph = t.SubGraphEnd(b)
    vectors = [_vector(b, x, "UOffsetTRelative") for x in (codes, [graph], tables)]
    t.ModelStart(b)
    t.ModelAddVersion(b, 3)
    t.ModelAddOperatorCodes(b, vectors[0])
    t.ModelAddSubgraphs(b, vectors[1])
    t.ModelAddBuffers(b, vectors[2])
    b.Finish(t.ModelEnd(b), b"TFL3")
    return bytes(b.Output())


def convolutional(seed: int, *, relu: str = "RELU", classes: int = 5) -> bytes:
    """Conv (SAME), depthwise (VALID, stride 2), average pooling, dense: every scale random."""
    rng = np.random.default_rng(seed)
    fused = {"NONE": 0, "RELU": 1, "RELU6": 3}[relu]

    def scale() -> float:
        return float(np.float32(rng.uniform(0.01, 0.05)))

    def weights(shape: tuple[int, ...], channels: int, axis: int) -> Tensor:
        scales = rng.uniform(0.001, 0.01, channels).astype(np.float32)
        return Tensor(shape, np.int8, scales, 0, axis, rng.integers(-127, 128, shape))

    def bias(channels: int, into: Tensor, weight: Tensor) -> Tensor:
        scales = np.float32(into.scale) * weight.scale
        whole = rng.integers(-3000, 3000, channels)
        return Tensor((channels,), np.int32, scales, 0, 0, whole)

    def made(shape: tuple[int, ...]) -> Tensor:
        low = -128 if relu != "NONE" else int(rng.integers(-40, 40))
        return Tensor(shape, np.int8, scale(), low)

    image = Tensor((1, 6, 6, 2), np.int8, scale(), int(rng.integers(-20, 20)))
    conv = weights((4, 3, 3, 2), 4, 0)
    a = made((1, 6, 6, 4))
    deep = weights((1, 3, 3, 4), 4, 3)
    b = made((1, 2, 2, 4))
    pooled = Tensor((1, 1, 1, 4), np.int8, b.scale, b.zero)
    flat = Tensor((1, 4), np.int8, b.scale, b.zero)
    dense = weights((classes, 4), classes, 0)
    out = Tensor((1, classes), np.int8, 4 * scale(), int(rng.integers(-20, 20)))
    tensors = [image, conv, bias(4, image, conv), a, deep, bias(4, a, deep), b, pooled, flat,
               dense, bias(classes, flat, dense), out,
               Tensor((2,), np.int32, data=np.array([1, 4]))]  # fmt: skip
    ops = [
        Op("CONV_2D", [0, 1, 2], 3, {"Padding": 0, "StrideW": 1, "StrideH": 1,
                                     "FusedActivationFunction": fused}),
        Op("DEPTHWISE_CONV_2D", [3, 4, 5], 6, {"Padding": 1, "StrideW": 2, "StrideH": 2,
           "DepthMultiplier": 1, "FusedActivationFunction": fused}),
        Op("AVERAGE_POOL_2D", [6], 7, {"Padding": 1, "StrideW": 2, "StrideH": 2,
                                       "FilterWidth": 2, "FilterHeight": 2}),
        Op("RESHAPE", [7, 12], 8), Op("FULLY_CONNECTED", [8, 9, 10], 11),
    ]  # fmt: skip
    return built(tensors, ops)


def head(seed: int, inputs: int = 40, hidden: int = 24, classes: int = 6) -> bytes:
    """A dense head with one scale a layer, as older converters write it, and a softmax."""
    rng = np.random.default_rng(seed)
    x = Tensor((1, inputs), np.int8, 0.0235, -7)
    w1 = Tensor((hidden, inputs), np.int8, 0.0041, 0, 0, rng.integers(-127, 128, (hidden, inputs)))
    b1 = Tensor((hidden,), np.int32, np.float32(0.0235) * np.float32(0.0041), 0, 0,
                rng.integers(-9000, 9000, hidden))  # fmt: skip
    h = Tensor((1, hidden), np.int8, 0.0561, -128)
    w2 = Tensor(
        (classes, hidden), np.int8, 0.0033, 0, 0, rng.integers(-127, 128, (classes, hidden))
    )
    y = Tensor((1, classes), np.int8, 0.113, 12)
    p = Tensor((1, classes), np.int8, 1 / 256, -128)
    ops = [Op("FULLY_CONNECTED", [0, 1, 2], 3, {"FusedActivationFunction": 1}),
           Op("FULLY_CONNECTED", [3, 4, -1], 5), Op("SOFTMAX", [5], 6, {"Beta": 1})]  # fmt: skip
    return built([x, w1, b1, h, w2, y, p], ops)


def ties(seed: int) -> bytes:
    """A dense layer and a convolution of one place, whose scales are powers of two."""
    rng = np.random.default_rng(seed)
    x, y = Tensor((1, 8), np.int8, 0.25, 3), Tensor((1, 6), np.int8, 0.5, -5)
    place = Tensor((1, 1, 1, 6), np.int8, y.scale, y.zero)
    dense = Tensor((6, 8), np.int8, 0.0625, 0, 0, rng.integers(-9, 10, (6, 8)))
    kernel = rng.integers(-9, 10, (4, 1, 1, 6))
    conv = Tensor(kernel.shape, np.int8, np.float32([0.25, 0.5, 0.125, 1]), 0, 0, kernel)
    bias = Tensor((4,), np.int32, 0.5 * conv.scale, 0, 0, rng.integers(-9, 10, 4))
    out = Tensor((1, 1, 1, 4), np.int8, 2, 11)
    one = {"Padding": 1, "StrideW": 1, "StrideH": 1}
    return built(
        [x, dense, y, Tensor((4,), np.int32, data=np.array([1, 1, 1, 6])), place, conv, bias, out],
        [Op("FULLY_CONNECTED", [0, 1], 2), Op("RESHAPE", [2, 3], 4),
         Op("CONV_2D", [4, 5, 6], 7, one)],
    )  # fmt: skip


def odd(seed: int, *, ties: bool) -> bytes:
    """What else there is of operations, and with `ties` scales that are powers of two.

    With `ties` RELU6 changes the scale as well, which TensorFlow Lite Micro does not.

    PAD, a dilated convolution, RELU6, a depthwise one of two outputs a channel, QUANTIZE, the mean
    of a map, and two dense layers, the second of which makes its sums larger.
    """
    rng = np.random.default_rng(seed)

    def scale(nearest: int) -> float:
        return float(np.float32(2.0**nearest * (1 if ties else rng.uniform(0.7, 1.4))))

    def weights(shape: tuple[int, ...], nearest: int, axis: int | None) -> Tensor:
        channels = 1 if axis is None else shape[axis]
        scales = np.array([scale(nearest) for _ in range(channels)], np.float32)
        low = -20 if nearest < -1 else -2
        return Tensor(shape, np.int8, scales, 0, axis or 0, rng.integers(low, 1 - low, shape))

    def bias(into: Tensor, weight: Tensor, channels: int) -> Tensor:
        scales = np.float32(into.scale) * weight.scale
        return Tensor((channels,), np.int32, scales, 0, 0, rng.integers(-40, 40, channels))

    def made(shape: tuple[int, ...], nearest: int) -> Tensor:
        return Tensor(shape, np.int8, scale(nearest), int(rng.integers(-40, 40)))

    image = made((1, 5, 4, 2), -5)
    padded = Tensor((1, 7, 7, 2), np.int8, image.scale, image.zero)
    sides = Tensor((4, 2), np.int32, data=np.array([[0, 0], [1, 1], [2, 1], [0, 0]]))
    conv, a = weights((3, 3, 3, 2), -5, 0), made((1, 5, 3, 3), -3)
    b = Tensor(a.shape, np.int8, scale(-4) if ties else a.scale, -128 if ties else a.zero)
    deep, c = weights((1, 2, 2, 6), -4, 3), made((1, 5, 3, 6), -3)
    d, e = made((1, 5, 3, 6), -3), made((1, 6), -5)
    over = Tensor((2,), np.int32, data=np.array([1, 2]))
    dense, f = weights((5, 6), -5, None), made((1, 5), -6)
    last, y = weights((4, 5), -1, 0), made((1, 4), -7)
    tensors = [
        image, sides, padded, conv, bias(padded, conv, 3), a, b, deep, bias(b, deep, 6), c, d,
        over, e, dense, bias(e, dense, 5), f, last, y,
    ]  # fmt: skip
    valid, same = {"Padding": 1, "StrideW": 1, "StrideH": 1}, {"StrideW": 1, "StrideH": 1}
    return built(tensors, [
        Op("PAD", [0, 1], 2),
        Op("CONV_2D", [2, 3, 4], 5, {**valid, "DilationWFactor": 2, "DilationHFactor": 1}),
        Op("RELU6", [5], 6), Op("DEPTHWISE_CONV_2D", [6, 7, 8], 9, {**same, "DepthMultiplier": 2}),
        Op("QUANTIZE", [9], 10), Op("MEAN", [10, 11], 12, {"KeepDims": 0}),
        Op("FULLY_CONNECTED", [12, 13, 14], 15, {"FusedActivationFunction": 2}),
        Op("FULLY_CONNECTED", [15, 16], 17),
    ])  # fmt: skip


def floating(seed: int, inputs: int = 8, hidden: int = 16, classes: int = 4) -> bytes:
    """A ReLU network in float32."""
    rng = np.random.default_rng(seed)

    def constant(*shape: int, spread: float) -> Tensor:
        return Tensor(shape, np.float32, data=rng.normal(0, spread, shape).astype(np.float32))

    tensors = [
        Tensor((1, inputs), np.float32), constant(hidden, inputs, spread=0.4),
        constant(hidden, spread=0.1), Tensor((1, hidden), np.float32),
        constant(classes, hidden, spread=0.4), constant(classes, spread=0.1),
        Tensor((1, classes), np.float32),
    ]  # fmt: skip
    ops = [Op("FULLY_CONNECTED", [0, 1, 2], 3, {"FusedActivationFunction": 1}),
           Op("FULLY_CONNECTED", [3, 4, 5], 6)]  # fmt: skip
    return built(tensors, ops)
