"""The controllers: integer graphs, and the genomes that they are built from.

A controller has 40 encoding and 40 hidden neurons, both in 20 pairs, and one leaky read-out:

    error [cm] -> encoding LIF -> hidden CuBa-LIF -> leaky integrator -> motor command

* **Encoding** (the paper's eqs. 1-3 with `tau_syn` = 0): neuron 2 j takes the error with weight
  +w, neuron 2 j + 1 with -w; bias, leak and threshold belong to the pair.
* **Hidden** (eqs. 1-3): pair j hears only encoding pair j, by a 2 x 2 block of weights; leaks and
  thresholds belong to the neuron. With `recurrent`, a 2 x 2 block of weights within each pair
  brings the spikes of the step before.
* **Input-weighted threshold adaptation** (`adaptive`): the threshold of hidden neuron i is
  `base_i + sum_j A_ij tr_j` with a trace `tr_j = leak_j tr_j + s_j` of the spikes that come IN, as
  the paper says. The code of its authors updates the trace a second time with the neuron's OWN
  spikes. The paper's rule is kept: the code's second update mixes two populations, of which pair j
  of one has nothing to do with pair j of the other unless both have one size, and it is not
  described.
  As in both, a reset subtracts the threshold that the spike had passed (`Adaptation.old`).
* **Read-out** `y = leak y + sum_d w_d s_d`; the paper's `1 - leak` is a part of the weights. The
  weights of a pair are +d and -d.

Units: weights are `integer / 64`, membranes of the encoding layer 1/6400 m, of the hidden layer
1/4096, a trace 1/4 spike, a motor command 1/256 of the unit in which the blimp's command goes
from -10 to 10 (the paper's +-3.3 are a third of it).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import blob, reference
from edgesnn import graph as g
from edgesnn.errors import ModelError

PAIRS = 20
NEURONS = 2 * PAIRS
STEP_US = 100_000
SELFTEST_TICKS = 64
COMMAND_ONE = 256
METRE = 6400
HIDDEN_ONE = 4096
HIDDEN_SHIFT = 6
READOUT_SHIFT = 3
TRACE_SPIKE, TRACE_SHIFT, TRACE_PLACES, TRACE_BITS = 64, 4, 8, 14
THRESHOLD_SHIFT = 2

IntArray = npt.NDArray[np.int64]


class Kind(enum.IntEnum):
    """Which array of an image genes lie in: of a projection, or of a population."""

    WEIGHTS = 0
    DECAY = 1
    SYNAPTIC_DECAY = 2
    THRESHOLD = 3
    BIAS = 4


@dataclass(frozen=True)
class Genes:
    """A run of genes: `count` numbers of one meaning, each in `low..high`.

    Gene k goes to entry `k * stride` of an array and, where `mirror` is not 0, `mirror` times it to
    the entry `second` further on.

    Attributes:
        name: for people.
        kind: of the array.
        part: number of the projection (WEIGHTS) or population (else) in its graph.
        count, stride, second, mirror: see above; of weights, entries are bytes in the image.
        low, high: bounds of the numbers, both included.
    """

    name: str
    kind: Kind
    part: int
    count: int
    stride: int
    second: int
    mirror: int
    low: int
    high: int


@dataclass(frozen=True)
class Design:
    """Which networks make up a controller.

    Attributes:
        pd, integral: whether there is a network for the PD part and one for the I part; the command
            is the sum of what they give.
        adaptive, recurrent: what the hidden layers of (pd, integral) have. Plain LIF is the best of
            the paper's variants for PD. For I, whose read-out may not integrate, its plain LIF
            failed; recurrence takes half as many instructions a step as adaptive thresholds, which
            were its best.
    """

    pd: bool = True
    integral: bool = False
    adaptive: tuple[bool, bool] = (False, False)
    recurrent: tuple[bool, bool] = (False, True)

    def __post_init__(self) -> None:
        if not (self.pd or self.integral):
            raise ModelError("a controller needs a PD network, an I network or both")


DESIGNS = {"pd": Design(), "i": Design(False, True), "full": Design(True, True)}
ADAPTIVE = Design(False, True, adaptive=(False, True), recurrent=(False, False))
"""The I network with adaptive thresholds instead of recurrence."""


def bounds(adaptive: bool, recurrent: bool, prefix: str = "") -> list[Genes]:
    """The runs of genes of one network, parts not numbered yet (table I of the paper)."""
    n = NEURONS
    weight = (-127, 127)  # +-2
    hidden_threshold = (0, 10 * HIDDEN_ONE)
    runs = [
        Genes("encoding weights", Kind.WEIGHTS, 0, PAIRS, 2, 1, -1, *weight),
        Genes("encoding bias", Kind.BIAS, 0, PAIRS, 2, 1, 1, -METRE, METRE),
        Genes("encoding decay", Kind.DECAY, 0, PAIRS, 2, 1, 1, 0, g.DECAY_ONE),
        Genes("encoding threshold", Kind.THRESHOLD, 0, PAIRS, 2, 1, 1, 0, 10 * METRE),
        Genes("hidden weights", Kind.WEIGHTS, 1, 2 * n, 1, 0, 0, *weight),
        Genes("hidden synaptic decay", Kind.SYNAPTIC_DECAY, 1, n, 1, 0, 0, 0, g.DECAY_ONE),
        Genes("hidden decay", Kind.DECAY, 1, n, 1, 0, 0, 0, g.DECAY_ONE),
        Genes("hidden threshold", Kind.THRESHOLD, 1, n, 1, 0, 0, *hidden_threshold),
    ]
    if recurrent:
        runs.append(Genes("recurrent weights", Kind.WEIGHTS, 2, 2 * n, 1, 0, 0, -64, 64))
    if adaptive:
        runs.append(Genes("trace decay", Kind.DECAY, 3, n, 1, 0, 0, 0, g.DECAY_ONE))
        runs.append(Genes("threshold weights", Kind.WEIGHTS, 3, 2 * n, 1, 0, 0, *weight))
    runs += [
        # a row of the read-out's weights has 4 bytes for its one neuron
        Genes("read-out weights", Kind.WEIGHTS, 4, PAIRS, 8, 4, -1, *weight),
        Genes("read-out decay", Kind.DECAY, 4, 1, 1, 0, 0, 0, g.DECAY_ONE),
    ]
    return [Genes(prefix + r.name, *_rest(r)) for r in runs]


def _rest(run: Genes) -> tuple[Any, ...]:
    return (run.kind, run.part, run.count, run.stride, run.second, run.mirror, run.low, run.high)


@dataclass(frozen=True, eq=False)
class Genome:
    """Numbers for all the genes of a controller.

    Attributes:
        design: what they are of.
        values: (genes,) int64, in the order of `layout`.

    Raises:
        ModelError: too many, too few, or one that is out of its bounds.
    """

    design: Design
    values: IntArray

    def __post_init__(self) -> None:
        runs = layout(self.design)
        size = sum(run.count for run in runs)
        if self.values.shape != (size,):
            raise ModelError(f"a genome has {self.values.size} genes, this design takes {size}")
        for run, part in zip(runs, self.parts(), strict=True):
            if int(part.min()) < run.low or int(part.max()) > run.high:
                raise ModelError(f"{run.name} of a genome are not in {run.low}..{run.high}")

    def parts(self) -> list[IntArray]:
        """The genes, run by run."""
        ends = np.cumsum([run.count for run in layout(self.design)])
        return np.split(self.values, ends[:-1])

    def named(self) -> dict[str, IntArray]:
        """The genes, run by run, by their names."""
        return {r.name: p for r, p in zip(layout(self.design), self.parts(), strict=True)}


def layout(design: Design) -> tuple[Genes, ...]:
    """The runs of genes of a controller, with the numbers of their parts in its graph."""
    return _built(design, None)[1]


def build(genome: Genome) -> g.Graph:
    """The graph of a controller: int16 error [cm] in, one score out, the command [1/256].

    Its populations are those of the PD network, `pd encoding`, `pd hidden` and `pd`, those of the I
    network likewise, and, where there are both, their sum.
    """
    built = _built(genome.design, genome)[0]
    assert built is not None
    return built


def model(genome: Genome) -> blob.Model:
    """A controller as a model to put on a board, with a self-test of errors to and fro."""
    ticks = np.arange(SELFTEST_TICKS)
    frames = np.round(120 * np.sin(ticks / 4) * np.exp(-ticks / 20)).astype(np.int16)
    graph = reference.with_selftest(build(genome), frames[:, np.newaxis])
    return blob.unpack(blob.pack(graph, {"classes": ["command / 256"]}))


def _built(design: Design, genome: Genome | None) -> tuple[g.Graph | None, tuple[Genes, ...]]:
    wanted = [
        (name, design.adaptive[k], design.recurrent[k])
        for k, name in enumerate(("pd", "i"))
        if (design.pd, design.integral)[k]
    ]
    populations: list[g.Population] = []
    projections: list[g.Projection] = []
    runs: list[Genes] = []
    parts = iter(genome.parts()) if genome is not None else None
    for name, adaptive, recurrent in wanted:
        # the numbers that parts of this network will have in the graph
        here = len(populations) + 1
        first = len(projections)
        trace = int(adaptive)
        numbers = {
            Kind.WEIGHTS: [first, first + trace + 1, first + trace + 2,
                           first + trace + 2 + recurrent, first + 2 * trace + 2 + recurrent],
            Kind.DECAY: [here, here + trace + 1, 0, here + 1, here + trace + 2],
        }  # fmt: skip
        own = [
            Genes(
                r.name, r.kind,
                numbers[Kind.WEIGHTS if r.kind is Kind.WEIGHTS else Kind.DECAY][r.part],
                *_rest(r)[2:],
            )
            for r in bounds(adaptive, recurrent, f"{name} ")
        ]  # fmt: skip
        runs += own
        # their shapes do not depend on their values
        values = [np.ones(r.count, np.int64) if parts is None else next(parts) for r in own]
        _network(name, adaptive, recurrent, values, populations, projections)
    if len(wanted) > 1:
        one = np.ones((1, 1), np.int8)
        zero = np.zeros(1, np.int32)
        populations.append(g.Integrator("command", np.zeros(1, np.uint16), zero))
        projections += [g.Dense("pd", "command", one), g.Dense("i", "command", one)]
    readout = g.Potential(populations[-1].name)
    entry = g.AnalogInput("error", np.zeros(1, np.int8), ("cm",))
    if genome is None:
        return None, tuple(runs)
    return g.Graph(entry, tuple(populations), tuple(projections), readout, STEP_US), tuple(runs)


def _network(
    name: str,
    adaptive: bool,
    recurrent: bool,
    values: list[IntArray],
    populations: list[g.Population],
    projections: list[g.Projection],
) -> None:
    genes = iter(values)
    weights, bias, decay, threshold = (next(genes) for _ in range(4))
    encoding, hidden, traces = f"{name} encoding", f"{name} hidden", f"{name} traces"
    signs = np.tile([1, -1], PAIRS)
    twice = weights.repeat(2) * signs
    populations.append(
        g.LIF(encoding, _u16(decay.repeat(2)), _i32(threshold.repeat(2)), _i32(bias.repeat(2)))
    )
    projections.append(g.Dense("error", encoding, _i8(twice)[:, np.newaxis]))
    blocks, synaptic, membrane, above = (next(genes) for _ in range(4))
    fed_back = next(genes) if recurrent else None
    adaptation = None
    if adaptive:
        leaks, raising = next(genes), next(genes)
        every = np.arange(NEURONS, dtype=np.uint16)
        ones = np.full(NEURONS, TRACE_SPIKE, np.int8)
        populations.append(
            g.Integrator(traces, _u16(leaks), np.zeros(NEURONS, np.int32), TRACE_PLACES, TRACE_BITS)
        )
        late = np.zeros(NEURONS, np.uint8)
        projections.append(
            g.DelayedSynapses(encoding, traces, every, every, late, ones, TRACE_SHIFT)
        )
        zero = np.zeros(1, np.int32)
        adaptation = g.Adaptation(np.zeros(1, np.uint16), zero, old=True)
    populations.append(
        g.LIF(hidden, _u16(membrane), _i32(above), np.zeros(NEURONS, np.int32),
              synaptic_decay=_u16(synaptic), adaptation=adaptation)
    )  # fmt: skip
    projections.append(_blocks(encoding, hidden, blocks, HIDDEN_SHIFT))
    if fed_back is not None:
        projections.append(_blocks(hidden, hidden, fed_back, HIDDEN_SHIFT))
    if adaptive:
        projections.append(_blocks(traces, hidden, raising, THRESHOLD_SHIFT, g.Port.THRESHOLD))
    readout, leak = next(genes), next(genes)
    populations.append(g.Integrator(name, _u16(leak), np.zeros(1, np.int32)))
    row = _i8(readout.repeat(2) * signs)[np.newaxis]
    projections.append(g.Dense(hidden, name, row, READOUT_SHIFT))


def _blocks(
    source: str, target: str, weights: IntArray, shift: int, port: g.Port = g.Port.CURRENT
) -> g.DelayedSynapses:
    """2 x 2 blocks: weight 2 i + k joins neuron i of the source to neuron k of its pair's twin."""
    pre = np.arange(NEURONS).repeat(2)
    post = pre // 2 * 2 + np.tile([0, 1], NEURONS)
    return g.DelayedSynapses(
        source, target, pre.astype(np.uint16), post.astype(np.uint16),
        np.zeros(2 * NEURONS, np.uint8), _i8(weights), shift, port,
    )  # fmt: skip


def _i8(values: IntArray) -> g.Int8Array:
    return values.astype(np.int8)


def _u16(values: IntArray) -> g.UInt16Array:
    return values.astype(np.uint16)


def _i32(values: IntArray) -> g.Int32Array:
    return values.astype(np.int32)
