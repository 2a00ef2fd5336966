"""The float network: what every converter makes, its semantics pinned, and what was kept of it.

A network is what a framework trained: populations whose rule has every switch explicit, and
projections between them. `Network.run` computes it as the framework does (float32), so that the
integer graph made from it can be compared, spike by spike. Populations, projections and switches
mean here in floats what those of the same names mean in `edgesnn.graph` in integers, and are
updated in the same order; there is neither rounding nor saturation.

What a framework multiplies currents by (1/tau, 1 - beta, w_in) is in the weights and biases here.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ModelError
from edgesnn.graph import (
    MAX_SPIKES,
    Activation,
    Conduction,
    Fire,
    Graph,
    Port,
    PotentialMode,
    Reset,
    Window,
)

FloatArray = npt.NDArray[np.float32]
DELAYED = (Reset.SUBTRACT, Reset.ZERO, Reset.ZERO_DISCARD)


class InputKind(enum.Enum):
    """What enters the network: real sensor values, or binary spikes."""

    ANALOG = "analog"
    SPIKES = "spikes"


@dataclass(frozen=True)
class Profile:
    """Whose arithmetic the network has: a framework, its version, and the rule's name in it."""

    framework: str
    version: str

    def __str__(self) -> str:
        return f"{self.framework} {self.version}".strip()


# ---- populations ----


@dataclass(frozen=True, eq=False)
class Adaptation:
    """A threshold that a neuron's own spikes raise, as `edgesnn.graph.Adaptation`.

    `a = decay * a + step * s'`, `T = threshold + a + J`, s' the spike of the step before.

    Args:
        decay, step: () or (size,) float32; decay 0..1.
        old: whether a delayed reset subtracts the T of the step in which the neuron spiked.
    """

    decay: FloatArray
    step: FloatArray
    old: bool = False


@dataclass(frozen=True, eq=False)
class Population:
    """Spiking neurons, the canonical neuron `edgesnn.graph.LIF` in floats.

    In each step, I the summed input (bias included), u = beta * v, T the threshold:

        LIF:       x = I                                              (alpha None)
        CuBa-LIF:  i = alpha * i + I;  x = i, or as `conduction` says, + membrane_bias
        Alpha:     i = alpha * i + I;  h = inhibitory * h - I;  the membrane is i + h, and with
                   SUBTRACT, where the neuron has spiked, + beta * h of the step before, after which
                   i = i - reset_to and h = 0

    then the membrane from u and x, the spikes and the reset as `reset`, `fire`, `max_spikes`,
    `floor` and `reset_to` say in `edgesnn.graph`. snnTorch 0.7.0 to 1.0.0 is this with the resets
    that are delayed, and with SUBTRACT_RESIDUE and ZERO_AT_ONCE for `reset_delay=False` (its
    `Synaptic` of 0.8.0 to 0.9.1 only where it keeps its states itself: called with them, as
    lif(x, syn, mem), it takes `mem` for `syn`).

    Args:
        name: unique in the network.
        size: neurons.
        beta, alpha: () or (size,) float32, 0..1; alpha None for `Leaky`.
        threshold: () or (size,) float32, from 0 (above 0 for `Fire.REACHES`).
        bias: (size,) float32.
        reset: what a spike does.
        layer: the name of this layer in the source, for the report.
        fire, conduction, max_spikes: as in `edgesnn.graph.LIF`.
        inhibitory: () or (size,) float32, 0..1, for Alpha, or None.
        membrane_bias, floor, reset_to: () or (size,) float32, or None.
        adaptation: of the threshold, or None.
    """

    name: str
    size: int
    beta: FloatArray
    threshold: FloatArray
    bias: FloatArray
    alpha: FloatArray | None = None
    reset: Reset = Reset.SUBTRACT
    layer: str = ""
    fire: Fire = Fire.ABOVE
    conduction: Conduction = Conduction.JUMPED
    max_spikes: int = 1
    inhibitory: FloatArray | None = None
    membrane_bias: FloatArray | None = None
    floor: FloatArray | None = None
    reset_to: FloatArray | None = None
    adaptation: Adaptation | None = None

    @property
    def memoryless(self) -> bool:
        """Whether nothing of one step reaches the next: what single-time-step networks are."""
        at_once = self.reset not in DELAYED and self.reset is not Reset.SUBTRACT_RESIDUE
        return (
            not np.any(self.beta)
            and self.alpha is None
            and at_once
            and self.adaptation is None
            and self.max_spikes == 1
        )


@dataclass(frozen=True, eq=False)
class Integrator:
    """Leaky integrators that do not spike (LI): `v = beta * v + I`, emits `activation(v)`.

    With beta 0 a relay, which passes on the sum of what enters it (pooling).

    Args:
        name, size, layer: as `Population`.
        beta: () or (size,) float32, 0..1.
        bias: (size,) float32.
        activation: IDENTITY, RELU, or TABLE for `function`.
        function: of an array, element by element, bounded by -1 and 1 (tanh); for TABLE.
    """

    name: str
    size: int
    beta: FloatArray
    bias: FloatArray
    layer: str = ""
    activation: Activation = Activation.IDENTITY
    function: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None


@dataclass(frozen=True, eq=False)
class LinearState:
    """Linear state, the memory of an LMU: `m[k] = matrix @ m[k] + I[k]`, emits m.

    Args:
        name, size, layer: as `Population`; size = blocks * order.
        matrix: (order, order) float32, shared by the blocks.
        blocks: memories; the state of block k, row i lies at k * order + i.
    """

    name: str
    size: int
    matrix: FloatArray
    blocks: int = 1
    layer: str = ""


@dataclass(frozen=True, eq=False)
class DelayLine:
    """Axonal delays of a spiking source, as `edgesnn.graph.DelayLine`: (size,) steps."""

    name: str
    source: str
    delays: npt.NDArray[np.uint8]
    layer: str = ""

    @property
    def size(self) -> int:
        """Channels."""
        return len(self.delays)


# ---- projections ----


@dataclass(frozen=True, eq=False)
class Projection:
    """`I[target] += weight @ source`, block by block; recurrence as in `edgesnn.graph.Dense`.

    Args:
        source, target: names of the input or a population, and of a population.
        weight: (n_out, n_in) float32; with blocks > 1 shared by all blocks.
        blocks: equal consecutive parts of source and target that the weight joins one to one.
        layer: the name of this layer in the source, for the report.
        bits: 16, 8, 4 or 2 (ternary): the width that the weights are rounded to.
        port: what the sum is added to, the current or the threshold.
        grid: () or (n_out,) float64 where the weights are integers already: what one of them is
            worth. None: they are not.
    """

    source: str
    target: str
    weight: FloatArray
    blocks: int = 1
    layer: str = ""
    bits: int = 8
    port: Port = Port.CURRENT
    grid: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Conv:
    """Convolution, as `edgesnn.graph.Conv`.

    Args:
        source, target, layer: as `Projection`.
        weight: (kernel height, kernel width, C_in / groups, C_out) float32.
        window: shapes (height, width, channel), stride and padding.
        groups: divides C_in and C_out.
        bits: 16 or 8.
        grid: as `Projection`, () or (C_out,).
    """

    source: str
    target: str
    weight: FloatArray
    window: Window
    groups: int = 1
    layer: str = ""
    bits: int = 8
    grid: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Pool:
    """`gain` times the sum of a window of every channel: 1 for sum, 1 / (h * w) for average."""

    source: str
    target: str
    window: Window
    gain: float = 1.0
    layer: str = ""


@dataclass(frozen=True, eq=False)
class Delayed:
    """Synapses with a delay each, as `edgesnn.graph.DelayedSynapses`.

    Args:
        source, target, layer: as `Projection`.
        weight: (taps, n_out, n_in) float32; 0 is no synapse.
        delay: (taps, n_out, n_in) uint8, steps.
        bits: 16 or 8.
    """

    source: str
    target: str
    weight: FloatArray
    delay: npt.NDArray[np.uint8]
    layer: str = ""
    bits: int = 8


AnyPopulation = Union[Population, Integrator, LinearState, DelayLine]
AnyProjection = Union[Projection, Conv, Pool, Delayed]


class Score(enum.Enum):
    """Read-outs beside spike counts and potentials: see `edgesnn.graph`."""

    SOFTMAX_SUM = "softmax"
    FIRST_SPIKE = "first spike"


@dataclass(frozen=True)
class ReadoutRule:
    """How the answer is made: `mode` None counts spikes, else combines potentials."""

    population: str
    mode: PotentialMode | Score | None = None


@dataclass(frozen=True)
class Recorded:
    """What a float run gave.

    Attributes:
        labels: (samples,) int64.
        step_labels: (samples, steps) int64, the label after each step.
        spikes: name of input or population -> (samples, steps, size) bool, where asked for.
        rates: name of population -> how often a neuron emits something in a step, over everything.
        power: name of part -> (size,) mean square of what it emitted.
        largest: name of population -> (size,) largest magnitude of the membrane.
        current: name of population -> (size,) largest magnitude of the input current.
        emitted: name of part -> largest magnitude that it emitted.
    """

    labels: npt.NDArray[np.int64]
    step_labels: npt.NDArray[np.int64]
    spikes: dict[str, npt.NDArray[np.bool_]]
    rates: dict[str, float]
    power: dict[str, npt.NDArray[np.float64]]
    largest: dict[str, FloatArray]
    current: dict[str, FloatArray]
    emitted: dict[str, float]


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network in floats.

    Args:
        input_size, input_kind: of what enters; kind None where the source does not say.
        populations, projections, readout: as in `edgesnn.graph.Graph`.
        profile: whose arithmetic this is.
        source: what was read (a file name), for the report.
        step_us: time from frame to frame, µs, 0 where the source does not say.
        classes: names of the classes, () where the source does not say.
        units: physical unit of each input channel, () where the source does not say.
        remarks: what the converter had to assume.

    Raises:
        ModelError: names the part whose shape, value or reference is wrong.
    """

    input_size: int
    input_kind: InputKind | None
    populations: tuple[AnyPopulation, ...]
    projections: tuple[AnyProjection, ...]
    readout: ReadoutRule
    profile: Profile
    source: str = ""
    step_us: int = 0
    classes: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    input_name: str = "input"

    def __post_init__(self) -> None:
        sizes = {self.input_name: self.input_size}
        for population in self.populations:
            if population.name in sizes:
                raise ModelError(f"two populations are called '{population.name}': rename one")
            sizes[population.name] = population.size
            _check_population(population)
        for population in self.populations:
            if isinstance(population, DelayLine):
                _check_delay_line(self, population, sizes)
        for projection in self.projections:
            _check_projection(self, projection, sizes)
        if self.readout.population not in sizes or self.readout.population == self.input_name:
            raise ModelError(f"the read-out names '{self.readout.population}', which is not there")
        if isinstance(self.population(self.readout.population), DelayLine):
            raise ModelError("the read-out names a delay line: put neurons behind it")

    def size(self, name: str) -> int:
        """Channels of the input, or neurons of a population."""
        if name == self.input_name:
            return self.input_size
        return self.population(name).size

    def population(self, name: str) -> AnyPopulation:
        """The population of that name."""
        return next(p for p in self.populations if p.name == name)

    def into(self, target: str) -> list[AnyProjection]:
        """The projections that target a population, in order."""
        return [p for p in self.projections if p.target == target]

    def run(
        self,
        signal: npt.NDArray[Any],
        *,
        keep: tuple[str, ...] = (),
        progress: Callable[[int], None] = lambda frames: None,
    ) -> Recorded:
        """Run recordings (samples, steps, channels) in the float arithmetic of the framework.

        `keep` names the parts whose spikes are returned; `progress` is called with the number of
        frames done since its last call.
        """
        samples, steps = signal.shape[:2]
        state = State(self, samples)
        names = [self.input_name, *(p.name for p in self.populations)]
        kept = {name: np.zeros((samples, steps, self.size(name)), np.bool_) for name in keep}
        counts = dict.fromkeys(names, 0)
        power = {name: np.zeros(self.size(name)) for name in names}
        emitted = dict.fromkeys(names, 0.0)
        labels = np.zeros((samples, steps), np.int64)
        for t in range(steps):
            # a BLAS may raise the flag for lanes of its vectors that no result comes from; states
            # that grow without bound raise another one first
            with np.errstate(invalid="ignore"):
                state.step(signal[:, t].astype(np.float32))
            for name, store in kept.items():
                store[:, t] = state.emitted[name] != 0
            for name in names:
                output = state.emitted[name]
                counts[name] += int(np.count_nonzero(output))
                power[name] += np.square(output, dtype=np.float64).sum(axis=0)
                emitted[name] = max(emitted[name], float(np.abs(output).max(initial=0)))
            labels[:, t] = np.argmax(state.scores, axis=1)
            progress(samples)
        total = max(1, samples * steps)
        return Recorded(
            labels=np.argmax(state.scores, axis=1),
            step_labels=labels,
            spikes=kept,
            rates={p.name: counts[p.name] / (total * p.size) for p in self.populations},
            power={name: square / total for name, square in power.items()},
            largest=state.largest,
            current=state.largest_current,
            emitted=emitted,
        )


class State:
    """All that a network remembers from one step to the next, for `samples` samples.

    Attributes:
        v: population -> membrane, or the state of an `Integrator` or `LinearState`.
        i, h, a: population -> synaptic currents and adaptation.
        emitted: part -> its most recent output, (samples, size) float32.
        scores: (samples, classes) float32.
    """

    def __init__(self, network: Network, samples: int) -> None:
        def zeros(size: int) -> FloatArray:
            return np.zeros((samples, size), np.float32)

        self.network = network
        self.steps = 0
        parts = [p for p in network.populations if not isinstance(p, DelayLine)]
        self.v = {p.name: zeros(p.size) for p in parts}
        self.i = {p.name: zeros(p.size) for p in parts}
        self.h = {p.name: zeros(p.size) for p in parts}
        self.a = {p.name: zeros(p.size) for p in parts}
        self.threshold = {p.name: zeros(p.size) for p in parts}
        self.emitted = {p.name: zeros(p.size) for p in network.populations}
        self.emitted[network.input_name] = zeros(network.input_size)
        self.largest = {p.name: np.zeros(p.size, np.float32) for p in parts}
        self.largest_current = {p.name: np.zeros(p.size, np.float32) for p in parts}
        self.scores = zeros(network.size(network.readout.population))
        self.into = {p.name: network.into(p.name) for p in network.populations}
        depth: dict[str, int] = {}
        for p in network.populations:
            if isinstance(p, DelayLine):
                depth[p.source] = max(depth.get(p.source, 0), int(p.delays.max()) + 1)
        for q in network.projections:
            if isinstance(q, Delayed):
                depth[q.source] = max(depth.get(q.source, 0), int(q.delay.max(initial=0)) + 1)
        self.history = {n: [zeros(network.size(n)) for _ in range(d)] for n, d in depth.items()}
        self.sums = {id(q): _summing(q) for q in network.projections}

    def step(self, frame: FloatArray) -> None:
        """Advance by one step; `frame` is (samples, channels)."""
        self._emit(self.network.input_name, frame)
        for population in self.network.populations:
            name = population.name
            if isinstance(population, DelayLine):
                past = np.stack(self.history[population.source])
                self._emit(name, past[population.delays, :, np.arange(population.size)].T)
                continue
            current = np.zeros_like(self.v[name])
            if not isinstance(population, LinearState):
                current += population.bias
            raised = np.zeros_like(current)
            for projection in self.into[name]:
                if isinstance(projection, Delayed):
                    summed = self.sums[id(projection)](np.stack(self.history[projection.source]))
                else:
                    summed = self.sums[id(projection)](self.emitted[projection.source])
                if isinstance(projection, Projection) and projection.port is Port.THRESHOLD:
                    raised += summed
                else:
                    current += summed
            _raise_to(self.largest_current[name], current)
            if isinstance(population, Integrator):
                v = self.v[name] = (population.beta * self.v[name] + current).astype(np.float32)
                self._emit(name, _activated(population, v))
            elif isinstance(population, LinearState):
                blocked = self.v[name].reshape(len(frame), population.blocks, -1)
                moved = (blocked @ population.matrix.T).reshape(len(frame), -1)
                v = self.v[name] = moved + current
                self._emit(name, v)
            else:
                self._emit(name, self._fire(population, current, raised))
            _raise_to(self.largest[name], self.v[name])
        self._read_out()
        self.steps += 1

    def _emit(self, name: str, output: FloatArray) -> None:
        self.emitted[name] = output
        if name in self.history:
            self.history[name] = [output, *self.history[name][:-1]]

    def _fire(self, p: Population, current: FloatArray, raised: FloatArray) -> FloatArray:
        """Update spiking neurons by one step; the spikes of each."""
        name, v = p.name, self.v[p.name]
        r = (self.emitted[name] != 0).astype(np.float32)
        threshold = subtracted = np.broadcast_to(p.threshold, (p.size,))
        if p.adaptation is not None:
            spiked = p.adaptation.step * r
            a = self.a[name] = (p.adaptation.decay * self.a[name] + spiked).astype(np.float32)
            before = self.threshold[name]
            threshold = self.threshold[name] = p.threshold + a + raised
            subtracted = before if p.adaptation.old else threshold
        x = current
        if p.alpha is not None:
            before = self.i[name]
            x = self.i[name] = p.alpha * before + current
            if p.conduction is Conduction.DECAYED:
                # what frameworks of this kind keep is the current after its decay
                x = p.alpha * x
            elif p.conduction is Conduction.LAGGED:
                x = before
            if p.membrane_bias is not None:
                x = x + p.membrane_bias
        if p.inhibitory is not None:
            i, h = self.i[name], p.inhibitory * self.h[name] - current
            w = i + h
            if p.reset is Reset.ZERO_DISCARD:
                i, h, w = (1 - r) * i, (1 - r) * h, (1 - r) * w
            elif p.reset is Reset.SUBTRACT:
                w = w + r * (p.beta * self.h[name])
                i, h = i - r * p.reset_to, (1 - r) * h
            self.i[name], self.h[name] = i, h
        else:
            w = _integrate(p, v, x, r, threshold, subtracted)
        q = _passes(p, v, threshold)
        s = _passes(p, w, threshold)
        if p.max_spikes > 1:
            s = s * np.minimum(np.floor(w / threshold), p.max_spikes)
        v = w
        if p.reset is Reset.SUBTRACT_AT_ONCE:
            v = w - s * threshold
        elif p.reset is Reset.ZERO_AT_ONCE:
            v = np.where(s > 0, 0 if p.reset_to is None else p.reset_to, w)
        elif p.reset is Reset.SUBTRACT_RESIDUE:
            v = w - (s - q) * threshold
        if p.floor is not None:
            v = np.maximum(v, p.floor)
        self.v[name] = v.astype(np.float32)
        spikes: FloatArray = s.astype(np.float32)
        return spikes

    def _read_out(self) -> None:
        readout = self.network.readout
        name = readout.population
        if readout.mode is None:
            self.scores += self.emitted[name]
        elif readout.mode is Score.FIRST_SPIKE:
            first = (self.scores == 0) & (self.emitted[name] != 0)
            self.scores = np.where(first, np.float32(1 << 24) - self.steps, self.scores)
        elif readout.mode is Score.SOFTMAX_SUM:
            e = np.exp(self.v[name] - self.v[name].max(axis=1, keepdims=True))
            self.scores += e / e.sum(axis=1, keepdims=True)
        elif readout.mode is PotentialMode.SUM:
            self.scores += self.v[name]
        elif readout.mode is PotentialMode.MAX and self.steps > 0:
            self.scores = np.maximum(self.scores, self.v[name])
        else:
            self.scores = self.v[name].copy()


def _raise_to(largest: FloatArray, values: FloatArray) -> None:
    np.maximum(largest, np.abs(values).max(axis=0, initial=0), out=largest)


def _passes(p: Population, w: FloatArray, threshold: FloatArray) -> FloatArray:
    return ((w > threshold) if p.fire is Fire.ABOVE else (w >= threshold)).astype(np.float32)


def _integrate(
    p: Population,
    v: FloatArray,
    x: FloatArray,
    r: FloatArray,
    threshold: FloatArray,
    subtracted: FloatArray,
) -> FloatArray:
    """The membrane that the fire test sees."""
    leaked = p.beta * v
    if p.reset is Reset.SUBTRACT:
        return leaked + x - r * subtracted
    if p.reset is Reset.SUBTRACT_RESIDUE:
        return leaked + x - _passes(p, v, threshold) * threshold
    if p.reset is Reset.ZERO:
        return (1 - r) * leaked + x
    if p.reset is Reset.ZERO_DISCARD:
        return (1 - r) * (leaked + x)
    return leaked + x


def _activated(population: Integrator, v: FloatArray) -> FloatArray:
    if population.activation is Activation.RELU:
        return np.maximum(v, 0)
    if population.activation is Activation.TABLE:
        assert population.function is not None
        return population.function(v).astype(np.float32)
    return v


def _summing(projection: AnyProjection) -> Callable[[FloatArray], FloatArray]:
    """What a projection adds for what its source emitted, (samples, size) each.

    Of `Delayed`, the source's outputs are (steps back, samples, size).
    """
    if isinstance(projection, Projection):
        weight, blocks = projection.weight.T, projection.blocks

        def dense(source: FloatArray) -> FloatArray:
            blocked = source.reshape(len(source), blocks, -1)
            summed: FloatArray = (blocked @ weight).reshape(len(source), -1)
            return summed

        return dense
    if isinstance(projection, Delayed):
        # a product with a transposed view of few columns takes 30 times as long
        late = {
            int(d): np.ascontiguousarray(
                np.where(projection.delay == d, projection.weight, 0)
                .sum(axis=0, dtype=np.float32)
                .T
            )
            for d in np.unique(projection.delay)
        }

        def delayed(history: FloatArray) -> FloatArray:
            summed = sum(history[d] @ part for d, part in late.items())
            return np.asarray(summed, np.float32)

        return delayed
    window = projection.window
    places = window_places(window)
    if isinstance(projection, Pool):
        gain = np.float32(projection.gain)

        def pooled(source: FloatArray) -> FloatArray:
            seen = _seen(source, window, places)
            summed: FloatArray = gain * seen.sum(axis=2, dtype=np.float32)
            return summed.reshape(len(source), -1)

        return pooled
    groups = projection.groups
    c_out = window.output_shape[2] // groups
    kernels = [
        projection.weight[..., g * c_out : (g + 1) * c_out].reshape(-1, c_out)
        for g in range(groups)
    ]

    def convolved(source: FloatArray) -> FloatArray:
        seen = _seen(source, window, places)
        parts = np.split(seen, groups, axis=3)
        summed = [
            part.reshape(*part.shape[:2], -1) @ kernel
            for part, kernel in zip(parts, kernels, strict=True)
        ]
        return np.concatenate(summed, axis=2).reshape(len(source), -1)

    return convolved


def window_places(window: Window) -> npt.NDArray[np.int64]:
    """For every output place and place of the kernel, which place of the source it sees.

    (out height * out width, kernel places) int64, -1 for a place outside the map.
    """
    out_y, out_x = np.indices(window.output_shape[:2]).reshape(2, -1, 1)
    in_y, in_x = np.indices(window.kernel).reshape(2, 1, -1)
    y = out_y * window.stride[0] + in_y - window.padding[0]
    x = out_x * window.stride[1] + in_x - window.padding[1]
    height, width = window.input_shape[:2]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return np.where(inside, y * width + x, -1)


def _seen(source: FloatArray, window: Window, places: npt.NDArray[np.int64]) -> FloatArray:
    """(samples, output places, kernel places, channels)."""
    maps = source.reshape(len(source), -1, window.input_shape[2])
    padded = np.concatenate([maps, np.zeros_like(maps[:, :1])], axis=1)
    return padded[:, places]


# ---- checks ----


def _called(part: AnyPopulation | AnyProjection) -> str:
    layer = part.layer or "no layer name"
    if isinstance(part, (Population, Integrator, LinearState, DelayLine)):
        return f"population '{part.name}' ({layer})"
    return f"projection '{part.source}' -> '{part.target}' ({layer})"


def _check_values(what: str, size: int, values: dict[str, FloatArray | None]) -> None:
    for name, array in values.items():
        if array is None:
            continue
        if array.shape not in ((), (1,), (size,)):
            raise ModelError(
                f"{what}: {name} has shape {array.shape}, not () or ({size},): check the source"
            )
        if not np.all(np.isfinite(array)):
            raise ModelError(f"{what}: {name} is not finite: the training diverged, train again")


def _check_decays(what: str, decays: dict[str, FloatArray | None]) -> None:
    for name, array in decays.items():
        if array is not None and not np.all((array >= 0) & (array <= 1)):
            raise ModelError(f"{what}: {name} leaves 0..1: clip it as the framework does")


def _check_population(part: AnyPopulation) -> None:
    what = _called(part)
    if isinstance(part, DelayLine):
        return
    if isinstance(part, LinearState):
        order = len(part.matrix)
        if part.matrix.shape != (order, order) or order * part.blocks != part.size:
            raise ModelError(f"{what}: a matrix {part.matrix.shape} has not {part.size} states")
        if not np.all(np.isfinite(part.matrix)):
            raise ModelError(f"{what}: its matrix is not finite: check the source")
        return
    if isinstance(part, Integrator):
        _check_values(what, part.size, {"beta": part.beta, "bias": part.bias})
        _check_decays(what, {"beta": part.beta})
        return
    decays: dict[str, FloatArray | None] = {
        "beta": part.beta, "alpha": part.alpha, "inhibitory": part.inhibitory,
    }  # fmt: skip
    if part.adaptation is not None:
        decays["adaptation.decay"] = part.adaptation.decay
        _check_values(what, part.size, {"adaptation.step": part.adaptation.step})
    others: dict[str, FloatArray | None] = {
        "threshold": part.threshold, "bias": part.bias, "membrane_bias": part.membrane_bias,
        "floor": part.floor, "reset_to": part.reset_to,
    }  # fmt: skip
    _check_values(what, part.size, {**decays, **others})
    if np.any(part.threshold < 0):
        raise ModelError(f"{what}: a threshold is below 0, so that a neuron spikes at rest")
    if part.fire is Fire.REACHES and np.any(part.threshold == 0):
        raise ModelError(f"{what}: a threshold is 0, which a neuron at rest reaches")
    _check_decays(what, decays)
    if not 1 <= part.max_spikes <= MAX_SPIKES:
        raise ModelError(f"{what}: max_spikes is {part.max_spikes}, not 1..{MAX_SPIKES}")


def _check_delay_line(network: Network, part: DelayLine, sizes: dict[str, int]) -> None:
    what = _called(part)
    if part.source not in sizes or part.source == part.name:
        raise ModelError(f"{what}: there is no '{part.source}' to delay, only {', '.join(sizes)}")
    if sizes[part.source] != part.size:
        raise ModelError(f"{what}: {part.size} delays for {sizes[part.source]} channels")


def _check_projection(network: Network, part: AnyProjection, sizes: dict[str, int]) -> None:
    what = _called(part)
    for end in (part.source, part.target):
        if end not in sizes:
            raise ModelError(f"{what}: there is no '{end}', only {', '.join(sizes)}")
    expected = (sizes[part.target], sizes[part.source])
    if isinstance(part, (Conv, Pool)):
        window = part.window
        joined = (math.prod(window.output_shape), math.prod(window.input_shape))
        if isinstance(part, Conv):
            c_in, c_out = window.input_shape[2], window.output_shape[2]
            divides = part.groups > 0 and c_in % part.groups == 0 and c_out % part.groups == 0
            if not divides:
                raise ModelError(f"{what}: {part.groups} groups do not divide its channels")
            shape = (*window.kernel, c_in // part.groups, c_out)
            if part.weight.shape != shape:
                raise ModelError(f"{what}: the weight has shape {part.weight.shape}, not {shape}")
    elif isinstance(part, Delayed):
        if part.weight.ndim != 3 or part.weight.shape != part.delay.shape:
            raise ModelError(
                f"{what}: weights {part.weight.shape} and delays {part.delay.shape} are not both "
                "(taps, outputs, inputs)"
            )
        joined = part.weight.shape[1:]
    else:
        if part.weight.ndim != 2:
            raise ModelError(f"{what}: the weight has shape {part.weight.shape}, not two axes")
        n_out, n_in = part.weight.shape
        joined = (n_out * part.blocks, n_in * part.blocks)
    if joined != expected:
        shape = () if isinstance(part, Pool) else part.weight.shape
        blocks = part.blocks if isinstance(part, Projection) else 1
        raise ModelError(
            f"{what}: the weight {shape} in {blocks} block(s) does not join "
            f"{expected[1]} to {expected[0]} neurons: check the sizes in the source"
        )
    if isinstance(part, Pool):
        return
    if not np.all(np.isfinite(part.weight)):
        raise ModelError(f"{what}: a weight is not finite: the training diverged, train again")
    if part.bits not in widths(part):
        choice = ", ".join(map(str, widths(part)))
        raise ModelError(f"{what}: weights of {part.bits} bits are not there: choose {choice}")


def widths(part: AnyProjection) -> tuple[int, ...]:
    """The bits that the weights of a projection may be rounded to, () where it has none.

    The core packs the weights of dense layers alone; those of 16 bits are two projections.
    """
    if isinstance(part, Pool):
        return ()
    return (2, 4, 8, 16) if isinstance(part, Projection) else (8, 16)


class Verdict(str, enum.Enum):
    """What became of a layer."""

    EXACT = "exact"
    APPROXIMATED = "approximated"


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer: why it is not exact, and how far off (relative, worst weight)."""

    layer: str
    what: str
    verdict: Verdict
    reason: str = ""
    error: float = 0.0


@dataclass(frozen=True)
class WidthCost:
    """What one choice of widths costs, measured on the calibration recordings.

    Attributes:
        layer: the layer whose width differs from that of the row before `chosen`, or what it is.
        bits: its width.
        label_agreement: share of recordings with the float network's label.
        flash_bytes: of the whole image.
        chosen: whether it was kept.
    """

    layer: str
    bits: int
    label_agreement: float
    flash_bytes: int
    chosen: bool = False


@dataclass(frozen=True)
class FidelityReport:
    """What a conversion kept, written into the `.esnn` file and printed.

    Attributes:
        source, profile: the file read and whose arithmetic it has.
        layers: a verdict each; a layer that cannot be kept is refused with an error instead.
        label_agreement: share of calibration recordings with the float network's label, or None
            where there were none.
        spike_agreement: population -> share of neuron-steps with the float network's spike.
        calibration_samples: how many recordings these were measured on.
        value_error: population that emits values -> root mean square of the difference from the
            float network's, relative to that of the values.
        state_use: population -> largest membrane seen / largest that fits, on the same recordings.
        remarks: what had to be assumed.
        widths: what widths cost that were tried, where they were to be chosen.
    """

    source: str
    profile: str
    layers: tuple[LayerReport, ...]
    label_agreement: float | None = None
    spike_agreement: dict[str, float] = field(default_factory=dict)
    value_error: dict[str, float] = field(default_factory=dict)
    calibration_samples: int = 0
    state_use: dict[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    widths: tuple[WidthCost, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as JSON-able data."""
        return asdict(self)


@dataclass(frozen=True)
class Conversion:
    """A graph and the proof of what it kept."""

    graph: Graph
    report: FidelityReport
