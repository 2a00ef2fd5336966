"""Random graphs of every operation, small and hostile in every value; each is made of one seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from edgesnn.errors import ModelError
from edgesnn.graph import (
    LIF,
    NEVER,
    THRESHOLD_BOUND,
    Activation,
    Adaptation,
    AnalogInput,
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
    Input,
    Int16Array,
    Integrator,
    LinearState,
    Population,
    Port,
    Potential,
    PotentialMode,
    Projection,
    Readout,
    Requantization,
    Reset,
    SoftmaxSum,
    SpikeCount,
    SpikeInput,
    SumPool,
    Window,
)

SEEDS = st.integers(0, 2**32 - 1)
MAPS = ((1, 7, 3), (5, 5, 1), (4, 3, 2), (2, 4, 4), (1, 9, 1), (3, 3, 5))


class Dice:
    """Random choices of one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def maybe(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high, endpoint=True))

    def pick(self, *options: Any) -> Any:
        return options[self.number(0, len(options) - 1)]

    def array(self, dtype: type, shape: Any, low: int, high: int) -> npt.NDArray[Any]:
        """Integers of a shape: uniform, tiny, or at the very ends of the range."""
        near = self.number(0, 2)
        if near == 0:
            return self.rng.choice([low, high, max(low, min(0, high))], shape).astype(dtype)
        if near == 1 and low <= 8 and high >= -8:
            low, high = max(low, -8), min(high, 8)
        return self.rng.integers(low, high, shape, endpoint=True).astype(dtype)

    def one_or_all(self, dtype: type, size: int, low: int, high: int) -> npt.NDArray[Any]:
        return self.array(dtype, self.pick(1, size), low, high)


def decay(dice: Dice, size: int, rule: DecayRule) -> npt.NDArray[np.uint16]:
    high = rule.largest
    return dice.one_or_all(np.uint16, size, dice.pick(0, high // 2, high - min(high, 600)), high)


def lif(dice: Dice, name: str, size: int) -> LIF:
    """Spiking neurons with any allowed combination of switches."""
    rule = dice.pick(DecayRule.Q15, DecayRule.Q15, *DecayRule)
    fire = dice.pick(*Fire)
    values: dict[str, Any] = {}
    reset = dice.pick(*Reset)
    kind = dice.pick("plain", "plain", "cuba", "alpha", "adaptive", "multi", "any")
    if kind == "plain":
        rule = DecayRule.Q15
    elif kind == "alpha":
        reset = dice.pick(Reset.NONE, Reset.SUBTRACT, Reset.ZERO_DISCARD)
        values["inhibitory_decay"] = decay(dice, size, rule)
        if reset is Reset.SUBTRACT:
            values["reset_to"] = dice.one_or_all(np.int32, size, -1000, 5000)
    elif kind == "multi":
        reset = dice.pick(Reset.SUBTRACT_AT_ONCE, Reset.ZERO_AT_ONCE)
        fire = Fire.REACHES
        values["max_spikes"] = dice.pick(2, 31, 32767)
    elif kind == "adaptive":
        reset = dice.pick(*(r for r in Reset if r is not Reset.SUBTRACT_RESIDUE))
        values["adaptation"] = Adaptation(
            decay=decay(dice, size, rule),
            step=dice.one_or_all(np.int32, size, -(1 << dice.pick(4, 24)), 1 << dice.pick(4, 24)),
            old=reset is Reset.SUBTRACT and dice.maybe(),
            refractory=(decay(dice, size, rule) if reset is Reset.NONE and dice.maybe() else None),
        )
    if kind in ("cuba", "alpha") or (kind not in ("plain", "cuba", "alpha") and dice.maybe(0.3)):
        values["synaptic_decay"] = decay(dice, size, rule)
        if kind != "alpha":
            values["conduction"] = dice.pick(*Conduction)
            bias = dice.array(np.int32, size, -(1 << 20), 1 << 20)
            values["membrane_bias"] = bias if dice.maybe(0.3) else None
    late = reset in (Reset.SUBTRACT, Reset.ZERO, Reset.ZERO_DISCARD)
    if kind not in ("plain", "alpha") and not (kind == "adaptive" and late) and dice.maybe(0.3):
        values["floor"] = dice.one_or_all(np.int32, size, -(1 << 30), 0)
    if reset is Reset.ZERO_AT_ONCE and dice.maybe(0.3):
        values["reset_to"] = dice.one_or_all(np.int32, size, -1000, 1000)
    limit = THRESHOLD_BOUND - 1 if reset.subtracts or kind == "adaptive" else NEVER
    if kind not in ("plain",) and dice.maybe(0.3):
        values["state_bits"] = dice.number(16, 31)
    return LIF(
        name=name,
        decay=decay(dice, 1 if kind == "plain" and dice.maybe(0.8) else size, rule),
        threshold=dice.array(np.int32, size, int(fire), dice.pick(40, 5000, limit)),
        bias=dice.array(np.int32, size, -(1 << 20), 1 << 20) if dice.maybe(0.3) else zeros(size),
        reset=reset,
        rule=rule,
        fire=fire,
        **values,
    )


def zeros(size: int) -> npt.NDArray[np.int32]:
    return np.zeros(size, np.int32)


def integrator(dice: Dice, name: str, size: int) -> Integrator:
    activation = dice.pick(*Activation)
    table = activation is Activation.TABLE
    scaled = None
    if dice.maybe(0.3):
        count = dice.pick(1, size, dice.number(1, size))
        low = dice.pick(0, -128, -32768)
        scaled = Requantization(
            multiplier=dice.array(np.int32, count, 0, (1 << 31) - 1),
            places=dice.array(np.uint16, count, 0, 31),
            low=low,
            high=dice.pick(low, 127, 32767),
            once=dice.maybe(),
        )
    return Integrator(
        name=name,
        decay=dice.pick(np.zeros(1, np.uint16), decay(dice, size, DecayRule.Q15)),
        bias=dice.array(np.int32, size, -500, 500) if dice.maybe(0.3) else zeros(size),
        shift=dice.number(0, 12),
        bits=16 if table else dice.pick(4, 8, 16),
        activation=activation,
        table=dice.array(np.int16, 257, -32768, 32767) if table else None,
        requantization=scaled,
        delta=Delta(
            dice.array(np.int32, size, 0, dice.pick(3, 5000, NEVER)),
            dice.array(np.int32, size, -dice.pick(5, 5000), 5000),
        )
        if not table and dice.maybe(0.2)
        else None,
    )


def linear_state(dice: Dice, name: str, size: int) -> LinearState:
    order = dice.pick(*(d for d in range(1, size + 1) if size % d == 0))
    return LinearState(
        name=name,
        matrix=dice.array(np.int16, (order, order), -32768, 32767),
        matrix_shift=dice.array(np.uint8, order, 0, 31),
        shift=dice.array(np.uint8, order, 0, 30),
        blocks=size // order,
        bits=dice.pick(4, 8, 16),
    )


def population(dice: Dice, name: str, size: int, before: list[Input | Population]) -> Population:
    kind = dice.pick("lif", "lif", "lif", "integrator", "linear", "delay")
    spiking = [part for part in before if not part.emits_values]
    if kind == "delay" and spiking:
        source = dice.pick(*spiking)
        return DelayLine(
            name, source.name, dice.array(np.uint8, source.size, 0, dice.pick(3, 40, 255))
        )
    if kind == "integrator":
        return integrator(dice, name, size)
    return linear_state(dice, name, size) if kind == "linear" else lif(dice, name, size)


def dense(
    dice: Dice, source: Input | Population, target: Population, blocks: int = 0, bits: int = 0
) -> Dense:
    """Of any blocks and width where none are given."""
    shared = [b for b in (1, 2, 3) if source.size % b == 0 and target.size % b == 0]
    blocks = blocks or dice.pick(*shared)
    bits = bits or dice.pick(8, 8, 4, 2)
    half = 1 << (bits - 1)
    weights = dice.array(np.int8, (target.size // blocks, source.size // blocks), -half, half - 1)
    adapts = isinstance(target, LIF) and target.adaptation is not None
    port = Port.THRESHOLD if adapts and dice.maybe(0.4) else Port.CURRENT
    shift = dice.number(0, 2 if source.emits_values else 9)
    return Dense(source.name, target.name, weights, shift, blocks, bits, port)


def memory(
    dice: Dice, target: LIF, parts: list[Input | Population]
) -> tuple[LIF, list[Projection]] | None:
    """Plain neurons in blocks and what enters them, as in an LMU; None where nothing can."""
    blocks = dice.pick(*(b for b in range(2, 38) if target.size % b == 0), 1)
    sources = [p for p in parts if p.size % blocks == 0 and not p.emits_values]
    if blocks == 1 or target.size // blocks > 20 or not sources:
        return None
    high = dice.pick(0, 5000, 32767)
    neurons = LIF(
        target.name,
        dice.array(np.uint16, 1, max(0, high - 600), high),
        dice.array(np.int32, target.size, int(target.fire), dice.pick(1, 40, 5000, 1 << 20)),
        zeros(target.size) if dice.maybe(0.9) else dice.array(np.int32, target.size, -9, 9),
        dice.pick(*(r for r in Reset if r is not Reset.SUBTRACT_RESIDUE)),
        fire=target.fire,
    )
    bits = dice.pick(8, 8, 8, 4)
    entering = [
        dense(dice, dice.pick(*sources), neurons, blocks, bits)
        for _ in range(dice.pick(1, 2, 2, 3))
    ]
    return neurons, entering  # type: ignore[return-value]


def delayed(dice: Dice, source: Input | Population, target: Population) -> DelayedSynapses:
    taps = dice.pick(1, 1, 2)
    shape = (taps, target.size, source.size)
    weights = dice.array(np.int8, shape, -128, 127)
    delays = dice.array(np.uint8, shape, 0, dice.pick(0, 3, 20, 255))
    if taps == 2:
        weights[1][delays[0] == delays[1]] = 0
    if not weights.any():
        weights[0, 0, 0] = 1
    made = DelayedSynapses.from_dense(source.name, target.name, weights, delays, dice.number(0, 3))
    adapts = isinstance(target, LIF) and target.adaptation is not None
    return replace(made, port=Port.THRESHOLD) if adapts and dice.maybe(0.4) else made


def window(dice: Dice, source: tuple[int, int, int], channels: int) -> Window:
    kernel = tuple(dice.number(1, min(4, side + 1)) for side in source[:2])
    stride = dice.number(1, 3), dice.number(1, 3)
    padding = tuple(dice.number(0, k - 1) for k in kernel)
    below = [dice.number(0, k - 1) for k in kernel]
    out = [
        max(1, (side + p + b - k) // s + 1)
        for side, p, b, k, s in zip(source[:2], padding, below, kernel, stride, strict=True)
    ]
    return Window(source, (out[0], out[1], channels), kernel, stride, padding)  # type: ignore[arg-type]


def map_layer(
    dice: Dice, source: str, target: str, shape: tuple[int, int, int]
) -> tuple[Conv | SumPool, tuple[int, int, int]]:
    """A convolution or pooling of a map, and the shape of the map that it makes."""
    if dice.maybe(0.3):
        slides = window(dice, shape, shape[2])
        return SumPool(source, target, slides, dice.number(0, 3)), slides.output_shape
    groups = dice.pick(*(g for g in range(1, shape[2] + 1) if shape[2] % g == 0))
    slides = window(dice, shape, groups * dice.number(1, 5))
    weights = dice.array(
        np.int8, (*slides.kernel, shape[2] // groups, slides.output_shape[2]), -128, 127
    )
    return Conv(source, target, weights, slides, dice.number(0, 2), groups), slides.output_shape


def readout(dice: Dice, parts: list[Population]) -> Readout:
    neurons = [p.name for p in parts if isinstance(p, LIF)]
    states = [p.name for p in parts if not isinstance(p, DelayLine)]
    kind = dice.number(0, 4)
    if kind < 2 and neurons:
        return dice.pick(SpikeCount, FirstSpike)(dice.pick(*neurons))  # type: ignore[no-any-return]
    if kind == 2:
        table = np.sort(dice.array(np.uint16, 256, 0, 65535))[::-1].copy()
        table[0] = max(table[0], 1)
        return SoftmaxSum(dice.pick(*states), table, dice.number(0, 20))
    return Potential(dice.pick(*states), dice.pick(*PotentialMode))


def graph(seed: int) -> Graph:
    """Any valid graph: 1 to 5 populations, recurrence, delays, maps, shared blocks."""
    dice = Dice(seed)
    while True:
        try:
            return _graph(dice)
        except ModelError:  # what enters a convolution may be too wide for it, and the like
            continue


def _graph(dice: Dice) -> Graph:
    maps: dict[str, tuple[int, int, int]] = {}
    size = dice.pick(dice.number(1, 9), dice.number(14, 37), dice.number(1, 3) * dice.number(1, 9))
    if dice.maybe(0.3):
        maps["input"] = dice.pick(*MAPS)
        size = int(np.prod(maps["input"]))
    entry: Input = SpikeInput("input", size)
    if dice.maybe(0.4):
        bits = 16 if "input" not in maps else dice.pick(2, 8)
        entry = AnalogInput("input", dice.array(np.int8, size, -15, 30), bits=bits)
    parts: list[Input | Population] = [entry]
    projections: list[list[Projection]] = []
    for k in range(1, 1 + dice.number(1, 5)):
        name = f"p{k}"
        last = parts[-1]
        if last.name in maps and dice.maybe(0.8):
            layer, maps[name] = map_layer(dice, last.name, name, maps[last.name])
            size = int(np.prod(maps[name]))
            kind = dice.pick(lif, lif, integrator)
            parts.append(kind(dice, name, size))
            projections.append([layer])
            continue
        size = dice.pick(dice.number(1, 9), dice.number(14, 37), dice.number(1, 3) * 8)
        if dice.maybe(0.02):
            size = dice.number(257, 300)  # more than a byte, or a list of events, can tell apart
        parts.append(population(dice, name, size, parts))
        projections.append([])
    spiking = [part for part in parts[1:] if not part.emits_values]
    if spiking and dice.maybe(0.1):
        source = dice.pick(*spiking)
        delays = dice.array(np.uint8, source.size, 0, dice.pick(3, 40, 255))
        at = dice.number(1, parts.index(source))
        parts.insert(at, DelayLine("late", source.name, delays))
        projections.insert(at - 1, [])
    for number, (target, entering) in enumerate(zip(parts[1:], projections, strict=True)):
        if isinstance(target, DelayLine):
            continue
        made_of_blocks = memory(dice, target, parts) if isinstance(target, LIF) else None
        if made_of_blocks is not None and not entering and target.plain and dice.maybe():
            parts[1 + number], projections[number] = made_of_blocks
            continue
        alike, bits = dice.maybe(0.4), dice.pick(8, 4, 2)  # such projections share a record
        half = 1 << (bits - 1)
        lifted = dice.maybe(0.1)  # so high that the current may have to saturate
        for _ in range(dice.pick(0, 1, 1, 2, 3) if not entering else dice.pick(0, 0, 1)):
            source = dice.pick(*parts, parts[max(0, parts.index(target) - 1)])
            made = (delayed if dice.maybe(0.25) else dense)(dice, source, target)
            if alike and isinstance(made, Dense) and made.blocks == 1:
                narrow = made.weights.clip(-half, half - 1)
                made = replace(made, weights=narrow, shift=2, bits=bits)
            if lifted and isinstance(made, Dense) and made.port is Port.CURRENT:
                made = replace(made, shift=dice.number(17, 20))
            entering.append(made)
    states = [p for p in parts[1:] if not isinstance(p, (AnalogInput, SpikeInput))]
    if all(isinstance(p, DelayLine) for p in states):
        raise ModelError("only delay lines")
    flat = tuple(p for entering in projections for p in entering)
    read = readout(dice, states)
    step_us = dice.number(0, 2**32 - 1)
    scores = next(p.size for p in states if p.name == read.population)
    margin = dice.pick(0, 1, 1 << dice.number(0, 30), 2**31 - 1) if scores > 1 else 0
    return Graph(entry, tuple(states), flat, read, step_us, margin=margin)


def frames_for(graph: Graph, samples: int, steps: int, seed: int = 0) -> Int16Array:
    """Frames (samples, steps, input size) that the input of a graph takes, silence among them."""
    dice = Dice(seed)
    shape = (samples, steps, graph.input.size)
    if isinstance(graph.input, AnalogInput):
        half = 1 << (graph.input.bits - 1)
        frames: Int16Array = dice.array(np.int16, shape, -half, half - 1)
    else:
        chance = dice.pick(0.02, 0.1, 0.5, 1.0)
        frames = (dice.rng.random(shape) < chance).astype(np.int16)
    frames[:, steps // 2 : steps // 2 + dice.pick(0, 2, steps // 4)] = 0
    return frames


def cases(count: int, samples: int, steps: int) -> Iterator[tuple[Graph, Int16Array]]:
    """The first `count` random graphs, each with frames."""
    for seed in range(count):
        made = graph(seed)
        yield made, frames_for(made, samples, steps, seed)


def graphs() -> st.SearchStrategy[Graph]:
    """Any graph, as a Hypothesis strategy."""
    return SEEDS.map(graph)


@st.composite
def graphs_and_frames(
    draw: st.DrawFn, samples: int = 3, steps: int = 12
) -> tuple[Graph, Int16Array]:
    """A graph, and frames (samples, steps, input size) that its input takes."""
    seed = draw(SEEDS)
    made = graph(seed)
    return made, frames_for(made, samples, steps, seed)
