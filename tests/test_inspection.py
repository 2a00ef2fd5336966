"""`inspect` says what runs a model: what the loader of the core picked."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph

from edgesnn import blob, inspection, kernels, runtime
from edgesnn.graph import LIF, Dense, Graph, Integrator, Reset, SpikeCount, SpikeInput


def layer(bits: int = 8, blocks: int = 1, shift: int = 0, decay: int = 29491) -> Graph:
    weights = np.ones((24 // blocks, 40 // blocks), np.int8)
    threshold = np.full(24, 400, np.int32)
    out = LIF(
        "out", np.array([decay], np.uint16), threshold, np.zeros(24, np.int32), Reset.SUBTRACT
    )
    dense = Dense("input", "out", weights, shift=shift, blocks=blocks, bits=bits)
    return Graph(SpikeInput("input", 40), (out,), (dense,), SpikeCount("out"))


@pytest.mark.parametrize(
    ("made", "population", "projection"),
    [
        (layer(), "fused LIF, wrap-free", "tiles of int8"),
        (layer(bits=4), "fused LIF, wrap-free", "tiles of int4"),
        (layer(bits=2), "fused LIF, wrap-free", "tiles of int2"),
        (layer(blocks=8), "fused LIF, block by block", "blocks of int8"),
        (layer(shift=16, decay=32767), "fused LIF, saturating", "tiles of int8"),
        (layer(shift=20), "fused LIF, saturating", "sums of 64 bits, saturating (slow)"),
    ],
)
def test_a_kernel_is_named_as_the_loader_picks_it(
    made: Graph, population: str, projection: str
) -> None:
    picked = kernels.of_image(blob.pack_image(made))
    assert picked == ([population], {(0, 1): projection})


def test_every_part_of_any_graph_has_a_kernel() -> None:
    seen = set()
    for seed in range(200):
        made = graph(seed)
        shown = inspection.describe(blob.unpack(blob.pack_image(made)))
        seen |= {p["kernel"] for p in shown["populations"] + shown["projections"]}
        assert shown["kernels"] == runtime.kernels()
        if any(isinstance(p, Integrator) for p in made.populations):
            assert "integrator" in {p["kernel"] for p in shown["populations"]}
    assert len(seen) > 10


def test_portable_c_is_called_slow() -> None:
    shown = inspection.describe(blob.unpack(blob.pack_image(layer())))
    portable = {**shown, "kernels": runtime.PORTABLE}
    assert "portable C, the slow path" in inspection.table(portable)
    assert "slow path" not in inspection.table({**shown, "kernels": "vectors"})
    assert "fused LIF, wrap-free" in inspection.table(portable)
