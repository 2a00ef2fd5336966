"""The integer rules of Xylo are a profile of the graph: XyloSim's own spikes and membranes.

`tests/xylo/make.py` made the trace, with xylosim 0.1.3 and seed 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesnn import blob, reference, runtime
from edgesnn.graph import (
    LIF,
    Conduction,
    DecayRule,
    Dense,
    Fire,
    Graph,
    Int16Array,
    Potential,
    Reset,
    SpikeInput,
)

TRACE = Path(__file__).parent / "xylo" / "xylosim-0.1.3.npz"


@pytest.fixture(scope="module")
def trace() -> dict[str, np.ndarray]:
    with np.load(TRACE) as file:
        return dict(file)


def layer(trace: dict[str, np.ndarray], name: str, end: str, max_spikes: int) -> LIF:
    return LIF(
        name,
        decay=trace[f"dash_mem{end}"].astype(np.uint16),
        synaptic_decay=trace[f"dash_syn{end}"].astype(np.uint16),
        threshold=trace[f"threshold{end}"].astype(np.int32),
        bias=np.zeros(len(trace[f"threshold{end}"]), np.int32),
        rule=DecayRule.BIT_SHIFT,
        conduction=Conduction.DECAYED,
        reset=Reset.SUBTRACT_AT_ONCE,
        fire=Fire.REACHES,
        max_spikes=max_spikes,
        state_bits=16,
    )


def graph(trace: dict[str, np.ndarray]) -> Graph:
    """The read-out stands first: it takes the hidden layer's spikes of the step before."""

    def join(source: str, target: str, name: str, shift: int) -> Dense:
        return Dense(source, target, trace[f"weights_{name}"].T.astype(np.int8), int(shift))

    into, recurrent, out = trace["shifts"]
    return Graph(
        SpikeInput("input", trace["frames"].shape[1]),
        (layer(trace, "out", "_out", 1), layer(trace, "hidden", "", 31)),
        (
            join("hidden", "out", "out", out),
            join("input", "hidden", "in", into),
            join("hidden", "hidden", "rec", recurrent),
        ),
        Potential("hidden"),
    )


def frames(trace: dict[str, np.ndarray]) -> Int16Array:
    return trace["frames"][np.newaxis].astype(np.int16)


def test_every_spike_and_membrane_is_xylosims(trace: dict[str, np.ndarray]) -> None:
    for t, state in enumerate(reference.steps(graph(trace), frames(trace))):
        np.testing.assert_array_equal(state.emitted["hidden"][0], trace["spikes"][t])
        np.testing.assert_array_equal(state.emitted["out"][0], trace["spikes_out"][t])
        np.testing.assert_array_equal(state.membrane["hidden"][0], trace["v_mem"][:, t])


def test_the_core_computes_the_same(trace: dict[str, np.ndarray]) -> None:
    made = graph(trace)
    core = runtime.run(blob.pack_image(made), frames(trace))
    np.testing.assert_array_equal(core.digests, reference.run(made, frames(trace)).digests)
