"""Networks of modules: what sources whose files hold weights alone share.

A state_dict has arrays under names and nothing of how they hang together, so the description says
it, layer by layer, in the order in which the data go through:

    {"input": 12,                     channels, or the shape of a map: [channels, height, width]
     "readout": "count",              count, last, max, sum, softmax, first; of the last neurons
     "layers": [{"type": "Linear", "key": "fc1"},
                {"type": "Leaky", "key": "lif1"}, ...]}

`key` is the prefix of a layer's arrays in the state_dict. Layers between neurons are PyTorch's
(`Linear`, `Conv1d`, `Conv2d`, `BatchNorm`, `AvgPool2d`, `SumPool2d`, `MaxPool2d` of spikes,
`Flatten`, `Dropout`, `Identity`, with the arguments of the same names) or Brevitas's
(`QuantLinear`, `QuantConv1d`, `QuantConv2d`, whose integers are kept); neurons are those of the
source. Beside these, a description may say `version`, `classes`, `units`, `step_us` and
`input_kind` ("analog", "spikes").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.converters import maps
from edgesnn.converters.torchfile import read_torch
from edgesnn.errors import FormatError, ModelError
from edgesnn.graph import Activation, PotentialMode, Reset
from edgesnn.network import (
    AnyPopulation,
    AnyProjection,
    Conv,
    Delayed,
    FloatArray,
    InputKind,
    Integrator,
    Network,
    Pool,
    Population,
    Profile,
    Projection,
    ReadoutRule,
    Score,
)
from edgesnn.sources import Options

Float64Array = npt.NDArray[np.float64]
READOUTS = {
    "count": None, "last": PotentialMode.LAST, "max": PotentialMode.MAX, "sum": PotentialMode.SUM,
    "softmax": Score.SOFTMAX_SUM, "first": Score.FIRST_SPIKE,
}  # fmt: skip
OUT_OF_REACH = 1e30
LINEAR = ("Linear", "Conv1d", "Conv2d", "AvgPool2d", "SumPool2d", "Delays")
QUANTISED = ("QuantLinear", "QuantConv1d", "QuantConv2d")
STORED_SCALE = "weight_quant.tensor_quant.scaling_impl.value"
SKIPPED = ("Dropout", "Identity", "Flatten")
KNOWN = {"input", "readout", "layers", "version", "classes", "units", "step_us", "input_kind"}


@dataclass
class Neurons:
    """Neurons of one layer, as a source makes them of what a description and a file say.

    Args:
        rule: the arguments of a `Population` beside its name, size and bias; parameters in the
            order of the framework.
        gain: what a framework multiplies the input current by, () or (size,) in its order.
        constant: what enters in every step, likewise.
        emits: what one spike counts (graded spikes).
        recurrent: weights (size, size) from the spikes of the step before, and bias or None.
        one_to_one: weights () or (size,) of each neuron's own spike, or None.
        integrates: non-spiking integrators: only `beta` and `activation` of the rule count.
    """

    rule: dict[str, Any]
    gain: Any = 1.0
    constant: Any = 0.0
    emits: float = 1.0
    recurrent: tuple[FloatArray, FloatArray | None] | None = None
    one_to_one: Any = None
    integrates: bool = False


@dataclass
class Layer:
    """One layer of a description; its parameters from there or from the file.

    Raises:
        FormatError: a parameter is missing, or of the wrong kind.
    """

    path: Path
    spec: dict[str, Any]
    state: dict[str, npt.NDArray[Any]]
    used: set[str]
    shape: maps.Shape = (1,)
    asked: set[str] = field(default_factory=lambda: {"type", "key"})

    @property
    def kind(self) -> str:
        """Its type, that of PyTorch for those of Brevitas."""
        kind = str(self.spec["type"])
        return kind.removeprefix("Quant") if kind in QUANTISED else kind

    @property
    def quantised(self) -> bool:
        """Whether its weights are integers times a scale."""
        return self.spec["type"] in QUANTISED

    @property
    def key(self) -> str:
        """The prefix of its arrays, or "" where it has none."""
        return str(self.spec.get("key", ""))

    @property
    def called(self) -> str:
        """How errors name it."""
        return f"layer '{self.key or self.kind}' of {self.path}"

    @property
    def size(self) -> int:
        """Neurons of what enters it."""
        return maps.size_of(self.shape)

    def array(self, name: str) -> FloatArray:
        """An array of the state_dict as float32."""
        found = self.optional(name)
        if found is None:
            raise FormatError(f"{self.path} lacks the key '{self._at(name)}', which a description "
                              f"names for {self.kind}")  # fmt: skip
        return found

    def optional(self, name: str) -> FloatArray | None:
        """An array of the state_dict as float32, None where there is none."""
        key = self._at(name)
        value = self.state.get(key)
        if value is None:
            return None
        self.used.add(key)
        return np.asarray(value).astype(np.float32)

    def value(self, name: str, default: Any = None) -> FloatArray:
        """A number, or one a neuron, from the description or else from the file.

        Returns:
            () or (size,) float32.
        """
        self.asked.add(name)
        value: Any = self.spec.get(name)
        if value is None:
            value = self.optional(name) if self.key else None
        if value is None:
            value = default
        if value is None:
            raise FormatError(
                f"{self.called} lacks '{name}': it is not in the file, so say it in the description"
            )
        try:
            array = np.asarray(value, np.float32)
        except (TypeError, ValueError):
            raise FormatError(f"{self.called}: '{name}' is {value!r}, not a number") from None
        if array.size == 1:
            return array.reshape(())
        channels = maps.graph_map(self.shape)[2]
        if array.size == channels and array.size != self.size:
            return np.repeat(array.reshape(-1), self.size // channels)
        if array.size != self.size:
            raise ModelError(f"{self.called}: '{name}' has {array.size} values for {self.shape}")
        return array.reshape(-1)

    def option(self, name: str, default: Any) -> Any:
        """What the description says, as it stands."""
        self.asked.add(name)
        return self.spec.get(name, default)

    def weights(self) -> tuple[FloatArray, Float64Array | None, int]:
        """The weights as they are multiplied, what one of their integers is worth, and their bits.

        Brevitas rounds weights to `scale * clip(round(w / scale), -n, n)`, n = 2**(bits - 1) - 1,
        with a scale that is stored, or else the largest weight over n: `quant/scaled_int.py` of
        0.13. A description may say it instead ("scale"), above all for files of integers.

        Raises:
            FormatError: there is no such width or scale.
        """
        weight = self.array("weight")
        if not self.quantised:
            return weight, None, int(self.option("bits", 8))
        bits = self.option("weight_bit_width", 8)
        if not isinstance(bits, int) or not 2 <= bits <= 16:
            raise FormatError(f"{self.called}: weight_bit_width is {bits!r}, not 2 to 16")
        most = np.float32((1 << (bits - 1)) - 1)
        given, stored = self.option("scale", None), self.optional(STORED_SCALE)
        if isinstance(given, str):
            given = self.array(given)
        if self.state[self._at("weight")].dtype.kind in "iu" and given is None:
            raise FormatError(f"{self.called} has integers: say what one is worth as its 'scale'")
        each = self.option("scaling_per_output_channel", False)
        if given is not None:
            scale = np.asarray(given, np.float32).reshape(-1)
        elif stored is not None:
            scale = np.abs(stored).reshape(-1) / most
        else:
            rows = np.abs(weight).reshape(len(weight), -1)
            scale = (rows.max(axis=1) if each else rows.max(keepdims=True).reshape(-1)) / most
        if scale.size not in (1, len(weight)) or not np.all((scale > 0) & np.isfinite(scale)):
            raise FormatError(
                f"{self.called}: its scale is not one number above 0, or {len(weight)}"
            )
        along = scale.reshape(-1, *[1] * (weight.ndim - 1))
        integers = self.state[self._at("weight")].dtype.kind in "iu"
        whole = weight if integers else np.clip(np.rint(weight / along), -most, most)
        width = next(n for n in (2, 4, 8, 16) if n >= bits)
        grid = scale.astype(np.float64)
        return whole * along, grid.reshape(()) if grid.size == 1 else grid, width

    def pair(self, name: str, default: Any = None) -> tuple[int, int]:
        """One whole number for both directions, or two."""
        self.asked.add(name)
        return maps.pair(f"{self.called}: '{name}'", self.spec.get(name), default)

    def finish(self) -> None:
        """Refuse what nobody asked for: it would be left out silently.

        Raises:
            FormatError: names it.
        """
        unknown = sorted(set(self.spec) - self.asked)
        if unknown:
            raise FormatError(f"{self.called} has '{unknown[0]}', which {self.kind} does not take")

    def _at(self, name: str) -> str:
        return f"{self.key}.{name}" if self.key else name


Maker = Callable[[Layer, str], Neurons]
Makers = Mapping[str, Maker]


@dataclass
class _Pending:
    """A linear layer whose sum has not entered anything yet.

    The sum is `scale` times that of the projection, plus `bias`; both a channel each, of the
    framework's map. `origin` is the map that what enters was before it was flattened.
    """

    layer: Layer
    source: str
    before: maps.Shape
    origin: maps.Shape
    after: maps.Shape
    scale: Float64Array
    bias: Float64Array


def read_modules(
    path: Path,
    options: Options,
    makers: Makers,
    framework: str,
    version: str,
    ignored: tuple[str, ...] = (),
) -> Network:
    """The network of a state_dict and its description.

    Args:
        path: what `torch.save` wrote: a state_dict, or a dictionary that has one.
        options: with the description.
        makers: type of neurons -> how they are made, given the layer and the version.
        framework, version: whose rules; the version where the description does not say.
        ignored: ends of keys that are no part of the network.

    Raises:
        FormatError: the file is damaged, or does not go with its description.
        ModelError: a layer cannot be kept; the message names it.
    """
    return _Stack(path, options, makers, framework, version, ignored).network()


def state_dict(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a checkpoint by name, without the prefixes that wrappers put before them.

    Raises:
        FormatError: it is damaged, or holds no state_dict.
    """
    loaded = read_torch(path)
    for name in ("state_dict", "model_state_dict", "model", "net"):
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
            break
    if not isinstance(loaded, dict):
        raise FormatError(f"{path} holds no state_dict: save model.state_dict()")
    arrays = {str(k): v for k, v in loaded.items() if isinstance(v, np.ndarray)}
    if not arrays:
        raise FormatError(f"{path} holds no arrays: save model.state_dict()")
    for prefix in ("module.", "model.", "net."):
        if all(key.startswith(prefix) for key in arrays):
            arrays = {key.removeprefix(prefix): value for key, value in arrays.items()}
    return arrays


class _Stack:
    def __init__(
        self,
        path: Path,
        options: Options,
        makers: Makers,
        framework: str,
        version: str,
        ignored: tuple[str, ...],
    ) -> None:
        self.path, self.makers, self.ignored = path, makers, ignored
        described = self.described = options.description
        if not described.get("layers"):
            raise FormatError(
                f"{path} holds weights, and not how they hang together: describe its layers in a "
                "JSON file, --describe (docs/converters.md)"
            )
        unknown = sorted(set(described) - KNOWN)
        if unknown:
            raise FormatError(f"the description of {path} has '{unknown[0]}', which is not known")
        self.version = str(described.get("version", version))
        self.profile = Profile(framework, self.version)
        self.remarks: list[str] = []
        if "version" not in described:
            self.remarks.append(f"the description names no version of {framework}: {version}")
        self.state = state_dict(path)
        self.used: set[str] = set()
        self.shape = self._input_shape()
        self.parts: list[AnyPopulation] = []
        self.projections: list[AnyProjection] = []
        self.source, self.emits = "input", 1.0
        self.pending: _Pending | None = None
        self.flat_from: maps.Shape = ()

    def _input_shape(self) -> maps.Shape:
        given = self.described.get("input")
        shape = (given,) if isinstance(given, int) else given
        good = isinstance(shape, (list, tuple)) and 1 <= len(shape) <= 3
        if not good or not all(isinstance(n, int) and n > 0 for n in shape or ()):
            raise FormatError(
                f"the description of {self.path} has 'input' {given!r}: give the number of "
                "channels, or [channels, height, width]"
            )
        return tuple(shape or ())

    def network(self) -> Network:
        input_shape = self.shape
        layers = self.described["layers"]
        if not isinstance(layers, list):
            raise FormatError(f"'layers' in the description of {self.path} is no list")
        for spec in layers:
            if not isinstance(spec, dict) or not isinstance(spec.get("type"), str):
                raise FormatError(f"a layer in the description of {self.path} has no type: {spec}")
            self._add(Layer(self.path, spec, self.state, self.used, self.shape))
        if self.pending is not None:
            self._relay()
        if not self.parts:
            raise FormatError(f"the description of {self.path} names no neurons")
        left = sorted(
            key for key in set(self.state) - self.used
            if not key.endswith(("num_batches_tracked", *self.ignored))
        )  # fmt: skip
        if left:
            raise ModelError(
                f"{self.path} has '{left[0]}' and {len(left) - 1} more keys that its description "
                "does not name: it would be wrong to leave them out"
            )
        if any(isinstance(p, (Conv, Pool)) for p in self.projections):
            self.remarks.append("frames of maps lie (height, width, channel), channel fastest")
        order = {p.name: k for k, p in enumerate(self.parts)}
        try:
            return Network(
                input_size=maps.size_of(input_shape),
                input_kind=self._input_kind(),
                populations=tuple(self.parts),
                projections=tuple(sorted(self.projections, key=lambda p: order[p.target])),
                readout=self._readout(),
                profile=self.profile,
                source=self.path.name,
                step_us=self._step_us(),
                classes=self._names("classes", self.parts[-1].size),
                units=self._names("units", maps.size_of(input_shape)),
                remarks=tuple(self.remarks),
            )
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from None

    def _input_kind(self) -> InputKind | None:
        kind = self.described.get("input_kind")
        if kind not in (None, "analog", "spikes"):
            raise FormatError(f'\'input_kind\' is {kind!r}: it is "analog" or "spikes"')
        return None if kind is None else InputKind(kind)

    def _step_us(self) -> int:
        value = self.described.get("step_us", 0)
        if not isinstance(value, (int, float)) or not 0 <= value < 1 << 32:
            raise FormatError(f"'step_us' is {value!r}, not a time in µs")
        return round(value)

    def _names(self, key: str, count: int) -> tuple[str, ...]:
        names = self.described.get(key, [])
        if not isinstance(names, list) or len(names) not in (0, count):
            raise FormatError(f"'{key}' in the description is no list of {count} names")
        return tuple(map(str, names))

    def _readout(self) -> ReadoutRule:
        last = self.parts[-1]
        name = self.described.get("readout")
        if name is None:
            silent = isinstance(last, Integrator) or (
                isinstance(last, Population) and last.reset is Reset.NONE
            )
            name = "last" if silent else "count"
            self.remarks.append(f"the description names no read-out: '{name}' of '{last.name}'")
        if name not in READOUTS:
            raise FormatError(f"there is no read-out {name!r}: choose {', '.join(READOUTS)}")
        return ReadoutRule(last.name, READOUTS[name])

    # ---- layers ----

    def _add(self, layer: Layer) -> None:
        if layer.kind in SKIPPED:
            layer.asked |= set(layer.spec)
            if layer.kind == "Flatten":
                self.flat_from = self.shape
                self.shape = (maps.size_of(self.shape),)
        elif layer.kind.startswith("BatchNorm"):
            self._batch_norm(layer)
        elif layer.kind in LINEAR:
            if self.pending is not None:
                self._relay()
            self._linear(layer)
        elif layer.kind == "MaxPool2d":
            self._largest(layer)
        elif layer.kind in self.makers:
            self._neurons(layer, self.makers[layer.kind](layer, self.version))
        else:
            raise ModelError(
                f"{layer.called} is of a type that is not supported: there is "
                f"{', '.join([*self.makers, *LINEAR, 'MaxPool2d', 'BatchNorm', *SKIPPED])}"
            )
        layer.finish()

    def _linear(self, layer: Layer) -> None:
        before, kind = self.shape, layer.kind
        # asked for when it is known what the sum enters
        if layer.quantised:
            layer.weights()
        else:
            layer.asked |= {"Linear": {"bits"}, "Delays": {"max_delay"}}.get(kind, set())
        layer.asked |= {"groups"} if kind.startswith("Conv") else set()
        bias = None
        if kind == "Linear":
            weight = layer.array("weight")
            bias = layer.optional("bias")
            if weight.ndim != 2 or weight.shape[1] != maps.size_of(before):
                raise ModelError(
                    f"{layer.called} has a weight of shape {weight.shape} behind {before}"
                )
            after: maps.Shape = (len(weight),)
        elif kind == "Delays":
            weight = layer.array("weight")
            if weight.ndim != 3 or weight.shape[1] != maps.size_of(before):
                raise ModelError(f"{layer.called} has a weight of shape {weight.shape}")
            bias, after = layer.optional("bias"), (len(weight),)
        else:
            after = self._window(layer)[1]
            if kind.startswith("Conv"):
                bias = layer.optional("bias")
        channels = maps.graph_map(after)[2]
        if bias is not None and bias.shape != (channels,):
            raise ModelError(f"{layer.called} has a bias of shape {bias.shape} for {after}")
        self.pending = _Pending(
            layer, self.source, before, self.flat_from or before, after, np.ones(channels),
            np.zeros(channels) if bias is None else bias.astype(np.float64),
        )  # fmt: skip
        self.shape, self.flat_from = after, ()

    def _window(self, layer: Layer) -> tuple[Any, maps.Shape]:
        """The window of a convolution or pooling, and the shape of what it makes."""
        shape = layer.shape
        dilation = (1, 1)
        if layer.kind.startswith("Conv"):
            weight = layer.array("weight")
            axes = 3 if layer.kind == "Conv1d" else 4
            if weight.ndim != axes or len(shape) != axes - 1:
                raise ModelError(
                    f"{layer.called} has a weight of shape {weight.shape} over a map of {shape}"
                )
            size, channels = weight.shape[2:], len(weight)
            size = (1, *size) if axes == 3 else size
            dilation = self._along(layer, "dilation", 1)
            stride = self._along(layer, "stride", 1)
        else:
            size = layer.pair("kernel_size")
            channels, stride = shape[0], layer.pair("stride", size)
        extent = tuple((k - 1) * d + 1 for k, d in zip(size, dilation, strict=True))
        padding = layer.option("padding", 0)
        if not isinstance(padding, str):
            padding = self._along(layer, "padding", 0)
        window, after = maps.sliding(
            layer.called, shape, channels, (extent[0], extent[1]), stride, padding
        )
        return (window, dilation), after

    @staticmethod
    def _along(layer: Layer, name: str, default: int) -> tuple[int, int]:
        pair = layer.pair(name, default)
        if layer.kind == "Conv1d":  # nothing happens along the height
            return (0 if name == "padding" else 1), pair[1]
        return pair

    def _batch_norm(self, layer: Layer) -> None:
        """Fold evaluation's batch norm, g * (x - mean) / sqrt(var + eps) + b, into what enters."""
        pending = self.pending
        if pending is None:
            raise ModelError(
                f"{layer.called} does not follow a linear layer or pooling, into which it could be "
                "folded"
            )
        mean, variance = layer.array("running_mean"), layer.array("running_var")
        if mean.shape != pending.bias.shape or variance.shape != mean.shape:
            raise ModelError(f"{layer.called} has {mean.shape} channels, not {pending.bias.shape}")
        weight, bias = layer.optional("weight"), layer.optional("bias")
        eps = float(layer.value("eps", 1e-5))
        gain = (1.0 if weight is None else weight.astype(np.float64)) / np.sqrt(
            variance.astype(np.float64) + eps
        )
        pending.scale = pending.scale * gain
        pending.bias = (pending.bias - mean) * gain + (0.0 if bias is None else bias)

    def _relay(self) -> None:
        """Give what is pending a place of its own: further linear layers take it on."""
        assert self.pending is not None
        layer, after = self.pending.layer, self.pending.after
        name = layer.key or f"{layer.kind.lower()}{len(self.parts)}"
        bias = maps.spread(self.pending.bias, after).astype(np.float32)
        self.parts.append(Integrator(name, maps.size_of(after), np.float32(0), bias, layer.called))
        self._enter(name, after, np.ones(()))
        self.source, self.emits = name, 1.0

    def _largest(self, layer: Layer) -> None:
        """Max pooling of spikes: neurons without memory, of which one spikes where any does."""
        last = self.parts[-1] if self.parts else None
        spikes = isinstance(last, Population) and last.max_spikes == 1
        if last is None:
            spikes = self.described.get("input_kind") == "spikes"
        if self.pending is not None or not spikes:
            raise ModelError(
                f"{layer.called} takes the largest of values, for which there is no operation: put "
                "it behind neurons, where it is whether any spikes, or pool by average"
            )
        pool = Layer(self.path, {**layer.spec, "type": "SumPool2d"}, self.state, self.used)
        pool.shape = layer.shape
        self._linear(pool)
        pool.finish()
        layer.asked |= set(layer.spec)
        layer.shape = self.shape
        any_spikes = {"beta": np.float64(0), "threshold": np.float64(abs(self.emits) / 2)}
        rule = {**any_spikes, "reset": Reset.NONE}
        self._neurons(layer, Neurons(rule, gain=np.sign(self.emits), emits=self.emits))

    def _neurons(self, layer: Layer, made: Neurons) -> None:
        name = layer.key or f"{layer.kind.lower()}{len(self.parts)}"
        shape = layer.shape
        gain = self._ordered(made.gain, shape)
        bias = np.zeros(layer.size) + self._ordered(made.constant, shape)
        if self.pending is not None:
            bias = bias + maps.spread(self.pending.bias, shape) * gain
        if made.recurrent is not None and made.recurrent[1] is not None:
            bias = bias + self._ordered(made.recurrent[1], shape) * gain
        rule: dict[str, Any] = {
            key: self._ordered(value, shape).astype(np.float32)
            if isinstance(value, (np.ndarray, np.floating)) else value
            for key, value in made.rule.items()
        }  # fmt: skip
        common: dict[str, Any] = {"name": name, "size": layer.size, "bias": bias.astype(np.float32)}
        if made.integrates:
            kind = made.rule.get("activation", Activation.IDENTITY)
            beta = rule["beta"]
            self.parts.append(
                Integrator(beta=beta, layer=layer.called, activation=kind, **common)
            )  # fmt: skip
        else:
            self.parts.append(Population(layer=layer.called, **common, **rule))
        if self.pending is None:
            self._straight(name, shape, gain)
        else:
            self._enter(name, shape, gain)
        self._recur(name, made, shape, gain)
        self.source, self.emits, self.flat_from = name, made.emits, ()

    @staticmethod
    def _ordered(values: Any, shape: maps.Shape) -> Float64Array:
        """A parameter in the framework's order in the graph's; () stays ()."""
        array = np.asarray(values, np.float64)
        return array if array.ndim == 0 else maps.reordered(array, shape)

    def _recur(self, name: str, made: Neurons, shape: maps.Shape, gain: Float64Array) -> None:
        size = maps.size_of(shape)
        rows = np.broadcast_to(gain, (size,))[:, np.newaxis] * made.emits
        if made.recurrent is not None:
            weight = made.recurrent[0]
            if weight.shape != (size, size):
                raise ModelError(f"the recurrent weight of '{name}' has shape {weight.shape}")
            inner = maps.reordered(maps.reordered(weight, shape).T, shape).T * rows
            self.projections.append(Projection(name, name, inner.astype(np.float32), layer=name))
        if made.one_to_one is not None:
            own = np.broadcast_to(self._ordered(made.one_to_one, shape), (size,))
            alone = (np.diag(own) * rows).astype(np.float32)
            self.projections.append(Projection(name, name, alone, layer=name))

    def _straight(self, name: str, shape: maps.Shape, gain: Float64Array) -> None:
        """Neurons without a linear layer in front: each takes what stands in its place."""
        total = np.broadcast_to(gain * self.emits, (maps.size_of(shape),))
        if self.source != "input" and shape != self.shape:
            raise ModelError(f"'{name}' is not of the shape of what enters it")
        weight = np.diag(total).astype(np.float32)
        self.projections.append(Projection(self.source, name, weight, layer=name))

    def _enter(self, target: str, shape: maps.Shape, gain: Float64Array) -> None:
        """Make the projection of what is pending; the target multiplies by its gain."""
        pending = self.pending
        assert pending is not None
        self.pending = None
        layer, before = pending.layer, pending.before
        scale = pending.scale * self.emits
        spread = np.broadcast_to(gain, (maps.size_of(shape),))
        made: AnyProjection
        if layer.kind in ("Linear", "Delays"):
            rows = maps.spread(scale, shape) * spread
            source_shape = pending.origin
            if layer.kind == "Linear":
                stored, grid, bits = layer.weights()
                weight = maps.reordered(stored, source_shape) * rows[:, np.newaxis]
                if grid is not None:
                    grid = _times(maps.spread(grid, shape), rows)
                made = Projection(
                    pending.source, target, weight.astype(np.float32), layer=layer.called,
                    bits=bits, grid=grid,
                )  # fmt: skip
            else:
                made = self._delays(pending, target, rows, source_shape)
        else:
            (window, dilation), _ = self._window(Layer(
                self.path, layer.spec, self.state, self.used, before
            ))  # fmt: skip
            channels = spread.reshape(-1, window.output_shape[2])
            if np.any(channels != channels[0]):
                raise ModelError(f"{layer.called} slides into neurons with a gain of their own")
            total = scale * channels[0]
            if layer.kind.startswith("Conv"):
                flat, grid, bits = layer.weights()
                if grid is not None:
                    grid = _times(grid, total)
                tall = flat[:, :, np.newaxis] if flat.ndim == 3 else flat
                kernel = (maps.kernel(tall, dilation) * total).astype(np.float32)
                groups = int(layer.option("groups", 1))
                made = Conv(
                    pending.source, target, kernel, window, groups, layer.called, max(8, bits), grid
                )
            else:
                factor = 1.0 if layer.kind == "SumPool2d" else 1 / np.prod(window.kernel)
                if np.all(total == total[0]) and total[0] > 0:
                    value = float(factor * total[0])
                    made = Pool(pending.source, target, window, value, layer.called)
                else:
                    # channels with a gain of their own are weighted, each by itself
                    shape = (*window.kernel, 1, len(total))
                    kernel = np.broadcast_to(factor * total, shape).astype(np.float32)
                    made = Conv(
                        pending.source, target, kernel, window, len(total), layer.called
                    )  # fmt: skip
        self.projections.append(made)

    def _delays(
        self, pending: _Pending, target: str, rows: Float64Array, shape: maps.Shape
    ) -> Delayed:
        """DCLS: one delay a synapse and tap, by its position (`converters/dcls.py`)."""
        layer = pending.layer
        longest = int(layer.value("max_delay"))
        weight, position = layer.array("weight"), layer.array("P")
        position = position.reshape(position.shape[-3:])
        if position.shape != weight.shape or longest < 1 or longest > 255:
            raise ModelError(f"{layer.called}: positions {position.shape}, weights {weight.shape}")
        half = longest // 2
        delay = half - np.clip(np.rint(position), -half, half)
        if longest % 2 == 0:
            raise ModelError(f"{layer.called}: max_delay is {longest}, DCLS's is odd")
        # the kernel of evaluation is 1 at the position, over its sum and 1e-7
        taps = np.moveaxis(weight, 2, 0) * (rows[:, np.newaxis] / np.float32(1 + 1e-7))
        late = np.moveaxis(delay, 2, 0).astype(np.uint8)
        return Delayed(
            pending.source, target, maps.reordered(taps, shape).astype(np.float32),
            maps.reordered(late, shape), layer.called,
        )  # fmt: skip


def _times(grid: Float64Array, gain: Float64Array) -> Float64Array:
    """A grid behind a gain; a row that the gain makes 0 lies on any."""
    made: Float64Array = grid * np.abs(gain)
    return np.where(made > 0, made, made.max(initial=0) or 1.0)
