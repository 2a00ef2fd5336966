"""The meaning of the operations, by hand-worked example, and what a graph refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesnn import reference
from edgesnn.errors import ModelError
from edgesnn.graph import (
    CURRENT_BOUND,
    LIF,
    MAX_SHIFT,
    NEVER,
    AnalogInput,
    Dense,
    Graph,
    Potential,
    PotentialMode,
    Reset,
    SpikeCount,
    SpikeInput,
)

HALF = 1 << 14
ONE = 1 << 15


def lif(name: str = "out", size: int = 1, **changes: Any) -> LIF:
    values: dict[str, Any] = {
        "decay": np.array([HALF], np.uint16),
        "threshold": np.full(size, 10, np.int32),
        "bias": np.zeros(size, np.int32),
    }
    return LIF(name, **{**values, **changes})


def one_neuron(population: LIF, readout: Any = None) -> Graph:
    return Graph(
        input=AnalogInput("input", np.zeros(1, np.int8)),
        populations=(population,),
        projections=(Dense("input", "out", np.array([[1]], np.int8)),),
        readout=readout or SpikeCount("out"),
    )


def trace(graph: Graph, values: list[int]) -> tuple[list[int], list[int]]:
    """Membrane and spikes of the one neuron, step by step."""
    frames = np.array(values, np.int16).reshape(1, -1, 1)
    states = [
        (int(s.membrane["out"][0, 0]), int(s.emitted["out"][0, 0]))
        for s in reference.steps(graph, frames)
    ]
    return [v for v, _ in states], [s for _, s in states]


@pytest.mark.parametrize(
    ("reset", "membrane", "spikes"),
    [
        # 12 spikes; then 6 + 4, 5 + 4, 4.5 rounded up + 12, ...
        (Reset.NONE, [12, 10, 9, 17, 9], [1, 0, 0, 1, 0]),
        # ... the threshold is taken off one step later, after the leak: 6 + 4 - 10
        (Reset.SUBTRACT, [12, 0, 4, 14, -3], [1, 0, 0, 1, 0]),
        # ... the old membrane is dropped, the new input kept: 0 + 4
        (Reset.ZERO, [12, 4, 6, 15, 0], [1, 0, 0, 1, 0]),
        # ... and here the new input is dropped too
        (Reset.ZERO_DISCARD, [12, 0, 4, 14, 0], [1, 0, 0, 1, 0]),
    ],
)
def test_a_spike_resets_the_membrane_one_step_later(
    reset: Reset, membrane: list[int], spikes: list[int]
) -> None:
    assert trace(one_neuron(lif(reset=reset)), [12, 4, 4, 12, 0]) == (membrane, spikes)


def test_a_membrane_at_the_threshold_does_not_spike() -> None:
    assert trace(one_neuron(lif()), [10, 0])[1] == [0, 0]
    assert trace(one_neuron(lif()), [11, 0])[1] == [1, 0]


def test_a_synaptic_current_decays_and_is_never_reset() -> None:
    population = LIF(
        "out",
        decay=np.array([HALF], np.uint16),
        synaptic_decay=np.array([HALF], np.uint16),
        threshold=np.array([10], np.int32),
        bias=np.zeros(1, np.int32),
    )
    # i = 8, 4, 2, 1; v = 8, 4 + 4, 4 + 2, 3 + 1
    assert trace(one_neuron(population), [8, 0, 0, 0])[0] == [8, 8, 6, 4]


def test_a_bias_enters_in_every_step() -> None:
    bias = np.array([3], np.int32)
    assert trace(one_neuron(lif(bias=bias)), [0, 0, 0])[0] == [3, 5, 6]  # 1.5 and 2.5 round up


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, ONE))
def test_leak_rounds_half_up_and_splits_without_a_wide_product(x: int, b: int) -> None:
    expected = (x * b + (1 << 14)) // (1 << 15)
    narrow = (x >> 15) * b + (((x & 0x7FFF) * b + (1 << 14)) >> 15)
    assert expected == narrow
    assert reference.leak(np.array([x]), np.array([b], np.uint16))[0] == expected


def test_membranes_saturate_to_31_bits_and_synaptic_currents_to_30() -> None:
    weights = np.full((1, 64), 127, np.int8)
    entry = AnalogInput("input", np.zeros(64, np.int8))
    common: dict[str, Any] = {
        "decay": np.array([ONE], np.uint16),
        "threshold": np.array([NEVER], np.int32),
        "bias": np.zeros(1, np.int32),
        "reset": Reset.NONE,
    }
    frames = np.full((1, 9, 64), 32767, np.int16)
    for population, which, largest in (
        (LIF("out", **common), "membrane", 2**30 - 1),
        (
            LIF("out", synaptic_decay=np.array([ONE], np.uint16), **common),
            "synapse",
            2**29 - 1,
        ),
    ):
        graph = Graph(entry, (population,), (Dense("input", "out", weights),), SpikeCount("out"))
        state = list(reference.steps(graph, frames))[-1]
        assert getattr(state, which)["out"][0, 0] == largest
        state = list(reference.steps(graph, -frames))[-1]
        assert getattr(state, which)["out"][0, 0] == -largest - 1


def test_a_projection_carries_this_step_forward_and_the_last_step_back() -> None:
    """a -> b arrives in the same step; b -> a and a -> a in the next."""
    weight = np.array([[20]], np.int8)
    forward = Graph(
        SpikeInput("input", 1),
        (lif("a"), lif("b")),
        (Dense("input", "a", weight), Dense("a", "b", weight)),
        SpikeCount("b"),
    )
    frames = np.array([1, 0, 0], np.int16).reshape(1, 3, 1)
    assert [s.emitted["b"][0, 0] for s in reference.steps(forward, frames)] == [1, 0, 0]
    back = replace(forward, populations=(lif("b"), lif("a")), projections=forward.projections[::-1])
    assert [s.emitted["b"][0, 0] for s in reference.steps(back, frames)] == [0, 1, 0]


def test_blocks_share_one_weight_matrix() -> None:
    shared = np.array([[1, 2], [3, 4]], np.int8)
    summed = reference.dense_sum(Dense("a", "b", shared, blocks=2), np.array([[1, 0, 0, 1]]))
    # block 0 sees (1, 0), block 1 sees (0, 1)
    assert summed.tolist() == [[1, 3, 2, 4]]


def test_analog_values_are_fixed_point_numbers_rounded_half_up() -> None:
    entry = AnalogInput("input", np.array([0, 4], np.int8), ("m/s^2", "rad/s"))
    signal = np.array([[1.5, 1.5], [-1.5, -0.03125], [1e9, -1e9]])
    assert entry.quantize(signal).tolist() == [[2, 24], [-1, 0], [32767, -32768]]


@pytest.mark.parametrize(
    ("mode", "scores"),
    [
        (PotentialMode.LAST, [-5, -6, 17]),
        (PotentialMode.MAX, [-5, -5, 17]),
        (PotentialMode.SUM, [-5, -11, 6]),
    ],
)
def test_potentials_are_read_out_last_largest_or_summed(
    mode: PotentialMode, scores: list[int]
) -> None:
    graph = one_neuron(lif(), Potential("out", mode))
    frames = np.array([-5, -4, 20], np.int16).reshape(1, 3, 1)
    assert [int(s.scores[0, 0]) for s in reference.steps(graph, frames)] == scores


def test_the_lowest_index_wins_a_tie() -> None:
    graph = Graph(SpikeInput("input", 1), (lif(size=3),), (), SpikeCount("out"))
    assert reference.run(graph, np.zeros((1, 2, 1), np.int16)).labels.tolist() == [0]


GOOD = one_neuron(lif())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"populations": ()}, "no population"),
        ({"populations": (lif("input"),)}, "share a name"),
        ({"readout": SpikeCount("nowhere")}, "read-out names population 'nowhere'"),
        ({"populations": (lif(decay=np.array([ONE + 1], np.uint16)),)}, "exceeds 32768"),
        ({"populations": (lif(decay=np.array([1, 2], np.uint16)),)}, "not 1 or 1"),
        ({"populations": (lif(threshold=np.array([1 << 29], np.int32)),)}, "at most 536870911"),
        ({"populations": (lif(bias=np.array([0], np.int64)),)}, "is int64, not int32"),
        (
            {"populations": (lif(bias=np.array([CURRENT_BOUND], np.int32)),)},
            "bias is not in -536870911..536870911",
        ),
        ({"projections": (Dense("ghost", "out", np.ones((1, 1), np.int8)),)}, "unknown source"),
        ({"projections": (Dense("input", "input", np.ones((1, 1), np.int8)),)}, "no such target"),
        ({"projections": (Dense("input", "out", np.ones((2, 1), np.int8)),)}, "joins 1 to 2"),
        (
            {"projections": (Dense("input", "out", np.ones((1, 1), np.int8), MAX_SHIFT + 1),)},
            "shift is not in 0..20",
        ),
        ({"populations": (lif(threshold=np.array([-1], np.int32)),)}, "would spike at rest"),
        ({"step_us": -1}, "step_us"),
    ],
)
def test_a_graph_that_breaks_a_rule_is_refused_by_name(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        replace(GOOD, **change)


def test_recordings_that_the_input_cannot_take_are_refused() -> None:
    analog = AnalogInput("input", np.zeros(2, np.int8))
    with pytest.raises(ModelError, match="has 3 channels, input 'input' takes 2"):
        analog.quantize(np.zeros((4, 3)))
    with pytest.raises(ModelError, match=r"not finite at \[1, 0\]"):
        analog.quantize(np.array([[0, 0], [np.nan, 0]]))
    with pytest.raises(ModelError, match="takes spikes"):
        SpikeInput("input", 2).quantize(np.array([[0, 2]]))
