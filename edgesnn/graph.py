"""The integer graph: the one meaning of a converted network.

Everything that runs a network (the NumPy reference, the C core on a host or a board) computes
exactly what the docstrings here say, bit for bit. All values are integers; a "real" quantity is
`integer * scale`, and the scales are gone once a graph exists.

Notation used below
-------------------
`>>` is an arithmetic shift (floor), `[c]` is 1 where c holds and 0 elsewhere, and

* `leak(x, b)     = (x * b + 2**14) >> 15`: Q15 multiplication, rounding half up, exact for every
  32-bit `x` and `0 <= b <= 2**15` (a C implementation without a 64-bit product splits it as
  `(x >> 15) * b + (((x & 0x7fff) * b + 2**14) >> 15)`, which is the same number);
* `sat(x, n)      = min(max(x, -2**(n-1)), 2**(n-1) - 1)`: saturation to n bits;
* `rounded(x, n)  = (x + 2**(n-1)) >> n` for n > 0 and `x` for n = 0: a shift, rounding half up.

What flows
----------
Every population emits, in every step, either *spikes* (0 or 1 a neuron) or *values* (an int16 a
neuron, of which most may be 0): graded spikes, spike counts, sensor values. Which of the two is a
property of the population, `emits_values`. Projections turn what a source emits into the input
current of a target.

A projection sees the source's MOST RECENT output: of this step where the source stands before the
target in the graph, of the previous step where it stands after it or is the target itself
(recurrence). Before the first step it is 0. Listing populations from the output to the input
therefore gives every layer the latency of one step that some frameworks have.

Images and maps lie flat in the order (height, width, channel), channel fastest.

Why nothing overflows
---------------------
The input current of a neuron starts at its bias, and each projection, in order, adds its exact sum:
`I = sat(I + (sum << shift), 30)`. Where the largest current that shapes, widths and bias allow
(`largest_current`) stays below `CURRENT_BOUND` = 2**29, the saturation never acts and nothing pays
for it; elsewhere only `Dense` projections may enter, and they are summed in 64 bits. Synaptic
currents saturate to 30 bits and membranes to 31 bits; together with thresholds below 2**29 every
other intermediate value then fits in 32 bits.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Union

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ModelError

DECAY_ONE = 1 << 15
CURRENT_BITS = 30
CURRENT_BOUND = 1 << 29
SYNAPSE_BITS = 30
MEMBRANE_BITS = 31
ADAPTATION_BITS = 29
THRESHOLD_BOUND = 1 << 29
NEVER = (1 << 30) - 1
MAX_SIZE = 0xFFFF
MAX_SHIFT = 20
MAX_DELAY = 255
MAX_SPIKES = 0x7FFF
VALUE_BITS = 16
TABLE_SIZE = 257
SOFTMAX_SIZE = 256

Int8Array = npt.NDArray[np.int8]
Int16Array = npt.NDArray[np.int16]
Int32Array = npt.NDArray[np.int32]
UInt8Array = npt.NDArray[np.uint8]
UInt16Array = npt.NDArray[np.uint16]


class DecayRule(enum.IntEnum):
    """How a state x decays by a parameter b in one step: `decayed(x, b)`.

    * Q15:         `leak(x, b)`, b in 0..2**15 the share that is kept.
    * TOWARD_ZERO: `sign(x) * ((abs(x) * b) >> 12)`, b in 0..2**12 the share that is kept: the
      integer rule of Loihi and of lava-dl (`lava/lib/dl/slayer/neuron/dynamics`, commit d825ac5).
    * BIT_SHIFT:   `x - (x >> b)`, or `x - 1` where x > 0 and the shift leaves 0 of it, b in 0..31:
      the rule of Xylo (xylosim 0.1.3, `XyloIAFNeuron`), for which b is `round(log2(tau / dt))`.
    """

    Q15 = 0
    TOWARD_ZERO = 1
    BIT_SHIFT = 2

    @property
    def largest(self) -> int:
        """The largest parameter."""
        return (DECAY_ONE, 1 << 12, 31)[self]


class Reset(enum.IntEnum):
    """What a spike does to the membrane v.

    In a step, u is `decayed(v, decay)`, x the current that enters the membrane, T the threshold of
    this step, and r whether the neuron spiked in the step BEFORE (r is 0 in the first step). `w` is
    the membrane that the fire test sees, s what the test gives (the number of spikes, for
    multi-spike neurons).

    Of delayed resets (snnTorch's default), `v = w` afterwards:

    * NONE:         `w = sat(u + x, 31)`
    * SUBTRACT:     `w = sat(u + x - r * T, 31)`; the subtraction comes after the decay
      (snnTorch 0.7 to 1.0, `reset_mechanism="subtract"`).
    * ZERO:         `w = sat((1 - r) * u + x, 31)`; the new input is kept
      (snnTorch `Leaky`, `reset_mechanism="zero"`).
    * ZERO_DISCARD: `w = (1 - r) * sat(u + x, 31)`; the new input is lost too
      (snnTorch `Synaptic`, `RLeaky`, `Lapicque`, `reset_mechanism="zero"`).

    Of resets at once (SpikingJelly, Norse, sinabs, Rockpool, lava-dl), `w = sat(u + x, 31)`:

    * SUBTRACT_AT_ONCE: `v = sat(w - s * T, 31)`
    * ZERO_AT_ONCE:     `v = reset_to` where s > 0, else `v = w`
    * SUBTRACT_RESIDUE: with `q = [v > T]` of the membrane as it was before this step,
      `w = sat(u + x - q * T, 31)` and `v = sat(w - (s - q) * T, 31)`: what snnTorch 0.8.1 to 1.0.0
      does for `reset_mechanism="subtract", reset_delay=False`, whose fire test sees one more
      subtraction where the residue of the last reset was still above the threshold.
    """

    NONE = 0
    SUBTRACT = 1
    ZERO = 2
    ZERO_DISCARD = 3
    SUBTRACT_AT_ONCE = 4
    ZERO_AT_ONCE = 5
    SUBTRACT_RESIDUE = 6

    @property
    def subtracts(self) -> bool:
        """Whether the threshold is taken off the membrane."""
        return self in (Reset.SUBTRACT, Reset.SUBTRACT_AT_ONCE, Reset.SUBTRACT_RESIDUE)


class Fire(enum.IntEnum):
    """When a neuron spikes: ABOVE, `w > T` (snnTorch, Norse, lava-dl), or REACHES, `w >= T`."""

    ABOVE = 0
    REACHES = 1


class Conduction(enum.IntEnum):
    """Which synaptic current enters the membrane of a current-based neuron.

    With i the current of the step before and `i' = sat(decayed(i, synaptic_decay) + I, n)`:

    * JUMPED:  i' (snnTorch, Norse, lava-dl)
    * DECAYED: `decayed(i', synaptic_decay)`: the input decays once before it is felt (Rockpool,
      Xylo, sinabs)
    * LAGGED:  i (the NumPy reference of NIR)
    """

    JUMPED = 0
    DECAYED = 1
    LAGGED = 2


class Activation(enum.IntEnum):
    """What an `Integrator` makes of its value y.

    * IDENTITY: y
    * RELU:     `max(y, 0)`
    * TABLE:    with `a = (y + 2**15) >> 8` and `f = (y + 2**15) & 255`,
      `table[a] + (((table[a + 1] - table[a]) * f + 128) >> 8)`: any function of one value, by 257
      points and lines between them (tanh, sigmoid).
    """

    IDENTITY = 0
    RELU = 1
    TABLE = 2


class Port(enum.IntEnum):
    """What a projection adds to: the input CURRENT of its target, or its THRESHOLD for one step."""

    CURRENT = 0
    THRESHOLD = 1


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


# ---- inputs ----


@dataclass(frozen=True, eq=False)
class AnalogInput(_Comparable):
    """Sensor values, one integer a channel and step. Emits values.

    A physical value x of channel c enters as `sat(floor(x * 2**fraction_bits[c] + 1/2), bits)`.

    Args:
        name: unique in the graph.
        fraction_bits: (size,) int8, -15..30: binary digits after the point of each channel.
        units: one physical unit a channel, for people ("m/s^2"); not part of the arithmetic.
        bits: 2..16, the width of a value; a frame with a wider value is refused.
    """

    emits_values: ClassVar[bool] = True

    name: str
    fraction_bits: Int8Array
    units: tuple[str, ...] = ()
    bits: int = VALUE_BITS

    @property
    def size(self) -> int:
        """Channels."""
        return len(self.fraction_bits)

    def quantize(self, signal: npt.NDArray[np.floating[Any]]) -> Int16Array:
        """Physical values (..., size) to frames (..., size) int16, saturated.

        Raises:
            ModelError: wrong number of channels, or a value that is not finite.
        """
        _require_channels(signal, self.name, self.size)
        if not np.all(np.isfinite(signal)):
            raise ModelError(
                f"the recording holds values that are not finite at {_first_bad(signal)}: "
                "mend or cut the gap before it is run"
            )
        scaled = np.floor(np.ldexp(signal.astype(np.float64), self.fraction_bits) + 0.5)
        bound = 1 << (self.bits - 1)
        return np.clip(scaled, -bound, bound - 1).astype(np.int16)


@dataclass(frozen=True, eq=False)
class SpikeInput(_Comparable):
    """Binary events: in each step a set of the channels 0..size-1 spikes, each at most once."""

    emits_values: ClassVar[bool] = False

    name: str
    size: int

    def quantize(self, signal: npt.NDArray[np.floating[Any]]) -> Int16Array:
        """Binary frames (..., size) of 0 and 1 to int16.

        Raises:
            ModelError: wrong number of channels, or a value other than 0 and 1.
        """
        _require_channels(signal, self.name, self.size)
        if not np.all((signal == 0) | (signal == 1)):
            raise ModelError(
                f"input '{self.name}' takes spikes (0 or 1) and the recording holds other values: "
                "encode it as spikes, or convert the network with an analog input"
            )
        return signal.astype(np.int16)


# ---- populations ----


@dataclass(frozen=True, eq=False)
class Adaptation(_Comparable):
    """A threshold that a neuron's own spikes raise.

    State: a, int32 (size,), 0 after a reset of the model; s' is the neuron's spike of the step
    before. In each step

        a = sat(decayed(a, decay) + step * s', 29)
        T = sat(threshold + a + J, 30)

    with J the sum of the projections into `Port.THRESHOLD` (0 without any). Which T a delayed
    reset subtracts: of this step, or, with `old`, of the step in which the neuron spiked.

    With `refractory`, the rule of lava-dl's ALIF (commit d825ac5) instead, with a further state q:

        a = decayed(a, decay);  q = decayed(q, refractory);  T as above
        s = fires if w - q passes T (the membrane itself is not reset: `Reset.NONE`)
        q = sat(q + 2 * T * s, 30);  a = sat(a + step * s, 29)

    Args:
        decay: (1,) or (size,) uint16, by the population's `DecayRule`.
        step: (1,) or (size,) int32, -2**24..2**24.
        old: see above (the blimp controllers and Spyx; False: Yin et al. 2021).
        refractory: (1,) or (size,) uint16 or None, by the population's `DecayRule`.
    """

    decay: UInt16Array
    step: Int32Array
    old: bool = False
    refractory: UInt16Array | None = None


@dataclass(frozen=True, eq=False)
class LIF(_Comparable):
    """Spiking neurons: the one canonical neuron, every switch explicit.

    Leaky integrate-and-fire; with a decay of 1 integrate-and-fire; with `synaptic_decay`
    current-based (CuBa-LIF); with `inhibitory_decay` too, Alpha, as snnTorch's. Emits spikes, or
    with `max_spikes` > 1 values, the number of spikes.

    State: membrane v, and synaptic currents i, h where there are such, int32 (size,), 0 after a
    reset of the model. In each step, with I the input current (bias and projections):

    1. what enters the membrane, where currents saturate to n = min(state_bits, 30) bits:

           LIF:       x = I
           CuBa-LIF:  i' = sat(decayed(i, synaptic_decay) + I, n)
                      x = sat(what `Conduction` says + membrane_bias, 30)
           Alpha:     i' = sat(decayed(i, synaptic_decay) + I, n)
                      h' = sat(decayed(h, inhibitory_decay) - I, n)

    2. the threshold T: `threshold`, or as `Adaptation` says;
    3. the membrane w as `Reset` says, with `u = decayed(v, decay)`; of Alpha, w is
       `sat(i' + h', 31)`, but where r, with ZERO_DISCARD i', h' and w are 0, and with SUBTRACT
       `w = sat(i' + h' + decayed(h, decay), 31)`, then `i' = sat(i' - reset_to, n)` and `h' = 0`;
    4. the spikes s as `Fire` says: one; or, with `max_spikes` > 1, `min(w // T, max_spikes)` where
       w reaches T and 0 elsewhere (sinabs, Rockpool);
    5. the reset, as `Reset` says; then `v = max(v, floor)`.

    Args:
        name: unique in the graph.
        decay: (1,) or (size,) uint16, membrane decay by `rule`; see above for Alpha.
        threshold: (size,) int32, from 0 for ABOVE and 1 for REACHES (a neuron at rest is silent) to
            THRESHOLD_BOUND - 1 for resets that subtract and to NEVER otherwise (above every
            membrane: it never spikes).
        bias: (size,) int32, a constant current in every step; all zero means none.
        reset: what a spike does to the membrane.
        synaptic_decay, inhibitory_decay: (1,) or (size,) uint16 by `rule`, or None.
        rule: how all states decay.
        fire: the fire test.
        conduction: which synaptic current the membrane of CuBa-LIF takes.
        membrane_bias: (size,) int32, what the membrane of CuBa-LIF takes in every step beside it,
            or None.
        state_bits: 16..31, the width of the membrane: wherever `Reset` says 31, it is this.
        max_spikes: most spikes a neuron and step, 1..32767; above 1 the reset is one at once, the
            test REACHES, and the threshold does not adapt.
        floor: (1,) or (size,) int32, at most 0, below which no membrane stays (sinabs
            `min_v_mem`), or None. Goes with an adaptive threshold only where no reset is delayed.
        reset_to: (1,) or (size,) int32 for ZERO_AT_ONCE, or None: 0; Alpha with SUBTRACT has one.
        adaptation: of the threshold, or None.
    """

    name: str
    decay: UInt16Array
    threshold: Int32Array
    bias: Int32Array
    reset: Reset = Reset.SUBTRACT
    synaptic_decay: UInt16Array | None = None
    inhibitory_decay: UInt16Array | None = None
    rule: DecayRule = DecayRule.Q15
    fire: Fire = Fire.ABOVE
    conduction: Conduction = Conduction.JUMPED
    membrane_bias: Int32Array | None = None
    state_bits: int = MEMBRANE_BITS
    max_spikes: int = 1
    floor: Int32Array | None = None
    reset_to: Int32Array | None = None
    adaptation: Adaptation | None = None

    @property
    def size(self) -> int:
        """Neurons."""
        return len(self.threshold)

    @property
    def emits_values(self) -> bool:
        """Whether it emits spike counts, not single spikes."""
        return self.max_spikes > 1

    @property
    def bits(self) -> int:
        """Width of what it emits, where that are values."""
        return self.max_spikes.bit_length() + 1

    @property
    def plain(self) -> bool:
        """Whether the fused update serves it: LIF, one Q15 decay below 1 and no further switch."""
        return (
            self.synaptic_decay is None
            and self.rule is DecayRule.Q15
            and len(self.decay) == 1
            and int(self.decay[0]) < DECAY_ONE
            and self.reset is not Reset.SUBTRACT_RESIDUE
            and self.max_spikes == 1
            and self.state_bits == MEMBRANE_BITS
            and self.floor is None
            and self.reset_to is None
            and self.adaptation is None
        )


@dataclass(frozen=True, eq=False)
class Requantization(_Comparable):
    """Sums to the integers of the next layer, to the bit as TensorFlow Lite's kernels do it.

    A sum x of neuron k, with M = multiplier[k % n], p = places[k % n] and h = 2**p >> 1, becomes

        y = (x * M + 2**30) >> 31;                     y = (y + h - [y < 0 and h > 0]) >> p

    that is x * M / 2**(31 + p), rounded half up and then half away from 0
    (`MultiplyByQuantizedMultiplier`), or, with `once`, rounded once and half to the even number
    (p >= 2), where the lowest bit says whether anything lies below it:

        y = x * M >> 31 | [x * M % 2**31 > 0];   y = (y + h - [y >> p is even and h > 0]) >> p

    and then `min(max(y, low), high)`.

    Args:
        multiplier: (n,) int32, from 0: one for all, one a channel, or one a neuron.
        places: (n,) uint16, 0..31.
        low, high: int16, low <= high.
        once: which of the two.
    """

    multiplier: Int32Array
    places: UInt16Array
    low: int
    high: int
    once: bool = False


@dataclass(frozen=True, eq=False)
class Delta(_Comparable):
    """An integrator that emits by how much its activation has changed since it last emitted.

    The sigma-delta neuron of Lava (lava/proc/sdn/models.py, `PySigmaDeltaModelFixed`). State: c,
    int32 (size,), what has been emitted in all. In each step, with v the state of the `Integrator`
    and f its activation,

        d = f(sat(v + offset, 31)) - c
        emits sat(d >> shift, bits) and c = c + d where |d| >= threshold, else 0

    Args:
        threshold: (size,) int32, from 0.
        offset: (size,) int32, as a bias; f is IDENTITY or RELU.
    """

    threshold: Int32Array
    offset: Int32Array


@dataclass(frozen=True, eq=False)
class Integrator(_Comparable):
    """Leaky integrators that do not spike (LI). Emits values.

    A trace, an exponential average, and, with a decay of 0, a relay that passes on the sum of what
    enters it (sum pooling, the encoded input of an LMU). State: v, int32 (size,). In each step

        v = sat(leak(v, decay) + I, 31), and what `Requantization` makes of that where there is one
        emits activation(sat(rounded(v, shift), bits)), or what `Delta` says where there is one

    Args:
        name: unique in the graph.
        decay: (1,) or (size,) uint16, Q15.
        bias: (size,) int32, a constant current in every step.
        shift: 0..30, binary places that the emitted value has fewer than v.
        bits: 2..16, width of the emitted value; 16 for `Activation.TABLE`.
        activation: what becomes of it.
        table: (257,) int16 for `Activation.TABLE`, else None.
        requantization: of v, or None.
        delta: or None.
    """

    emits_values: ClassVar[bool] = True

    name: str
    decay: UInt16Array
    bias: Int32Array
    shift: int = 0
    bits: int = VALUE_BITS
    activation: Activation = Activation.IDENTITY
    table: Int16Array | None = None
    requantization: Requantization | None = None
    delta: Delta | None = None

    @property
    def size(self) -> int:
        """Neurons."""
        return len(self.bias)


@dataclass(frozen=True, eq=False)
class LinearState(_Comparable):
    """Linear state m with a full transition matrix, the memory of an LMU. Emits values.

    `blocks` memories of `order` states share one matrix; the state of block k, row i lies at
    `k * order + i`. State: int32 (size,). In each step, from the states before it,

        m[k, i] = sat(rounded(sum(matrix[i, j] * m[k, j] for j), matrix_shift[i]) + I[k, i], 31)
        emits sat(rounded(m[k, i], shift[i]), bits)

    with the sum exact (64 bits). Each row has a scale of its own: matrix[i, j] holds the real
    coefficient times scale[j] / scale[i] times 2**matrix_shift[i].

    Args:
        name: unique in the graph.
        matrix: (order, order) int16.
        matrix_shift: (order,) uint8, 0..31.
        shift: (order,) uint8, 0..30: binary places that the emitted value has fewer.
        blocks: memories.
        bits: 2..16, width of the emitted value.
    """

    emits_values: ClassVar[bool] = True

    name: str
    matrix: Int16Array
    matrix_shift: UInt8Array
    shift: UInt8Array
    blocks: int = 1
    bits: int = VALUE_BITS

    @property
    def order(self) -> int:
        """States of one memory."""
        return len(self.matrix)

    @property
    def size(self) -> int:
        """States of all memories."""
        return self.blocks * self.order


@dataclass(frozen=True, eq=False)
class DelayLine(_Comparable):
    """Axonal delays: every channel of a spiking source, late by a number of steps. Emits spikes.

    Neuron c emits what neuron c of the source emitted `delays[c]` steps before its most recent
    output. No projection enters a delay line.

    Args:
        name: unique in the graph.
        source: name of an input or population of the same size that emits spikes.
        delays: (size,) uint8, steps.
    """

    emits_values: ClassVar[bool] = False

    name: str
    source: str
    delays: UInt8Array

    @property
    def size(self) -> int:
        """Channels."""
        return len(self.delays)


# ---- projections ----


@dataclass(frozen=True, eq=False)
class Dense(_Comparable):
    """All-to-all synapses, each target neuron with a scale of its own.

    The exact sum that enters the current of the target is

        S[k*n_out + o] = sum(weights[o, j] * s[k*n_in + j] for j in range(n_in))

    for every block k in 0..blocks-1, where s is what the source emits. With blocks > 1 the same
    weights serve every block of source and target (the shared memory matrices of an LMU).

    A spike costs n_out synaptic additions, a non-zero value n_out multiply-accumulates.

    Args:
        source, target: names of an input or population, and of a population.
        weights: (n_out, n_in) int8, in the range of `bits`.
        shift: 0..MAX_SHIFT, the binary places between weight and state.
        blocks: source.size == blocks * n_in and target.size == blocks * n_out.
        bits: 8, 4 (-8..7) or 2 (-2..1, which holds ternary weights): the width in the image.
        port: what the sum is added to.
    """

    source: str
    target: str
    weights: Int8Array
    shift: int = 0
    blocks: int = 1
    bits: int = 8
    port: Port = Port.CURRENT


@dataclass(frozen=True)
class Window:
    """How a convolution or a pooling slides over a map.

    Output (oy, ox) sees the inputs `(oy * stride[0] + ky - padding[0], ox * stride[1] + kx -
    padding[1])` for 0 <= ky < kernel[0] and 0 <= kx < kernel[1]; what lies outside the map is 0. A
    map of one dimension has height 1.

    Args:
        input_shape: (height, width, channels) of the source.
        output_shape: (height, width, channels) of the target.
        kernel, stride: (vertical, horizontal), from 1.
        padding: rows above and columns left of the map, smaller than the kernel; how far the window
            reaches below and to the right follows from `output_shape`.
    """

    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class Conv(_Comparable):
    """Convolution (cross-correlation, as PyTorch's) in one or two dimensions.

    With g = o // (C_out / groups) the group of output channel o and c_g = C_in / groups,

        S[oy, ox, o] = sum(weights[ky, kx, c, o] * s[y, x, g * c_g + c])

    over the kernel and 0 <= c < c_g, with (y, x) as `Window` says. groups == C_in is a depthwise
    convolution. A spike costs as many additions as weights meet it.

    Args:
        source, target, shift: as `Dense`.
        weights: (kernel height, kernel width, C_in / groups, C_out) int8.
        window: shapes, stride and padding.
        groups: divides C_in and C_out.
    """

    source: str
    target: str
    weights: Int8Array
    window: Window
    shift: int = 0
    groups: int = 1
    port: ClassVar[Port] = Port.CURRENT
    bits: ClassVar[int] = 8


@dataclass(frozen=True, eq=False)
class SumPool(_Comparable):
    """Sum of a window of every channel: `S[oy, ox, c] = sum(s[y, x, c])` over the kernel.

    Average pooling is this with the divisor taken into thresholds or weights behind it. A spike
    costs an addition for every window that it lies in.

    Args:
        source, target, shift: as `Dense`.
        window: shapes, stride and padding; as many channels go out as come in.
    """

    source: str
    target: str
    window: Window
    shift: int = 0
    port: ClassVar[Port] = Port.CURRENT
    bits: ClassVar[int] = 2


@dataclass(frozen=True, eq=False)
class DelayedSynapses(_Comparable):
    """Synapses with a delay each, one by one.

        S[o] = sum(weight[k] * (what pre[k] emitted delay[k] steps ago) for k if post[k] == o)

    "0 steps ago" is the source's most recent output. What is not listed is no synapse, takes no
    place and costs nothing; two neurons may be joined by several synapses of different delays.

    Args:
        source, target, shift, port: as `Dense`.
        pre, post: (n,) uint16, the neurons that each synapse joins, of source and target.
        delay: (n,) uint8, steps.
        weight: (n,) int8.
            Sorted by pre, then delay, then post, no two the same; at most 65535 a source neuron.
    """

    source: str
    target: str
    pre: UInt16Array
    post: UInt16Array
    delay: UInt8Array
    weight: Int8Array
    shift: int = 0
    port: Port = Port.CURRENT
    bits: ClassVar[int] = 8

    @classmethod
    def from_dense(
        cls, source: str, target: str, weights: Int8Array, delays: UInt8Array, shift: int = 0
    ) -> DelayedSynapses:
        """Of arrays (n_out, n_in) or (taps, n_out, n_in); weights of 0 are left out.

        Taps with the same two neurons and delay must have been added up before.
        """
        taps = weights.reshape(-1, *weights.shape[-2:])
        late = delays.reshape(taps.shape)
        _, post, pre = found = np.nonzero(taps)
        order = np.lexsort((post, late[found], pre))
        return cls(
            source, target, pre[order].astype(np.uint16), post[order].astype(np.uint16),
            late[found][order], taps[found][order], shift,
        )  # fmt: skip

    @property
    def longest(self) -> int:
        """The largest delay, steps."""
        return int(self.delay.max(initial=0))


# ---- read-outs ----


@dataclass(frozen=True, eq=False)
class SpikeCount(_Comparable):
    """Scores (size,) int32: spikes of each neuron of a `LIF` since the reset, saturating."""

    population: str


@dataclass(frozen=True, eq=False)
class Potential(_Comparable):
    """Scores (size,) int32 from the membranes v (states v or m) of a population since the reset.

    * LAST: `score = v`
    * MAX:  `score = v` in the first step, then `score = max(score, v)`
    * SUM:  `score = sat(score + v, 32)`: the mean times the number of steps
    """

    population: str
    mode: PotentialMode = PotentialMode.LAST


@dataclass(frozen=True, eq=False)
class SoftmaxSum(_Comparable):
    """Scores (size,) int32: the sum over steps of a softmax of the membranes, by a table.

    In each step, with V the largest v, `e = table[min((V - v) >> shift, 255)]` and

        score = sat(score + (e << 15) // sum(e), 32)

    so that a probability of 1 counts 2**15 a step (the 'sum' read-out of delay networks,
    arXiv 2306.17670).

    Args:
        population: whose membranes.
        table: (256,) uint16, `exp` of minus the index, scaled; table[0] > 0.
        shift: 0..30.
    """

    population: str
    table: UInt16Array
    shift: int = 0


@dataclass(frozen=True, eq=False)
class FirstSpike(_Comparable):
    """Scores (size,) int32 by the step t >= 1 of each neuron's first spike since the reset.

    `max(2**31 - t, 1)`, and 0 for a neuron that has not spiked: the one that spiked first wins.
    """

    population: str


Input = Union[AnalogInput, SpikeInput]
Population = Union[LIF, Integrator, LinearState, DelayLine]
Projection = Union[Dense, Conv, SumPool, DelayedSynapses]
Readout = Union[SpikeCount, Potential, SoftmaxSum, FirstSpike]


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
       the order given, adds to I (or to J, for `Port.THRESHOLD`) as the module says, then the
       population updates its state and emits;
    3. the read-out takes in its population; the label is the lowest index among the neurons with
       the highest score;
    4. the answer is *decided* where there is a margin, and the highest score is at least so much
       above every other. Whoever asks may stop there; later steps do not depend on it.

    Stopping at a sure answer is the Dynamic Confidence of Li, Jones, Furber 2023 ("Unleashing the
    potential of spiking neural networks by dynamic confidence", ICCV), whose confidence is a
    softmax of mean outputs; a difference of integers orders one recording's steps much alike.

    Args:
        input: where frames enter.
        populations: one or more, in order of update.
        projections: grouped by target, in the order of the populations.
        readout: how scores are made.
        step_us: time from one frame to the next, µs (0: not tied to real time).
        selftest: golden run, or None.
        margin: of a decided answer, 1..2**31-1; 0: none is ever decided. Of two scores or more.

    Raises:
        ModelError: names the part that breaks a rule of its docstring.
    """

    input: Input
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    readout: Readout
    step_us: int = 0
    selftest: SelfTest | None = field(default=None)
    margin: int = 0

    def __post_init__(self) -> None:
        _validate(self)

    def index(self, name: str) -> int:
        """Place of an input (0) or population (1, 2, ...) in the order of update."""
        return self._names().index(name)

    def part(self, name: str) -> Input | Population:
        """The input or population of that name."""
        index = self.index(name)
        return self.input if index == 0 else self.populations[index - 1]

    def size(self, name: str) -> int:
        """Neurons of a population, or channels of the input, of that name."""
        return self.part(name).size

    def into(self, target: str, port: Port | None = None) -> tuple[Projection, ...]:
        """The projections that target a population (at a port), in order."""
        return tuple(p for p in self.projections if p.target == target and port in (None, p.port))

    def history(self, name: str) -> int:
        """Steps of a part's output that `DelayedSynapses` projections look back on, 0 for none."""
        return max(
            (
                p.longest + 1
                for p in self.projections
                if p.source == name and isinstance(p, DelayedSynapses)
            ),
            default=0,
        )

    def with_selftest(self, frames: Int16Array, digest: int) -> Graph:
        """The same graph with a golden run in it; `edgesnn.reference.with_selftest` makes one."""
        return replace(self, selftest=SelfTest(frames, digest))

    def _names(self) -> list[str]:
        return [self.input.name, *(p.name for p in self.populations)]


def largest_emission(part: Input | Population) -> int:
    """Upper bound of what one neuron emits in a step."""
    if not part.emits_values:
        return 1
    assert not isinstance(part, (SpikeInput, DelayLine))
    return 1 << (part.bits - 1)


def fan_in(graph: Graph, projection: Projection) -> int:
    """Upper bound, from shapes alone, of how many synapses of a projection end at one neuron."""
    if isinstance(projection, Dense):
        return int(projection.weights.shape[1])
    if isinstance(projection, DelayedSynapses):
        per_pair = projection.longest + 1
        return min(len(projection.weight), graph.size(projection.source) * per_pair)
    window = math.prod(projection.window.kernel)
    return window * projection.weights.shape[2] if isinstance(projection, Conv) else window


def largest_current(graph: Graph, population: Population, port: Port = Port.CURRENT) -> int:
    """Upper bound of |I| (of |J|) of any neuron in any step, from shapes, widths and bias alone."""
    bound = 0
    if port is Port.CURRENT and isinstance(population, (LIF, Integrator)):
        bound = int(np.abs(population.bias.astype(np.int64)).max(initial=0))
    for projection in graph.into(population.name, port):
        weight = 1 if isinstance(projection, SumPool) else 1 << (projection.bits - 1)
        emission = largest_emission(graph.part(projection.source))
        bound += (fan_in(graph, projection) * weight * emission) << projection.shift
    return bound


def saturates(graph: Graph, population: Population) -> bool:
    """Whether the input current of a population may need the saturation to 30 bits."""
    return largest_current(graph, population) >= CURRENT_BOUND


# ---- validation ----


def _first_bad(signal: npt.NDArray[np.floating[Any]]) -> str:
    place = np.argwhere(~np.isfinite(signal))[0]
    return "[" + ", ".join(str(int(i)) for i in place) + "]"


def _require_channels(signal: npt.NDArray[Any], name: str, size: int) -> None:
    if signal.ndim == 0 or signal.shape[-1] != size:
        raise ModelError(
            f"the recording has {signal.shape[-1] if signal.ndim else 0} channels, "
            f"input '{name}' takes {size}: give (samples, steps, {size})"
        )


def _validate(graph: Graph) -> None:
    names = graph._names()
    if len(set(names)) != len(names):
        raise ModelError(f"two parts of the graph share a name in {names}: rename one")
    if not graph.populations:
        raise ModelError("the graph has no population: nothing would compute its answer")
    _check_input(graph.input)
    for population in graph.populations:
        what = f"population '{population.name}'"
        _check_size(what, population.size)
        if isinstance(population, LIF):
            _check_lif(what, population)
        elif isinstance(population, Integrator):
            _check_integrator(what, population)
        elif isinstance(population, LinearState):
            _check_linear_state(what, population)
        else:
            _check_delay_line(what, graph, population, names)
    for projection in graph.projections:
        _check_projection(graph, projection, names)
    order = [names.index(p.target) for p in graph.projections]
    if order != sorted(order):
        raise ModelError(
            "the projections are not grouped by target in the order of the populations: sort them"
        )
    for population in graph.populations:
        _check_current(graph, population)
    _check_readout(graph, names)
    _require(0 <= graph.step_us < 1 << 32, "step_us", "is not in 0..2**32-1")
    _require(0 <= graph.margin < 1 << 31, "the margin", "is not in 0..2**31-1")
    _require(
        graph.margin == 0 or graph.size(graph.readout.population) > 1,
        "the margin", "is of one score: there is none that it could be above",
    )  # fmt: skip
    if graph.selftest is not None:
        frames = graph.selftest.frames
        _require_array("the self-test", frames, np.int16, (None, graph.input.size))
        _require(0 < len(frames) <= MAX_SIZE, "the self-test", "has no step, or more than 65535")
        low, high = 0, 1
        if isinstance(graph.input, AnalogInput):
            low = -(1 << (graph.input.bits - 1))
            high = -low - 1
        _check_range("the self-test", frames, low, high)


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


def _check_range(what: str, value: int | npt.NDArray[Any], low: int, high: int) -> None:
    array = np.asarray(value)
    inside = bool(np.all((array >= low) & (array <= high)))
    _require(inside, what, f"is not in {low}..{high}")


def _check_size(what: str, size: int) -> None:
    _require(1 <= size <= MAX_SIZE, what, f"has {size} neurons or channels, not 1..{MAX_SIZE}")


def _check_input(part: Input) -> None:
    what = f"input '{part.name}'"
    _check_size(what, part.size)
    if isinstance(part, AnalogInput):
        _require_array(f"{what}: fraction_bits", part.fraction_bits, np.int8, (None,))
        _check_range(f"{what}: fraction_bits", part.fraction_bits, -15, 30)
        _check_range(f"{what}: bits", part.bits, 2, VALUE_BITS)
        _require(
            len(part.units) in (0, part.size), f"{what}: units", "must name every channel or none"
        )


def _check_one_or_all(what: str, array: npt.NDArray[Any], dtype: type, size: int) -> None:
    _require_array(what, array, dtype, (None,))
    _require(len(array) in (1, size), what, f"has {len(array)} entries, not 1 or {size}")


def _check_decay(what: str, decay: UInt16Array, size: int, rule: DecayRule) -> None:
    _check_one_or_all(what, decay, np.uint16, size)
    limit = rule.largest
    _require(int(decay.max()) <= limit, what, f"exceeds {limit}, the largest of rule {rule.name}")


def _check_lif(what: str, part: LIF) -> None:
    size = part.size
    _check_decay(f"{what}: decay", part.decay, size, part.rule)
    for name in ("synaptic_decay", "inhibitory_decay"):
        decay = getattr(part, name)
        if decay is not None:
            _check_decay(f"{what}: {name}", decay, size, part.rule)
    _require_array(f"{what}: threshold", part.threshold, np.int32, (size,))
    _require_array(f"{what}: bias", part.bias, np.int32, (size,))
    _check_range(f"{what}: bias", part.bias, 1 - CURRENT_BOUND, CURRENT_BOUND - 1)
    limit = THRESHOLD_BOUND - 1 if part.reset.subtracts or part.adaptation else NEVER
    least, largest = int(part.threshold.min()), int(part.threshold.max())
    _require(least >= part.fire, f"{what}: threshold", f"is {least}: a neuron would spike at rest")
    _require(largest <= limit, f"{what}: threshold", f"reaches {largest}, at most {limit} is exact")
    if part.floor is not None:
        _check_one_or_all(f"{what}: floor", part.floor, np.int32, size)
        _check_range(f"{what}: floor", part.floor, -(1 << 30), 0)
    if part.reset_to is not None:
        _check_one_or_all(f"{what}: reset_to", part.reset_to, np.int32, size)
        _check_range(f"{what}: reset_to", part.reset_to, 1 - THRESHOLD_BOUND, THRESHOLD_BOUND - 1)
        alpha = part.inhibitory_decay is not None and part.reset is Reset.SUBTRACT
        known = alpha or part.reset is Reset.ZERO_AT_ONCE
        _require(known, f"{what}: reset_to", "needs ZERO_AT_ONCE, or Alpha with SUBTRACT")
    cuba = part.synaptic_decay is not None and part.inhibitory_decay is None
    _require(
        cuba or part.conduction is Conduction.JUMPED, f"{what}: conduction", "is for CuBa-LIF only"
    )
    if part.membrane_bias is not None:
        _require(cuba, f"{what}: membrane_bias", "is for CuBa-LIF only")
        _require_array(f"{what}: membrane_bias", part.membrane_bias, np.int32, (size,))
        limit = CURRENT_BOUND - 1
        _check_range(f"{what}: membrane_bias", part.membrane_bias, -limit, limit)
    _check_range(f"{what}: state_bits", part.state_bits, 16, MEMBRANE_BITS)
    if part.inhibitory_decay is not None:
        _require(part.synaptic_decay is not None, f"{what}: Alpha", "needs a synaptic_decay too")
        kept = (Reset.NONE, Reset.SUBTRACT, Reset.ZERO_DISCARD)
        simple = part.adaptation is None and part.floor is None
        _require(
            part.reset in kept and simple and part.max_spikes == 1,
            f"{what}: Alpha",
            "goes with the resets NONE, SUBTRACT, ZERO_DISCARD and no further switch",
        )
        given = part.reset_to is not None or part.reset is not Reset.SUBTRACT
        _require(given, f"{what}: Alpha", "with SUBTRACT needs reset_to")
    _check_range(f"{what}: max_spikes", part.max_spikes, 1, MAX_SPIKES)
    if part.max_spikes > 1:
        fits = part.fire is Fire.REACHES and part.adaptation is None
        fits = fits and part.reset in (Reset.SUBTRACT_AT_ONCE, Reset.ZERO_AT_ONCE)
        _require(
            fits, f"{what}: max_spikes", "above 1 needs REACHES, a reset at once, no adaptation"
        )
    if part.adaptation is not None:
        _check_adaptation(f"{what}: adaptation", part, part.adaptation)


def _check_adaptation(what: str, part: LIF, adaptation: Adaptation) -> None:
    _check_decay(f"{what}.decay", adaptation.decay, part.size, part.rule)
    _check_one_or_all(f"{what}.step", adaptation.step, np.int32, part.size)
    _check_range(f"{what}.step", adaptation.step, -(1 << 24), 1 << 24)
    _require(part.reset is not Reset.SUBTRACT_RESIDUE, what, "does not go with SUBTRACT_RESIDUE")
    delayed = part.reset in (Reset.SUBTRACT, Reset.ZERO, Reset.ZERO_DISCARD)
    _require(part.floor is None or not delayed, what, "and a floor do not go with a delayed reset")
    if adaptation.old:
        _require(part.reset is Reset.SUBTRACT, f"{what}.old", "needs Reset.SUBTRACT")
    if adaptation.refractory is not None:
        _check_decay(f"{what}.refractory", adaptation.refractory, part.size, part.rule)
        _require(part.reset is Reset.NONE, f"{what}.refractory", "needs Reset.NONE")


def _check_integrator(what: str, part: Integrator) -> None:
    _require_array(f"{what}: bias", part.bias, np.int32, (part.size,))
    _check_range(f"{what}: bias", part.bias, 1 - CURRENT_BOUND, CURRENT_BOUND - 1)
    _check_decay(f"{what}: decay", part.decay, part.size, DecayRule.Q15)
    _check_range(f"{what}: shift", part.shift, 0, 30)
    _check_range(f"{what}: bits", part.bits, 2, VALUE_BITS)
    _require(
        (part.table is not None) == (part.activation is Activation.TABLE),
        f"{what}: table",
        "goes with Activation.TABLE and only with it",
    )
    if part.table is not None:
        _require_array(f"{what}: table", part.table, np.int16, (TABLE_SIZE,))
        _require(part.bits == VALUE_BITS, f"{what}: bits", "is not 16, which a table needs")
    if part.requantization is not None:
        _check_requantization(f"{what}: requantization", part.requantization)
    if part.delta is not None:
        _require_array(f"{what}: threshold", part.delta.threshold, np.int32, (part.size,))
        _require_array(f"{what}: offset", part.delta.offset, np.int32, (part.size,))
        _check_range(f"{what}: threshold", part.delta.threshold, 0, NEVER)
        _check_range(f"{what}: offset", part.delta.offset, 1 - CURRENT_BOUND, CURRENT_BOUND - 1)
        _require(part.table is None, f"{what}: delta", "does not go with a table")


def _check_requantization(what: str, part: Requantization) -> None:
    count = len(part.multiplier)
    _require(0 < count <= MAX_SIZE, what, f"has {count} multipliers, not 1..{MAX_SIZE}")
    _require_array(f"{what}.multiplier", part.multiplier, np.int32, (None,))
    _require_array(f"{what}.places", part.places, np.uint16, (count,))
    _check_range(f"{what}.multiplier", part.multiplier, 0, (1 << 31) - 1)
    _check_range(f"{what}.places", part.places, 0, 31)
    _check_range(f"{what}.low", part.low, -(1 << 15), (1 << 15) - 1)
    _check_range(f"{what}.high", part.high, part.low, (1 << 15) - 1)


def _check_linear_state(what: str, part: LinearState) -> None:
    order = part.order
    _require_array(f"{what}: matrix", part.matrix, np.int16, (order, order))
    _require_array(f"{what}: matrix_shift", part.matrix_shift, np.uint8, (order,))
    _require_array(f"{what}: shift", part.shift, np.uint8, (order,))
    _check_range(f"{what}: matrix_shift", part.matrix_shift, 0, 31)
    _check_range(f"{what}: shift", part.shift, 0, 30)
    _check_range(f"{what}: bits", part.bits, 2, VALUE_BITS)


def _check_delay_line(what: str, graph: Graph, part: DelayLine, names: list[str]) -> None:
    _require_array(f"{what}: delays", part.delays, np.uint8, (None,))
    there = [name for name in names if name != part.name]
    _require(part.source in there, what, f"delays '{part.source}', there is {', '.join(there)}")
    source = graph.part(part.source)
    _require(not source.emits_values, what, f"delays '{part.source}', which emits no spikes")
    _require(source.size == part.size, what, f"has {part.size} delays for {source.size} channels")
    _require(not graph.into(part.name), what, "is a delay line: no projection may enter it")


def _check_projection(graph: Graph, part: Projection, names: list[str]) -> None:
    what = f"projection '{part.source}' -> '{part.target}'"
    _require(part.source in names, what, f"has an unknown source, there is {', '.join(names)}")
    _require(part.target in names[1:], what, f"has no such target, there is {', '.join(names[1:])}")
    _require(0 <= part.shift <= MAX_SHIFT, f"{what}: shift", f"is not in 0..{MAX_SHIFT}")
    sizes = (graph.size(part.target), graph.size(part.source))
    if part.port is Port.THRESHOLD:
        target = graph.part(part.target)
        adapts = isinstance(target, LIF) and target.adaptation is not None
        _require(adapts, what, "enters the threshold of a population without Adaptation")
    if isinstance(part, Dense):
        _check_dense(what, graph, part, sizes)
    elif isinstance(part, DelayedSynapses):
        _check_synapses(what, part, sizes)
    else:
        _check_window(what, part, sizes)


def _check_dense(what: str, graph: Graph, part: Dense, sizes: tuple[int, int]) -> None:
    _require_array(f"{what}: weights", part.weights, np.int8, (None, None))
    _require(part.bits in (8, 4, 2), f"{what}: bits", "is not 8, 4 or 2")
    half = 1 << (part.bits - 1)
    _check_range(f"{what}: weights", part.weights, -half, half - 1)
    _check_size(f"{what}: blocks", part.blocks)
    actual = (part.blocks * part.weights.shape[0], part.blocks * part.weights.shape[1])
    _require(actual == sizes, what, f"joins {actual[1]} to {actual[0]} neurons, not {sizes[::-1]}")


def _check_synapses(what: str, part: DelayedSynapses, sizes: tuple[int, int]) -> None:
    count = len(part.weight)
    dtypes = {"pre": np.uint16, "post": np.uint16, "delay": np.uint8, "weight": np.int8}
    for name, dtype in dtypes.items():
        _require_array(f"{what}: {name}", getattr(part, name), dtype, (count,))
    _require(count > 0, what, "lists no synapse: leave it out")
    for name, size in (("post", sizes[0]), ("pre", sizes[1])):
        _check_range(f"{what}: {name}", getattr(part, name), 0, size - 1)
    place = (part.pre.astype(np.int64) << 24) + (part.delay.astype(np.int64) << 16) + part.post
    _require(bool(np.all(np.diff(place) > 0)), what, "is not sorted by pre, delay and post")
    most = int(np.bincount(part.pre).max())
    _require(most <= MAX_SIZE, what, f"has {most} synapses of one neuron, at most {MAX_SIZE} fit")


def _check_window(what: str, part: Conv | SumPool, sizes: tuple[int, int]) -> None:
    window = part.window
    source, target = window.input_shape, window.output_shape
    for name in ("input_shape", "output_shape", "kernel", "stride"):
        _check_range(f"{what}: {name}", np.array(getattr(window, name)), 1, MAX_SIZE)
    for padding, kernel in zip(window.padding, window.kernel, strict=True):
        _check_range(f"{what}: padding", padding, 0, kernel - 1)
    _check_range(f"{what}: kernel and stride", np.array((*window.kernel, *window.stride)), 1, 255)
    actual = (math.prod(target), math.prod(source))
    _require(actual == sizes, what, f"joins {actual[1]} to {actual[0]} neurons, not {sizes[::-1]}")
    if isinstance(part, SumPool):
        _require(source[2] == target[2], what, "pools, but not every channel by itself")
        return
    groups = part.groups
    divides = groups > 0 and source[2] % groups == 0 and target[2] % groups == 0
    _require(divides, f"{what}: groups", f"is {groups} and does not divide the channels")
    shape = (*window.kernel, source[2] // groups, target[2])
    _require_array(f"{what}: weights", part.weights, np.int8, shape)


def _check_current(graph: Graph, population: Population) -> None:
    what = f"population '{population.name}'"
    current = largest_current(graph, population)
    entering = graph.into(population.name, Port.CURRENT)
    _require(
        current < CURRENT_BOUND or all(isinstance(p, Dense) for p in entering),
        what,
        f"may have an input current of {current} and the bound is {CURRENT_BOUND}: use a smaller "
        "shift or fan-in, or a source with fewer bits",
    )
    threshold = largest_current(graph, population, Port.THRESHOLD)
    _require(
        threshold < CURRENT_BOUND,
        what,
        f"may have its threshold raised by {threshold} and the bound is {CURRENT_BOUND}: use a "
        "smaller shift or fan-in, or a source with fewer bits",
    )


def _check_readout(graph: Graph, names: list[str]) -> None:
    readout = graph.readout
    if readout.population not in names[1:]:
        raise ModelError(
            f"the read-out names population '{readout.population}', there is {', '.join(names[1:])}"
        )
    population = graph.part(readout.population)
    if isinstance(readout, (SpikeCount, FirstSpike)):
        _require(isinstance(population, LIF), "the read-out", "counts spikes of neurons only")
    else:
        _require(
            not isinstance(population, DelayLine), "the read-out", "asks a delay line for membranes"
        )
    if isinstance(readout, SoftmaxSum):
        _require_array("the read-out: table", readout.table, np.uint16, (SOFTMAX_SIZE,))
        _require(int(readout.table[0]) > 0, "the read-out: table", "starts with 0")
        _check_range("the read-out: shift", readout.shift, 0, 30)
