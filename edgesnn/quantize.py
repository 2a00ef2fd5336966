"""Network to Graph: floats to integers, calibrated on recordings, with a report of what was kept.

Every target neuron n has a scale s[n]: one unit of its membrane, threshold and current. A spike's
weight needs no rescaling at run time, because its integer IS a current of that neuron:

    w_int = round(w / (s[n] * 2**shift)),  threshold_int = round(threshold / s[n])

`shift` leaves room below the weights' last place, so that thresholds, decays and biases are rounded
far more finely than the weights. Neurons whose potentials are compared (a `Potential` read-out)
share one scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import reference
from edgesnn.errors import ModelError
from edgesnn.graph import (
    CURRENT_BOUND,
    DECAY_ONE,
    LIF,
    MAX_SHIFT,
    MEMBRANE_BITS,
    NEVER,
    THRESHOLD_BOUND,
    AnalogInput,
    Dense,
    Graph,
    Input,
    Int16Array,
    Potential,
    Reset,
    SpikeCount,
    SpikeInput,
    UInt16Array,
)
from edgesnn.network import (
    Conversion,
    FidelityReport,
    FloatArray,
    InputKind,
    LayerReport,
    Network,
    Population,
    Projection,
    Recorded,
    Verdict,
)

WEIGHT_MAX = 127
# thresholds and biases are kept this far below what fits: a membrane may well be 32 times as large
LARGEST_KEPT = THRESHOLD_BOUND >> 4
STATE_PLACES = 8
INPUT_HEADROOM = 2.0
SELFTEST_STEPS = 16
SELFTEST_RATE = 0.2
Signal = npt.NDArray[Any]
Float64Array = npt.NDArray[np.float64]


def quantize(
    network: Network,
    calibration: Signal | None = None,
    progress: Callable[[int], None] = lambda frames: None,
) -> Conversion:
    """Make the integer graph of a network.

    Args:
        network: what a converter read.
        calibration: recordings (samples, steps, channels) in physical units or spikes: they set the
            range of an analog input, and everything in the report that is measured is measured on
            them. A spike input can do without; the report then says that nothing was measured.
        progress: called with the number of frames done since its last call; twice
            samples x steps in all.

    Raises:
        ModelError: the network cannot be kept within the graph's bounds, or an analog input has no
            recordings to be calibrated on.
    """
    part = _input(network, calibration)
    recorded = None
    if calibration is not None:
        keep = tuple(p.name for p in network.populations)
        recorded = network.run(calibration, keep=keep, progress=progress)
    layers: list[LayerReport] = []
    projections: list[Dense] = []
    populations: list[LIF] = []
    for population in network.populations:
        synapses = [
            _synapses(network, part, p, calibration, recorded)
            for p in network.projections
            if p.target == population.name
        ]
        shared = network.readout.mode is not None and population.name == network.readout.population
        scale, shifts = _scale(population, synapses, shared)
        dense = [_dense(s, scale, shift) for s, shift in zip(synapses, shifts, strict=True)]
        for projection, layer in dense:
            projections.append(projection)
            layers.append(layer)
        neurons, layer = _neurons(population, scale)
        populations.append(neurons)
        layers.append(layer)
    graph = Graph(
        input=part,
        populations=tuple(populations),
        projections=tuple(projections),
        readout=(
            SpikeCount(network.readout.population)
            if network.readout.mode is None
            else Potential(network.readout.population, network.readout.mode)
        ),
        step_us=network.step_us,
    )
    report = FidelityReport(
        source=network.source,
        profile=str(network.profile),
        layers=tuple(layers),
        remarks=network.remarks,
    )
    if calibration is None or recorded is None:
        # only spikes can do without recordings; any will do for a self-test
        spikes = np.random.default_rng(0).random((SELFTEST_STEPS, part.size)) < SELFTEST_RATE
        return Conversion(reference.with_selftest(graph, spikes.astype(np.int16)), report)
    frames = graph.input.quantize(calibration)
    report = _measured(report, graph, frames, recorded, progress)
    return Conversion(reference.with_selftest(graph, frames[0, :SELFTEST_STEPS]), report)


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
    places = np.floor(np.log2(32767 / (INPUT_HEADROOM * largest)))
    return AnalogInput(network.input_name, np.clip(places, -15, 30).astype(np.int8), network.units)


@dataclass(frozen=True)
class _Synapses:
    """A projection in the units of what its source emits.

    Attributes:
        weight: (n_out, n_in) float64, per spike of 1 or per unit of an integer frame.
        analog: whether the source emits the integers of a frame.
        power: (n_in,) mean square of what the source emits, for weighing rounding errors.
    """

    projection: Projection
    weight: Float64Array
    analog: bool
    power: Float64Array

    @property
    def largest_current(self) -> int:
        return int(self.weight.shape[1]) * 128 * (1 << 15 if self.analog else 1)

    def per_neuron(self, rows: Float64Array) -> Float64Array:
        """Values of the weight's rows, (n_out,), for every neuron of the target, (size,)."""
        return np.tile(rows, self.projection.blocks)


def _synapses(
    network: Network,
    part: Input,
    projection: Projection,
    calibration: Signal | None,
    recorded: Recorded | None,
) -> _Synapses:
    weight = projection.weight.astype(np.float64)
    n_in = weight.shape[1]
    if projection.source != network.input_name:
        rate = 0.0 if recorded is None else recorded.rates[projection.source]
        return _Synapses(projection, weight, False, np.full(n_in, rate))
    if isinstance(part, SpikeInput):
        return _Synapses(projection, weight, False, np.ones(n_in))
    assert calibration is not None
    places = part.fraction_bits.astype(int)
    power = np.mean(np.ldexp(calibration.astype(np.float64), places) ** 2, axis=(0, 1))
    return _Synapses(projection, np.ldexp(weight, -places), True, power)


def _scale(
    population: Population, synapses: list[_Synapses], shared: bool
) -> tuple[Float64Array, list[int]]:
    """The scale of each neuron, (size,), and the shift of each projection.

    A spike and the integers of a frame differ by orders of magnitude, so spikes get a shift of
    their own. Of all shifts that keep the graph's bounds, the one that rounds the currents best.

    Raises:
        ModelError: no shift keeps the bounds.
    """
    mixed = any(s.analog for s in synapses)
    best: tuple[float, Float64Array, list[int]] | None = None
    for shift in range(MAX_SHIFT, -1, -1) if mixed else range(STATE_PLACES, -1, -1):
        shifts = [0 if s.analog else shift for s in synapses]
        scale = _smallest_scale(population, synapses, shifts)
        if shared:
            scale = np.full_like(scale, scale.max())
        bias = float(np.abs(population.bias / scale).max(initial=0))
        current = sum(s.largest_current << k for s, k in zip(synapses, shifts, strict=True))
        if current + bias + 1 >= CURRENT_BOUND:
            continue
        error = _rounding_error(population, synapses, shifts, scale)
        if best is None or error < best[0]:
            best = error, scale, shifts
        if not mixed:
            break  # fewer places are only for keeping the bounds
    if best is None:
        raise ModelError(
            f"population '{population.name}' ({population.layer}) has so many inputs that its "
            "current could leave 30 bits: split it"
        )
    return best[1], best[2]


def _smallest_scale(
    population: Population, synapses: list[_Synapses], shifts: list[int]
) -> Float64Array:
    """The finest scale of each neuron that keeps weights in 8 bits and the rest in bounds."""
    scale = np.abs(population.bias).astype(np.float64) / LARGEST_KEPT
    for s, shift in zip(synapses, shifts, strict=True):
        rows = np.abs(s.weight).max(axis=1, initial=0) / (WEIGHT_MAX * 2.0**shift)
        scale = np.maximum(scale, s.per_neuron(rows))
    threshold = np.abs(np.broadcast_to(population.threshold, (population.size,))).astype(np.float64)
    if not _out_of_reach(threshold, scale):
        scale = np.maximum(scale, threshold / LARGEST_KEPT)
    scale[scale == 0] = 1.0
    before = np.zeros_like(scale)
    while not np.array_equal(before, scale):  # blocks that share weights share scales
        before = scale
        for s in synapses:
            scale = s.per_neuron(scale.reshape(s.projection.blocks, -1).max(axis=0))
    return scale


def _out_of_reach(threshold: Float64Array, scale: Float64Array) -> bool:
    """Whether no membrane that fits could pass any of these thresholds.

    A read-out that is trained on its potential is given such a threshold so that it never spikes;
    scaling it into range would leave nothing of the weights.
    """
    return bool(np.all(threshold > NEVER * scale))


def _rounding_error(
    population: Population, synapses: list[_Synapses], shifts: list[int], scale: Float64Array
) -> float:
    """Mean square error of the currents from rounding the weights, in squared thresholds."""
    threshold = np.broadcast_to(population.threshold, (population.size,)).astype(np.float64)
    total = 0.0
    for s, shift in zip(synapses, shifts, strict=True):
        unit = _row_scale(s, scale) * 2.0**shift
        error = s.weight - np.rint(s.weight / unit[:, np.newaxis]) * unit[:, np.newaxis]
        rows = (error**2 @ s.power) / np.maximum(threshold[: len(unit)] ** 2, 1e-30)
        total += float(rows.sum())
    return total


def _row_scale(synapses: _Synapses, scale: Float64Array) -> Float64Array:
    """The scale of each row of a weight, (n_out,)."""
    first: Float64Array = scale.reshape(synapses.projection.blocks, -1)[0]
    return first


def _dense(synapses: _Synapses, scale: Float64Array, shift: int) -> tuple[Dense, LayerReport]:
    projection = synapses.projection
    unit = (_row_scale(synapses, scale) * 2.0**shift)[:, np.newaxis]
    weights = np.clip(np.rint(synapses.weight / unit), -WEIGHT_MAX, WEIGHT_MAX)
    largest = np.abs(synapses.weight).max(initial=0)
    error = float(np.abs(weights * unit - synapses.weight).max() / largest) if largest else 0.0
    report = LayerReport(
        projection.layer,
        f"{projection.source} -> {projection.target}",
        Verdict.APPROXIMATED if error else Verdict.EXACT,
        "weights rounded to 8 bits, a scale for each target neuron" if error else "",
        error,
    )
    dense = Dense(
        projection.source, projection.target, weights.astype(np.int8), shift, projection.blocks
    )
    return dense, report


def _neurons(population: Population, scale: Float64Array) -> tuple[LIF, LayerReport]:
    size = population.size
    real_threshold = np.broadcast_to(population.threshold, (size,)).astype(np.float64)
    silent = _out_of_reach(real_threshold, scale)
    common: dict[str, Any] = {
        "name": population.name,
        "decay": _q15(population.beta),
        "threshold": np.rint(np.minimum(real_threshold / scale, NEVER)).astype(np.int32),
        "bias": np.rint(population.bias / scale).astype(np.int32),
        "reset": Reset.NONE if silent else population.reset,
    }
    pairs = [(population.beta, common["decay"] / DECAY_ONE)]
    if population.alpha is not None:
        common["synaptic_decay"] = _q15(population.alpha)
        pairs.append((population.alpha, common["synaptic_decay"] / DECAY_ONE))
    error = max(float(np.abs(real - kept).max()) for real, kept in pairs)
    if not silent:
        rounded = common["threshold"] * scale - real_threshold
        relative = np.abs(rounded / np.where(real_threshold, real_threshold, 1))
        error = max(error, float(relative.max()))
    report = LayerReport(
        population.layer,
        f"{size} neurons '{population.name}'",
        Verdict.APPROXIMATED if error else Verdict.EXACT,
        "rule exact; decay rounded to 15 bits, threshold and bias to the scale" if error else "",
        error,
    )
    return LIF(**common), report


def _q15(decay: FloatArray) -> UInt16Array:
    return np.rint(np.atleast_1d(decay).astype(np.float64) * DECAY_ONE).astype(np.uint16)


def _measured(
    report: FidelityReport,
    graph: Graph,
    frames: Int16Array,
    recorded: Recorded,
    progress: Callable[[int], None],
) -> FidelityReport:
    """The report with what a run of the graph on the calibration recordings gave."""
    samples, steps = frames.shape[:2]
    same = {p.name: 0 for p in graph.populations}
    largest = {p.name: 0 for p in graph.populations}
    state = reference.State(graph, samples)
    for t in range(steps):
        state.step(frames[:, t])
        for name in same:
            same[name] += int(np.sum(recorded.spikes[name][:, t] == (state.emitted[name] != 0)))
            largest[name] = max(largest[name], int(np.abs(state.membrane[name]).max()))
        progress(samples)
    labels = np.argmax(state.scores, axis=1)
    return replace(
        report,
        label_agreement=float(np.mean(labels == recorded.labels)),
        spike_agreement={
            p.name: same[p.name] / (samples * steps * p.size) for p in graph.populations
        },
        calibration_samples=samples,
        state_use={name: value / (1 << (MEMBRANE_BITS - 1)) for name, value in largest.items()},
    )
