"""lava-dl `.net`: networks that are integer already, taken over bit for bit.

`net.export_hdf5` of lava-dl (lava-nc/lava-dl at d825ac5) writes weights, decays and thresholds as
the integers that Loihi computes with. In each step, with `rz(x, d) = sign(x) * (abs(x) * (4096 - d)
>> 12)` and `64` the six binary places that states have below weights:

    CUBA:  u = rz(u, iDecay) + 64 * (W s);  v = rz(v, vDecay) + u + 64 * bias
           s = [v > 64 * vThMant], or [v >= 64 * vThMant];  v = 0 where s
    ALIF:  u = rz(u, iDecay) + 64 * (W s + bias);  v = rz(v, vDecay) + u
           a = rz(a, thDecay);  q = rz(q, refDecay);  T = 64 * vThMant + a
           s = [v - q >= T];  q += 2 * T * s;  a += 64 * vThStep * s

    SDNN:  c = c + W s;  d = max(c + bias, 0) - e;  s = d >> 6 and e = e + d where |d| >= vThMant

(sigma-delta: messages s of 6 binary places, all else of 12, as Lava's `SigmaDelta` has it that
lava-dl's `netx` makes of a file, lava/proc/sdn/models.py; an input layer sends the changes of its
frames, and of a layer with `sigma_output` c is the answer.)
(`slayer/neuron/{cuba,alif}.py`, `slayer/neuron/dynamics`.) Which of CUBA's two fire tests holds is
not in the file: Lava's own LIF and the lava-dl named above (which adds `threshold_eps`) spike
above the threshold, profile `lava-dl` (and `netx`); lava-dl before `threshold_eps` spikes where it
is reached, profile `lava-dl-early`. Of lava-dl's Oxford example, the spikes that Lava made hold to
the one and those that SLAYER made to the other, without a difference.

A layer's spikes are seen one step later
(`delay_shift`, which is not in the file and is lava-dl's default), and `delay`, one an output
neuron, comes on top. The populations are therefore listed from the output to the input.

Maps lie (channel, height, width) in lava-dl and (height, width, channel) here: weights of a dense
layer behind a map are reordered, and so must frames be.
"""

from __future__ import annotations

import math
from dataclasses import replace
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
    CURRENT_BOUND,
    DECAY_ONE,
    LIF,
    Activation,
    Adaptation,
    AnalogInput,
    Conv,
    DecayRule,
    DelayLine,
    Delta,
    Dense,
    Fire,
    Graph,
    Input,
    Integrator,
    Population,
    Potential,
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
# of sigma-delta: of messages, and of the states below them
MESSAGE_PLACES, MESSAGE_BITS, LEAST_MESSAGE_BITS = 6, 16, 10
INPUT_PLACES = 5
KEPT = 1 << 12
SELFTEST_STEPS = 16
FIRES = {"lava-dl": Fire.ABOVE, "lava-dl-early": Fire.REACHES, "netx": Fire.ABOVE}
Shape = tuple[int, int, int]
IntArray = npt.NDArray[np.int64]

_RESONANT = (
    "resonators rotate a membrane of two parts, and neurons of the graph have one: train it with "
    "CUBA or ALIF"
)
# neurons that lava-dl exports and the graph has no rule for, and why
REFUSED = {
    "S4D": "state space models have a complex state: train it with SDNN", "RF": _RESONANT,
    "RF_IZ": _RESONANT, "ADRF": _RESONANT, "ADRF_IZ": _RESONANT, "RF_PHASE": _RESONANT,
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
        if _kind(layer) == "SDNN":
            self._changing_input(where, layer)
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

    def _changing_input(self, where: str, layer: Tree) -> None:
        """Frames of 1/64, of which the changes go on (`AbstractInput`, Lava's `Delta`)."""
        assert self.shape is not None
        for key, plain in (("weight", 64), ("bias", 0)):
            if np.any(self._integers(where, layer, key, plain) != plain):
                raise ModelError(f"{self.path}: '{where}/{key}' scales the input: not supported")
        size, source = math.prod(self.shape), _map(self.shape)
        # quantize_8bit clips to -256..255 of 1/64
        self.input = AnalogInput("input", np.full(size, STATE_PLACES, np.int8), bits=9)
        entering = SumPool("input", "layer0", Window(source, source, (1, 1)), 2 * MESSAGE_PLACES)
        self._changing(where, layer, self.shape, [entering], leaks=True)
        self.remarks.append(f"'{where}' takes values of 1/64 from -256 to 255, as lava-dl does")

    def _changing(
        self,
        where: str,
        layer: Tree,
        shape: tuple[int, ...],
        entering: list[Projection],
        *,
        leaks: bool = False,
    ) -> None:
        """Sigma-delta neurons; of an input, what they change by alone."""
        neuron, inside = layer["neuron"], f"{where}/neuron"
        assert isinstance(neuron, dict)
        known = {"type", "activation", "vThMant", "sigma_output", "messageBits"}
        unknown = sorted(set(neuron) - known)
        if unknown:
            raise ModelError(f"{self.path}: '{inside}/{unknown[0]}' is not known: not supported")
        activation = _text(neuron.get("activation"))
        if activation not in ("relu", "") and not leaks:
            raise ModelError(f"{self.path}: '{inside}/activation' is {activation!r}, not 'relu'")
        if "delay" in layer:
            raise ModelError(f"{self.path}: '{where}/delay' delays messages: not supported")
        places, size = 2 * MESSAGE_PLACES, math.prod(shape)
        sums = bool(np.any(neuron.get("sigma_output", False)))
        if sums and np.any(self._integers(where, layer, "bias", 0)):
            raise ModelError(f"{self.path}: '{where}/bias' of a layer with sigma_output")
        delta = None
        if not sums:
            threshold = self._per_channel(inside, neuron, "vThMant", shape) << places
            bias = self._per_channel(where, layer, "bias", shape, default=0) << places
            delta = Delta(_bounded(self.path, inside, threshold), _bounded(self.path, where, bias))
        name = entering[0].target
        made = Integrator(
            name,
            np.full(1, 0 if leaks else DECAY_ONE, np.uint16),
            np.zeros(size, np.int32),
            MESSAGE_PLACES,
            MESSAGE_BITS,
            Activation.IDENTITY if leaks or sums else Activation.RELU,
            delta=delta,
        )
        self.projections[name] = entering
        self.source, self.shape = name, shape
        self.populations.append([made])
        what = f"{size} neurons '{name}', " + ", ".join(type(p).__name__ for p in entering)
        self.reports.append(LayerReport(where, what, Verdict.EXACT))
        self._fit(where, entering)

    def _fit(self, where: str, entering: list[Projection]) -> None:
        """Narrow the messages that enter by windows until no sum of them can pass the bound."""
        windows = [p for p in entering if not isinstance(p, Dense)]
        if len(self.populations) < 2 or not windows:
            return
        (source,) = self.populations[-2]
        if not isinstance(source, Integrator) or source.delta is None:
            return
        bits, most = MESSAGE_BITS, CURRENT_BOUND >> 7
        reach = sum(
            int(math.prod(p.weights.shape[:3])) << p.shift if isinstance(p, Conv)
            else math.prod(p.window.kernel) << max(p.shift - 7, 0)
            for p in windows if isinstance(p, (Conv, SumPool))
        )  # fmt: skip
        while reach << (bits - 1) >= most and bits >= LEAST_MESSAGE_BITS:
            bits -= 1
        if bits < LEAST_MESSAGE_BITS:
            raise ModelError(
                f"{self.path}: '{where}' adds up {reach} weights, of which no sum is proved to fit "
                "30 bits: use fewer channels in front of it"
            )
        if bits < source.bits:
            self.populations[-2] = [replace(source, bits=bits)]
            limit = 1 << (bits - 1 - MESSAGE_PLACES)
            reason = f"a change by more than {limit} at once is cut to it, so that sums fit 30 bits"
            self.reports[-2] = replace(
                self.reports[-2], verdict=Verdict.APPROXIMATED, reason=reason
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
        if _kind(layer) == "SDNN":
            if recurrent is not None:
                raise ModelError(f"{self.path}: '{where}' is recurrent and SDNN: not supported")
            if isinstance(self.input, SpikeInput) and not self.populations:
                raise ModelError(f"{self.path}: SDNN needs an input layer of its own: export it")
            parts = self._synapses(where, self.source, name, weight, window, groups, 0)
            self._changing(where, layer, shape, parts)
            return
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
                "LOIHI, ALIF and SDNN"
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
        # messages are wide: the graph's bound on their sums counts every place of a shift
        for part, shift in _int8_parts(self.path, where, weight, even=places > 0):
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
        changing = any(isinstance(p, Integrator) for layer in self.populations for p in layer)
        if changing:
            return self._of_changes()
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

    def _of_changes(self) -> Conversion:
        """Of sigma-delta neurons, whose layers lag in Lava alone (`AbstractSDRelu`)."""
        assert self.input is not None
        if FIRES[self.profile] is Fire.REACHES:
            raise ModelError(f"sigma-delta neurons have no profile '{self.profile}': leave it out")
        populations = [p for layer in self.populations for p in layer]
        last = populations[-1]
        if not all(isinstance(p, Integrator) for p in populations):
            raise ModelError("sigma-delta neurons beside others are not supported")
        if isinstance(last, Integrator) and last.delta is not None:
            raise ModelError("its last layer sends changes: end with sigma_delta.Output")
        if self.profile == "netx":
            populations.reverse()
            said = "layers lag by one step each, as where Lava runs them"
        else:
            said = "layers do not lag, as lava-dl trains them; --profile netx: as Lava runs them"
        graph = Graph(
            self.input, tuple(populations),
            tuple(p for q in populations for p in self.projections[q.name]),
            Potential(last.name),
        )  # fmt: skip
        remarks = [said, *self.remarks]
        if any(isinstance(p, (Conv, SumPool)) for p in graph.projections):
            remarks.append("frames of maps lie (height, width, channel), channel fastest")
        frames = np.random.default_rng(0).integers(-64, 65, (SELFTEST_STEPS, self.input.size))
        report = FidelityReport(
            self.path.name, self.profile, tuple(self.reports), remarks=tuple(remarks)
        )
        return Conversion(reference.with_selftest(graph, frames.astype(np.int16)), report)

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


def _kind(layer: Tree) -> str:
    """The type of a layer's neurons."""
    neuron = layer.get("neuron")
    return _text(neuron.get("type")) if isinstance(neuron, dict) else ""


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


def _int8_parts(
    path: Path, where: str, weight: IntArray, even: bool
) -> list[tuple[npt.NDArray[np.int8], int]]:
    """int8 arrays and shifts whose sum is a weight, exactly: one, but for odd weights past 127.

    With `even` every power of 2 in them becomes a shift, otherwise only what does not fit.
    """
    shift = 0
    while weight.any() and shift < STATE_PLACES and not np.any(weight & 1):
        if not even and np.abs(weight).max() < 128:
            break
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
    describes="lava-dl .net (HDF5), CUBA, ALIF and SDNN: already integer, taken over exactly",
    recognises=_recognises,
    read=read_lava,
    profiles=tuple(FIRES),
)
