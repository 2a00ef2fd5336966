"""TensorFlow Lite: int8 models with identical requantisation, float ReLU models as they are.

Of int8 models (tensorflow/lite/kernels/internal/common.h, docs "8-bit quantization
specification"), with x, y the int8 of input and output, z their zero points and M a multiplier of
31 bits for each channel:

    acc = bias + sum(w * (x - z_x));  y = clamp(z_y + round(acc * M * 2**-n))

rounded twice, half up at 31 bits and half away from 0 at n. y is then a staircase in acc with at
most 255 steps. Here a neuron without memory that spikes several times a step climbs it:

    s = min(((acc << places) + bias) // threshold, most)         (`edgesnn.graph.LIF.max_spikes`)

s is y above its lower bound. For every channel, bias and threshold are searched for such that each
step that acc can reach lies exactly where TFLite's does, which is then proved for all of them, and
the verdict is exact. Where the graph's 30 bits leave no such pair, the verdict says which share of
the sums rounds to the number beside. What of a model is kept: `FULLY_CONNECTED`, `CONV_2D`,
`DEPTHWISE_CONV_2D`, `AVERAGE_POOL_2D`, `RELU`, `RELU6`, `QUANTIZE`, `RESHAPE` and the like;
`SOFTMAX`, `LOGISTIC` and `DEQUANTIZE` at the end, which keep the order of the classes, are left
out. The frames are the int8 values of the model's input.

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
from edgesnn.graph import CURRENT_BOUND, MAX_SHIFT, Fire, PotentialMode, Reset
from edgesnn.network import Conversion, FidelityReport, LayerReport, Network, Verdict
from edgesnn.sources import Options, Source

IntArray = npt.NDArray[np.int64]
PROFILE = net.Profile("TensorFlow Lite", "")
LAST = ("SOFTMAX", "LOGISTIC", "LOG_SOFTMAX")
POINTWISE = ("RELU", "RELU6", "QUANTIZE")
WEIGHTED = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
SUPPORTED = (*WEIGHTED, "AVERAGE_POOL_2D", *POINTWISE, *RESHAPES, *LAST, "DEQUANTIZE")
# thresholds are tried so far on either side of the multiplier's own
TRIED = 12
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
        return _Floats(path, given, remarks).network(operations)
    return _Integers(path, given, remarks).conversion(operations)


def original(path: Path, frames: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The labels that TensorFlow Lite's own reference kernels give.

    Args:
        path: the file.
        frames: (samples, 1, channels), what the model's input takes.

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
        made = lite.Interpreter(
            str(path), experimental_op_resolver_type=lite.OpResolverType.BUILTIN_REF
        )
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
    product = np.clip(acc << left, -LARGEST, LARGEST - 1) * whole
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


# ---- int8 ----


@dataclass(frozen=True)
class _Flow:
    """What the chain emits: int8 values are `offset` above what the graph's part emits."""

    name: str
    shape: tuple[int, ...]
    offset: int
    most: int
    tensor: Tensor

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
    """The y that every neuron is to give: rows of neurons that share weights.

    Attributes:
        function: acc (rows, ...) -> y above its lower bound, before the upper one.
        least, largest: (rows,) the acc that can be reached.
        most: the upper bound.
    """

    function: Callable[[IntArray], IntArray]
    least: IntArray
    largest: IntArray
    most: int

    def steps(self) -> IntArray:
        """(rows, most): the smallest acc that gives 1, 2, ... `most`; all beyond reach alike."""
        shape = len(self.least), self.most
        low: IntArray = np.broadcast_to(self.least[:, np.newaxis], shape).copy()
        high = np.broadcast_to(self.largest[:, np.newaxis] + 1, low.shape).copy()
        wanted = np.arange(1, self.most + 1)
        while np.any(low < high):
            middle = (low + high) >> 1
            enough = self.function(middle) >= wanted
            low = np.where(enough | (low == high), low, middle + 1)
            high = np.where(enough, middle, high)
        return low


def _climbed(
    stairs: _Staircase, steps: IntArray, places: int, slope: npt.NDArray[np.float64]
) -> tuple[IntArray, IntArray, IntArray]:
    """Threshold and bias of every row, (rows,) each, and by how many acc its steps lie elsewhere.

    Step k is taken where `(acc << places) + bias >= k * threshold`.
    """
    first, beyond = stairs.least[:, None], stairs.largest[:, None] + 1
    count = np.arange(1, stairs.most + 1)
    # k * threshold - bias is to lie above what the acc below a step gives, up to what its own does
    above = np.where(steps <= first, -(1 << 60), (steps - 1) << places)
    upto = np.where(steps >= beyond, 1 << 60, steps << places)
    nominal = np.maximum(1, np.rint(2.0**places / slope)).astype(np.int64)
    off = np.full(len(steps), np.iinfo(np.int64).max)
    threshold, bias = nominal.copy(), np.zeros_like(nominal)
    for away in sorted(range(-TRIED, TRIED + 1), key=abs):
        tried = np.maximum(1, nominal + away)
        climbed = tried[:, None] * count
        least, largest = (climbed - upto).max(axis=1), (climbed - above).min(axis=1) - 1
        chosen = np.where(least <= largest, least, (least + largest) >> 1)
        at = np.clip(-((chosen[:, None] - climbed) >> places), first, beyond)
        away_by = np.abs(at - steps).sum(axis=1)
        better = away_by < off
        off = np.where(better, away_by, off)
        threshold, bias = np.where(better, tried, threshold), np.where(better, chosen, bias)
        if not off.any():
            break
    return threshold, bias, off


class _Integers:
    def __init__(self, path: Path, given: Tensor, remarks: list[str]) -> None:
        if given.dtype != np.int8 or given.scale.size != 1:
            raise ModelError(f"the input of {path} is no int8 with one scale: quantise it to int8")
        self.path, self.remarks, self.given = path, remarks, given
        size = math.prod(given.shape)
        self.input = g.AnalogInput("input", np.zeros(size, np.int8), (), 8)
        self.flow = _Flow("input", given.shape, 0, 128, given)
        self.populations: list[g.Population] = []
        self.projections: list[g.Projection] = []
        self.layers: list[LayerReport] = []

    def conversion(self, operations: list[Operation]) -> Conversion:
        for operation in operations:
            self._add(operation)
        if not self.populations:
            raise ModelError(f"{self.path} has no layer of weights, pooling or ReLU")
        graph = g.Graph(
            self.input, tuple(self.populations), tuple(self.projections),
            g.SpikeCount(self.populations[-1].name),
        )  # fmt: skip
        given = self.given
        self.remarks.append(
            f"frames are the model's int8: round(real / {float(given.scale[0]):g}) "
            f"{int(given.zero[0]):+d}"
        )
        report = FidelityReport(
            self.path.name, str(PROFILE), tuple(self.layers), remarks=tuple(self.remarks)
        )
        frames = np.random.default_rng(0).integers(-128, 128, (4, self.input.size))
        return Conversion(reference.with_selftest(graph, frames.astype(np.int16)), report)

    def _add(self, operation: Operation) -> None:
        out = operation.output
        if operation.kind in RESHAPES:
            if math.prod(out.shape) != math.prod(self.flow.shape):
                raise ModelError(f"{operation.called} makes {out.shape} of {self.flow.shape}")
            self.flow = replace(self.flow, shape=out.shape)
            return
        if out.dtype != np.int8 or out.scale.size != 1 or not -128 <= out.zero[0] <= 127:
            raise ModelError(
                f"{operation.called} gives no int8 with one scale: quantise the whole model to int8"
            )
        low, high = _range(operation)
        if operation.kind in WEIGHTED:
            self._weighted(operation, low, high)
        elif operation.kind == "AVERAGE_POOL_2D":
            self._pooled(operation, low, high)
        else:
            self._pointwise(operation, low, high)

    def _weighted(self, operation: Operation, low: int, high: int) -> None:
        flow, out = self.flow, operation.output
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
            window = _window(operation, flow.map, channels, (kernel.shape[0], kernel.shape[1]))
            groups = flow.map[2] // kernel.shape[2]
            projection = g.Conv(flow.name, "", kernel, window, 0, groups)
            inside = net.window_places(window) >= 0
            summed = inside.astype(np.int64) @ kernel.sum(axis=2, dtype=np.int64).reshape(
                -1, channels
            )
            reach = np.abs(kernel.astype(np.int64)).sum(axis=(0, 1, 2))
        whole = np.zeros(channels, np.int64) if bias is None else bias.astype(np.int64)
        constant = whole + (flow.offset - flow.zero) * summed
        # in float32, as TensorFlow Lite's for one scale; in doubles for one a channel
        into = flow.tensor.scale[0]
        if weight.scale.size == 1 and operation.kind == "FULLY_CONNECTED":
            reals = np.full(channels, float(into * weight.scale[0]) / float(out.scale[0]))
        else:
            reals = float(into) * weight.scale.astype(np.float64) / float(out.scale[0])
            reals = np.broadcast_to(reals, (channels,))
        furthest = reach * max(abs(-128 - flow.zero), abs(127 - flow.zero))
        stairs = _requantising(reals, out, low, high, whole - furthest, whole + furthest)
        self._neurons(operation, projection, constant, stairs, reals, low)

    def _pointwise(self, operation: Operation, low: int, high: int) -> None:
        flow, out = self.flow, operation.output
        size = flow.map
        window = g.Window(size, size, (1, 1))
        projection = g.SumPool(flow.name, "", window)
        real = float(flow.tensor.scale[0]) / float(out.scale[0])
        ends = np.array([-128 - flow.zero]), np.array([127 - flow.zero])
        stairs = _requantising(np.array([real]), out, low, high, *ends)
        constant = np.array([[flow.offset - flow.zero]])
        self._neurons(operation, projection, constant, stairs, np.array([real]), low)

    def _pooled(self, operation: Operation, low: int, high: int) -> None:
        flow, out = self.flow, operation.output
        if out.scale[0] != flow.tensor.scale[0] or out.zero[0] != flow.zero:
            raise ModelError(f"{operation.called} changes the scale: not supported")
        options = operation.options
        size = options["FilterHeight"], options["FilterWidth"]
        window = _window(operation, flow.map, flow.map[2], size)
        projection = g.SumPool(flow.name, "", window)
        counts = np.count_nonzero(net.window_places(window) >= 0, axis=1)
        kinds, place = np.unique(counts, return_inverse=True)

        def climb(acc: IntArray) -> IntArray:
            return mean(acc, kinds[:, np.newaxis]) - low

        stairs = _Staircase(climb, -128 * kinds, 127 * kinds, high - low)
        constant = (flow.offset * counts)[:, np.newaxis]
        self._neurons(operation, projection, constant, stairs, 1.0 / kinds, low, place)

    def _neurons(
        self,
        operation: Operation,
        projection: g.Projection,
        constant: IntArray,
        stairs: _Staircase,
        slope: npt.NDArray[np.float64],
        low: int,
        place: IntArray | None = None,
    ) -> None:
        """Neurons that climb the stairs.

        `constant` (places, rows), or (places, 1) of neurons alike, is what enters beside the
        projection; `place` (places,) says which row a place has, where rows are not channels.
        """
        name = f"{operation.kind.lower()}{len(self.populations)}"
        size = math.prod(operation.output.shape)

        def spread(values: IntArray) -> IntArray:
            """A value of every row, or of every place and row, for every neuron."""
            table = values if place is None else values[place]
            wide = table.reshape(len(constant), -1) if place is not None else table.reshape(1, -1)
            full = np.broadcast_to(wide, (len(constant), wide.shape[1]))
            return np.repeat(full, size // full.size, axis=1).reshape(-1)

        entering = np.repeat(constant, size // constant.size, axis=1).reshape(-1)
        summed = 0 if isinstance(projection, g.Dense) else self._bound(projection)
        steps = stairs.steps()
        best: tuple[int, int, IntArray, IntArray] | None = None
        for places in range(MAX_SHIFT, -1, -1):
            if (summed << places) >= CURRENT_BOUND:
                continue
            threshold, bias, off = _climbed(stairs, steps, places, slope)
            currents = (entering << places) + spread(bias)
            # sums of dense layers saturate, behind the last step
            current = int(np.abs(currents).max()) + (summed << places)
            if max(current, int(threshold.max()) * (stairs.most + 1)) >= CURRENT_BOUND:
                continue
            wrong = int(off.sum())
            if best is None or wrong < best[0]:
                best = wrong, places, spread(threshold), currents
            if wrong == 0:
                break
        if best is None:
            raise ModelError(
                f"{operation.called} has sums beyond the graph's 30 bits: split its inputs"
            )
        wrong, places, thresholds, currents = best
        self.populations.append(
            g.LIF(
                name=name,
                decay=np.zeros(1, np.uint16),
                threshold=thresholds.astype(np.int32),
                bias=currents.astype(np.int32),
                reset=Reset.ZERO_AT_ONCE,
                fire=Fire.REACHES,
                max_spikes=stairs.most,
            )
        )
        self.projections.append(replace(projection, target=name, shift=places))
        # of the sums between the first step and the last
        total = int((steps[:, -1] - steps[:, 0] + 1).sum())
        reason = "so many sums round to the number beside" if wrong else ""
        verdict = Verdict.APPROXIMATED if wrong else Verdict.EXACT
        self.layers.append(
            LayerReport(operation.output.name, operation.kind, verdict, reason, wrong / total)
        )
        self.flow = _Flow(name, operation.output.shape, low, stairs.most, operation.output)

    def _bound(self, projection: g.Projection) -> int:
        """What the graph takes for the largest sum, from shapes and widths."""
        window = math.prod(projection.window.kernel)  # type: ignore[union-attr]
        emits = 128 if self.flow.name == "input" else 1 << self.flow.most.bit_length()
        if isinstance(projection, g.Conv):
            return window * int(projection.weights.shape[2]) * 128 * emits
        return window * emits


def _requantising(
    reals: npt.NDArray[np.float64],
    out: Tensor,
    low: int,
    high: int,
    least: IntArray,
    largest: IntArray,
) -> _Staircase:
    parts = np.array([multiplier(real) for real in reals], np.int64)
    whole, shift = parts[:, :1], parts[:, 1:]
    zero = int(out.zero[0])

    def climb(acc: IntArray) -> IntArray:
        return scaled(acc, whole, shift) + zero - low

    return _Staircase(climb, least, largest, high - low)


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
    if high - low < 2:
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
    operation: Operation, source: tuple[int, int, int], channels: int, size: tuple[int, int]
) -> g.Window:
    """The window with TensorFlow's padding, which is uneven for SAME."""
    options = operation.options
    stride = options["StrideH"], options["StrideW"]
    if min(*size, *stride) < 1:
        raise ModelError(f"{operation.called} has a window of {size} in strides of {stride}")
    out, before = [], []
    for length, kernel, step in zip(source[:2], size, stride, strict=True):
        same = options["Padding"] == 0
        count = -(-length // step) if same else (length - kernel) // step + 1
        padding = max((count - 1) * step + kernel - length, 0) // 2 if same else 0
        out.append(count)
        before.append(padding)
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
            profile=PROFILE,
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
    original=original,
)
