"""The float network: what every converter makes, its semantics pinned, and what was kept of it.

A network is what a framework trained: populations whose rule has every switch explicit, and
projections between them. `Network.run` computes it as the framework does (float32), so that the
integer graph made from it can be compared, spike by spike.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ModelError
from edgesnn.graph import Graph, PotentialMode, Reset

FloatArray = npt.NDArray[np.float32]


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
        return f"{self.framework} {self.version}"


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons of one rule, snnTorch's `Leaky` (alpha None) or `Synaptic`.

    In each step, I the summed input (bias included), r = [v > threshold] of the step before:

        Leaky:     v = beta * v + I                      and the reset, as `edgesnn.graph.Reset`
        Synaptic:  i = alpha * i + I;  v = beta * v + i  and the reset
        spike = [v > threshold]

    (snnTorch 0.7.0 to 1.0.0, `reset_delay=True`; the `Synaptic` of 0.8.0 to 0.9.1 only where it
    keeps its states itself: called with them, as lif(x, syn, mem), it takes `mem` for `syn`.)

    Args:
        name: unique in the network.
        size: neurons.
        beta, alpha: () or (size,) float32, 0..1; alpha None for `Leaky`.
        threshold: () or (size,) float32.
        bias: (size,) float32.
        reset: what a spike of the previous step does.
        layer: the name of this layer in the source, for the report.
    """

    name: str
    size: int
    beta: FloatArray
    threshold: FloatArray
    bias: FloatArray
    alpha: FloatArray | None = None
    reset: Reset = Reset.SUBTRACT
    layer: str = ""


@dataclass(frozen=True, eq=False)
class Projection:
    """`I[target] += weight @ source`, block by block; recurrence as in `edgesnn.graph.Dense`.

    Args:
        source, target: names of the input or a population, and of a population.
        weight: (n_out, n_in) float32; with blocks > 1 shared by all blocks.
        blocks: equal consecutive parts of source and target that the weight joins one to one.
        layer: the name of this layer in the source, for the report.
    """

    source: str
    target: str
    weight: FloatArray
    blocks: int = 1
    layer: str = ""


@dataclass(frozen=True)
class ReadoutRule:
    """How the answer is made: `mode` None counts spikes, else combines potentials."""

    population: str
    mode: PotentialMode | None = None


@dataclass(frozen=True)
class Recorded:
    """What a float run gave.

    Attributes:
        labels: (samples,) int64.
        spikes: name of input or population -> (samples, steps, size) bool, where asked for.
        rates: name of population -> spikes a neuron and step, the mean over everything.
        largest: name of population -> (size,) largest magnitude of the membrane.
    """

    labels: npt.NDArray[np.int64]
    spikes: dict[str, npt.NDArray[np.bool_]]
    rates: dict[str, float]
    largest: dict[str, FloatArray]


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network in floats.

    Args:
        input: name, size and kind of what enters; kind None where the source does not say.
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
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
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
        for projection in self.projections:
            _check_projection(projection, sizes)

    def size(self, name: str) -> int:
        """Channels of the input, or neurons of a population."""
        if name == self.input_name:
            return self.input_size
        return next(p.size for p in self.populations if p.name == name)

    def run(
        self,
        signal: npt.NDArray[Any],
        *,
        keep: tuple[str, ...] = (),
        progress: Callable[[int], None] = lambda frames: None,
    ) -> Recorded:
        """Run recordings (samples, steps, channels) in the float arithmetic of the framework.

        `keep` names the populations whose spikes are returned; `progress` is called with the
        number of frames done since its last call.
        """
        samples, steps = signal.shape[:2]
        state = _State(self, samples)
        kept = {name: np.zeros((samples, steps, self.size(name)), np.bool_) for name in keep}
        counts = {p.name: 0 for p in self.populations}
        for t in range(steps):
            state.step(signal[:, t].astype(np.float32))
            for name, store in kept.items():
                store[:, t] = state.emitted[name] != 0
            for name in counts:
                counts[name] += int(np.count_nonzero(state.emitted[name]))
            progress(samples)
        total = max(1, samples * steps)
        return Recorded(
            labels=np.argmax(state.scores, axis=1),
            spikes=kept,
            rates={p.name: counts[p.name] / (total * p.size) for p in self.populations},
            largest=state.largest,
        )


class _State:
    def __init__(self, network: Network, samples: int) -> None:
        def zeros(size: int) -> FloatArray:
            return np.zeros((samples, size), np.float32)

        self.network = network
        self.steps = 0
        self.v = {p.name: zeros(p.size) for p in network.populations}
        self.i = {p.name: zeros(p.size) for p in network.populations}
        self.emitted = {p.name: zeros(p.size) for p in network.populations}
        self.largest = {p.name: np.zeros(p.size, np.float32) for p in network.populations}
        self.scores = zeros(network.size(network.readout.population))
        self.into = {
            p.name: [q for q in network.projections if q.target == p.name]
            for p in network.populations
        }

    def step(self, frame: FloatArray) -> None:
        self.emitted[self.network.input_name] = frame
        for population in self.network.populations:
            name = population.name
            current = np.zeros_like(self.v[name]) + population.bias
            for projection in self.into[name]:
                source = self.emitted[projection.source]
                blocked = source.reshape(len(source), projection.blocks, -1)
                current += (blocked @ projection.weight.T).reshape(len(source), -1)
            if population.alpha is not None:
                current = self.i[name] = population.alpha * self.i[name] + current
            v = self.v[name] = _integrate(population, self.v[name], current)
            self.emitted[name] = (v > population.threshold).astype(np.float32)
            np.maximum(self.largest[name], np.abs(v).max(axis=0), out=self.largest[name])
        self._read_out()
        self.steps += 1

    def _read_out(self) -> None:
        readout = self.network.readout
        if readout.mode is None:
            self.scores += self.emitted[readout.population]
        elif readout.mode is PotentialMode.SUM:
            self.scores += self.v[readout.population]
        elif readout.mode is PotentialMode.MAX and self.steps > 0:
            self.scores = np.maximum(self.scores, self.v[readout.population])
        else:
            self.scores = self.v[readout.population].copy()


def _integrate(population: Population, v: FloatArray, current: FloatArray) -> FloatArray:
    r = (v > population.threshold).astype(np.float32)
    leaked = population.beta * v
    if population.reset is Reset.NONE:
        return leaked + current
    if population.reset is Reset.SUBTRACT:
        return leaked + current - r * population.threshold
    if population.reset is Reset.ZERO:
        return (1 - r) * leaked + current
    return (1 - r) * (leaked + current)


def _check_population(part: Population) -> None:
    what = f"population '{part.name}' ({part.layer or 'no layer name'})"
    arrays: dict[str, FloatArray] = {
        "beta": part.beta,
        "threshold": part.threshold,
        "bias": part.bias,
    }
    if part.alpha is not None:
        arrays["alpha"] = part.alpha
    for name, array in arrays.items():
        if array.shape not in ((), (1,), (part.size,)):
            raise ModelError(
                f"{what}: {name} has shape {array.shape}, not () or ({part.size},): "
                "check the source"
            )
        if not np.all(np.isfinite(array)):
            raise ModelError(f"{what}: {name} is not finite: the training diverged, train again")
        if name == "threshold" and np.any(array < 0):
            raise ModelError(f"{what}: a threshold is below 0, so that a neuron spikes at rest")
        if name in ("beta", "alpha") and not np.all((array >= 0) & (array <= 1)):
            raise ModelError(f"{what}: {name} leaves 0..1: clip it as the framework does")


def _check_projection(part: Projection, sizes: dict[str, int]) -> None:
    what = f"projection '{part.source}' -> '{part.target}' ({part.layer or 'no layer name'})"
    for end in (part.source, part.target):
        if end not in sizes:
            raise ModelError(f"{what}: there is no '{end}', only {', '.join(sizes)}")
    if part.weight.ndim != 2:
        raise ModelError(f"{what}: the weight has shape {part.weight.shape}, not two axes")
    n_out, n_in = part.weight.shape
    expected = (sizes[part.target], sizes[part.source])
    if (n_out * part.blocks, n_in * part.blocks) != expected:
        raise ModelError(
            f"{what}: the weight {part.weight.shape} in {part.blocks} block(s) does not join "
            f"{expected[1]} to {expected[0]} neurons: check the sizes in the source"
        )
    if not np.all(np.isfinite(part.weight)):
        raise ModelError(f"{what}: a weight is not finite: the training diverged, train again")


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
class FidelityReport:
    """What a conversion kept, written into the `.esnn` file and printed.

    Attributes:
        source, profile: the file read and whose arithmetic it has.
        layers: a verdict each; a layer that cannot be kept is refused with an error instead.
        label_agreement: share of calibration recordings with the float network's label, or None
            where there were none.
        spike_agreement: population -> share of neuron-steps with the float network's spike.
        calibration_samples: how many recordings these were measured on.
        state_use: population -> largest membrane seen / largest that fits, on the same recordings.
        remarks: what had to be assumed.
    """

    source: str
    profile: str
    layers: tuple[LayerReport, ...]
    label_agreement: float | None = None
    spike_agreement: dict[str, float] = field(default_factory=dict)
    calibration_samples: int = 0
    state_use: dict[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as JSON-able data."""
        return asdict(self)


@dataclass(frozen=True)
class Conversion:
    """A graph and the proof of what it kept."""

    graph: Graph
    report: FidelityReport
