"""The operation table of known models: a C file that lists what they use and nothing else.

The core reaches its operations through the tables of `esnn_operations.c` alone, so that a linker
drops what they do not list, and the core refuses a model that needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgesnn import blob


class Operation(NamedTuple):
    """How C calls the kind of a record, and the operation that runs it."""

    kind: str
    symbol: str


POPULATIONS = {
    blob.PLAIN_LIF: Operation("ESNN_LIF", "esnn_op_lif"),
    blob.NEURON: Operation("ESNN_NEURON", "esnn_op_neuron"),
    blob.INTEGRATOR_KIND: Operation("ESNN_INTEGRATOR", "esnn_op_integrator"),
    blob.LINEAR_KIND: Operation("ESNN_LINEAR_STATE", "esnn_op_linear_state"),
    blob.DELAY_KIND: Operation("ESNN_DELAY_LINE", "esnn_op_delay_line"),
    blob.LIF_IN_BLOCKS: Operation("ESNN_LIF_BLOCKS", "esnn_op_lif_blocks"),
}
PROJECTIONS = {
    blob.DENSE_8: Operation("ESNN_DENSE8", "esnn_op_dense8"),
    blob.DENSE_4: Operation("ESNN_DENSE4", "esnn_op_dense4"),
    blob.DENSE_2: Operation("ESNN_DENSE2", "esnn_op_dense2"),
    blob.DENSE_VALUES: Operation("ESNN_DENSE_VALUES", "esnn_op_dense_values"),
    blob.CONV: Operation("ESNN_CONV", "esnn_op_conv"),
    blob.POOL: Operation("ESNN_POOL", "esnn_op_pool"),
    blob.DELAYED_SYNAPSES: Operation("ESNN_DELAYED", "esnn_op_delayed"),
}
READOUTS = {
    blob.SPIKE_COUNT: Operation("ESNN_SPIKE_COUNT", "esnn_op_spike_count"),
    blob.POTENTIAL: Operation("ESNN_POTENTIAL", "esnn_op_potential"),
    blob.SOFTMAX_SUM: Operation("ESNN_SOFTMAX_SUM", "esnn_op_softmax_sum"),
    blob.FIRST_SPIKE: Operation("ESNN_FIRST_SPIKE", "esnn_op_first_spike"),
}


SINGLE = "_single"  # ends the name of an operation that is for one block from one source only


class Kinds(NamedTuple):
    """Kinds of the records of images, as the format numbers them.

    Attributes:
        many: those of dense projections that occur with several blocks or sources.
    """

    populations: frozenset[int]
    projections: frozenset[int]
    readouts: frozenset[int]
    many: frozenset[int]


def kinds_of(images: Sequence[bytes]) -> Kinds:
    """What occurs in any of the images, which `blob` made or has read; inputs left out."""
    populations, projections, readouts, many = set(), set(), set(), set()
    for image in images:
        _, _, _, _, _, _, _, n_populations, n_projections, first, then, _, readout, *_ = (
            blob.HEADER.unpack_from(image)
        )
        populations |= {image[first + k * blob.POPULATION_SIZE] for k in range(1, n_populations)}
        readouts.add(readout)
        for k in range(n_projections):
            at = then + k * blob.PROJECTION_SIZE
            projections.add(image[at])
            blocks, *_, sources = blob.DENSE.unpack_from(image, at + blob.PROJECTION.size)
            if image[at] < blob.DENSE_VALUES and (blocks > 1 or sources > 0):
                many.add(image[at])
    return Kinds(*map(frozenset, (populations, projections, readouts, many)))


def table(images: Sequence[bytes], names: Sequence[str]) -> str:
    """The C file for the images; `names` says in it whose they are."""
    kinds = kinds_of(images)
    projections = {
        kind: known._replace(symbol=known.symbol + SINGLE)
        if kind < blob.DENSE_VALUES and kind not in kinds.many
        else known
        for kind, known in PROJECTIONS.items()
    }
    parts = [
        f"/* The operations of {', '.join(names).replace('*/', '* /')}, and no others: made by\n"
        " * `edgesnn operations`, in place of firmware/core/esnn_operations.c.\n"
        " * SPDX-License-Identifier: Apache-2.0 */\n"
        '#include "esnn_internal.h"\n',
        _array("population", POPULATIONS, kinds.populations),
        _array("projection", projections, kinds.projections),
        _array("readout", READOUTS, kinds.readouts),
    ]
    return "\n".join(parts)


def _array(what: str, known: Mapping[int, Operation], kinds: frozenset[int]) -> str:
    lines = [f"    [{known[k].kind}] = &{known[k].symbol},\n" for k in sorted(kinds)]
    count = f"ESNN_{what.upper()}_KINDS"
    return (
        f"const esnn_{what}_operation *const esnn_{what}_operations[{count}] = {{\n"
        f"{''.join(lines) or '    0,' + chr(10)}}};\n"
    )
