"""lava-dl `.net`: networks that are integer already, taken over bit for bit.

`net.export_hdf5` of lava-dl (lava-nc/lava-dl at d825ac5) writes weights, decays and thresholds as
the integers that Loihi computes with. In each step, with `rz(x, d) = sign(x) * (abs(x) * (4096 - d)
>> 12)` and `64` the six binary places that states have below weights:

    CUBA:  u = rz(u, iDecay) + 64 * (W s);  v = rz(v, vDecay) + u + 64 * bias
           s = [v > 64 * vThMant], or [v >= 64 * vThMant];  v = 0 where s
    ALIF:  u = rz(u, iDecay) + 64 * (W s + bias);  v = rz(v, vDecay) + u
           a = rz(a, thDecay);  q = rz(q, refDecay);  T = 64 * vThMant + a
           s = [v - q >= T];  q += 2 * T * s;  a += 64 * vThStep * s

(`slayer/neuron/{cuba,alif}.py`, `slayer/neuron/dynamics`.) Which of CUBA's two fire tests holds is
not in the file: Lava's own LIF and the lava-dl named above (which adds `threshold_eps`) spike
above the threshold, profile `lava-dl`; lava-dl before `threshold_eps` spikes where it is reached,
profile `lava-dl-early`. Of lava-dl's Oxford example, the spikes that Lava made hold to the one and
those that SLAYER made to the other, without a difference.

A layer's spikes are seen one step later
(`delay_shift`, which is not in the file and is lava-dl's default), and `delay`, one an output
neuron, comes on top. The populations are therefore listed from the output to the input.

Maps lie (channel, height, width) in lava-dl and (height, width, channel) here: weights of a dense
layer behind a map are reordered, and so must frames be.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import reference
from edgesnn.converters.hdf5 import Tree, is_hdf5, read_hdf5
from edgesnn.converters.maps import graph_map, spread
from edgesnn.converters.maps import kernel as placed
from edgesnn.errors import EdgesnnError, FormatError, ModelError
from edgesnn.graph import (
    LIF,
    Adaptation,
    AnalogInput,
    Conv,
    DecayRule,
    DelayLine,
    Dense,
    Fire,
    Graph,
    Input,
    Population,
    Projection,
    Reset,
    SpikeCount,
    SpikeInput,
    SumPool,
    Window,
)
from edgesnn.network import Conversion, FidelityReport, LayerReport, Verdict
from edgesnn.sources import Options, Source

STATE_PLACES = 6
INPUT_PLACES = 5
KEPT = 1 << 12
SELFTEST_STEPS = 16
FIRES = {"lava-dl": Fire.ABOVE, "lava-dl-early": Fire.REACHES}
Shape = tuple[int, int, int]
IntArray = npt.NDArray[np.int64]

_GRADED = (
    "sigma-delta neurons send by how much their activation has changed once that passes a "
    "threshold, and neurons of the graph send spikes or whole states: train it with CUBA or ALIF"
)
_RESONANT = (
    "resonators rotate a membrane of two parts, and neurons of the graph have one: train it with "
    "CUBA or ALIF"
)
# neurons that lava-dl exports and the graph has no rule for, and why
REFUSED = {
    "SDNN": _GRADED, "S4D": _GRADED, "RF": _RESONANT, "RF_IZ": _RESONANT, "ADRF": _RESONANT,
    "ADRF_IZ": _RESONANT, "RF_PHASE": _RESONANT,
}  # fmt: skip


def read_lava(path: Path, options: Options) -> Conversion:
    """The graph in a `.net` file, exact.

    Raises:
        MissingError: h5py is not installed, or the file cannot be read.
        FormatError: it is damaged, or no such file.
        ModelError: it has a layer that cannot be kept; the message names it.
    """
    tree = read_hdf5(path)
    layers = tree.get("layer")
    if not isinstance(layers, dict):
        raise FormatError(f"{path} has no group 'layer': it is no lava-dl .net file")
    numbers = sorted((key for key in layers if key.isdecimal()), key=int)
    if not numbers or numbers != [str(n) for n in range(len(numbers))]:
        raise FormatError(f"{path} numbers its layers {numbers}, not 0, 1, ...: export it again")
    builder = _Builder(path, options.profile)
    for number in numbers:
        builder.add(number, layers[number])
    try:
        return builder.conversion()
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


class _Builder:
    def __init__(self, path: Path, profile: str | None) -> None:
        self.path, self.profile = path, profile or "lava-dl"
        self.input: Input | None = None
        self.source = "input"
        self.shape: tuple[int, ...] | None = None
        # of each layer, in its order: its populations in order of update, and what enters them
        self.populations: list[list[Population]] = []
        self.projections: dict[str, list[Projection]] = {}
        self.reports: list[LayerReport] = []
        self.remarks: list[str] = []

    def add(self, number: str, layer: object) -> None:
        where = f"layer/{number}"
        if not isinstance(layer, dict):
            raise FormatError(f"{self.path}: '{where}' is no group: export it again")
        kind = _text(layer.get("type"))
        handlers = {
            "input": self._input, "flatten": self._flatten, "dense": self._dense,
            "dense_rec": self._dense, "conv": self._conv, "pool": self._pool,
        }  # fmt: skip
        if kind not in handlers:
            raise ModelError(
                f"{self.path}: '{where}' is of type {kind!r}, which is not supported: there is "
                f"{', '.join(handlers)}"
            )
        handlers[kind](where, layer)

    # ---- layers ----

    def _input(self, where: str, layer: Tree) -> None:
        if self.input is not None or self.populations:
            raise ModelError(f"{self.path}: '{where}' is an input behind another layer")
        self.shape = self._shape(where, layer)
        if "neuron" not in layer:
            return
        # z = q(x) * weight + bias, with q to 8 bits of 1/32 (slayer/block/base.py AbstractInput,
        # slayer/neuron/base.py quantize_8bit), where the scale is lava-dl's default of 64
        size = math.prod(self.shape)
        self.input = AnalogInput("input", np.full(size, INPUT_PLACES, np.int8), bits=8)
        weight, bias = (
            self._integers(where, layer, key, default).reshape(-1)
            for key, default in (("weight", 64), ("bias", 0))
        )
        if weight.size != 1 or bias.size != 1:
            raise ModelError(f"{self.path}: '{where}' scales each input by itself: not supported")
        source = _map(self.shape)
        kernel = np.full((1, 1, 1, source[2]), weight[0])
        window = Window(source, source, (1, 1))
        self._layer(
            where, {**layer, "bias": 0}, self.shape, kernel, window, source[2],
            places=STATE_PLACES - INPUT_PLACES, constant=int(bias[0]) << STATE_PLACES,
        )  # fmt: skip
        self.remarks.append(
            f"'{where}' takes values in eight bits of 1/32, as lava-dl does at its default scale "
            "of 64, which the file does not say"
        )

    def _flatten(self, where: str, layer: Tree) -> None:
        pass  # a dense layer behind a map reorders its weights itself

    def _dense(self, where: str, layer: Tree) -> None:
        weight = self._integers(where, layer, "weight")
        weight = weight.reshape(len(weight), -1) if weight.ndim else weight.reshape(1, 1)
        n_out, n_in = weight.shape
        if self.shape is None:
            self.shape = (n_in,)
        weight = self._reorder(where, weight)
        recurrent = None
        if "weight_rec" in layer:
            recurrent = self._integers(where, layer, "weight_rec").reshape(n_out, -1)
            if recurrent.shape != (n_out, n_out):
                raise ModelError(f"{self.path}: '{where}/weight_rec' does not join {n_out} neurons")
        self._layer(where, layer, (n_out,), weight, recurrent=recurrent)

    def _reorder(self, where: str, weight: IntArray) -> IntArray:
        """The weight for sources in the order (height, width, channel)."""
        assert self.shape is not None
        size = math.prod(self.shape)
        if weight.shape[1] != size:
            raise ModelError(
                f"{self.path}: '{where}/weight' takes {weight.shape[1]} inputs, the layer before "
                f"has {size} of shape {self.shape}"
            )
        if len(self.shape) == 1:
            return weight
        height, width, channels = _map(self.shape)
        maps: IntArray = weight.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        return maps.reshape(len(weight), -1)

    def _conv(self, where: str, layer: Tree) -> None:
        weight = self._integers(where, layer, "weight")
        if weight.ndim != 4:
            raise ModelError(f"{self.path}: '{where}/weight' has shape {weight.shape}, not 4 axes")
        stride, padding, dilation = (
            self._pair(where, layer, key, default)
            for key, default in (("stride", 1), ("padding", 0), ("dilation", 1))
        )
        groups = int(self._integers(where, layer, "groups", default=1))
        shape = self._shape(where, layer)
        source = self._map_before(where, weight.shape[1] * groups)
        self._window(where, layer, weight, source, shape, stride, padding, dilation, groups)

    def _pool(self, where: str, layer: Tree) -> None:
        weight = self._integers(where, layer, "weight")
        if weight.ndim != 4 or weight.shape[:2] != (1, 1):
            raise ModelError(f"{self.path}: '{where}/weight' is {weight.shape}, not (1, 1, y, x)")
        stride, padding, dilation = (
            self._pair(where, layer, key, default)
            for key, default in (("stride", 1), ("padding", 0), ("dilation", 1))
        )
        shape = self._shape(where, layer)
        source = self._map_before(where, _map(shape)[2])
        # lava-dl pools over the rows of all channels at once (slayer/synapse/layer.py Pool): a
        # window that does not fit the height runs into the next channel
        height, tall = source[0], weight.shape[2]
        aligned = (height + height % tall) % tall == 0 and stride == weight.shape[2:]
        if not aligned or padding != (0, 0) or dilation != (1, 1):
            raise ModelError(
                f"{self.path}: '{where}' pools {weight.shape[2:]} by {stride} over a height of "
                f"{height}, with padding {padding} and dilation {dilation}, in which lava-dl mixes "
                "channels: pool by windows that divide the map"
            )
        weight = np.repeat(weight, source[2], axis=0)
        self._window(where, layer, weight, source, shape, stride, padding, dilation, source[2])

    def _map_before(self, where: str, channels: int) -> Shape:
        if self.shape is None:
            raise ModelError(
                f"{self.path} does not say the shape of its input, which '{where}' needs: build "
                "the network with an input block, whose shape is exported"
            )
        source = _map(self.shape)
        if source[2] != channels:
            raise ModelError(
                f"{self.path}: '{where}' takes {channels} channels, the layer before has "
                f"{source[2]}"
            )
        return source

    def _window(
        self, where: str, layer: Tree, weight: IntArray, source: Shape, shape: tuple[int, ...],
        stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], groups: int,
    ) -> None:  # fmt: skip
        kernel = placed(weight, dilation)
        target = _map(shape)
        if target[2] != kernel.shape[3]:
            raise ModelError(
                f"{self.path}: '{where}' has shape {shape} and weights for {kernel.shape[3]} "
                "channels"
            )
        for axis in (0, 1):
            # what lies outside is 0, so that a window may not start further out than it is large
            if padding[axis] >= kernel.shape[axis]:
                raise ModelError(f"{self.path}: '{where}' pads more than its kernel: not supported")
        window = Window(source, target, kernel.shape[:2], stride, padding)
        self._layer(where, layer, shape, kernel, window, groups)

    # ---- neurons ----

    def _layer(
        self,
        where: str,
        layer: Tree,
        shape: tuple[int, ...],
        weight: IntArray,
        window: Window | None = None,
        groups: int = 1,
        *,
        recurrent: IntArray | None = None,
        places: int = STATE_PLACES,
        constant: int = 0,
    ) -> None:
        name = f"layer{where.split('/')[1]}"
        assert self.shape is not None
        if self.input is None:
            self.input = SpikeInput("input", math.prod(self.shape))
        bias = self._per_channel(where, layer, "bias", shape, default=0)
        populations: list[Population] = [self._neurons(where, name, layer, shape, bias, constant)]
        entering = self._synapses(where, self.source, name, weight, window, groups, places)
        if recurrent is not None:
            # a recurrent spike is one of the step before, whatever the delays
            entering += self._synapses(where, name, name, recurrent, None, 1, places)
        self.projections[name] = entering
        self.source, self.shape = name, shape
        if "delay" in layer:
            delays = self._delays(where, layer, shape)
            if delays.any():
                populations.append(DelayLine(f"{name}_delayed", name, delays.astype(np.uint8)))
                self.source = f"{name}_delayed"
        self.populations.append(populations)
        what = f"{math.prod(shape)} neurons '{name}', " + ", ".join(
            type(p).__name__ for p in entering
        )
        self.reports.append(LayerReport(where, what, Verdict.EXACT))

    def _neurons(
        self, where: str, name: str, layer: Tree, shape: tuple[int, ...], bias: IntArray,
        constant: int,
    ) -> LIF:  # fmt: skip
        neuron = layer.get("neuron")
        if not isinstance(neuron, dict):
            raise FormatError(f"{self.path} lacks '{where}/neuron': export it again")
        inside = f"{where}/neuron"
        kind = _text(neuron.get("type"))
        if kind in REFUSED:
            raise ModelError(f"{self.path}: '{inside}/type' is {kind!r}: {REFUSED[kind]}")
        if kind not in ("CUBA", "LOIHI", "ALIF"):
            raise ModelError(
                f"{self.path}: '{inside}/type' is {kind!r}, which is not supported: there is CUBA, "
                "LOIHI and ALIF"
            )
        for key, plain in (("gradedSpike", 0), ("refDelay", 1), ("weight_exp", 0)):
            if np.any(self._integers(inside, neuron, key, default=plain) != plain):
                raise ModelError(f"{self.path}: '{inside}/{key}' is not {plain}: not supported")
        known = {
            "type", "iDecay", "vDecay", "vThMant", "refDelay", "gradedSpike", "weight_exp",
            "thDecay", "refDecay", "vThStep",
        }  # fmt: skip
        unknown = sorted(set(neuron) - known)
        if unknown:
            raise ModelError(f"{self.path}: '{inside}/{unknown[0]}' is not known: not supported")

        def kept(key: str) -> npt.NDArray[np.uint16]:
            lost = self._per_channel(inside, neuron, key, shape)
            if np.any((lost < 0) | (lost > KEPT)):
                raise ModelError(f"{self.path}: '{inside}/{key}' leaves 0..{KEPT}: export it again")
            left = KEPT - lost
            return (left[:1] if np.all(left == left[0]) else left).astype(np.uint16)

        size = math.prod(shape)
        threshold = self._per_channel(inside, neuron, "vThMant", shape) << STATE_PLACES
        current = _bounded(self.path, inside, bias << STATE_PLACES)
        common: dict[str, Any] = {
            "name": name,
            "decay": kept("vDecay"),
            "synaptic_decay": kept("iDecay"),
            "threshold": _bounded(self.path, inside, threshold),
            "rule": DecayRule.TOWARD_ZERO,
        }
        if kind != "ALIF":
            return LIF(
                bias=np.full(size, constant, np.int32),
                membrane_bias=current if current.any() else None,
                reset=Reset.ZERO_AT_ONCE,
                fire=FIRES[self.profile],
                **common,
            )
        step = self._per_channel(inside, neuron, "vThStep", shape) << STATE_PLACES
        adaptation = Adaptation(
            decay=kept("thDecay"),
            step=_bounded(self.path, inside, step),
            refractory=kept("refDecay"),
        )
        return LIF(
            bias=current + np.int32(constant), reset=Reset.NONE, fire=Fire.REACHES,
            adaptation=adaptation, **common,
        )  # fmt: skip

    def _synapses(
        self,
        where: str,
        source: str,
        target: str,
        weight: IntArray,
        window: Window | None,
        groups: int,
        places: int,
    ) -> list[Projection]:
        """Projections of int8 weights whose sum is the weight, times 2**places, exactly."""
        parts: list[Projection] = []
        for part, shift in _int8_parts(self.path, where, weight):
            shift += places
            if window is None:
                parts.append(Dense(source, target, part, shift))
                continue
            if window.input_shape[2] == window.output_shape[2] == groups and np.all(part == 1):
                parts.append(SumPool(source, target, window, shift))
            else:
                parts.append(Conv(source, target, part, window, shift, groups))
        return parts

    def _delays(self, where: str, layer: Tree, shape: tuple[int, ...]) -> IntArray:
        delays = np.asarray(layer["delay"])
        if delays.dtype.kind not in "iuf" or not np.all(np.isfinite(delays)):
            raise FormatError(f"{self.path}: '{where}/delay' are no numbers: export it again")
        delays = np.floor(delays).astype(np.int64).reshape(-1)
        if np.any((delays < 0) | (delays > 255)):
            raise ModelError(f"{self.path}: '{where}/delay' leaves 0..255 steps: train it again")
        if delays.size == math.prod(shape) and len(shape) > 1:
            height, width, channels = _map(shape)
            maps: IntArray = delays.reshape(channels, height, width).transpose(1, 2, 0)
            return maps.reshape(-1)
        return self._spread_checked(f"{where}/delay", delays, shape)

    # ---- the graph ----

    def conversion(self) -> Conversion:
        if not self.populations or self.input is None:
            raise ModelError("it has no layer of neurons")
        answer = self.populations[-1]
        if len(answer) > 1:
            # what the last layer emits is counted when its delays let it out
            last, size = answer[-1], answer[-1].size
            shape = (1, size, 1)
            relay = LIF(
                "output", np.zeros(1, np.uint16), np.zeros(size, np.int32),
                np.zeros(size, np.int32), Reset.NONE,
            )  # fmt: skip
            self.projections["output"] = [
                SumPool(last.name, "output", Window(shape, shape, (1, 1)))
            ]
            self.populations.append([relay])
        # of the last two, neither lags behind the other: the relay stands behind its source
        order = list(reversed(self.populations))
        if len(answer) > 1:
            order = [order[1], order[0], *order[2:]]
        populations = [population for layer in order for population in layer]
        graph = Graph(
            self.input,
            tuple(populations),
            tuple(p for q in populations for p in self.projections.get(q.name, ())),
            SpikeCount(order[1][0].name if len(answer) > 1 else answer[0].name),
        )
        test = "above" if FIRES[self.profile] is Fire.ABOVE else "reached"
        remarks = [
            f"the file does not say the fire test: with profile {self.profile}, CUBA neurons spike "
            f"where their threshold is {test} (--profile)",
            "the file does not say whether layers lag: as lava-dl's default delay_shift=True, by "
            "one step each, but for the last, whose spikes are counted when they are made",
            *self.remarks,
        ]
        if any(isinstance(p, (Conv, SumPool)) for p in graph.projections):
            remarks.append("frames of maps lie (height, width, channel), channel fastest")
        rng = np.random.default_rng(0)
        frames = (rng.random((SELFTEST_STEPS, self.input.size)) < 0.2).astype(np.int16)
        report = FidelityReport(
            self.path.name, self.profile, tuple(self.reports), remarks=tuple(remarks)
        )
        return Conversion(reference.with_selftest(graph, frames), report)

    # ---- values ----

    def _integers(self, where: str, layer: Tree, key: str, default: int | None = None) -> IntArray:
        value = layer.get(key, default)
        if value is None or isinstance(value, (dict, str)):
            complex_ = isinstance(value, dict) and "imag" in value
            raise (ModelError if complex_ else FormatError)(
                f"{self.path}: '{where}/{key}' is complex: not supported"
                if complex_
                else f"{self.path} lacks '{where}/{key}': export it again"
            )
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or not np.all(np.isfinite(array)):
            raise FormatError(f"{self.path}: '{where}/{key}' are no numbers: export it again")
        rounded = np.rint(array.astype(np.float64))
        if not np.array_equal(rounded, array) or np.any(np.abs(rounded) > 1 << 31):
            raise ModelError(
                f"{self.path}: '{where}/{key}' are not whole numbers: export it from lava-dl with "
                "quantised synapses"
            )
        return rounded.astype(np.int64)

    def _per_channel(
        self, where: str, layer: Tree, key: str, shape: tuple[int, ...], default: int | None = None
    ) -> IntArray:
        values = self._integers(where, layer, key, default).reshape(-1)
        return self._spread_checked(f"{where}/{key}", values, shape)

    def _spread_checked(self, what: str, values: IntArray, shape: tuple[int, ...]) -> IntArray:
        channels = _map(shape)[2]
        if values.size not in (1, channels):
            raise ModelError(
                f"{self.path}: '{what}' has {values.size} values for {channels} channels"
            )
        return _spread(values, shape)

    def _pair(self, where: str, layer: Tree, key: str, default: int) -> tuple[int, int]:
        values = self._integers(where, layer, key, default).reshape(-1)
        if values.size not in (1, 2):
            raise FormatError(f"{self.path}: '{where}/{key}' has {values.size} values, not 2")
        return int(values[0]), int(values[-1])

    def _shape(self, where: str, layer: Tree) -> tuple[int, ...]:
        shape = tuple(int(n) for n in self._integers(where, layer, "shape").reshape(-1))
        if not 1 <= len(shape) <= 3 or min(shape) < 1 or math.prod(shape) > 0xFFFF:
            raise ModelError(f"{self.path}: '{where}/shape' is {shape}: it is too large, or no map")
        return shape


def _text(value: object) -> str:
    """The text of a scalar, or of an array of one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else ""


def _map(shape: tuple[int, ...]) -> Shape:
    """(height, width, channels); of two axes, lava-dl's second is the height."""
    return graph_map((*shape, 1) if len(shape) == 2 else shape)


def _spread(values: IntArray, shape: tuple[int, ...]) -> IntArray:
    """A value for each channel as one for each neuron, channel fastest."""
    return spread(values, (*shape, 1) if len(shape) == 2 else shape)


def _int8_parts(path: Path, where: str, weight: IntArray) -> list[tuple[npt.NDArray[np.int8], int]]:
    """int8 arrays and shifts whose sum is a weight, exactly: one, but for odd weights past 127."""
    shift = 0
    while weight.any() and shift < STATE_PLACES and not np.any(weight & 1):
        weight, shift = weight >> 1, shift + 1
    if weight.min(initial=0) >= -128 and weight.max(initial=0) <= 127:
        return [(weight.astype(np.int8), shift)]
    high, low = weight >> 1, weight & 1
    if high.min() < -128 or high.max() > 127:
        raise ModelError(
            f"{path}: '{where}' has weights up to {int(np.abs(weight).max()) << shift}, lava-dl's "
            "reach from -256 to 254"
        )
    return [(high.astype(np.int8), shift + 1), (low.astype(np.int8), shift)]


def _bounded(path: Path, where: str, values: IntArray) -> npt.NDArray[np.int32]:
    if np.any(np.abs(values) >= 1 << 29):
        raise ModelError(f"{path}: '{where}' has a threshold, step or bias beyond 2**23")
    return values.astype(np.int32)


def _recognises(path: Path) -> bool:
    if not is_hdf5(path):
        return False
    try:
        layer = read_hdf5(path).get("layer")
    except EdgesnnError:
        return False
    return isinstance(layer, dict) and "0" in layer


SOURCE = Source(
    name="lava",
    describes="lava-dl .net (HDF5), CUBA and ALIF: already integer, taken over exactly",
    recognises=_recognises,
    read=read_lava,
    profiles=tuple(FIRES),
)
