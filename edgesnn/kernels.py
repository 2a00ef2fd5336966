"""Which code of the core runs a model: what its loader picks, in words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edgesnn import blob, runtime

_KINDS = {
    blob.NEURON: "neuron with all switches",
    blob.INTEGRATOR_KIND: "integrator",
    blob.LINEAR_KIND: "states of 32 bits, sums of 64",
    blob.DELAY_KIND: "ring of bits",
}
_TILES = {
    blob.DENSE_8: "tiles of int8",
    blob.DENSE_4: "tiles of int4",
    blob.DENSE_2: "tiles of int2",
}
_BLOCK_WIDTH = 16  # ESNN_TILE


class Kernels(NamedTuple):
    """What runs the parts of a model.

    Attributes:
        populations: in the order of the graph.
        projections: by the numbers of source and target, the input being number 0.
    """

    populations: list[str]
    projections: dict[tuple[int, int], str]


def of_image(image: bytes) -> Kernels:
    """What the loader picks for an image, read from the core after it has loaded it.

    Raises:
        FormatError: the core refuses the image.
    """
    proofs = runtime.Stepper(image).proofs()
    n_populations, n_projections, first, then = blob.HEADER.unpack_from(image)[7:11]
    records = [
        blob.POPULATION.unpack_from(image, first + k * blob.POPULATION_SIZE)
        for k in range(n_populations)
    ]
    populations = [
        _population(kind, free)
        for (kind, *_), (_, free) in zip(records[1:], proofs[1:], strict=True)
    ]
    projections = {}
    for k in range(n_projections):
        at = then + k * blob.PROJECTION_SIZE
        kind, _, source, target, port, _ = blob.PROJECTION.unpack_from(image, at)
        sources = [source]
        if kind <= blob.DENSE_VALUES:
            dense = blob.DENSE.unpack_from(image, at + blob.PROJECTION.size)
            if dense[5]:
                sources = np.frombuffer(image, "<u2", dense[5], dense[4]).tolist()
            values = records[source][1] > 0
            name = _dense(kind, dense, values, port == 0 and not proofs[target][0])
        else:
            name = {blob.CONV: "windows, event by event", blob.POOL: "windows, event by event",
                    blob.DELAYED_SYNAPSES: "synapses by delay"}[kind]  # fmt: skip
        for one in sources:
            projections[one, target] = name
    return Kernels(populations, projections)


def _population(kind: int, free: bool) -> str:
    if kind == blob.PLAIN_LIF:
        return "fused LIF, wrap-free" if free else "fused LIF, saturating"
    if kind == blob.LIF_IN_BLOCKS:
        return "fused LIF, block by block" if free else "fused LIF, saturating"
    return _KINDS[kind]


def _dense(kind: int, dense: tuple[int, ...], values: bool, narrow: bool) -> str:
    blocks, _, n_out, bits, _, merged = dense
    if kind == blob.DENSE_VALUES:
        return "values times int8" if values and bits == 8 and narrow else (
            "sums of 64 bits, saturating (slow)"
        )  # fmt: skip
    if kind == blob.DENSE_8 and blocks > 1 and n_out <= _BLOCK_WIDTH:
        return "blocks of int8"
    return _TILES[kind] + (f", spikes of {merged} sources in one list" if merged else "")
