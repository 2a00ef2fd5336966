"""The integer graph: the one meaning of a converted network.

Everything that runs a network (the NumPy reference, the C core on a host or a board) computes
exactly what the docstrings here say, bit for bit. All values are integers; a "real" quantity is
`integer * scale`, and the scales are gone once a graph exists.

Notation used below
-------------------
`>>` is an arithmetic shift (floor), `[c]` is 1 where c holds and 0 elsewhere, and

* `leak(x, b)  = (x * b + 2**14) >> 15`: Q15 multiplication, rounding half up, exact for every
  32-bit `x` and `0 <= b <= 2**15` (a C implementation without a 64-bit product splits it as
  `(x >> 15) * b + (((x & 0x7fff) * b + 2**14) >> 15)`, which is the same number);
* `sat(x, n)   = min(max(x, -2**(n-1)), 2**(n-1) - 1)`: saturation to n bits.

Why nothing overflows
---------------------
The input current of a neuron in one step is exact: `Graph` refuses a graph where the largest
current that the shapes allow, `max|bias| + sum(n_in * 128 * largest_input << shift)`, reaches
`CURRENT_BOUND` = 2**29. Synaptic currents saturate to 30 bits and membranes to 31 bits; together
with thresholds below 2**29 every intermediate value then fits in 32 bits.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ModelError

DECAY_ONE = 1 << 15
CURRENT_BOUND = 1 << 29
SYNAPSE_BITS = 30
MEMBRANE_BITS = 31
THRESHOLD_BOUND = 1 << 29
NEVER = (1 << 30) - 1
MAX_SIZE = 0xFFFF
MAX_SHIFT = 20

Int8Array = npt.NDArray[np.int8]
Int16Array = npt.NDArray[np.int16]
Int32Array = npt.NDArray[np.int32]
UInt16Array = npt.NDArray[np.uint16]


class Reset(enum.IntEnum):
    """What a spike of the PREVIOUS step does to the membrane (snnTorch's delayed resets).

    The reset signal is `r = [v > threshold]`, taken from the membrane before this step's update.
    `x` is the current that enters the membrane in this step.

    * NONE:         `v = sat(leak(v, decay) + x, 31)`
    * SUBTRACT:     `v = sat(leak(v, decay) + x - r * threshold, 31)`; the subtraction comes after
      the decay (snnTorch 0.7 to 1.0, `reset_mechanism="subtract"`).
    * ZERO:         `v = sat((1 - r) * leak(v, decay) + x, 31)`; the new input is kept
      (snnTorch `Leaky`, `reset_mechanism="zero"`).
    * ZERO_DISCARD: `v = (1 - r) * sat(leak(v, decay) + x, 31)`; the new input is lost too
      (snnTorch `Synaptic`, `RLeaky`, `Lapicque`, `reset_mechanism="zero"`).
    """

    NONE = 0
    SUBTRACT = 1
    ZERO = 2
    ZERO_DISCARD = 3


class PotentialMode(enum.IntEnum):
    """How a `Potential` read-out combines the membranes of the steps since the last reset."""

    LAST = 0
    MAX = 1
    SUM = 2


def _same(a: object, b: object) -> bool:
    if type(a) is not type(b):
        return False
    return all(
        np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y
        for x, y in ((getattr(a, f.name), getattr(b, f.name)) for f in fields(a))  # type: ignore[arg-type]
    )


class _Comparable:
    """Equality by value for dataclasses that hold arrays."""

    def __eq__(self, other: object) -> bool:
        return _same(self, other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class AnalogInput(_Comparable):
    """Sensor values, one int16 a channel and step, straight into dense projections.

    A physical value x of channel c enters as `sat(floor(x * 2**fraction_bits[c] + 1/2), 16)`.

    Args:
        name: unique in the graph.
        fraction_bits: (size,) int8, -15..30: binary digits after the point of each channel.
        units: one physical unit a channel, for people ("m/s^2"); not part of the arithmetic.
    """

    name: str
    fraction_bits: Int8Array
    units: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Channels."""
        return len(self.fraction_bits)

    def quantize(self, signal: npt.NDArray[np.floating[Any]]) -> Int16Array:
        """Physical values (..., size) to frames (..., size) int16, saturated.

        Raises:
            ModelError: wrong number of channels, or a value that is not finite.
        """
        if signal.ndim == 0 or signal.shape[-1] != self.size:
            raise ModelError(
                f"the recording has {signal.shape[-1] if signal.ndim else 0} channels, "
                f"input '{self.name}' takes {self.size}: give (samples, steps, {self.size})"
            )
        if not np.all(np.isfinite(signal)):
            raise ModelError(
                f"the recording holds values that are not finite at {_first_bad(signal)}: "
                "mend or cut the gap before it is run"
            )
        scaled = np.floor(np.ldexp(signal.astype(np.float64), self.fraction_bits) + 0.5)
        return np.clip(scaled, -32768, 32767).astype(np.int16)


@dataclass(frozen=True, eq=False)
class SpikeInput(_Comparable):
    """Binary events: in each step a set of the channels 0..size-1 spikes, each at most once."""

    name: str
    size: int

    def quantize(self, signal: npt.NDArray[np.floating[Any]]) -> Int16Array:
        """Binary frames (..., size) of 0 and 1 to int16.

        Raises:
            ModelError: wrong number of channels, or a value other than 0 and 1.
        """
        if signal.ndim == 0 or signal.shape[-1] != self.size:
            raise ModelError(
                f"the recording has {signal.shape[-1] if signal.ndim else 0} channels, "
                f"input '{self.name}' takes {self.size}: give (samples, steps, {self.size})"
            )
        if not np.all((signal == 0) | (signal == 1)):
            raise ModelError(
                f"input '{self.name}' takes spikes (0 or 1) and the recording holds other values: "
                "encode it as spikes, or convert the network with an analog input"
            )
        return signal.astype(np.int16)


@dataclass(frozen=True, eq=False)
class LIF(_Comparable):
    """Leaky integrate-and-fire neurons (snnTorch `Leaky`).

    State: membrane v, int32 (size,), 0 after a reset of the model. In each step, with `x` the
    input current of the step (bias and projections):

        v = as `Reset` says
        spike = [v > threshold]                                         (strict)

    Args:
        name: unique in the graph.
        decay: (1,) or (size,) uint16, Q15 membrane decay, 0..DECAY_ONE.
        threshold: (size,) int32, from 0 (a neuron at rest is silent) to THRESHOLD_BOUND - 1 for
            Reset.SUBTRACT and to NEVER otherwise (above every membrane: it never spikes).
        bias: (size,) int32, a constant current in every step; all zero means none.
        reset: what a spike of the previous step does.
    """

    name: str
    decay: UInt16Array
    threshold: Int32Array
    bias: Int32Array
    reset: Reset = Reset.SUBTRACT

    @property
    def size(self) -> int:
        """Neurons."""
        return len(self.threshold)


@dataclass(frozen=True, eq=False)
class CubaLIF(_Comparable):
    """Current-based leaky integrate-and-fire neurons (snnTorch `Synaptic`).

    State: synaptic current i and membrane v, int32 (size,), 0 after a reset of the model. In each
    step, with `I` the input current of the step (bias and projections):

        i = sat(leak(i, synaptic_decay) + I, 30)
        v = as `Reset` says, with x = i (this step's i)
        spike = [v > threshold]                                         (strict)

    Args:
        name, decay, threshold, bias, reset: as `LIF`.
        synaptic_decay: (1,) or (size,) uint16, Q15 decay of the synaptic current, 0..DECAY_ONE.
    """

    name: str
    decay: UInt16Array
    synaptic_decay: UInt16Array
    threshold: Int32Array
    bias: Int32Array
    reset: Reset = Reset.SUBTRACT

    @property
    def size(self) -> int:
        """Neurons."""
        return len(self.threshold)


@dataclass(frozen=True, eq=False)
class Dense(_Comparable):
    """All-to-all synapses with int8 weights, each target neuron with a scale of its own.

    Adds to the input current I of the target population

        I[k*n_out + o] += sum(weights[o, j] * s[k*n_in + j] for j in range(n_in)) << shift

    for every block k in 0..blocks-1, where s is what the source emits: 0 or 1 a neuron for spikes,
    the int16 frame for an `AnalogInput`. With blocks > 1 the same weights serve every block of
    source and target (the shared memory matrices of an LMU).

    s is the source's MOST RECENT output: of this step where the source stands before the target
    in the graph, of the previous step where it stands after it or is the target itself
    (recurrence). Before the first step it is 0.

    A spike costs n_out synaptic additions, a non-zero analog value n_out multiply-accumulates.

    Args:
        source, target: names of an input or population, and of a population.
        weights: (n_out, n_in) int8.
        shift: 0..MAX_SHIFT, the binary places between weight and state.
        blocks: source.size == blocks * n_in and target.size == blocks * n_out.
    """

    source: str
    target: str
    weights: Int8Array
    shift: int = 0
    blocks: int = 1


@dataclass(frozen=True, eq=False)
class SpikeCount(_Comparable):
    """Scores (size,) int32: spikes of each neuron of a population since the reset, saturating."""

    population: str


@dataclass(frozen=True, eq=False)
class Potential(_Comparable):
    """Scores (size,) int32 from the membranes v of a population since the reset.

    * LAST: `score = v`
    * MAX:  `score = v` in the first step, then `score = max(score, v)`
    * SUM:  `score = sat(score + v, 32)`: the mean times the number of steps
    """

    population: str
    mode: PotentialMode = PotentialMode.LAST


Input = Union[AnalogInput, SpikeInput]
Population = Union[LIF, CubaLIF]
Projection = Dense
Readout = Union[SpikeCount, Potential]


@dataclass(frozen=True, eq=False)
class SelfTest(_Comparable):
    """A golden run that the graph carries, so that any place can prove that it computes it.

    Args:
        frames: (steps, input size) int16, run from a reset.
        digest: CRC-32 of the run, see `edgesnn.reference.digest`.
    """

    frames: Int16Array
    digest: int


@dataclass(frozen=True, eq=False)
class Graph(_Comparable):
    """A whole network. One step, in this order:

    1. the input takes its frame;
    2. each population, in the order given: `I = bias`, then each projection that targets it, in
       the order given, adds to I (exact, see the module), then the neuron rule updates the state
       and emits the population's spikes;
    3. the read-out takes in its population; the label is the lowest index among the neurons with
       the highest score.

    Args:
        input: where frames enter.
        populations: one or more, in order of update.
        projections: grouped by target, in the order of the populations.
        readout: how scores are made.
        step_us: time from one frame to the next, µs (0: not tied to real time).
        selftest: golden run, or None.

    Raises:
        ModelError: names the part that breaks a rule of its docstring.
    """

    input: Input
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    readout: Readout
    step_us: int = 0
    selftest: SelfTest | None = field(default=None)

    def __post_init__(self) -> None:
        _validate(self)

    def index(self, name: str) -> int:
        """Place of an input (0) or population (1, 2, ...) in the order of update."""
        return self._names().index(name)

    def size(self, name: str) -> int:
        """Neurons of a population, or channels of the input, of that name."""
        index = self.index(name)
        return self.input.size if index == 0 else self.populations[index - 1].size

    def into(self, target: str) -> tuple[Projection, ...]:
        """The projections that target a population, in order."""
        return tuple(p for p in self.projections if p.target == target)

    def with_selftest(self, frames: Int16Array, digest: int) -> Graph:
        """The same graph with a golden run in it; `edgesnn.reference.with_selftest` makes one."""
        return replace(self, selftest=SelfTest(frames, digest))

    def _names(self) -> list[str]:
        return [self.input.name, *(p.name for p in self.populations)]


def largest_current(graph: Graph, population: Population) -> int:
    """Upper bound of |I| of any neuron of a population in any step, from shapes alone."""
    bound = int(np.abs(population.bias.astype(np.int64)).max(initial=0))
    for projection in graph.into(population.name):
        largest = (1 << 15) if graph.index(projection.source) == 0 and _analog(graph) else 1
        bound += (projection.weights.shape[1] * 128 * largest) << projection.shift
    return bound


def _analog(graph: Graph) -> bool:
    return isinstance(graph.input, AnalogInput)


def _first_bad(signal: npt.NDArray[np.floating[Any]]) -> str:
    place = np.argwhere(~np.isfinite(signal))[0]
    return "[" + ", ".join(str(int(i)) for i in place) + "]"


def _validate(graph: Graph) -> None:
    names = graph._names()
    if len(set(names)) != len(names):
        raise ModelError(f"two parts of the graph share a name in {names}: rename one")
    if not graph.populations:
        raise ModelError("the graph has no population: nothing would compute its answer")
    _check_input(graph.input)
    for population in graph.populations:
        _check_population(population)
    for projection in graph.projections:
        _check_projection(graph, projection, names)
    order = [names.index(p.target) for p in graph.projections]
    if order != sorted(order):
        raise ModelError(
            "the projections are not grouped by target in the order of the populations: sort them"
        )
    for population in graph.populations:
        bound = largest_current(graph, population)
        if bound >= CURRENT_BOUND:
            raise ModelError(
                f"the input current of population '{population.name}' may reach {bound}, the "
                f"bound is {CURRENT_BOUND}: use a smaller shift, bias or fan-in"
            )
    if graph.readout.population not in names[1:]:
        raise ModelError(
            f"the read-out names population '{graph.readout.population}', there is "
            f"{', '.join(names[1:])}"
        )
    _require(0 <= graph.step_us < 1 << 32, "step_us", "is not in 0..2**32-1")
    if graph.selftest is not None:
        frames = graph.selftest.frames
        _require_array("the self-test", frames, np.int16, (None, graph.input.size))
        _require(0 < len(frames) <= MAX_SIZE, "the self-test", "has no step, or more than 65535")


def _require(condition: bool, what: str, why: str) -> None:
    if not condition:
        raise ModelError(f"{what} {why}")


def _require_array(
    what: str,
    array: npt.NDArray[Any],
    dtype: type,
    shape: Sequence[int | None],
) -> None:
    _require(array.dtype == dtype, what, f"is {array.dtype}, not {np.dtype(dtype)}")
    fits = array.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(array.shape, shape, strict=True)
    )
    _require(fits, what, f"has shape {array.shape}, not {tuple(shape)}")


def _check_size(what: str, size: int) -> None:
    _require(1 <= size <= MAX_SIZE, what, f"has {size} neurons or channels, not 1..{MAX_SIZE}")


def _check_input(part: Input) -> None:
    what = f"input '{part.name}'"
    _check_size(what, part.size)
    if isinstance(part, AnalogInput):
        _require_array(f"{what}: fraction_bits", part.fraction_bits, np.int8, (None,))
        in_range = bool(np.all((part.fraction_bits >= -15) & (part.fraction_bits <= 30)))
        _require(in_range, f"{what}: fraction_bits", "is not in -15..30")
        _require(
            len(part.units) in (0, part.size), f"{what}: units", "must name every channel or none"
        )


def _check_decay(what: str, decay: UInt16Array, size: int) -> None:
    _require_array(what, decay, np.uint16, (None,))
    _require(len(decay) in (1, size), what, f"has {len(decay)} entries, not 1 or {size}")
    _require(int(decay.max()) <= DECAY_ONE, what, f"exceeds {DECAY_ONE} (1.0 in Q15)")


def _check_population(part: Population) -> None:
    what = f"population '{part.name}'"
    _check_size(what, part.size)
    _check_decay(f"{what}: decay", part.decay, part.size)
    if isinstance(part, CubaLIF):
        _check_decay(f"{what}: synaptic_decay", part.synaptic_decay, part.size)
    _require_array(f"{what}: threshold", part.threshold, np.int32, (part.size,))
    _require_array(f"{what}: bias", part.bias, np.int32, (part.size,))
    limit = THRESHOLD_BOUND - 1 if part.reset is Reset.SUBTRACT else NEVER
    least, largest = int(part.threshold.min()), int(part.threshold.max())
    _require(least >= 0, f"{what}: threshold", f"is {least}: a neuron would spike at rest")
    _require(largest <= limit, f"{what}: threshold", f"reaches {largest}, at most {limit} is exact")


def _check_projection(graph: Graph, part: Projection, names: list[str]) -> None:
    what = f"projection '{part.source}' -> '{part.target}'"
    _require(part.source in names, what, f"has an unknown source, there is {', '.join(names)}")
    _require(part.target in names[1:], what, f"has no such target, there is {', '.join(names[1:])}")
    _require_array(f"{what}: weights", part.weights, np.int8, (None, None))
    _require(0 <= part.shift <= MAX_SHIFT, f"{what}: shift", f"is not in 0..{MAX_SHIFT}")
    _check_size(f"{what}: blocks", part.blocks)
    expected = (graph.size(part.target), graph.size(part.source))
    actual = (part.blocks * part.weights.shape[0], part.blocks * part.weights.shape[1])
    _require(
        actual == expected, what, f"joins {actual[1]} to {actual[0]} neurons, not {expected[::-1]}"
    )
