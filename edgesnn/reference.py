"""The reference: what a graph computes, written to be read, not to be fast.

Every other place that runs a graph is tested to be equal to this one. Samples are independent and
ride along on the first axis.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.graph import (
    ADAPTATION_BITS,
    CURRENT_BITS,
    LIF,
    MEMBRANE_BITS,
    SOFTMAX_SIZE,
    SYNAPSE_BITS,
    Activation,
    Adaptation,
    Conduction,
    Conv,
    DecayRule,
    DelayedSynapses,
    DelayLine,
    Delta,
    Dense,
    Fire,
    FirstSpike,
    Graph,
    Int16Array,
    Int32Array,
    Integrator,
    LinearState,
    Port,
    PotentialMode,
    Projection,
    Requantization,
    Reset,
    SoftmaxSum,
    SpikeCount,
    SumPool,
    UInt16Array,
    Window,
)

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Progress = Callable[[int], None]


@dataclass
class Outputs:
    """What a run of recordings gave, whichever place computed it.

    Attributes:
        labels: (samples,) int64, the label after the last step.
        scores: (samples, classes) int32, the scores after the last step.
        step_labels: (samples, steps) int64, the label after each step.
        synops: (samples,) int64, synaptic additions: one a weight and spike that met.
        macs: (samples,) int64, multiply-accumulates: one a weight and value other than 0 that met,
            and one a coefficient of a `LinearState` and step.
        spikes: (samples,) int64, outputs other than 0 of all populations (the input not counted).
        digests: (samples, steps) uint32, see `digest`.
        decided: (samples,) int64, steps after which the answer was first decided (`Graph`), or 0.
    """

    labels: Int64Array
    scores: Int32Array
    step_labels: Int64Array
    synops: Int64Array
    macs: Int64Array
    spikes: Int64Array
    digests: npt.NDArray[np.uint32]
    decided: Int64Array

    @property
    def early_labels(self) -> Int64Array:
        """(samples,) int64, the labels of whoever stops where an answer is decided."""
        at = np.where(self.decided > 0, self.decided, self.step_labels.shape[1]) - 1
        return np.asarray(self.step_labels[np.arange(len(at)), at], np.int64)

    @property
    def early_steps(self) -> float:
        """Share of the steps that are run by whoever stops where an answer is decided."""
        steps = self.step_labels.shape[1]
        return float(np.where(self.decided > 0, self.decided, steps).mean() / steps)


def lead(scores: npt.NDArray[Any]) -> Int64Array:
    """How far the highest of scores (..., classes) is above every other, (...)."""
    two = np.partition(scores.astype(np.int64), -2, axis=-1)[..., -2:]
    return two[..., 1] - two[..., 0]


def leak(x: Int64Array, b: UInt16Array) -> Int64Array:
    """`(x * b + 2**14) >> 15`, see `edgesnn.graph`."""
    return (x * b.astype(np.int64) + (1 << 14)) >> 15


def sat(x: Int64Array, bits: int) -> Int64Array:
    """Saturation to a two's-complement number of that many bits."""
    return np.minimum(np.maximum(x, -(1 << (bits - 1))), (1 << (bits - 1)) - 1)


def rounded(x: Int64Array, shift: int | npt.NDArray[Any]) -> Int64Array:
    """`x >> shift`, rounding half up."""
    places = np.asarray(shift, np.int64)
    result: Int64Array = (x + ((np.int64(1) << places) >> 1)) >> places
    return result


def decayed(x: Int64Array, b: UInt16Array, rule: DecayRule) -> Int64Array:
    """A state after one step of decay, as `edgesnn.graph.DecayRule` says."""
    if rule is DecayRule.Q15:
        return leak(x, b)
    if rule is DecayRule.TOWARD_ZERO:
        return np.asarray(np.sign(x) * ((np.abs(x) * b.astype(np.int64)) >> 12), np.int64)
    shifted = x >> b.astype(np.int64)
    return x - np.where((shifted == 0) & (x > 0), 1, shifted)


# ---- projections: the exact sum S of each, from what the source emitted, (samples, size) ----


def dense_sum(projection: Dense, source: Int64Array) -> Int64Array:
    """S of a `Dense`."""
    samples, blocks = len(source), projection.blocks
    # float64 holds every integer below 2**53, and no sum here reaches 2**39: BLAS is exact
    blocked = source.reshape(samples, blocks, -1).astype(np.float64)
    summed: Int64Array = (blocked @ projection.weights.T.astype(np.float64)).astype(np.int64)
    return summed.reshape(samples, -1)


@functools.cache
def _places(window: Window) -> list[tuple[int, int, Int64Array, Int64Array, BoolArray]]:
    """For each place of the kernel: ky, kx, the inputs y, x of all outputs, and if they exist."""
    height, width, _ = window.input_shape
    out_y, out_x = np.indices(window.output_shape[:2])
    places = []
    for ky in range(window.kernel[0]):
        for kx in range(window.kernel[1]):
            y = out_y * window.stride[0] + ky - window.padding[0]
            x = out_x * window.stride[1] + kx - window.padding[1]
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            places.append((ky, kx, np.where(inside, y, 0), np.where(inside, x, 0), inside))
    return places


def _windows(window: Window, source: Int64Array) -> Iterator[tuple[int, int, Int64Array]]:
    """For each place of the kernel: ky, kx, and what every output sees there.

    That is (samples, out height, out width, C_in), 0 outside the map.
    """
    image = source.reshape(-1, *window.input_shape)
    for ky, kx, y, x, inside in _places(window):
        yield ky, kx, image[:, y, x] * inside[..., np.newaxis]


def conv_sum(projection: Conv, source: Int64Array) -> Int64Array:
    """S of a `Conv`."""
    groups, window = projection.groups, projection.window
    summed = np.zeros((len(source), *window.output_shape), np.int64)
    c_in, c_out = window.input_shape[2] // groups, window.output_shape[2] // groups
    for ky, kx, seen in _windows(window, source):
        for g in range(groups):
            outputs = slice(g * c_out, (g + 1) * c_out)
            weights = projection.weights[ky, kx, :, outputs].astype(np.int64)
            summed[..., outputs] += seen[..., g * c_in : (g + 1) * c_in] @ weights
    return summed.reshape(len(source), -1)


def pool_sum(projection: SumPool, source: Int64Array) -> Int64Array:
    """S of a `SumPool`."""
    summed = np.zeros((len(source), *projection.window.output_shape), np.int64)
    for _, _, seen in _windows(projection.window, source):
        summed += seen
    return summed.reshape(len(source), -1)


def delayed_sum(
    projection: DelayedSynapses, history: Sequence[Int64Array], n_out: int
) -> tuple[Int64Array, Int64Array]:
    """S of `DelayedSynapses`, and how many met something; history[d] is the output d steps ago."""
    arrived = np.stack(history)[projection.delay, :, projection.pre]  # (synapses, samples)
    summed = np.zeros((n_out, len(history[0])), np.int64)
    np.add.at(summed, projection.post, projection.weight[:, np.newaxis] * arrived)
    return summed.T, np.count_nonzero(arrived, axis=0)


def synapses(projection: Projection, source: Int64Array) -> Int64Array:
    """How many synapses of a projection meet something that is not 0, (samples,)."""
    active = (source != 0).astype(np.int64)
    if isinstance(projection, Dense):
        return np.asarray(active.sum(axis=1) * projection.weights.shape[0], np.int64)
    assert isinstance(projection, (Conv, SumPool))
    each = projection.weights.shape[3] // projection.groups if isinstance(projection, Conv) else 1
    seen = sum(part.sum(axis=(1, 2, 3)) for _, _, part in _windows(projection.window, active))
    return np.asarray(seen * each, np.int64)


class State:
    """All that a graph remembers from one step to the next, for `samples` samples.

    Attributes:
        membrane: population -> v of a `LIF` or `Integrator`, m of a `LinearState`, (samples, size).
        synapse, inhibition: `LIF` -> synaptic currents i and h.
        adaptation, refractory, threshold: `LIF` -> a and q of `Adaptation`, and T of the last step.
        sent: `Integrator` with a `Delta` -> c.
        emitted: part -> its most recent output.
        history: part -> its outputs, the most recent first, as far back as a delay reaches.
        scores: (samples, classes).
        synops, macs: (samples,) work since the start.
    """

    def __init__(self, graph: Graph, samples: int) -> None:
        def zeros(size: int) -> Int64Array:
            return np.zeros((samples, size), np.int64)

        self.graph = graph
        self.steps = 0
        parts = (graph.input, *graph.populations)
        self.membrane = {
            p.name: zeros(p.size) for p in graph.populations if not isinstance(p, DelayLine)
        }
        neurons = [p for p in graph.populations if isinstance(p, LIF)]
        deltas = [p for p in graph.populations if isinstance(p, Integrator) and p.delta is not None]
        self.sent = {p.name: zeros(p.size) for p in deltas}
        self.synapse = {p.name: zeros(p.size) for p in neurons if p.synaptic_decay is not None}
        self.inhibition = {p.name: zeros(p.size) for p in neurons if p.inhibitory_decay is not None}
        self.adaptation = {p.name: zeros(p.size) for p in neurons if p.adaptation is not None}
        self.refractory = {name: zeros(graph.size(name)) for name in self.adaptation}
        self.threshold = {name: zeros(graph.size(name)) for name in self.adaptation}
        self.emitted = {p.name: zeros(p.size) for p in parts}
        depth = {p.name: graph.history(p.name) for p in parts}
        for p in graph.populations:
            if isinstance(p, DelayLine):
                depth[p.source] = max(depth[p.source], int(p.delays.max()) + 1)
        self.history = {
            p.name: [zeros(p.size) for _ in range(depth[p.name])] for p in parts if depth[p.name]
        }
        self.scores = zeros(graph.size(graph.readout.population))
        self.synops = np.zeros(samples, np.int64)
        self.macs = np.zeros(samples, np.int64)

    def step(self, frame: npt.NDArray[Any]) -> None:
        """Advance by one step; `frame` is (samples, input size)."""
        graph = self.graph
        self._emit(graph.input.name, frame.astype(np.int64))
        for population in graph.populations:
            name = population.name
            if isinstance(population, DelayLine):
                past = np.stack(self.history[population.source])
                self._emit(name, past[population.delays, :, np.arange(population.size)].T)
                continue
            current = np.zeros_like(self.membrane[name])
            if not isinstance(population, LinearState):
                current += population.bias
            raised = np.zeros_like(current)
            for projection in graph.into(name):
                summed = self._sum(projection) << projection.shift
                if projection.port is Port.CURRENT:
                    current = sat(current + summed, CURRENT_BITS)
                else:
                    raised += summed
            if isinstance(population, LIF):
                self._emit(name, self._fire(population, current, raised))
            elif isinstance(population, Integrator):
                v = leak(self.membrane[name], population.decay) + current
                v = sat(v, MEMBRANE_BITS)
                if population.requantization is not None:
                    v = requantized(population.requantization, v)
                self.membrane[name] = v
                if population.delta is None:
                    self._emit(name, activated(population, v))
                else:
                    self._emit(name, self._changed(population, population.delta, v))
            else:
                m = self.membrane[name] = self._transition(population, current)
                shift = np.tile(population.shift, population.blocks)
                self._emit(name, sat(rounded(m, shift), population.bits))
        self._read_out()
        self.steps += 1

    def _changed(self, population: Integrator, delta: Delta, v: Int64Array) -> Int64Array:
        """What has changed by the threshold since it was emitted."""
        a = sat(v + delta.offset, MEMBRANE_BITS)
        if population.activation is Activation.RELU:
            a = np.maximum(a, 0)
        d = a - self.sent[population.name]
        d = np.where(np.abs(d) >= delta.threshold, d, 0)
        self.sent[population.name] = self.sent[population.name] + d
        return sat(d >> population.shift, population.bits)

    def _emit(self, name: str, output: Int64Array) -> None:
        self.emitted[name] = output
        if name in self.history:
            self.history[name] = [output, *self.history[name][:-1]]

    def _sum(self, projection: Projection) -> Int64Array:
        """S of a projection; what it costs is counted."""
        source = self.emitted[projection.source]
        if isinstance(projection, DelayedSynapses):
            history = self.history[projection.source]
            summed, met = delayed_sum(projection, history, self.graph.size(projection.target))
        else:
            met = synapses(projection, source)
            if isinstance(projection, Dense):
                summed = dense_sum(projection, source)
            elif isinstance(projection, Conv):
                summed = conv_sum(projection, source)
            else:
                summed = pool_sum(projection, source)
        if self.graph.part(projection.source).emits_values:
            self.macs += met
        else:
            self.synops += met
        return summed

    def _transition(self, population: LinearState, current: Int64Array) -> Int64Array:
        """The states m of the next step; no sum reaches 2**15 * 2**30 * 2**16 = 2**61."""
        m = self.membrane[population.name]
        self.macs += population.blocks * population.order**2
        blocked = m.reshape(len(m), population.blocks, population.order)
        summed = np.einsum("ij,skj->ski", population.matrix.astype(np.int64), blocked)
        moved = rounded(summed, population.matrix_shift).reshape(len(m), -1)
        return sat(moved + current, MEMBRANE_BITS)

    def _fire(self, p: LIF, current: Int64Array, raised: Int64Array) -> Int64Array:
        """Update spiking neurons by one step; the spikes of each."""
        name, reset, bits = p.name, p.reset, p.state_bits
        v, emitted = self.membrane[name], self.emitted[name]
        r = (emitted != 0).astype(np.int64)
        threshold = p.threshold.astype(np.int64) + np.zeros_like(v)
        subtracted = threshold
        if p.adaptation is not None:
            threshold, subtracted = self._adapt(p, p.adaptation, raised)
        x = current
        if p.synaptic_decay is not None:
            i = self.synapse[name]
            jumped = sat(decayed(i, p.synaptic_decay, p.rule) + x, min(bits, SYNAPSE_BITS))
            self.synapse[name] = jumped
            x = {
                Conduction.JUMPED: jumped,
                Conduction.DECAYED: decayed(jumped, p.synaptic_decay, p.rule),
                Conduction.LAGGED: i,
            }[p.conduction]
            if p.membrane_bias is not None:
                x = sat(x + p.membrane_bias, CURRENT_BITS)
        if p.inhibitory_decay is not None:
            w = self._alpha(p, current, r)
        else:
            u = decayed(v, p.decay, p.rule)
            if reset is Reset.SUBTRACT:
                w = sat(u + x - r * subtracted, bits)
            elif reset is Reset.ZERO:
                w = sat((1 - r) * u + x, bits)
            elif reset is Reset.ZERO_DISCARD:
                w = (1 - r) * sat(u + x, bits)
            elif reset is Reset.SUBTRACT_RESIDUE:
                q = self._passes(p, v, threshold)
                w = sat(u + x - q * threshold, bits)
            else:
                w = sat(u + x, bits)
        tested = w
        if p.adaptation is not None and p.adaptation.refractory is not None:
            tested = w - self.refractory[name]
        s = self._passes(p, tested, threshold)
        if p.max_spikes > 1:
            s *= np.minimum(w // threshold, p.max_spikes)
        v = w
        if reset is Reset.SUBTRACT_AT_ONCE:
            v = sat(w - s * threshold, bits)
        elif reset is Reset.ZERO_AT_ONCE:
            v = np.where(s > 0, 0 if p.reset_to is None else p.reset_to, w)
        elif reset is Reset.SUBTRACT_RESIDUE:
            v = sat(w - (s - q) * threshold, bits)
        if p.floor is not None:
            v = np.maximum(v, p.floor)
        self.membrane[name] = v.astype(np.int64)
        if p.adaptation is not None and p.adaptation.refractory is not None:
            self.refractory[name] = sat(self.refractory[name] + 2 * threshold * s, SYNAPSE_BITS)
            raised_by = p.adaptation.step * s
            self.adaptation[name] = sat(self.adaptation[name] + raised_by, ADAPTATION_BITS)
        return s

    @staticmethod
    def _passes(p: LIF, w: Int64Array, threshold: Int64Array) -> Int64Array:
        return ((w > threshold) if p.fire is Fire.ABOVE else (w >= threshold)).astype(np.int64)

    def _adapt(
        self, p: LIF, adaptation: Adaptation, raised: Int64Array
    ) -> tuple[Int64Array, Int64Array]:
        """The threshold T of this step, and the one that a delayed reset subtracts."""
        a = decayed(self.adaptation[p.name], adaptation.decay, p.rule)
        if adaptation.refractory is None:
            a = sat(a + adaptation.step * (self.emitted[p.name] != 0), ADAPTATION_BITS)
        else:
            q = decayed(self.refractory[p.name], adaptation.refractory, p.rule)
            self.refractory[p.name] = q
        self.adaptation[p.name] = a
        before = self.threshold[p.name]
        threshold = self.threshold[p.name] = sat(p.threshold + a + raised, CURRENT_BITS)
        return threshold, before if adaptation.old else threshold

    def _alpha(self, p: LIF, current: Int64Array, r: Int64Array) -> Int64Array:
        """The membrane of Alpha neurons: the sum of a rising and a falling current."""
        assert p.inhibitory_decay is not None
        n = min(p.state_bits, SYNAPSE_BITS)
        i, before = self.synapse[p.name], self.inhibition[p.name]
        h = sat(decayed(before, p.inhibitory_decay, p.rule) - current, n)
        w = i + h
        if p.reset is Reset.ZERO_DISCARD:
            i, h, w = (1 - r) * i, (1 - r) * h, (1 - r) * w
        elif p.reset_to is not None:
            w = w + r * decayed(before, p.decay, p.rule)
            i, h = sat(i - r * p.reset_to, n), (1 - r) * h
        self.synapse[p.name], self.inhibition[p.name] = i, h
        return sat(w, p.state_bits)

    def _read_out(self) -> None:
        readout = self.graph.readout
        name = readout.population
        if isinstance(readout, SpikeCount):
            self.scores = sat(self.scores + self.emitted[name], 32)
        elif isinstance(readout, FirstSpike):
            first = (self.scores == 0) & (self.emitted[name] != 0)
            self.scores = np.where(first, max((1 << 31) - (self.steps + 1), 1), self.scores)
        elif isinstance(readout, SoftmaxSum):
            v = self.membrane[name]
            below = (v.max(axis=1, keepdims=True) - v) >> readout.shift
            e = readout.table.astype(np.int64)[np.minimum(below, SOFTMAX_SIZE - 1)]
            self.scores = sat(self.scores + (e << 15) // e.sum(axis=1, keepdims=True), 32)
        elif readout.mode is PotentialMode.SUM:
            self.scores = sat(self.scores + self.membrane[name], 32)
        elif readout.mode is PotentialMode.MAX and self.steps > 0:
            self.scores = np.maximum(self.scores, self.membrane[name])
        else:
            self.scores = self.membrane[name].copy()

    def output(self, sample: int) -> list[npt.NDArray[Any]]:
        """What the populations put out in the last step, one array each, as `digest` takes it."""
        return [
            self.emitted[p.name][sample].astype(np.int16)
            if p.emits_values
            else np.flatnonzero(self.emitted[p.name][sample]).astype(np.uint16)
            for p in self.graph.populations
        ]

    def digest(self, sample: int, crc: int = 0) -> int:
        """The `digest` of one sample's last step."""
        return digest(self.output(sample), self.scores[sample], crc)


def requantized(part: Requantization, x: Int64Array) -> Int64Array:
    """What becomes of sums x (..., size), as `edgesnn.graph.Requantization` says."""
    entry = np.arange(x.shape[-1]) % len(part.multiplier)
    places = part.places.astype(np.int64)[entry]
    product = x * part.multiplier.astype(np.int64)[entry]
    half = (np.int64(1) << places) >> 1
    if part.once:
        y = product >> 31 | (product & ((1 << 31) - 1) > 0)
        down = y >> places & 1 == 0
    else:
        y = (product + (1 << 30)) >> 31
        down = y < 0
    return np.asarray(np.clip((y + half - (down & (half > 0))) >> places, part.low, part.high))


def activated(population: Integrator, v: Int64Array) -> Int64Array:
    """What an `Integrator` emits for its states v, as `edgesnn.graph.Activation` says."""
    y = sat(rounded(v, population.shift), population.bits)
    if population.activation is Activation.RELU:
        return np.maximum(y, 0)
    if population.activation is Activation.TABLE:
        assert population.table is not None
        table = population.table.astype(np.int64)
        a, f = (y + (1 << 15)) >> 8, (y + (1 << 15)) & 255
        between = ((table[a + 1] - table[a]) * f + 128) >> 8
        return np.asarray(table[a] + between, np.int64)
    return y


def digest(outputs: list[npt.NDArray[Any]], scores: npt.NDArray[Any], crc: int = 0) -> int:
    """CRC-32 (zlib's) of everything that one step put out, continued from `crc`.

    Of the bytes, little-endian: for each population in order, if it emits spikes, their number
    (uint16) and the indices of the neurons, ascending (uint16 each), if it emits values, all of
    them (int16 each); then the scores (int32 each). `outputs` holds uint16 indices or int16 values.
    """
    for output in outputs:
        if output.dtype == np.uint16:
            crc = zlib.crc32(struct.pack("<H", len(output)), crc)
        crc = zlib.crc32(output.astype(output.dtype.newbyteorder("<")).tobytes(), crc)
    return zlib.crc32(scores.astype("<i4").tobytes(), crc)


def steps(graph: Graph, frames: Int16Array) -> Iterator[State]:
    """The state after each step of frames (samples, steps, input size), from a reset."""
    state = State(graph, len(frames))
    for t in range(frames.shape[1]):
        state.step(frames[:, t])
        yield state


def run(graph: Graph, frames: Int16Array, progress: Progress = lambda steps: None) -> Outputs:
    """Run recordings (samples, steps, input size) int16, each from a reset.

    `progress` is called with the number of frames (samples x steps) done since its last call.
    """
    samples, n_steps = frames.shape[:2]
    digests = np.zeros((samples, n_steps), np.uint32)
    labels = np.zeros((samples, n_steps), np.int64)
    spikes = np.zeros(samples, np.int64)
    decided = np.zeros(samples, np.int64)
    state = State(graph, samples)
    for t in range(n_steps):
        state.step(frames[:, t])
        digests[:, t] = [state.digest(k) for k in range(samples)]
        labels[:, t] = np.argmax(state.scores, axis=1)
        if graph.margin > 0:
            decided[(decided == 0) & (lead(state.scores) >= graph.margin)] = t + 1
        for population in graph.populations:
            spikes += np.count_nonzero(state.emitted[population.name], axis=1)
        progress(samples)
    last = labels[:, -1] if n_steps else np.zeros(samples, np.int64)
    return Outputs(
        last, state.scores.astype(np.int32), labels, state.synops, state.macs, spikes, digests,
        decided,
    )  # fmt: skip


def selftest_digest(graph: Graph, frames: Int16Array) -> int:
    """The digest of a self-test: `digest` chained over the steps of frames (steps, size)."""
    crc = 0
    for state in steps(graph, frames[np.newaxis]):
        crc = state.digest(0, crc)
    return crc


def with_selftest(graph: Graph, frames: Int16Array) -> Graph:
    """The graph with a golden run over frames (steps, input size) int16 in it."""
    return graph.with_selftest(frames, selftest_digest(graph, frames))
