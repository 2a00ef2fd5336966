"""Network to Graph: floats to integers, calibrated on recordings, with a report of what was kept.

Every target neuron n has a scale s[n]: one unit of its membrane, threshold and current. What a
source emits has a unit too: 1 for spikes and spike counts, and what one integer is worth for sensor
values, integrators and linear states. A weight needs no rescaling at run time, because its integer
IS a current of that neuron:

    w_int = round(w * unit / (s[n] * 2**shift)),  threshold_int = round(threshold / s[n])

`shift`, one a projection, leaves room below the weights' last place, so that thresholds, decays and
biases are rounded far more finely than the weights. Neurons that share weights (the places of a
convolution's channel, the blocks of a memory) share a scale, and so do neurons whose potentials are
compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import graph as g
from edgesnn import network as net
from edgesnn import reference
from edgesnn.errors import ModelError
from edgesnn.graph import (
    CURRENT_BOUND,
    DECAY_ONE,
    MAX_SHIFT,
    MEMBRANE_BITS,
    NEVER,
    SOFTMAX_SIZE,
    TABLE_SIZE,
    THRESHOLD_BOUND,
    Activation,
    AnalogInput,
    Fire,
    Graph,
    Input,
    Int16Array,
    Potential,
    PotentialMode,
    Reset,
    SpikeInput,
    UInt16Array,
)
from edgesnn.network import (
    AnyPopulation,
    AnyProjection,
    Conversion,
    FidelityReport,
    FloatArray,
    InputKind,
    LayerReport,
    Network,
    Recorded,
    Score,
    Verdict,
)

# thresholds and biases are kept this far below what fits: a membrane may well be 32 times as large
LARGEST_KEPT = THRESHOLD_BOUND >> 4
STATE_PLACES = 8
INPUT_HEADROOM = 2.0
STATE_HEADROOM = 4.0
NARROW = 255
# weights of 16 bits are two projections: so many places apart, each of 8 bits
HIGH = 8
LARGEST = {2: 1, 4: 7, 8: 127, 16: 127 * 256 + 127}
# float32 keeps integers of 16 bits times a scale to this share of a unit
GRID_SLACK = 2.0**-6
CLIPPED = np.linspace(1, 0.3, 29)
VALUE_MAX = 32767
SELFTEST_STEPS = 16
SELFTEST_RATE = 0.2
Signal = npt.NDArray[Any]
Float64Array = npt.NDArray[np.float64]


def quantize(
    network: Network,
    calibration: Signal | None = None,
    progress: Callable[[int], None] = lambda frames: None,
) -> Conversion:
    """Make the integer graph of a network, and measure what was kept.

    Args:
        network: what a converter read.
        calibration: recordings (samples, steps, channels) in physical units or spikes: they set the
            range of an analog input and of whatever else emits values, and everything in the report
            that is measured is measured on them. A network of spikes alone can do without; the
            report then says that nothing was measured.
        progress: called with the number of frames done since its last call; twice
            samples x steps in all.

    Raises:
        ModelError: the network cannot be kept within the graph's bounds, or something that emits
            values has no recordings to be calibrated on.
    """
    part = _input(network, calibration)
    recorded = None if calibration is None else network.run(calibration, progress=progress)
    quantizer = _Quantizer(network, part, recorded)
    graph, layers = quantizer.graph()
    report = FidelityReport(
        source=network.source,
        profile=str(network.profile),
        layers=layers,
        remarks=(*network.remarks, *_capped(network)),
    )
    if calibration is None:
        # only spikes can do without recordings; any will do for a self-test
        spikes = np.random.default_rng(0).random((SELFTEST_STEPS, graph.input.size)) < SELFTEST_RATE
        return Conversion(reference.with_selftest(graph, spikes.astype(np.int16)), report)
    frames = graph.input.quantize(calibration)
    report = _measured(report, network, quantizer.unit, graph, calibration, frames, progress)
    return Conversion(reference.with_selftest(graph, frames[0, :SELFTEST_STEPS]), report)


def integers(network: Network, calibration: Signal, recorded: Recorded) -> Graph:
    """The integer graph alone, of a network whose run on the recordings is there already.

    Raises:
        ModelError: as `quantize`.
    """
    return _Quantizer(network, _input(network, calibration), recorded).graph()[0]


def _capped(network: Network) -> list[str]:
    """What is to be said of neurons that emit several spikes a step."""
    return [
        f"'{p.name}' emits at most {p.max_spikes} spikes a neuron and step"
        for p in network.populations
        if isinstance(p, net.Population) and p.max_spikes > 1
    ]


def _input(network: Network, calibration: Signal | None) -> Input:
    kind = network.input_kind
    if calibration is not None and calibration.shape[-1] != network.input_size:
        raise ModelError(
            f"the recordings have {calibration.shape[-1]} channels, {network.source} takes "
            f"{network.input_size}: give (samples, steps, {network.input_size})"
        )
    if kind is None and calibration is not None:
        binary = bool(np.all((calibration == 0) | (calibration == 1)))
        kind = InputKind.SPIKES if binary else InputKind.ANALOG
    if kind is InputKind.SPIKES:
        return SpikeInput(network.input_name, network.input_size)
    if calibration is None:
        raise ModelError(
            f"{network.source} takes sensor values, whose range is not in it, or does not say what "
            "it takes: give recordings to calibrate on, or say that it takes spikes"
        )
    largest = np.abs(calibration).max(axis=(0, 1)).astype(np.float64)
    if not np.all(np.isfinite(largest)):
        raise ModelError("the recordings to calibrate on hold values that are not finite: cut them")
    largest[largest == 0] = 1.0
    entering = [p for p in network.projections if p.source == network.input_name]
    if any(not isinstance(p, (net.Projection, net.Delayed)) or _blocks(p) > 1 for p in entering):
        largest[:] = largest.max()  # what shares weights shares a unit
    bits = min((_widest(network, p) for p in entering), default=g.VALUE_BITS)
    if np.array_equal(calibration, np.rint(calibration)) and largest.max() < 1 << (bits - 1):
        # counts and the like: exact as they are
        needed = int(INPUT_HEADROOM * largest.max()).bit_length() + 1
        places = np.zeros(network.input_size)
        bits = min(bits, max(8, needed))
    else:
        places = np.floor(np.log2(((1 << (bits - 1)) - 1) / (INPUT_HEADROOM * largest)))
    return AnalogInput(
        network.input_name, np.clip(places, -15, 30).astype(np.int8), network.units, bits
    )


def _blocks(projection: AnyProjection) -> int:
    return projection.blocks if isinstance(projection, net.Projection) else 1


def _fan_in(network: Network, projection: AnyProjection) -> int:
    if isinstance(projection, net.Conv):
        return math.prod(projection.weight.shape[:3])
    if isinstance(projection, net.Pool):
        return math.prod(projection.window.kernel)
    if isinstance(projection, net.Delayed):
        per_pair = int(projection.delay.max(initial=0)) + 1
        return network.size(projection.source) * min(per_pair, len(projection.weight))
    return int(projection.weight.shape[1])


def _widest(network: Network, projection: AnyProjection) -> int:
    """The most bits that what a source emits may have for a projection to keep its bounds."""
    if isinstance(projection, net.Projection):
        return g.VALUE_BITS  # a dense sum may be of any size
    entering = sum(_fan_in(network, p) * _heaviest(p) for p in network.into(projection.target))
    return max(2, min(g.VALUE_BITS, int(math.log2(CURRENT_BOUND / 2 / entering)) + 1))


def _heaviest(projection: AnyProjection) -> int:
    """What the graph's bounds take for the largest weight."""
    bits = 8 if isinstance(projection, net.Pool) else projection.bits
    return 128 * 257 if bits == 16 else 1 << (bits - 1)


# ---- synapses ----


class _Synapses:
    """A projection in the units of what its source emits.

    Attributes:
        weight: float64, of whatever shape the projection has, per unit of what the source emits.
        power: of what the source emits, in its integers, for weighing rounding errors: (size,).
        most: largest integer that the source emits.
        largest: (target size,) the weight of each neuron that its largest integer stands for.
        grid: (target size,) what an integer of the source's weights is worth, or None.
    """

    def __init__(
        self, projection: AnyProjection, unit: Float64Array, power: Float64Array, most: int
    ) -> None:
        self.projection, self.power, self.most = projection, power, most
        self.grid: Float64Array | None = None
        self.label = f"{projection.source} -> {projection.target}"
        if isinstance(projection, net.Projection):
            n_in = projection.weight.shape[1]
            columns = unit.reshape(projection.blocks, n_in)
            self._require_one(columns)
            self.weight = _on_grid(projection).reshape(projection.weight.shape) * columns[0]
            rows = self._reach(self.weight, power.reshape(-1, n_in).mean(axis=0))
            self.largest = np.tile(rows, projection.blocks)
            self._keep(projection.grid, columns[0], projection.blocks)
        elif isinstance(projection, net.Delayed):
            self.weight = _taps_added(projection) * unit
            self.largest = np.abs(self.weight).max(axis=(0, 2), initial=0)
        else:
            shape = projection.window.input_shape
            channels = unit.reshape(-1, shape[2])
            self._require_one(channels)
            if isinstance(projection, net.Pool):
                self.weight = _depthwise(projection) * channels[0]
                groups = shape[2]
            else:
                groups = projection.groups
                c_in = shape[2] // groups
                c_out = projection.weight.shape[3] // groups
                of_group = np.repeat(channels[0].reshape(groups, c_in), c_out, axis=0).T
                self.weight = _on_grid(projection) * of_group
            rows = np.abs(self.weight).max(axis=(0, 1, 2), initial=0)
            places = math.prod(projection.window.output_shape[:2])
            self.largest = np.tile(rows, places)
            self.groups = groups
            if isinstance(projection, net.Conv):
                self._keep(projection.grid, channels[0], places)

    def _require_one(self, units: Float64Array) -> None:
        if np.any(units != units[0]):
            raise ModelError(
                f"projection '{self.label}' ({self.projection.layer}) shares weights among sources "
                "with units of their own"
            )

    def _reach(self, weight: Float64Array, power: Float64Array) -> Float64Array:
        """What the largest integer of each row should stand for.

        With few bits less than its largest weight: they are better spent on the others.
        """
        rows: Float64Array = np.abs(weight).max(axis=1, initial=0)
        if self.bits >= 8:
            return rows
        half, best, reach = self.weight_max, np.full(len(rows), np.inf), rows
        for part in CLIPPED:
            unit = np.where(rows > 0, part * rows / half, 1)[:, np.newaxis]
            off = (np.clip(np.rint(weight / unit), -half, half) * unit - weight) ** 2 @ power
            reach = np.where(off < best, part * rows, reach)
            best = np.minimum(off, best)
        return reach

    def _keep(self, grid: Float64Array | None, unit: Float64Array, times: int) -> None:
        """Take the source's own integers, where one unit holds for all that enters a neuron."""
        if grid is None or np.any(unit != unit[0]):
            return
        rows = self.largest.reshape(times, -1).shape[1]
        self.grid = np.tile(np.broadcast_to(grid, (rows,)) * unit[0], times)
        if np.any(self.largest > self.grid * (self.weight_max + 0.5)):
            raise ModelError(
                f"projection '{self.label}' ({self.projection.layer}): its integers leave "
                f"{self.bits} bits: ask for more with --bits"
            )
        self.largest = self.grid * self.weight_max

    @property
    def bits(self) -> int:
        return 8 if isinstance(self.projection, net.Pool) else self.projection.bits

    @property
    def weight_max(self) -> int:
        return LARGEST[self.bits]

    @property
    def places(self) -> int:
        """The largest shift."""
        return MAX_SHIFT - HIGH if self.bits == 16 else MAX_SHIFT

    @property
    def on_current(self) -> bool:
        dense = self.projection
        return not isinstance(dense, net.Projection) or dense.port is g.Port.CURRENT

    @property
    def wide(self) -> bool:
        return self.most > NARROW

    def shared(self, scale: Float64Array) -> Float64Array:
        """The scale, made equal where weights are shared."""
        if isinstance(self.projection, net.Projection):
            blocks = self.projection.blocks
            return np.tile(scale.reshape(blocks, -1).max(axis=0), blocks)
        if isinstance(self.projection, net.Delayed):
            return scale
        places = math.prod(self.projection.window.output_shape[:2])
        return np.tile(scale.reshape(places, -1).max(axis=0), places)

    def _spread(self, scale: Float64Array) -> Float64Array:
        """The scale of every neuron, as it divides the weight."""
        if isinstance(self.projection, net.Delayed):
            return scale[:, np.newaxis]
        if isinstance(self.projection, net.Projection):
            first: Float64Array = scale.reshape(self.projection.blocks, -1)[0]
            return first[:, np.newaxis]
        return scale[: self.weight.shape[3]]

    def rounded(self, scale: Float64Array, shift: int) -> tuple[Float64Array, Float64Array]:
        """The integer weights, and what one of their units is worth."""
        unit = self._spread(scale) * 2.0**shift
        half = self.weight_max
        return np.clip(np.rint(self.weight / unit), -half, half), unit

    @np.errstate(invalid="ignore")  # as Network.run, of the same products
    def error(self, scale: Float64Array, shift: int, reference_: Float64Array) -> float:
        """Mean square error of the currents from rounding the weights, in squared references."""
        whole, unit = self.rounded(scale, shift)
        square = (whole * unit - self.weight) ** 2
        if isinstance(self.projection, net.Projection):
            n_out, n_in = self.weight.shape
            rows = square @ self.power.reshape(-1, n_in).mean(axis=0)
            return float((rows / reference_[:n_out] ** 2).sum())
        if isinstance(self.projection, net.Delayed):
            rows = (square @ self.power).sum(axis=0)
            return float((rows / reference_**2).sum())
        channels = self.weight.shape[3]
        rows = square.sum(axis=(0, 1, 2)) * self.power.mean()
        return float((rows / reference_[:channels] ** 2).sum())

    def made(self, scale: Float64Array, shift: int) -> tuple[list[g.Projection], LayerReport]:
        """The projections of the graph, two for 16 bits, and what became of the weights."""
        whole, unit = self.rounded(scale, shift)
        largest = np.abs(self.weight).max(initial=0)
        error = float(np.abs(whole * unit - self.weight).max() / largest) if largest else 0.0
        if error < 2.0**-40:
            error = 0.0  # of the doubles, not of the integers
        parts = [(whole, shift)]
        if self.bits == 16:
            high = np.floor((whole + 128) / 256)
            parts = [(high, shift + HIGH), (whole - 256 * high, shift)]
            parts = [(part, at) for part, at in parts if part.any()] or parts[1:]
        made = [self._projection(part.astype(np.int8), at) for part, at in parts]
        shared = "target neuron"
        if not isinstance(self.projection, (net.Projection, net.Delayed)):
            shared = "channel"
        width = f"{self.bits} bits" + (", ternary" if self.bits == 2 else "")
        reason = f"weights rounded to {width}, a scale for each {shared}" if error else ""
        verdict = Verdict.APPROXIMATED if error else Verdict.EXACT
        return made, LayerReport(self.projection.layer, self.label, verdict, reason, error)

    def _projection(self, weights: g.Int8Array, shift: int) -> g.Projection:
        p = self.projection
        if isinstance(p, net.Projection):
            return g.Dense(p.source, p.target, weights, shift, p.blocks, min(8, p.bits), p.port)
        if isinstance(p, net.Delayed):
            return g.DelayedSynapses.from_dense(p.source, p.target, weights, p.delay, shift)
        return g.Conv(p.source, p.target, weights, p.window, shift, self.groups)


def _on_grid(projection: net.Projection | net.Conv) -> Float64Array:
    """The weights, those that are integers already without what float32 rounded off them."""
    weight = projection.weight.astype(np.float64)
    grid = projection.grid
    if grid is None:
        return weight
    rows = grid if isinstance(projection, net.Conv) or grid.ndim == 0 else grid[:, np.newaxis]
    whole: Float64Array = np.rint(weight / rows)
    off = np.abs(weight / rows - whole).max(initial=0)
    if off > GRID_SLACK:
        raise ModelError(
            f"projection '{projection.source} -> {projection.target}' ({projection.layer}): a "
            f"weight is {off:.3f} of a unit off the grid that its scale makes: check the scale"
        )
    return whole * rows


def _taps_added(projection: net.Delayed) -> Float64Array:
    """The weights, of taps with the same two neurons and delay the sum in the first of them."""
    weight: Float64Array = projection.weight.astype(np.float64)
    for later in range(1, len(weight)):
        for first in range(later):
            same = projection.delay[first] == projection.delay[later]
            weight[first] += np.where(same, weight[later], 0)
            weight[later][same] = 0
    return weight


def _depthwise(projection: net.Pool) -> Float64Array:
    """Pooling as a convolution of every channel by itself."""
    channels = projection.window.input_shape[2]
    return np.full((*projection.window.kernel, 1, channels), projection.gain, np.float64)


# ---- the graph ----


class _Quantizer:
    """Makes a graph.

    Attributes:
        unit: part -> (size,) what one integer that it emits is worth.
        most: part -> the largest integer that it emits.
    """

    def __init__(self, network: Network, part: Input, recorded: Recorded | None) -> None:
        self.network, self.input, self.recorded = network, part, recorded
        self.unit = {part.name: np.ones(part.size)}
        self.most = {part.name: 1}
        if isinstance(part, AnalogInput):
            self.unit[part.name] = np.ldexp(1.0, -part.fraction_bits.astype(int))
            self.most[part.name] = (1 << (part.bits - 1)) - 1
        for population in network.populations:
            if isinstance(population, net.Population):
                self._emits(population, 1.0, population.max_spikes)
            elif isinstance(population, net.DelayLine):
                self._emits(population, 1.0, 1)
            elif (
                isinstance(population, net.Integrator) and population.activation is Activation.TABLE
            ):
                self._emits(population, 1 / VALUE_MAX, VALUE_MAX)
        self.populations: dict[str, g.Population] = {}
        self.projections: dict[str, list[g.Projection]] = {}
        self.reports: dict[str, list[LayerReport]] = {}
        self.scales: dict[str, Float64Array] = {}

    def _plan(self, population: net.Integrator | net.LinearState) -> None:
        """Settle the unit of values that feed back before their own scale is chosen."""
        bits = self._bits(population.name)
        most = (1 << (bits - 1)) - 1
        reach = self._range(population) * INPUT_HEADROOM
        if isinstance(population, net.LinearState):
            reach = _rows_shared(population, reach)
        elif self._compared(population):
            reach = np.full_like(reach, reach.max())
        self._emits(population, reach / most, most)

    def _bits(self, name: str) -> int:
        """The width of the values that a population may emit."""
        users = [p for p in self.network.projections if p.source == name]
        return min((_widest(self.network, p) for p in users), default=g.VALUE_BITS)

    def _emits(self, population: AnyPopulation, unit: float | Float64Array, most: int) -> None:
        self.unit[population.name] = np.broadcast_to(np.float64(unit), (population.size,))
        self.most[population.name] = most

    def graph(self) -> tuple[Graph, tuple[LayerReport, ...]]:
        """The graph, and what became of its layers."""
        # whatever emits values first, so that its unit is known to whom it projects to
        for kind in (net.LinearState, net.Integrator, (net.Population, net.DelayLine)):
            for population in self.network.populations:
                if isinstance(population, kind):
                    self._add(population)
        order = [p.name for p in self.network.populations]
        graph = Graph(
            input=self.input,
            populations=tuple(self.populations[name] for name in order),
            projections=tuple(p for name in order for p in self.projections[name]),
            readout=self._readout(),
            step_us=self.network.step_us,
        )
        return graph, tuple(report for name in order for report in self.reports[name])

    def _add(self, population: AnyPopulation) -> None:
        name = population.name
        self.projections[name], self.reports[name] = [], []
        if isinstance(population, net.DelayLine):
            self.populations[name] = g.DelayLine(name, population.source, population.delays)
            self._report(name, population.layer, f"{population.size} delays '{name}'")
            return
        if isinstance(population, net.Integrator) and self._relay(population):
            return
        for p in self.network.into(name):
            if p.source not in self.unit:
                source = self.network.population(p.source)
                assert isinstance(source, (net.Integrator, net.LinearState))
                self._plan(source)
        entering = [self._synapses(p) for p in self.network.into(name)]
        if self._pooled(population, entering):
            return
        scale, shifts = self._scale(population, entering)
        self.scales[name] = scale
        made = [s.made(scale, shift) for s, shift in zip(entering, shifts, strict=True)]
        self.projections[name] = [projection for parts, _ in made for projection in parts]
        self.reports[name] = [report for _, report in made]
        self._neurons(population, scale)

    def _synapses(self, projection: AnyProjection) -> _Synapses:
        source = projection.source
        unit = self.unit[source]
        power = np.ones(len(unit))
        if self.recorded is not None:
            power = self.recorded.power[source] / unit**2
        return _Synapses(projection, unit, power, self.most[source])

    def _report(self, name: str, layer: str, what: str, reason: str = "", error: float = 0) -> None:
        verdict = Verdict.APPROXIMATED if error else Verdict.EXACT
        self.reports[name].append(LayerReport(layer, what, verdict, reason if error else "", error))

    def _range(self, population: AnyPopulation) -> Float64Array:
        """The largest magnitude of each state of a population, from the recordings."""
        if self.recorded is None:
            raise ModelError(
                f"population '{population.name}' emits values, whose range is not in "
                f"{self.network.source}: give recordings to calibrate on"
            )
        largest = self.recorded.largest[population.name].astype(np.float64)
        if not np.all(np.isfinite(largest)):
            raise ModelError(
                f"population '{population.name}' leaves every range on these recordings: check "
                "that they are in the units that the network was trained on"
            )
        # a state that stays near 0 gets room as well
        return np.maximum(largest, max(float(largest.max(initial=0)), 1e-30) * 2.0**-10)

    # ---- special cases that are exact ----

    def _relay(self, population: net.Integrator) -> bool:
        """A sum of spikes or counts that is passed on as it is; False where it is no such thing."""
        entering = self.network.into(population.name)
        if population.activation is Activation.TABLE or np.any(population.beta):
            return False
        if np.any(population.bias) or len(entering) != 1 or not isinstance(entering[0], net.Pool):
            return False
        pool = entering[0]
        unit = self.unit.get(pool.source)
        if unit is None or np.any(unit != unit[0]):
            return False
        most = math.prod(pool.window.kernel) * self.most[pool.source]
        bits = most.bit_length() + 1
        if bits > self._bits(population.name) or self.most[pool.source] > NARROW:
            return False
        name, size = population.name, population.size
        self._emits(population, unit[0] * pool.gain, most)
        self.projections[name] = [g.SumPool(pool.source, name, pool.window)]
        self._report(name, pool.layer, f"{pool.source} -> {name}")
        self.populations[name] = g.Integrator(
            name, np.zeros(1, np.uint16), np.zeros(size, np.int32), 0, bits, population.activation
        )
        self._report(name, population.layer, f"{size} sums '{name}'")
        return True

    def _pooled(self, population: AnyPopulation, entering: list[_Synapses]) -> bool:
        """Neurons behind a pooling alone, whose scale is then its unit; False for others."""
        if not isinstance(population, net.Population) or len(entering) != 1:
            return False
        pool, unit = entering[0].projection, self.unit[entering[0].projection.source]
        if not isinstance(pool, net.Pool) or np.any(unit != unit[0]) or entering[0].wide:
            return False
        name = population.name
        scale = np.full(population.size, pool.gain * unit[0] / 2.0**STATE_PLACES)
        finest = self._least_scale(population)
        if np.any(scale < finest):
            return False
        self.projections[name] = [g.SumPool(pool.source, name, pool.window, STATE_PLACES)]
        self._report(name, pool.layer, f"{pool.source} -> {name}")
        self._neurons(population, scale)
        return True

    # ---- scales ----

    def _reference(self, population: AnyPopulation) -> Float64Array:
        """What errors of a neuron's current are measured against: its threshold, or its range."""
        if isinstance(population, net.Population):
            threshold = np.broadcast_to(population.threshold, (population.size,))
            return np.maximum(threshold.astype(np.float64), 1e-15)
        return self._range(population)

    def _least_scale(self, population: AnyPopulation) -> Float64Array:
        """The finest scale of each neuron that keeps all but weights in bounds."""
        size = population.size
        if isinstance(population, net.LinearState):
            return self._range(population) * STATE_HEADROOM / (1 << (MEMBRANE_BITS - 3))
        assert isinstance(population, (net.Population, net.Integrator))
        kept = [population.bias]
        if isinstance(population, net.Population):
            kept += [
                x for x in (population.membrane_bias, population.floor, population.reset_to)
                if x is not None
            ]  # fmt: skip
            if population.adaptation is not None:
                kept.append(population.adaptation.step)
        values = [np.broadcast_to(np.abs(x).astype(np.float64), (size,)) for x in kept]
        scale: Float64Array = np.maximum.reduce(values) / LARGEST_KEPT
        if isinstance(population, net.Integrator):
            widest = self._range(population) * STATE_HEADROOM / (1 << (MEMBRANE_BITS - 1))
            return np.maximum(scale, widest)
        return scale

    def _scale(
        self, population: AnyPopulation, entering: list[_Synapses]
    ) -> tuple[Float64Array, list[int]]:
        """The scale of each neuron, (size,), and the shift of each projection.

        Sources differ by orders of magnitude in what one of their integers is worth, so each
        projection gets a shift of its own. Of all choices that keep the graph's bounds, the one
        that rounds the currents best, and of equals the one with the fewest places.

        Raises:
            ModelError: no shift keeps the bounds.
        """
        if any(s.grid is not None for s in entering):
            found = self._best(population, entering, gridded=True)
            if found is not None:
                return found
        found = self._best(population, entering)
        if found is None:
            raise ModelError(
                f"population '{population.name}' ({population.layer}) has so many inputs that its "
                "current could leave 30 bits: split it"
            )
        return found

    def _best(
        self, population: AnyPopulation, entering: list[_Synapses], gridded: bool = False
    ) -> tuple[Float64Array, list[int]] | None:
        """As `_scale`, None where there is none; `gridded`, of those that keep every grid."""
        wide = any(s.wide for s in entering)
        reference_ = self._reference(population)
        finer = [HIGH if s.bits == 16 else 0 for s in entering]
        need = [s.largest / s.weight_max * 2.0**f for s, f in zip(entering, finer, strict=True)]
        best: tuple[float, Float64Array, list[int]] | None = None
        tried: set[tuple[int, ...]] = set()
        for places in range(MAX_SHIFT + 1) if wide else range(STATE_PLACES, -1, -1):
            base = np.maximum.reduce([*need, np.full(population.size, 1e-300)]) / 2.0**places
            own = [math.ceil(math.log2(max(float((n / base).max()), 1e-9))) for n in need]
            # projections of one shift share a record, which is paid for once
            for at, worth in (([places] * len(need), 0.98), (own, 0.5))[wide:]:
                shifts = [
                    min(s.places, max(0, a - f))
                    for s, a, f in zip(entering, at, finer, strict=True)
                ]
                choice = (places * any(finer), *shifts)
                if choice in tried:
                    continue
                tried.add(choice)
                # weights of 16 bits may have to leave some of them unused
                scale = self._smallest_scale(population, entering, shifts, base * any(finer))
                if not self._fits(population, entering, scale, shifts):
                    continue
                if gridded and not _keeps_grids(entering, scale, shifts):
                    continue
                error = sum(
                    s.error(scale, shift, reference_)
                    for s, shift in zip(entering, shifts, strict=True)
                )
                if best is None or error < (0.98 if wide else worth) * best[0]:
                    best = error, scale, shifts
            if best is not None and not wide:
                break  # fewer places are only for keeping the bounds
        return None if best is None else best[1:]

    def _smallest_scale(
        self,
        population: AnyPopulation,
        entering: list[_Synapses],
        shifts: list[int],
        least: Float64Array,
    ) -> Float64Array:
        """The finest scale of each neuron that keeps weights in their bits, the rest in bounds."""
        scale = np.maximum(self._least_scale(population), least)
        for s, shift in zip(entering, shifts, strict=True):
            scale = np.maximum(scale, s.largest / (s.weight_max * 2.0**shift))
        if isinstance(population, net.Population):
            threshold = _thresholds(population)
            if not _out_of_reach(threshold, scale):
                scale = np.maximum(scale, threshold / LARGEST_KEPT)
        scale = np.where(scale == 0, 1.0, scale)
        if isinstance(population, net.LinearState):
            scale = _rows_shared(population, scale)
        if self._compared(population):
            scale = np.full_like(scale, scale.max())
        planned = self.unit.get(population.name)
        if planned is not None and self._is_planned(population):
            # a power of two below the unit of what it emits
            places = np.floor(np.log2(planned / scale))
            if isinstance(population, net.Integrator):
                places = places.min()
            return planned / 2.0 ** np.maximum(places, 0)
        before = np.zeros_like(scale)
        while not np.array_equal(before, scale):
            before = scale
            for s in entering:
                scale = s.shared(scale)
        return scale

    def _is_planned(self, population: AnyPopulation) -> bool:
        if isinstance(population, net.Integrator):
            return population.activation is not Activation.TABLE
        return isinstance(population, net.LinearState)

    def _compared(self, population: AnyPopulation) -> bool:
        """Whether all neurons of a population need one scale."""
        readout = self.network.readout
        if population.name == readout.population and readout.mode not in (
            None, Score.FIRST_SPIKE,
        ):  # fmt: skip
            return True
        if isinstance(population, net.Integrator):
            # one table serves all, and what shares weights among sources needs one unit of them
            if population.activation is Activation.TABLE:
                return True
            return any(
                p.source == population.name
                and (not isinstance(p, (net.Projection, net.Delayed)) or _blocks(p) > 1)
                for p in self.network.projections
            )
        return False

    def _fits(
        self,
        population: AnyPopulation,
        entering: list[_Synapses],
        scale: Float64Array,
        shifts: list[int],
    ) -> bool:
        """Whether weights, input currents and states stay within the graph's bounds."""
        for s, shift in zip(entering, shifts, strict=True):
            if np.any(s.largest > scale * s.weight_max * 2.0**shift * (1 + 1e-9)):
                return False
        for port in (True, False):
            bound = 0.0
            if port and not isinstance(population, (net.LinearState, net.DelayLine)):
                bound = float(np.abs(population.bias / scale).max(initial=0)) + 1
            dense = True
            for s, shift in zip(entering, shifts, strict=True):
                if s.on_current is port:
                    most = 1 << s.most.bit_length() if s.most > 1 else 1
                    weight = _heaviest(s.projection)
                    bound += (_fan_in(self.network, s.projection) * weight * most) << shift
                    dense = dense and isinstance(s.projection, net.Projection)
            if bound >= CURRENT_BOUND:
                if not (port and dense and self.recorded is not None):
                    return False
                # dense sums saturate: what counts is what the recordings reach, with room
                seen = self.recorded.current[population.name] / scale
                if float(seen.max(initial=0)) * STATE_HEADROOM >= CURRENT_BOUND:
                    return False
        if self.recorded is not None:
            seen = self.recorded.largest[population.name] / scale
            return float(seen.max(initial=0)) * STATE_HEADROOM < 1 << (MEMBRANE_BITS - 1)
        return True

    # ---- populations ----

    def _neurons(self, population: AnyPopulation, scale: Float64Array) -> None:
        if isinstance(population, net.Population):
            self._lif(population, scale)
        elif isinstance(population, net.Integrator):
            self._integrator(population, scale)
        else:
            assert isinstance(population, net.LinearState)
            self._linear_state(population, scale)

    def _lif(self, population: net.Population, scale: Float64Array) -> None:
        size, name = population.size, population.name
        real = _thresholds(population)
        silent = _out_of_reach(real, scale)

        def whole(values: FloatArray | None) -> npt.NDArray[np.int32] | None:
            if values is None:
                return None
            spread = np.broadcast_to(values, (size,)).astype(np.float64)
            return np.rint(spread / scale).astype(np.int32)

        decays = {"decay": population.beta, "synaptic_decay": population.alpha,
                  "inhibitory_decay": population.inhibitory}  # fmt: skip
        common: dict[str, Any] = {
            key: None if value is None else _q15(value) for key, value in decays.items()
        }
        bias = whole(population.bias)
        assert bias is not None
        threshold = np.rint(np.minimum(real / scale, NEVER)).astype(np.int64)
        reset = Reset.NONE if silent else population.reset
        errors = [
            float(np.abs(value - common[key] / DECAY_ONE).max())
            for key, value in decays.items()
            if value is not None
        ]
        exact_test = population.memoryless and not silent
        if exact_test:
            # nothing is carried over, so that the test is exact for these weights:
            # a * s + b > T where a > floor((T - b) / s), a * s + b >= T where a >= ceil(...)
            margin = (real - population.bias.astype(np.float64)) / scale
            bias = np.ceil(population.bias.astype(np.float64) / scale).astype(np.int32)
            place = np.floor(margin) if population.fire is Fire.ABOVE else np.ceil(margin)
            threshold = np.minimum(bias + place, NEVER).astype(np.int64)
            reset = Reset.NONE
        threshold = np.maximum(threshold, int(population.fire))
        if not silent and not exact_test:
            rounded = threshold * scale - real
            errors.append(float(np.abs(rounded / np.where(real, real, 1)).max()))
            biases = np.abs(bias * scale - population.bias).astype(np.float64)
            errors.append(float((biases / np.where(real, real, 1)).max(initial=0)))
        alpha = population.inhibitory is not None and reset is Reset.SUBTRACT
        kept_to = alpha or reset is Reset.ZERO_AT_ONCE
        adaptation = None
        if population.adaptation is not None:
            kept = population.adaptation
            step = whole(kept.step)
            assert step is not None
            adaptation = g.Adaptation(_q15(kept.decay), step, kept.old)
            errors.append(float(np.abs(kept.decay - adaptation.decay / DECAY_ONE).max()))
        self.populations[name] = g.LIF(
            name=name,
            threshold=threshold.astype(np.int32),
            bias=bias,
            reset=reset,
            fire=population.fire,
            conduction=population.conduction,
            membrane_bias=whole(population.membrane_bias),
            max_spikes=population.max_spikes,
            floor=whole(population.floor),
            reset_to=whole(population.reset_to) if kept_to else None,
            adaptation=adaptation,
            **common,
        )
        self._report(
            name, population.layer, f"{size} neurons '{name}'",
            "rule exact; decay rounded to 15 bits, threshold and bias to the scale",
            max(errors, default=0.0),
        )  # fmt: skip

    def _integrator(self, population: net.Integrator, scale: Float64Array) -> None:
        name, size = population.name, population.size
        table, bits = None, g.VALUE_BITS
        reach = self._range(population) * INPUT_HEADROOM
        if population.activation is Activation.TABLE:
            assert population.function is not None
            # the table spans what its function needs, not what the recordings happen to reach
            reach = np.full(size, min(float(reach.max()), 8.0))
            shift = _places(reach / scale, bits)
            at = (np.arange(TABLE_SIZE) * 256.0 - 32768) * scale[0] * 2.0**shift
            values = np.clip(population.function(at), -1, 1)
            table = np.rint(VALUE_MAX * values).astype(np.int16)
        else:
            bits = self._bits(name)
            planned = self.unit.get(name)
            if planned is None:
                shift = _places(reach / scale, bits)
            else:
                shift = round(math.log2(planned[0] / scale[0]))
            self._emits(population, scale * 2.0**shift, (1 << (bits - 1)) - 1)
        decay = _q15(population.beta)
        bias = np.rint(population.bias / scale).astype(np.int32)
        self.populations[name] = g.Integrator(
            name, decay, bias, shift, bits, population.activation, table
        )
        error = float(np.abs(population.beta - decay / DECAY_ONE).max())
        error = max(error, float(np.max(np.abs(bias * scale - population.bias) / reach)))
        error = max(error, 2.0**-bits)
        self._report(
            name, population.layer, f"{size} integrators '{name}'",
            f"decay rounded to 15 bits, what it emits to {bits}", error,
        )  # fmt: skip

    def _linear_state(self, population: net.LinearState, scale: Float64Array) -> None:
        name, order = population.name, len(population.matrix)
        rows = scale[:order]
        real = population.matrix.astype(np.float64) * rows / rows[:, np.newaxis]
        largest = np.maximum(np.abs(real).max(axis=1), 1e-9)
        places = np.clip(np.floor(np.log2(VALUE_MAX / largest)), 0, 31).astype(np.uint8)
        matrix = np.rint(real * 2.0 ** places.astype(float)[:, np.newaxis])
        if np.any(np.abs(matrix) > VALUE_MAX):
            raise ModelError(
                f"population '{name}' ({population.layer}): states differ so much in range that "
                "its matrix leaves 16 bits"
            )
        kept = matrix / 2.0 ** places.astype(float)[:, np.newaxis]
        bits = self._bits(name)
        planned = self.unit.get(name)
        if planned is None:
            reach = _rows_shared(population, self._range(population))[:order] * INPUT_HEADROOM
            shift = np.array([_places(reach[i : i + 1] / rows[i], bits) for i in range(order)])
        else:
            shift = np.rint(np.log2(planned[:order] / rows)).astype(int)
        unit = np.tile(rows * 2.0**shift, population.blocks)
        self._emits(population, unit, (1 << (bits - 1)) - 1)
        self.populations[name] = g.LinearState(
            name, matrix.astype(np.int16), places, shift.astype(np.uint8), population.blocks, bits
        )
        error = float((np.abs(kept - real).max(axis=1) / largest).max())
        self._report(
            name, population.layer, f"{population.blocks} x {order} states '{name}'",
            "matrix rounded to 16 bits, a scale for each row", error,
        )  # fmt: skip

    # ---- read-out ----

    def _readout(self) -> g.Readout:
        readout = self.network.readout
        name, mode = readout.population, readout.mode
        if mode is None:
            return g.SpikeCount(name)
        if mode is Score.FIRST_SPIKE:
            return g.FirstSpike(name)
        if isinstance(mode, PotentialMode):
            return Potential(name, mode)
        # e**-11 is less than half of the table's last place
        scale = float(self.scales[name][0])
        shift = min(30, max(0, math.ceil(math.log2(11 / (SOFTMAX_SIZE - 1) / scale))))
        table = np.exp(-np.arange(SOFTMAX_SIZE) * scale * 2.0**shift)
        return g.SoftmaxSum(name, np.rint(65535 * table).astype(np.uint16), shift)


def _places(largest: Float64Array, bits: int) -> int:
    """How far integers up to `largest` are shifted to fit in so many bits."""
    fits = float(largest.max()) / ((1 << (bits - 1)) - 1)
    return min(30, max(0, math.ceil(math.log2(fits)))) if fits > 0 else 0


def _keeps_grids(entering: list[_Synapses], scale: Float64Array, shifts: list[int]) -> bool:
    """Whether one integer of every such projection is one of the source's."""
    return all(
        s.grid is None or np.allclose(scale * 2.0**shift, s.grid, rtol=1e-12, atol=0)
        for s, shift in zip(entering, shifts, strict=True)
    )


def _rows_shared(population: net.LinearState, values: Float64Array) -> Float64Array:
    """Values of all states, equal for the same row of every block."""
    return np.tile(values.reshape(population.blocks, -1).max(axis=0), population.blocks)


def _thresholds(population: net.Population) -> Float64Array:
    return np.broadcast_to(population.threshold, (population.size,)).astype(np.float64)


def _out_of_reach(threshold: Float64Array, scale: Float64Array) -> bool:
    """Whether no membrane that fits could pass any of these thresholds.

    A read-out that is trained on its potential is given such a threshold so that it never spikes;
    scaling it into range would leave nothing of the weights.
    """
    return bool(np.all(threshold > NEVER * scale))


def _q15(decay: FloatArray) -> UInt16Array:
    return np.rint(np.atleast_1d(decay).astype(np.float64) * DECAY_ONE).astype(np.uint16)


def _measured(
    report: FidelityReport,
    network: Network,
    unit: dict[str, Float64Array],
    graph: Graph,
    calibration: Signal,
    frames: Int16Array,
    progress: Callable[[int], None],
) -> FidelityReport:
    """The report with what a run of the graph beside the network on the recordings gave."""
    samples, steps = frames.shape[:2]
    spiking = [p.name for p in network.populations if isinstance(p, net.Population)]
    values = [
        p.name for p in network.populations if isinstance(p, (net.Integrator, net.LinearState))
    ]
    same = dict.fromkeys(spiking, 0)
    off, power = dict.fromkeys(values, 0.0), dict.fromkeys(values, 0.0)
    largest = dict.fromkeys((p.name for p in graph.populations if p.name in spiking + values), 0)
    state, floats = reference.State(graph, samples), net.State(network, samples)
    for t in range(steps):
        state.step(frames[:, t])
        floats.step(calibration[:, t].astype(np.float32))
        for name in same:
            same[name] += int(np.sum(floats.emitted[name] == state.emitted[name]))
        for name in values:
            real = floats.emitted[name].astype(np.float64)
            off[name] += float(np.sum((state.emitted[name] * unit[name] - real) ** 2))
            power[name] += float(np.sum(real**2))
        for name in largest:
            largest[name] = max(largest[name], int(np.abs(state.membrane[name]).max()))
        progress(samples)
    labels, expected = np.argmax(state.scores, axis=1), np.argmax(floats.scores, axis=1)
    return replace(
        report,
        label_agreement=float(np.mean(labels == expected)),
        spike_agreement={
            name: count / (samples * steps * network.size(name)) for name, count in same.items()
        },
        value_error={n: math.sqrt(off[n] / power[n]) if power[n] else 0.0 for n in values},
        calibration_samples=samples,
        state_use={name: value / (1 << (MEMBRANE_BITS - 1)) for name, value in largest.items()},
    )
