"""The reference: what a graph computes, written to be read, not to be fast.

Every other place that runs a graph is tested to be equal to this one. Samples are independent and
ride along on the first axis.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.graph import (
    LIF,
    MEMBRANE_BITS,
    SYNAPSE_BITS,
    AnalogInput,
    CubaLIF,
    Graph,
    Int16Array,
    Int32Array,
    Population,
    Potential,
    PotentialMode,
    Projection,
    Reset,
    SpikeCount,
    UInt16Array,
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
        macs: (samples,) int64, multiply-accumulates of non-zero analog input values.
        spikes: (samples,) int64, spikes emitted by all populations (the input not counted).
        digests: (samples, steps) uint32, see `digest`.
    """

    labels: Int64Array
    scores: Int32Array
    step_labels: Int64Array
    synops: Int64Array
    macs: Int64Array
    spikes: Int64Array
    digests: npt.NDArray[np.uint32]


def leak(x: Int64Array, b: UInt16Array) -> Int64Array:
    """`(x * b + 2**14) >> 15`, see `edgesnn.graph`."""
    return (x * b.astype(np.int64) + (1 << 14)) >> 15


def sat(x: Int64Array, bits: int) -> Int64Array:
    """Saturation to a two's-complement number of that many bits."""
    return np.clip(x, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def synaptic_sum(projection: Projection, source: npt.NDArray[Any]) -> Int64Array:
    """What a projection adds to the current of its target, from the source (samples, n)."""
    samples, blocks = len(source), projection.blocks
    # float64 holds every integer below 2**53, and no sum here reaches 2**29: BLAS is exact
    blocked = source.reshape(samples, blocks, -1).astype(np.float64)
    summed: Int64Array = (blocked @ projection.weights.T.astype(np.float64)).astype(np.int64)
    return summed.reshape(samples, -1) << projection.shift


def integrate(population: Population, v: Int64Array, x: Int64Array) -> Int64Array:
    """The membrane after the current x entered, as `edgesnn.graph.Reset` says."""
    r = (v > population.threshold).astype(np.int64)
    leaked = leak(v, population.decay)
    if population.reset is Reset.NONE:
        return sat(leaked + x, MEMBRANE_BITS)
    if population.reset is Reset.SUBTRACT:
        return sat(leaked + x - r * population.threshold, MEMBRANE_BITS)
    if population.reset is Reset.ZERO:
        return sat((1 - r) * leaked + x, MEMBRANE_BITS)
    return (1 - r) * sat(leaked + x, MEMBRANE_BITS)


class State:
    """All that a graph remembers from one step to the next, for `samples` samples."""

    def __init__(self, graph: Graph, samples: int) -> None:
        def zeros(size: int) -> Int64Array:
            return np.zeros((samples, size), np.int64)

        self.graph = graph
        self.steps = 0
        self.membrane = {p.name: zeros(p.size) for p in graph.populations}
        self.synapse = {p.name: zeros(p.size) for p in graph.populations if isinstance(p, CubaLIF)}
        self.emitted = {p.name: zeros(p.size) for p in (graph.input, *graph.populations)}
        self.scores = zeros(graph.size(graph.readout.population))
        self.synops = np.zeros(samples, np.int64)
        self.macs = np.zeros(samples, np.int64)

    def step(self, frame: npt.NDArray[Any]) -> None:
        """Advance by one step; `frame` is (samples, input size)."""
        graph = self.graph
        self.emitted[graph.input.name] = frame.astype(np.int64)
        for population in graph.populations:
            name = population.name
            current = np.zeros_like(self.membrane[name]) + population.bias
            for projection in graph.into(name):
                source = self.emitted[projection.source]
                current += synaptic_sum(projection, source)
                self._count(projection, source)
            if isinstance(population, LIF):
                x = current
            else:
                decayed = leak(self.synapse[name], population.synaptic_decay)
                x = self.synapse[name] = sat(decayed + current, SYNAPSE_BITS)
            v = integrate(population, self.membrane[name], x)
            self.membrane[name] = v
            self.emitted[name] = (v > population.threshold).astype(np.int64)
        self._read_out()
        self.steps += 1

    def _count(self, projection: Projection, source: Int64Array) -> None:
        work = np.count_nonzero(source, axis=1) * projection.weights.shape[0]
        analog = isinstance(self.graph.input, AnalogInput)
        if analog and projection.source == self.graph.input.name:
            self.macs += work
        else:
            self.synops += work

    def _read_out(self) -> None:
        readout = self.graph.readout
        if isinstance(readout, SpikeCount):
            self.scores = sat(self.scores + self.emitted[readout.population], 32)
            return
        assert isinstance(readout, Potential)
        v = self.membrane[readout.population]
        if readout.mode is PotentialMode.SUM:
            self.scores = sat(self.scores + v, 32)
        elif readout.mode is PotentialMode.MAX and self.steps > 0:
            self.scores = np.maximum(self.scores, v)
        else:
            self.scores = v.copy()

    def events(self, sample: int) -> list[Int64Array]:
        """Indices of the neurons that spiked in the last step, population by population."""
        return [np.flatnonzero(self.emitted[p.name][sample]) for p in self.graph.populations]

    def digest(self, sample: int, crc: int = 0) -> int:
        """The `digest` of one sample's last step."""
        return digest(self.events(sample), self.scores[sample], crc)


def digest(events: list[Int64Array], scores: npt.NDArray[Any], crc: int = 0) -> int:
    """CRC-32 (zlib's) of everything that one step put out, continued from `crc`.

    Of the bytes, little-endian: for each population in order the number of its spikes (uint16)
    and their indices, ascending (uint16 each); then the scores (int32 each).
    """
    for spikes in events:
        packed = struct.pack("<H", len(spikes)) + spikes.astype("<u2").tobytes()
        crc = zlib.crc32(packed, crc)
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
    state = State(graph, samples)
    for t in range(n_steps):
        state.step(frames[:, t])
        digests[:, t] = [state.digest(k) for k in range(samples)]
        labels[:, t] = np.argmax(state.scores, axis=1)
        for population in graph.populations:
            spikes += state.emitted[population.name].sum(axis=1)
        progress(samples)
    last = labels[:, -1] if n_steps else np.zeros(samples, np.int64)
    return Outputs(
        last, state.scores.astype(np.int32), labels, state.synops, state.macs, spikes, digests
    )


def selftest_digest(graph: Graph, frames: Int16Array) -> int:
    """The digest of a self-test: `digest` chained over the steps of frames (steps, size)."""
    crc = 0
    for state in steps(graph, frames[np.newaxis]):
        crc = state.digest(0, crc)
    return crc


def with_selftest(graph: Graph, frames: Int16Array) -> Graph:
    """The graph with a golden run over frames (steps, input size) int16 in it."""
    return graph.with_selftest(frames, selftest_digest(graph, frames))
