"""TensorFlow Lite: int8 models with identical requantisation, float ReLU models as they are.

Of int8 models (docs "8-bit quantization specification"), with x, y the int8 of input and output and
z their zero points,

    acc = bias + sum(w * (x - z_x));  y = clamp(z_y + round(acc * scale))

How that is rounded differs, as LiteRT 2.3.0 shows when it is run (`tests/golden/others.py`):

* the reference kernels round twice, half up at 31 bits and then half away from 0
  (tensorflow/lite/kernels/internal/common.h, `MultiplyByQuantizedMultiplier`), but in
  `FULLY_CONNECTED`, which since TensorFlow 2.20 rounds a double once, half away from 0: profile
  `litert`. TensorFlow Lite Micro and earlier versions round all twice: `tflm`;
* XNNPACK, which the interpreter in Python takes where it is not told otherwise, multiplies in
  float32 and rounds half to even: `xnnpack`. Average pooling, `RELU` and `QUANTIZE` do not differ.

Here an integrator without memory has y - z_y by an `edgesnn.graph.Requantization`. Its multiplier
is the kernel's, or one a little beside it where the kernel computes in floating point, and it is
proved that it gives the kernel's y for every sum that the layer can reach; where none is found the
verdict says which share of the sums rounds to the number beside. What of a model is kept:
`FULLY_CONNECTED`, `CONV_2D`, `DEPTHWISE_CONV_2D`, `AVERAGE_POOL_2D`, `MEAN` of whole maps, `PAD` in
front of a convolution, `RELU`, `RELU6`, `QUANTIZE`, `RESHAPE` and the like; `SOFTMAX`, `LOGISTIC`
and `DEQUANTIZE` at the end, which keep the order of the classes, are left out. The frames are the
int8 values of the model's input.

Float models of dense and convolution layers with ReLU become integrators with ReLU, for `convert
--spikes` to turn into spiking neurons.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import graph as g
from edgesnn import network as net
from edgesnn import reference
from edgesnn.converters.tflite_file import (
    RESHAPES,
    Operation,
    Tensor,
    looks_like_tflite,
    read_tflite_file,
)
from edgesnn.errors import FormatError, MissingError, ModelError
from edgesnn.graph import CURRENT_BOUND, MAX_SHIFT, PotentialMode
from edgesnn.network import Conversion, FidelityReport, LayerReport, Network, Verdict
from edgesnn.sources import Options, Source

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
LITERT, TFLM, XNNPACK = "litert", "tflm", "xnnpack"
PROFILES = {
    LITERT: "TensorFlow Lite, the reference kernels of LiteRT",
    TFLM: "TensorFlow Lite Micro",
    XNNPACK: "TensorFlow Lite, XNNPACK",
}
LAST = ("SOFTMAX", "LOGISTIC", "LOG_SOFTMAX")
POINTWISE = ("RELU", "RELU6", "QUANTIZE")
WEIGHTED = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
POOLS = ("AVERAGE_POOL_2D", "MEAN")
SUPPORTED = (*WEIGHTED, *POOLS, "PAD", *POINTWISE, *RESHAPES, *LAST, "DEQUANTIZE")
# multipliers are tried so far beside the kernel's own
TRIED = 64
# what is proved for every channel, and what a window sees, stays in memory
MOST_ROWS, MOST_SEEN = 4096, 1 << 24
# accumulators of 8-bit layers have 32 bits
LARGEST = 1 << 31


def read_tflite(path: Path, options: Options) -> Conversion | Network:
    """The model in a file: a graph where it is int8, a float network where it is float.

    Raises:
        MissingError: no such file, or the package `tflite` is not there.
        FormatError: the file is damaged.
        ModelError: an operation cannot be kept; the message names it.
    """
    given, operations = read_tflite_file(path)
    operations = list(operations)
    remarks: list[str] = []
    if given.dtype == np.float32 and operations[0].kind == "QUANTIZE":
        given = operations.pop(0).output
    for operation in operations:
        if operation.kind not in SUPPORTED:
            raise ModelError(
                f"{operation.called} is not supported: there is {', '.join(SUPPORTED)}"
            )
    while operations and operations[-1].kind in (*LAST, "DEQUANTIZE"):
        kind = operations.pop().kind
        if kind in LAST:
            remarks.append(f"{kind} at the end is left out: the order of the classes is the same")
    if not operations or any(x.kind in (*LAST, "DEQUANTIZE") for x in operations):
        raise ModelError(f"{path} has {' and '.join(LAST)} elsewhere than at its end")
    if given.dtype == np.float32:
        if options.profile is not None:
            raise FormatError(f"{path} is a model of floats: leave --profile out")
        return _Floats(path, given, remarks).network(operations)
    return _Integers(path, given, remarks, options.profile or LITERT).conversion(operations)


def original(path: Path, frames: npt.NDArray[Any], options: Options) -> npt.NDArray[np.int64]:
    """The labels that LiteRT's reference kernels give, or XNNPACK where that is the profile.

    Args:
        path: the file.
        frames: (samples, 1, channels), what the model's input takes.
        options: whose `profile` it is.

    Returns:
        (samples,) labels.

    Raises:
        MissingError: neither ai-edge-litert nor tflite-runtime is there.
        FormatError: the interpreter refuses the file, or recordings are of more than one frame.
    """
    try:
        from ai_edge_litert import interpreter as lite
    except ImportError:
        try:
            from tflite_runtime import interpreter as lite
        except ImportError:
            raise MissingError(
                "running the original needs an interpreter: pip install 'edgesnn[tflite]'"
            ) from None
    if frames.shape[1] != 1:
        raise FormatError("the original is run on recordings of one frame: cut them with --steps 1")
    try:
        kinds = lite.OpResolverType
        kind = kinds.AUTO if options.profile == XNNPACK else kinds.BUILTIN_REF
        made = lite.Interpreter(str(path), experimental_op_resolver_type=kind)
        made.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise FormatError(f"{path} is refused by the interpreter: {error}") from None
    into, out = made.get_input_details()[0], made.get_output_details()[0]
    labels = []
    for frame in frames[:, 0]:
        made.set_tensor(into["index"], frame.astype(into["dtype"]).reshape(into["shape"]))
        made.invoke()
        labels.append(int(np.argmax(made.get_tensor(out["index"]))))
    return np.array(labels, np.int64)


# ---- TensorFlow Lite's arithmetic ----


def multiplier(real: float) -> tuple[int, int]:
    """`QuantizeMultiplier`: a real number above 0 as (31 bits, shift to the left)."""
    fraction, shift = math.frexp(real)
    whole = math.floor(fraction * (1 << 31) + 0.5)
    if whole == 1 << 31:
        whole, shift = whole // 2, shift + 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        return (1 << 31) - 1, 30
    return whole, shift


def scaled(acc: IntArray, whole: IntArray, shift: IntArray) -> IntArray:
    """`MultiplyByQuantizedMultiplier`, which rounds twice."""
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    product: IntArray = np.clip(acc << left, -LARGEST, LARGEST - 1) * whole
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.sign(nudged) * (np.abs(nudged) >> 31)
    mask = (np.int64(1) << right) - 1
    past = (high & mask) > (mask >> 1) + (high < 0)
    rounded: IntArray = (high >> right) + past
    return rounded


def mean(total: IntArray, count: IntArray) -> IntArray:
    """A quotient rounded half away from 0, as average pooling's."""
    rounded: IntArray = np.sign(total) * ((np.abs(total) + count // 2) // count)
    return rounded


def times(acc: IntArray, real: npt.NDArray[np.floating[Any]]) -> IntArray:
    """A product in floating point as XNNPACK rounds it, half to even, in the width of `real`."""
    rounded: IntArray = np.rint(acc.astype(real.dtype) * real).astype(np.int64)
    return rounded


def times_away(acc: IntArray, real: npt.NDArray[np.float64]) -> IntArray:
    """A product in doubles as C's `round` rounds it, half away from 0."""
    product = acc * real
    rounded: IntArray = (np.sign(product) * np.floor(np.abs(product) + 0.5)).astype(np.int64)
    return rounded


# ---- int8 ----


@dataclass(frozen=True)
class _Flow:
    """What the chain emits: int8 values are `offset` above what the graph's part emits.

    `pad` is what a `PAD` puts around it: (top, left, bottom, right).
    """

    name: str
    shape: tuple[int, ...]
    offset: int
    bits: int
    tensor: Tensor
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def zero(self) -> int:
        return int(self.tensor.zero[0])

    @property
    def map(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        if len(self.shape) == 3:
            return self.shape[0], self.shape[1], self.shape[2]
        return (1, *self.shape) if len(self.shape) == 2 else (1, 1, math.prod(self.shape))


@dataclass(frozen=True)
class _Staircase:
    """The y that every neuron is to give: rows of neurons that share a multiplier.

    Attributes:
        function: acc (rows, ...) -> y before it is clamped; never falls where acc rises.
        least, largest: (rows,) the acc that can be reached.
        low, high: what y is clamped to.
    """

    function: Callable[[IntArray], IntArray]
    least: IntArray
    largest: IntArray
    low: int
    high: int

    def steps(self) -> IntArray:
        """(rows, n): the smallest acc that gives low + 1, low + 2, ... high; beyond reach alike."""
        shape = len(self.least), self.high - self.low
        low: IntArray = np.broadcast_to(self.least[:, np.newaxis], shape).copy()
        high = np.broadcast_to(self.largest[:, np.newaxis] + 1, low.shape).copy()
        wanted = np.arange(self.low + 1, self.high + 1)
        while np.any(low < high):
            middle = (low + high) >> 1
            enough = self.function(middle) >= wanted
            low = np.where(enough | (low == high), low, middle + 1)
            high = np.where(enough, middle, high)
        return low

    def climbed(self, steps: IntArray, function: Callable[[IntArray], IntArray]) -> BoolArray:
        """(rows,): whether another function takes all the steps where this one does."""
        wanted = np.arange(self.low + 1, self.high + 1)
        taken = (steps > self.largest[:, np.newaxis]) | (function(steps) >= wanted)
        early = (steps > self.least[:, np.newaxis]) & (function(steps - 1) >= wanted)
        return np.asarray(np.all(taken & ~early, axis=1))


class _Integers:
    def __init__(self, path: Path, given: Tensor, remarks: list[str], profile: str) -> None:
        if given.dtype != np.int8 or given.scale.size != 1:
            raise ModelError(f"the input of {path} is no int8 with one scale: quantise it to int8")
        self.path, self.remarks, self.given, self.profile = path, remarks, given, profile
        size = math.prod(given.shape)
        self.input = g.AnalogInput("input", np.zeros(size, np.int8), (), 8)
        self.flow = _Flow("input", given.shape, 0, 8, given)
        self.populations: list[g.Population] = []
        self.projections: list[g.Projection] = []
        self.layers: list[LayerReport] = []

    def conversion(self, operations: list[Operation]) -> Conversion:
        for operation in operations:
            self._add(operation)
        if not self.populations or any(self.flow.pad):
            raise ModelError(f"{self.path} has no layer of weights, pooling or ReLU at its end")
        graph = g.Graph(
            self.input, tuple(self.populations), tuple(self.projections),
            g.Potential(self.populations[-1].name),
        )  # fmt: skip
        given = self.given
        self.remarks.append(
            f"frames are the model's int8: round(real / {float(given.scale[0]):g}) "
            f"{int(given.zero[0]):+d}"
        )
        report = FidelityReport(
            self.path.name,
            PROFILES[self.profile],
            tuple(self.layers),
            remarks=tuple(self.remarks),
        )
        frames = np.random.default_rng(0).integers(-128, 128, (4, self.input.size))
        return Conversion(reference.with_selftest(graph, frames.astype(np.int16)), report)

    def _add(self, operation: Operation) -> None:
        out = operation.output
        if operation.kind in RESHAPES:
            if any(self.flow.pad):
                self.flow = _unsqueezed(operation, self.flow)
                return
            if math.prod(out.shape) != math.prod(self.flow.shape):
                raise ModelError(f"{operation.called} makes {out.shape} of {self.flow.shape}")
            self.flow = replace(self.flow, shape=out.shape)
            return
        if out.dtype != np.int8 or out.scale.size != 1 or not -128 <= out.zero[0] <= 127:
            raise ModelError(
                f"{operation.called} gives no int8 with one scale: quantise the whole model to int8"
            )
        if operation.kind == "PAD":
            self.flow = _padded(operation, self.flow)
            return
        if any(self.flow.pad) and operation.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            raise ModelError(f"{operation.called} follows a PAD, which only convolutions may")
        if operation.kind in WEIGHTED:
            self._weighted(operation)
        elif operation.kind == "AVERAGE_POOL_2D":
            self._pooled(operation)
        elif operation.kind == "MEAN":
            self._averaged(operation)
        else:
            self._pointwise(operation)

    def _weighted(self, operation: Operation) -> None:
        flow = self.flow
        weight, bias = _constants(operation)
        if weight.dtype != np.int8 or weight.scale.size < 1 or np.any(weight.zero):
            raise ModelError(f"{operation.called} has weights that are no symmetric int8")
        assert weight.data is not None
        channels = weight.data.shape[3 if operation.kind == "DEPTHWISE_CONV_2D" else 0]
        if channels > MOST_ROWS:
            raise ModelError(f"{operation.called} has {channels} channels, at most {MOST_ROWS} fit")
        if weight.scale.size not in (1, channels):
            raise ModelError(f"{operation.called} has {weight.scale.size} scales")
        if operation.kind == "FULLY_CONNECTED":
            if weight.data.shape[1] != math.prod(flow.shape):
                raise ModelError(f"{operation.called} joins {weight.data.shape[1]} values")
            projection: g.Projection = g.Dense(flow.name, "", weight.data)
            summed = weight.data.sum(axis=1, dtype=np.int64)[np.newaxis]
            reach = np.abs(weight.data.astype(np.int64)).sum(axis=1)
        else:
            kernel = _kernel(operation, weight.data, flow.map[2])
            size = (kernel.shape[0], kernel.shape[1])
            window = _window(operation, flow.map, channels, size, flow.pad)
            groups = flow.map[2] // kernel.shape[2]
            projection = g.Conv(flow.name, "", kernel, window, 0, groups)
            inside = net.window_places(window) >= 0
            summed = inside.astype(np.int64) @ kernel.sum(axis=2, dtype=np.int64).reshape(
                -1, channels
            )
            reach = np.abs(kernel.astype(np.int64)).sum(axis=(0, 1, 2))
        whole = np.zeros(channels, np.int64) if bias is None else bias.astype(np.int64)
        constant = whole + (flow.offset - flow.zero) * summed
        furthest = reach * max(abs(-128 - flow.zero), abs(127 - flow.zero))
        scales = np.broadcast_to(weight.scale, (channels,))
        ends = whole - furthest, whole + furthest
        self._scaled(operation, projection, constant, scales, ends)

    def _pointwise(self, operation: Operation) -> None:
        flow, out = self.flow, operation.output
        alike = out.scale[0] == flow.tensor.scale[0] and out.zero[0] == flow.zero
        if self.profile == TFLM and operation.kind == "RELU6" and not alike:
            raise ModelError(
                f"{operation.called} changes the scale, which {PROFILES[TFLM]} ignores"
            )
        projection = g.SumPool(flow.name, "", g.Window(flow.map, flow.map, (1, 1)))
        ends = np.array([-128 - flow.zero]), np.array([127 - flow.zero])
        constant = np.array([[flow.offset - flow.zero]])
        self._scaled(operation, projection, constant, np.ones(1, np.float32), ends)

    def _averaged(self, operation: Operation) -> None:
        """The mean of a map, whose multiplier holds the division too (`QuantizedMeanOrSum`)."""
        flow, out = self.flow, operation.output
        axes = operation.inputs[1] if len(operation.inputs) > 1 else None
        tall, wide, channels = flow.map
        over = {int(k) for k in axes.data.ravel()} if axes and axes.data is not None else set()
        if over not in ({1, 2}, {-3, -2}) or len(flow.shape) != 3 or max(tall, wide) > 255:
            raise ModelError(f"{operation.called} is no mean over height and width of a map")
        if self.profile == XNNPACK:
            raise ModelError(f"{operation.called} is not known as XNNPACK does it: use '{LITERT}'")
        window = g.Window(flow.map, (1, 1, channels), (tall, wide))
        projection = g.SumPool(flow.name, "", window)
        count = tall * wide
        whole, shift = multiplier(float(flow.tensor.scale[0]) / float(out.scale[0]))
        places = min(count.bit_length() - 1, 32, 31 + shift)
        parts = [np.array([[(whole << places) // count]]), np.array([[shift - places]])]
        ends = np.array([(-128 - flow.zero) * count]), np.array([(127 - flow.zero) * count])
        zero = int(out.zero[0])
        stairs = _Staircase(lambda x: scaled(x, *parts) + zero, *ends, *_range(operation))
        constant = np.array([[(flow.offset - flow.zero) * count]])
        self._neurons(operation, projection, constant, stairs, parts, zero)

    def _pooled(self, operation: Operation) -> None:
        flow, out = self.flow, operation.output
        if out.scale[0] != flow.tensor.scale[0] or out.zero[0] != flow.zero:
            raise ModelError(f"{operation.called} changes the scale: not supported")
        options = operation.options
        size = options["FilterHeight"], options["FilterWidth"]
        window = _window(operation, flow.map, flow.map[2], size)
        projection = g.SumPool(flow.name, "", window)
        counts = np.count_nonzero(net.window_places(window) >= 0, axis=1)
        kinds, place = np.unique(counts, return_inverse=True)
        ends = -128 * kinds, 127 * kinds
        stairs = _Staircase(lambda x: mean(x, kinds[:, None]), *ends, *_range(operation))
        constant = (flow.offset * counts)[:, np.newaxis]
        self._neurons(operation, projection, constant, stairs, _once(1 / kinds), 0, place)

    def _scaled(
        self,
        operation: Operation,
        projection: g.Projection,
        constant: IntArray,
        scales: npt.NDArray[np.float32],
        ends: tuple[IntArray, IntArray],
    ) -> None:
        """Neurons whose sums are multiplied by the scales of input and weights over output's."""
        into, out = self.flow.tensor.scale[0], operation.output
        zero, dense = int(out.zero[0]), operation.kind == "FULLY_CONNECTED"
        reals = float(into) * scales.astype(np.float64) / float(out.scale[0])
        parts = _parts(reals)

        def function(x: IntArray) -> IntArray:
            if self.profile == XNNPACK and operation.kind in WEIGHTED:
                return times(x, narrow) + zero
            if self.profile == LITERT and dense:
                return times_away(x, reals[:, np.newaxis]) + zero
            return scaled(x, *parts) + zero

        narrow = (into * scales / out.scale[0])[:, np.newaxis]
        if self.profile == XNNPACK and operation.kind in WEIGHTED:
            parts = _once(narrow[:, 0].astype(np.float64))
        elif self.profile == LITERT and dense:
            parts = _once(reals)
        elif dense and np.all(scales == scales[0]):
            # TensorFlow Lite multiplies the two scales as floats where there is one for all
            real = float(into * scales[0]) / float(out.scale[0])
            parts = [np.full_like(part, k) for part, k in zip(parts, multiplier(real), strict=True)]
        stairs = _Staircase(function, *ends, *_range(operation))
        self._neurons(operation, projection, constant, stairs, parts, zero)

    def _neurons(
        self,
        operation: Operation,
        projection: g.Projection,
        constant: IntArray,
        stairs: _Staircase,
        parts: list[IntArray],
        offset: int,
        place: IntArray | None = None,
    ) -> None:
        """Integrators without memory that climb the stairs; they emit y - `offset`.

        `constant` (places, rows), or (places, 1) of neurons alike, is what enters beside the
        projection; `parts` are multiplier and shift to the left, (rows, 1), and a third where the
        product is rounded once; `place` (places,) says which row a place has, where rows are not
        channels.
        """
        out = operation.output
        name = f"{operation.kind.lower()}{len(self.populations)}"
        size = math.prod(out.shape)
        whole, shift = parts[:2]
        once = len(parts) == 3
        # sums are shifted so far that no multiplier needs it, or that two places are left behind it
        left = max(0, int(shift.max()) + (2 if once else 0))
        low, high = stairs.low - offset, stairs.high - offset
        if once:
            right = left - shift
        else:
            whole, right = whole >> (left - np.maximum(shift, 0)), np.maximum(-shift, 0)
        places = np.clip(right[:, 0], 0, 31).astype(np.uint16)

        def made(whole: IntArray) -> g.Requantization:
            return g.Requantization(whole[:, 0].astype(np.int32), places, low, high, once)

        def by(whole: IntArray) -> Callable[[IntArray], IntArray]:
            part = made(whole)
            return lambda x: reference.requantized(part, (x << left).T).T + offset

        steps = stairs.steps()
        best = np.clip(whole, 0, LARGEST - 1)
        wrong = ~stairs.climbed(steps, by(best))
        for away in sorted(range(-TRIED, TRIED + 1), key=abs):
            if not wrong.any():
                break
            tried = np.clip(whole + away, 0, LARGEST - 1)
            better = wrong & stairs.climbed(steps, by(tried))
            best = np.where(better[:, np.newaxis], tried, best)
            wrong &= ~better
        currents = np.repeat(constant, size // constant.size, axis=1).reshape(-1) << left
        reached = int(np.abs(np.stack((stairs.least, stairs.largest))).max()) << left
        if not isinstance(projection, g.Dense):
            reached = max(reached, int(np.abs(currents).max()) + (self._bound(projection) << left))
        if max(reached, int(np.abs(currents).max())) >= CURRENT_BOUND or left > MAX_SHIFT:
            raise ModelError(
                f"{operation.called} has sums beyond the graph's 30 bits: split its inputs"
            )
        part = made(best)
        if place is not None and len(best) > 1:
            each = np.repeat(place, size // len(place))
            part = replace(part, multiplier=part.multiplier[each], places=part.places[each])
        bits = max(abs(low), abs(high + 1), 2).bit_length() + 1
        self.populations.append(
            g.Integrator(
                name=name,
                decay=np.zeros(1, np.uint16),
                bias=currents.astype(np.int32),
                bits=bits,
                requantization=part,
            )
        )
        self.projections.append(replace(projection, target=name, shift=left))
        # of the sums between the first step and the last
        mine = replace(stairs, function=by(best)).steps()
        off = int(np.abs(mine - steps).sum())
        total = int((steps[:, -1] - steps[:, 0] + 1).sum())
        reason = "so many sums round to the number beside" if off else ""
        verdict = Verdict.APPROXIMATED if off else Verdict.EXACT
        self.layers.append(LayerReport(out.name, operation.kind, verdict, reason, off / total))
        self.flow = _Flow(name, out.shape, offset, bits, out)

    def _bound(self, projection: g.Conv | g.SumPool | Any) -> int:
        """What the graph takes for the largest sum, from shapes and widths."""
        window = math.prod(projection.window.kernel)
        emits = 1 << (self.flow.bits - 1)
        if isinstance(projection, g.Conv):
            return window * int(projection.weights.shape[2]) * 128 * emits
        return window * emits


def _parts(reals: npt.NDArray[np.float64]) -> list[IntArray]:
    """Multipliers of 31 bits and shifts to the left, (rows, 1)."""
    parts = np.array([multiplier(float(real)) for real in reals], np.int64)
    return [parts[:, :1], parts[:, 1:]]


def _once(reals: npt.NDArray[np.float64]) -> list[IntArray]:
    """The same, of products that are rounded once, as `_neurons` tells them by."""
    return [*_parts(reals), np.ones((len(reals), 1), np.int64)]


def _padded(operation: Operation, flow: _Flow) -> _Flow:
    """What a `PAD` of height and width makes of a map; it is filled with the zero point."""
    pads = operation.inputs[1] if len(operation.inputs) > 1 else None
    out = operation.output
    around = [] if pads is None or pads.data is None else pads.data.ravel().tolist()
    alike = out.scale[0] == flow.tensor.scale[0] and out.zero[0] == flow.zero
    # batch, (height,) width and channels, each before and behind
    beside = [*around[:2], *around[-2:]]
    if len(around) not in (6, 8) or any(beside) or min(around) < 0 or not alike or any(flow.pad):
        raise ModelError(f"{operation.called} pads more than height and width by its zero point")
    top, bottom, left, right = [0, 0, *around[2:-2]][-4:]
    padded = replace(flow, pad=(top, left, bottom, right))
    if _padded_map(padded)[-len(out.shape) :] != out.shape:
        raise ModelError(f"{operation.called} makes {out.shape} of {flow.shape}")
    return padded


def _padded_map(flow: _Flow) -> tuple[int, int, int]:
    (tall, wide, channels), (top, left, bottom, right) = flow.map, flow.pad
    return tall + top + bottom, wide + left + right, channels


def _unsqueezed(operation: Operation, flow: _Flow) -> _Flow:
    """A padded signal as a map of height 1, for a convolution of one dimension."""
    if operation.output.shape != _padded_map(flow):
        raise ModelError(f"{operation.called} follows a PAD, which only convolutions may")
    return replace(flow, shape=flow.map)


def _range(operation: Operation) -> tuple[int, int]:
    """The int8 that an activation leaves, `CalculateActivationRangeQuantized`."""
    out = operation.output
    scale, zero = float(out.scale[0]), int(out.zero[0])
    kind = operation.kind if operation.kind in ("RELU", "RELU6") else operation.activation

    def at(real: float) -> int:
        return zero + math.floor(real / scale + 0.5)

    low, high = -128, 127
    if kind in ("RELU", "RELU6"):
        low = max(low, zero)
    if kind == "RELU6":
        high = min(high, at(6))
    if kind == "RELU_N1_TO_1":
        low, high = max(low, at(-1)), min(high, at(1))
    if high - low < 1:
        raise ModelError(f"{operation.called} leaves {high - low + 1} value(s) of its int8")
    return low, high


def _constants(operation: Operation) -> tuple[Tensor, npt.NDArray[Any] | None]:
    inputs = [*operation.inputs, None, None]
    weight, bias = inputs[1], inputs[2]
    axes = 2 if operation.kind == "FULLY_CONNECTED" else 4
    if weight is None or weight.data is None or weight.data.ndim != axes:
        raise ModelError(f"{operation.called} has no constant weights of {axes} axes")
    if bias is not None and bias.data is None:
        raise ModelError(f"{operation.called} has a bias that is no constant")
    channels = weight.data.shape[3 if operation.kind == "DEPTHWISE_CONV_2D" else 0]
    if bias is not None and bias.data is not None and bias.data.shape != (channels,):
        raise ModelError(f"{operation.called} has a bias of shape {bias.data.shape}")
    return weight, None if bias is None else bias.data


def _kernel(operation: Operation, weight: npt.NDArray[Any], channels: int) -> npt.NDArray[Any]:
    """A kernel as the graph's, (height, width, in / groups, out), dilation's zeros put in."""
    if operation.kind == "DEPTHWISE_CONV_2D":
        placed = weight.transpose(1, 2, 0, 3)
        divides = weight.shape[0] == 1 and weight.shape[3] % channels == 0
    else:
        placed = weight.transpose(1, 2, 3, 0)
        divides = weight.shape[3] > 0 and channels % weight.shape[3] == 0
    if not divides:
        raise ModelError(f"{operation.called} has a kernel {weight.shape} for {channels} channels")
    down, along = operation.options["DilationHFactor"], operation.options["DilationWFactor"]
    tall, wide = ((n - 1) * d + 1 for n, d in zip(placed.shape, (down, along), strict=False))
    if min(down, along) < 1 or max(tall, wide) > 255:
        raise ModelError(f"{operation.called} has dilation {down}, {along}: not supported")
    made = np.zeros((tall, wide, *placed.shape[2:]), weight.dtype)
    made[::down, ::along] = placed
    return made


def _window(
    operation: Operation,
    source: tuple[int, int, int],
    channels: int,
    size: tuple[int, int],
    pad: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> g.Window:
    """The window with TensorFlow's padding, which is uneven for SAME, and a `PAD` before it."""
    options = operation.options
    stride = options["StrideH"], options["StrideW"]
    if min(*size, *stride) < 1:
        raise ModelError(f"{operation.called} has a window of {size} in strides of {stride}")
    out, before = [], []
    for axis, (kernel, step) in enumerate(zip(size, stride, strict=True)):
        length = source[axis] + pad[axis] + pad[axis + 2]
        same = options["Padding"] == 0
        count = -(-length // step) if same else (length - kernel) // step + 1
        padding = max((count - 1) * step + kernel - length, 0) // 2 if same else 0
        out.append(count)
        before.append(padding + pad[axis])
        if before[-1] >= kernel:
            raise ModelError(f"{operation.called} is padded by {before[-1]}: not supported")
    shape = operation.output.shape
    if math.prod(out) * math.prod(size) > MOST_SEEN:
        raise ModelError(f"{operation.called} slides a window of {size} over {source}: too large")
    if min(out) < 1 or (len(shape) == 3 and shape != (out[0], out[1], channels)):
        raise ModelError(f"{operation.called} makes {shape}, not {(*out, channels)}")
    return g.Window(
        source, (out[0], out[1], channels), size, stride, (before[0], before[1])
    )  # fmt: skip


# ---- float ----


class _Floats:
    def __init__(self, path: Path, given: Tensor, remarks: list[str]) -> None:
        self.path, self.given, self.remarks = path, given, remarks
        self.flow = _Flow("input", given.shape, 0, 1, given)
        self.populations: list[net.AnyPopulation] = []
        self.projections: list[net.AnyProjection] = []

    def network(self, operations: list[Operation]) -> Network:
        for operation in operations:
            self._add(operation)
        if not self.populations:
            raise ModelError(f"{self.path} has no layer of weights")
        return Network(
            input_size=math.prod(self.given.shape),
            input_kind=None,
            populations=tuple(self.populations),
            projections=tuple(self.projections),
            readout=net.ReadoutRule(self.populations[-1].name, PotentialMode.LAST),
            profile=net.Profile("TensorFlow Lite", ""),
            source=self.path.name,
            remarks=tuple(self.remarks),
        )

    def _add(self, operation: Operation) -> None:
        flow, out = self.flow, operation.output
        if operation.kind in RESHAPES:
            self.flow = replace(flow, shape=out.shape)
            return
        if operation.kind == "RELU":
            last = self.populations[-1] if self.populations else None
            if not isinstance(last, net.Integrator):
                raise ModelError(f"{operation.called} does not follow a layer of weights")
            self.populations[-1] = replace(last, activation=g.Activation.RELU)
            return
        if operation.activation not in ("NONE", "RELU") or operation.kind in POINTWISE:
            raise ModelError(f"{operation.called}: only ReLU can become spiking neurons")
        name = f"{operation.kind.lower()}{len(self.populations)}"
        layer = out.name
        bias = np.zeros(math.prod(out.shape), np.float32)
        made: net.AnyProjection
        if operation.kind == "AVERAGE_POOL_2D":
            options = operation.options
            size = options["FilterHeight"], options["FilterWidth"]
            window = _window(operation, flow.map, flow.map[2], size)
            if np.any(net.window_places(window) < 0):
                raise ModelError(f"{operation.called} averages over an edge: not supported")
            made = net.Pool(flow.name, name, window, 1 / math.prod(size), layer)
        else:
            weight, given = _constants(operation)
            assert weight.data is not None
            if given is not None:
                bias = np.tile(given.astype(np.float32), len(bias) // len(given))
            if operation.kind == "FULLY_CONNECTED":
                made = net.Projection(flow.name, name, weight.data, layer=layer)
            else:
                kernel = _kernel(operation, weight.data, flow.map[2])
                channels = kernel.shape[3]
                size = (kernel.shape[0], kernel.shape[1])
                window = _window(operation, flow.map, channels, size)
                groups = flow.map[2] // kernel.shape[2]
                made = net.Conv(flow.name, name, kernel, window, groups, layer)
        self.projections.append(made)
        relu = operation.activation == "RELU"
        kind = g.Activation.RELU if relu else g.Activation.IDENTITY
        self.populations.append(
            net.Integrator(name, len(bias), np.float32(0), bias, layer, kind)
        )  # fmt: skip
        self.flow = _Flow(name, out.shape, 0, 1, out)


SOURCE = Source(
    name="tflite",
    describes="TensorFlow Lite: int8 models exactly, float ReLU models for --spikes",
    recognises=looks_like_tflite,
    read=read_tflite,
    profiles=tuple(PROFILES),
    original=original,
)
