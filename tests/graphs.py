"""Random graphs of every operation, as Hypothesis strategies: small, hostile in every value."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from edgesnn.errors import ModelError
from edgesnn.graph import (
    DECAY_ONE,
    LIF,
    NEVER,
    THRESHOLD_BOUND,
    AnalogInput,
    CubaLIF,
    Dense,
    Graph,
    Int16Array,
    Potential,
    PotentialMode,
    Reset,
    SpikeCount,
    SpikeInput,
)

SIZES = st.integers(1, 9) | st.integers(14, 37)


@st.composite
def arrays(draw: st.DrawFn, dtype: type, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """Random integers of a shape: uniform, tiny, or at the very ends of the range."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    near = draw(st.sampled_from(("uniform", "small", "ends")))
    if near == "ends":
        return rng.choice([low, high, max(low, min(0, high))], shape).astype(dtype)
    if near == "small":
        low, high = max(low, -8), min(high, 8)
    return rng.integers(low, high, shape, endpoint=True).astype(dtype)


@st.composite
def populations(draw: st.DrawFn, name: str, size: int) -> LIF | CubaLIF:
    reset = draw(st.sampled_from(Reset))
    limit = THRESHOLD_BOUND - 1 if reset is Reset.SUBTRACT else NEVER
    span = draw(st.sampled_from((40, 5000, limit)))
    per_neuron = draw(st.booleans())
    common = {
        "name": name,
        "decay": draw(arrays(np.uint16, (size if per_neuron else 1,), 0, DECAY_ONE)),
        "threshold": draw(arrays(np.int32, (size,), 0, span)),
        "bias": draw(
            st.just(np.zeros(size, np.int32)) | arrays(np.int32, (size,), -(1 << 20), 1 << 20)
        ),
        "reset": reset,
    }
    if draw(st.booleans()):
        return LIF(**common)
    synaptic = draw(arrays(np.uint16, (draw(st.sampled_from((1, size))),), 0, DECAY_ONE))
    return CubaLIF(synaptic_decay=synaptic, **common)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any valid graph: analog or spike input, 1 to 4 populations, recurrence, shared blocks."""
    blocks = draw(st.sampled_from((1, 1, 2, 3)))
    sizes = [blocks * draw(SIZES) for _ in range(1 + draw(st.integers(1, 4)))]
    names = ["input", *(f"p{k}" for k in range(1, len(sizes)))]
    entry: AnalogInput | SpikeInput = SpikeInput("input", sizes[0])
    if draw(st.booleans()):
        entry = AnalogInput("input", draw(arrays(np.int8, (sizes[0],), -15, 30)))
    parts = tuple(draw(populations(n, s)) for n, s in zip(names[1:], sizes[1:], strict=True))
    projections = []
    for target in range(1, len(sizes)):
        sources = draw(st.lists(st.integers(0, len(sizes) - 1), max_size=3))
        for source in sources:
            shift = draw(st.integers(0, 6))
            shared = draw(st.sampled_from((1, blocks)))
            shape = (sizes[target] // shared, sizes[source] // shared)
            weights = draw(arrays(np.int8, shape, -128, 127))
            analog = source == 0 and isinstance(entry, AnalogInput)
            projections.append(
                Dense(names[source], names[target], weights, 0 if analog else shift, shared)
            )
    readout = draw(
        st.one_of(
            st.builds(SpikeCount, st.sampled_from(names[1:])),
            st.builds(Potential, st.sampled_from(names[1:]), st.sampled_from(PotentialMode)),
        )
    )
    try:
        return Graph(entry, parts, tuple(projections), readout, draw(st.integers(0, 2**32 - 1)))
    except ModelError:  # three full-scale analog projections may pass the current's bound
        return Graph(entry, parts, (), readout)


@st.composite
def graphs_and_frames(
    draw: st.DrawFn, samples: int = 3, steps: int = 12
) -> tuple[Graph, Int16Array]:
    """A graph, and frames (samples, steps, input size) that its input takes."""
    graph = draw(graphs())
    shape = (samples, steps, graph.input.size)
    if isinstance(graph.input, AnalogInput):
        return graph, draw(arrays(np.int16, shape, -32768, 32767))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return graph, (rng.random(shape) < draw(st.sampled_from((0.1, 0.5, 1.0)))).astype(np.int16)
