"""What the loader takes and what it refuses: every field and array at its bounds and past them.

tests/test_hostile.py shows that nothing runs out of bounds; this shows that the loader draws its
lines where docs/format.md and edgesnn/graph.py do. An image is a golden model with fields set to
other values, its arena and CRC made right, so that nothing but the fields can be why it is refused.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import equality
import numpy as np
import pytest
from equality import ROOM
from native import SANITIZERS, build
from test_format import fields
from test_hostile import GOLDEN, with_crc

from edgesnn import blob
from edgesnn.errors import ModelError
from edgesnn.graph import (
    LIF,
    Adaptation,
    Conv,
    DelayedSynapses,
    Dense,
    Graph,
    Integrator,
    Population,
    Port,
    Projection,
    SpikeCount,
    SpikeInput,
    SumPool,
    Window,
    largest_current,
    saturates,
)

TAKEN, FORMAT, BOUND = 0, -7, -8
VERDICTS = {TAKEN: "taken", FORMAT: "format", BOUND: "bound"}
HEADER, POPULATION, PROJECTION = (
    "Header, 64 bytes", "Population records, 64 bytes", "Projection records, 48 bytes"
)  # fmt: skip
OF_KIND = {
    POPULATION: (
        "Input", "Input", "Plain LIF and neurons", "Plain LIF and neurons", "Integrator",
        "Linear state", "Delay line", "Plain LIF and neurons",
    ),
    PROJECTION: (
        *4 * ("Dense",), *2 * ("Convolution and sum pool",), "Delayed synapses",
    ),
}  # fmt: skip
CODES = {1: "b", 2: "h", 4: "i"}
# width of an entry of each array, bytes
ENTRIES = {
    "fraction_bits": 1, "decay": 2, "above": 4, "bias": 4, "synaptic_decay": 2,
    "inhibitory_decay": 2, "floor": 4, "reset_to": 4, "adaptation_decay": 2, "adaptation_step": 4,
    "refractory": 2, "membrane_bias": 4, "multiplier": 4, "places": 2, "threshold": 4,
    "offset": 4, "matrix_shift": 1, "shift": 1, "delays": 1, "sources": 2, "starts": 4, "ends": 2,
    "post": 1, "readout_table": 2, "selftest": 2,
}  # fmt: skip
SETTING = re.compile(r"(.+)\.(\w+)(?:\[(\d+)\])? = (-?\w+)")


class Image:
    """The bytes of a golden model, whose fields can be set by name."""

    def __init__(self, model: str) -> None:
        graph = GOLDEN[model]
        self.data = bytearray(blob.pack_image(graph))
        names = [graph.input.name, *(p.name for p in graph.populations)]
        self.records = {"header": (HEADER, 0)}
        for k, name in enumerate(names):
            self.records[name] = (POPULATION, 64 + 64 * k)
        first = 64 + 64 * len(names)
        for k, group in enumerate(blob._groups(graph)):
            name = f"{'+'.join(p.source for p in group)}>{group[0].target}"
            twice = name in self.records
            self.records[f"{name}:2" if twice else name] = (PROJECTION, first + 48 * k)

    def places(self, record: str) -> dict[str, tuple[int, int]]:
        """Offset and size of every field of a record."""
        heading, at = self.records[record]
        found = {field.name: (at + field.at, field.size) for field in fields(heading)}
        if heading != HEADER and self.data[at] < len(OF_KIND[heading]):
            own = OF_KIND[heading][self.data[at]]
            found |= {f.name: (at + f.at, f.size) for f in fields(own)}
        return found

    def value(self, record: str, field: str) -> int:
        at, size = self.places(record)[field]
        return int.from_bytes(self.data[at : at + size], "little")

    def set(self, setting: str) -> None:
        """By what reads as `part.field = value`, or `part.array[entry] = value`."""
        found = SETTING.fullmatch(setting)
        assert found, setting
        record, field, entry, value = found.groups()
        number = self.value(record, value) if value.isidentifier() else int(value, 0)
        at, size = self.places(record)[field]
        if entry is not None:
            start, size = self.value(record, field), ENTRIES[field]
            assert start, f"{setting}: there is no such array"
            at = start + int(entry) * size
        self.data[at : at + size] = (number % 256**size).to_bytes(size, "little")

    def arena(self) -> int:
        """The arena that the records add up to."""
        parts = [n for n, (heading, _) in self.records.items() if heading == POPULATION]
        projections = [n for n, (heading, _) in self.records.items() if heading == PROJECTION]
        get = self.value
        sizes = [get(p, "size") for p in parts]
        raises = any(get(q, "port") == 1 for q in projections)
        merged = [
            get(q, "n_in") for q in projections
            if get(q, "kind") <= blob.DENSE_2 and get(q, "n_sources")
        ]  # fmt: skip
        total = 24 * len(parts) + 4 * (1 + raises) * max(sizes[1:])
        total += blob.align(2 * min(256, max(merged, default=0)))
        for part, size in zip(parts, sizes, strict=True):
            kind, bits = get(part, "kind"), 4 * ((size + 31) // 32)
            states = int(kind > blob.SPIKE_INPUT)
            if kind == blob.NEURON:
                states += (get(part, "synaptic_decay") != 0) + (get(part, "inhibitory_decay") != 0)
                states += 2 if get(part, "flags") & blob.ADAPTS else 0
            states += kind == blob.INTEGRATOR_KIND and get(part, "threshold") != 0
            if kind == blob.LIF_IN_BLOCKS:
                _, first = self.records[projections[get(part, "first_projection")]]
                total += blob.align(int.from_bytes(self.data[first + 12 : first + 14], "little"))
            delayed = kind == blob.DELAY_KIND
            total += (get(part, "longest") + 1) * bits if delayed else 4 * states * size
            total += 0 if kind == blob.ANALOG_INPUT else blob.align(2 * size)
            row = blob.align(2 * size) if get(part, "bits") else bits
            total += get(part, "history") * row
        readout = get("header", "readout_population")
        return total + 4 * (sizes[readout] if readout < len(sizes) else 0)

    def done(self) -> bytes:
        struct.pack_into("<I", self.data, 16, self.arena() % 2**32)
        return with_crc(bytes(self.data))


Verdicts = Callable[[list[tuple[Graph, bytes]]], list[int]]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    """What the core says of images, each of which takes the frames of a model."""
    folder = tmp_path_factory.mktemp("loader")
    program = build(folder, "compilers.c", "gcc", *SANITIZERS, *ROOM)
    return functools.partial(_verdicts, program, folder)


def _verdicts(program: Path, folder: Path, images: list[tuple[Graph, bytes]]) -> list[int]:
    file = folder / "cases"
    file.write_bytes(
        b"".join(
            equality.as_bytes(image, np.zeros((2, made.input.size), np.int16))
            for made, image in images
        )
    )
    results = equality.run([program], file, folder)
    return [int(status) for status in results[:, 0].astype(np.int32)]


Case = tuple[str, str, int]  # model, settings, verdict


def between(
    model: str, place: str, low: int, high: int, verdict: int, given: str = ""
) -> list[Case]:
    """A field that is taken from low to high and refused right below and above."""
    values = {low: TAKEN, high: TAKEN, low - 1: verdict, high + 1: verdict}
    return [(model, f"{given}{place} = {value}", said) for value, said in values.items()]


def only(model: str, places: str, *values: int, given: str = "", but: int = FORMAT) -> list[Case]:
    """Fields of which no other than some values are taken, up to 7 or what they have now."""
    return [
        (model, f"{given}{place} = {value}", TAKEN if value in values else but)
        for place in places.split()
        for value in range(8)
    ]


def all_of(model: str, verdict: int, *settings: str) -> list[Case]:
    return [(model, setting, verdict) for setting in settings]


CURRENT, THRESHOLD, MEMBRANE = (1 << 29) - 1, (1 << 29) - 1, 1 << 30
ANALOG, SPIKES, PLAIN = (
    "analog_to_leaky", "spikes_to_recurrent_synaptic", "more_than_a_tile_of_neurons"
)  # fmt: skip
RULES, ADAPT, VALUES, MAPS, LATE = (
    "bits_shifted_and_counted", "thresholds_that_adapt", "values_through_tables",
    "maps_of_values_and_spikes", "delays_of_channels_and_synapses",
)  # fmt: skip
MEMORIES = "maps_into_memories"
MANY, WIDE, BLOCKS = "narrow_weights_of_many_sources", "wide_and_late", "neurons_in_blocks"
ONE_BLOCK = "{0}.blocks = 1; {0}.n_in = {1}; {0}.n_out = 4"
NO_DECAY = "out.decay[0] = 0; out.decay[1] = 0; out.rule = {}; "
FIRST_SPIKE = "header.readout = 3; header.readout_mode = 0; "
SOFTMAX = "header.readout = 2; header.readout_table = 64; "
REACHES = "out.flags = 257; "
NEW = "own.flags = 608; "  # no longer `old`
FLOOR = NEW + "own.adaptation_step[0] = -5; own.floor = adaptation_step; "
POOLED = (
    "input>own:2.kind = 5; input>own:2.weights = 0; input>own:2.in_height = 1; "
    "input>own:2.in_width = 1; input>own:2.in_channels = 2; input>own:2.out_height = 1; "
    "input>own:2.out_width = 1; input>own:2.out_channels = 2; input>own:2.kernel_height = 1; "
    "input>own:2.kernel_width = 1; input>own:2.stride_y = 1; input>own:2.stride_x = 1; "
    "input>own:2.padding_top = 0; input>own:2.padding_left = 0; input>own:2.groups = 2; "
)
CASES = {
    "read-outs": [
        *between(VALUES, "header.readout_mode", 0, 30, FORMAT),
        *between(ANALOG, "header.margin", 0, 2**31 - 1, FORMAT),
        *only(PLAIN, "header.margin", 0),  # which has one score
        *between(VALUES, "header.readout_table[0]", 1, 65535, BOUND),
        *all_of(VALUES, FORMAT, "header.readout_table = 0", "header.readout = 1"),
        *only("everything_at_its_bound", "header.readout_mode", 0, 1, 2),
        *only(ANALOG, "header.readout_mode header.readout_table", 0),
        *only(ANALOG, "header.readout", 0, 1, 3),
        *only(LATE, "header.readout_population", 2, 3),
        *only(LATE, "header.readout_population", 3, given=FIRST_SPIKE),
        *only(LATE, "header.readout_population", 2, 3, given=SOFTMAX),
    ],
    "self-test": [
        *between(SPIKES, "header.selftest[0]", 0, 1, BOUND),
        *between(SPIKES, "header.selftest[8]", 0, 1, BOUND),
        *between(ANALOG, "header.selftest[0]", -128, 127, BOUND, "input.bits = 8; "),
        *between(ANALOG, "header.selftest[8]", -2, 1, BOUND, "input.bits = 2; "),
    ],
    "inputs": [
        *between(ANALOG, "input.bits", 2, 16, FORMAT),
        *between(ANALOG, "input.fraction_bits[0]", -15, 30, BOUND),
        *between(ANALOG, "input.fraction_bits[2]", -15, 30, BOUND),
        *only(ANALOG, "input.flags input.first_projection input.n_projections", 0),
        *only(SPIKES, "input.bits input.fraction_bits input.flags", 0),
    ],
    "plain LIF": [
        *only(PLAIN, "hidden.bits hidden.rule hidden.conduction", 0),
        *only(PLAIN, "hidden.max_spikes", 1),
        *only(PLAIN, "hidden.reset", 0, 1, 2, 3, 4, 5),
        *between(PLAIN, "hidden.state_bits", 31, 31, FORMAT),
        *all_of(PLAIN, FORMAT, *(f"hidden.flags = {f}" for f in (1, 257, 2, 512, 1024, 2048))),
        *all_of(PLAIN, TAKEN, "hidden.flags = 256"),
        *all_of(
            PLAIN, FORMAT, *(
                f"hidden.{name} = above" for name in (
                    "synaptic_decay", "inhibitory_decay", "floor", "reset_to", "adaptation_decay",
                    "adaptation_step", "refractory", "membrane_bias",
                )
            )
        ),
        *between(PLAIN, "hidden.decay[0]", 0, 32767, BOUND),
        *between(PLAIN, "hidden.above[0]", 0, THRESHOLD, BOUND),
        *between(PLAIN, "hidden.above[16]", 0, THRESHOLD, BOUND, "hidden.reset = 4; "),
        *between(PLAIN, "hidden.above[16]", 0, THRESHOLD - 1, BOUND, "hidden.flags = 256; "),
        *between(PLAIN, "hidden.above[16]", 0, MEMBRANE - 1, BOUND, "hidden.reset = 2; "),
        *between(PLAIN, "hidden.above[0]", 0, MEMBRANE - 1, BOUND, "hidden.reset = 5; "),
        *between("one_neuron", "out.bias[0]", -CURRENT, CURRENT, BOUND),
    ],
    "plain LIF in blocks": [
        *only(BLOCKS, "memory.kind", 2, 3, 7),
        *only(BLOCKS, "memory.bits memory.rule memory.conduction", 0),
        *only(BLOCKS, "memory.max_spikes", 1),
        *only(BLOCKS, "memory.reset", 0, 1, 2, 3, 4, 5),
        *between(BLOCKS, "memory.decay[0]", 0, 32767, BOUND),
        *between(BLOCKS, "memory.above[3]", 0, THRESHOLD, BOUND),
        # all that leads into them is in the same blocks, of int8 weights
        *only(BLOCKS, "input>memory.blocks memory>memory.blocks", 2),
        *only(BLOCKS, "input>memory.kind", 0),
        *only(BLOCKS, "memory>memory.kind", 0),
        *all_of(BLOCKS, FORMAT, "input>memory.kind = 1; input>memory.bits = 4"),
        *all_of(BLOCKS, FORMAT, ONE_BLOCK.format("input>memory", 2)),
        *all_of(BLOCKS, FORMAT, ONE_BLOCK.format("memory>memory", 4)),
        *all_of(
            BLOCKS, FORMAT,
            f"{ONE_BLOCK.format('input>memory', 2)}; {ONE_BLOCK.format('memory>memory', 4)}",
        ),
        *all_of(
            BLOCKS, TAKEN,
            f"memory.kind = 2; {ONE_BLOCK.format('input>memory', 2)}; "
            f"{ONE_BLOCK.format('memory>memory', 4)}",
        ),
        *all_of(BLOCKS, FORMAT, "memory.n_projections = 0"),
        *only(BLOCKS, "input>memory.source", 0),
        *only(BLOCKS, "input>memory.target", 1),
    ],
    "neurons": [
        *only(ANALOG, "out.reset", 0, 1, 2, 3, 4, 5, 6),
        *only(ANALOG, "out.max_spikes", 1),
        *only(ANALOG, "out.conduction out.bits", 0),
        *only(ANALOG, "out.rule", 0, 1, 2, given=NO_DECAY.format(0)),
        *between(ANALOG, "out.state_bits", 16, 31, FORMAT),
        *all_of(ANALOG, FORMAT, *(f"out.flags = {1 + f}" for f in (2, 4, 8, 16, 32, 64, 128))),
        *all_of(ANALOG, FORMAT, *(f"out.flags = {1 + f}" for f in (512, 1024, 2048, 32768))),
        *all_of(ANALOG, TAKEN, "out.flags = 257", "out.flags = 0"),
        *all_of(ANALOG, FORMAT, "out.flags = 2048"),
        *all_of(ANALOG, FORMAT, "out.flags = 0; out.decay = 0", "out.membrane_bias = bias"),
        *all_of(ANALOG, FORMAT, "out.inhibitory_decay = decay", "out.reset_to = bias"),
        *between(ANALOG, "out.decay[0]", 0, 32768, BOUND),
        *between(ANALOG, "out.decay[1]", 0, 32768, BOUND),
        *between(ANALOG, "out.decay[1]", 0, 4096, BOUND, NO_DECAY.format(1)),
        *between(ANALOG, "out.decay[0]", 0, 31, BOUND, NO_DECAY.format(2)),
        *between(ANALOG, "out.bias[0]", -CURRENT, CURRENT, BOUND),
        *between(ANALOG, "out.bias[1]", -CURRENT, CURRENT, BOUND),
        *between(ANALOG, "out.above[1]", 0, THRESHOLD, BOUND),
        *between(ANALOG, "out.above[0]", 0, THRESHOLD, BOUND, "out.reset = 4; "),
        *between(ANALOG, "out.above[0]", 0, THRESHOLD, BOUND, "out.reset = 6; "),
        *between(ANALOG, "out.above[1]", 0, MEMBRANE - 1, BOUND, "out.reset = 0; "),
        *between(ANALOG, "out.above[1]", 0, MEMBRANE - 1, BOUND, "out.reset = 3; "),
        *between(ANALOG, "out.above[1]", 0, MEMBRANE - 2, BOUND, REACHES + "out.reset = 2; "),
        *between(SPIKES, "out.synaptic_decay[0]", 0, 32768, BOUND),
        *between(SPIKES, "out.synaptic_decay[1]", 0, 32768, BOUND),
        *between(RULES, "xylo.synaptic_decay[1]", 0, 31, BOUND),
        *between(RULES, "loihi.synaptic_decay[0]", 0, 4096, BOUND),
        *between(RULES, "xylo.floor[0]", -MEMBRANE, 0, BOUND),
        *between(RULES, "xylo.floor[1]", -MEMBRANE, 0, BOUND),
        *between(RULES, "loihi.floor[0]", -MEMBRANE, 0, BOUND),
        *between(RULES, "loihi.reset_to[0]", -THRESHOLD, THRESHOLD, BOUND),
        *between(RULES, "loihi.reset_to[1]", -THRESHOLD, THRESHOLD, BOUND),
        *between(RULES, "loihi.membrane_bias[0]", -CURRENT, CURRENT, BOUND),
        *between(RULES, "loihi.membrane_bias[1]", -CURRENT, CURRENT, BOUND),
        *only(RULES, "loihi.reset", 5),
        *only(RULES, "loihi.conduction", 0, 1, 2),
    ],
    "several spikes": [
        *only(RULES, "xylo.reset", 4, 5),
        *all_of(RULES, TAKEN, "xylo.max_spikes = 1; xylo.bits = 0"),
        *all_of(RULES, TAKEN, "xylo.max_spikes = 2; xylo.bits = 3"),
        *all_of(RULES, TAKEN, "xylo.max_spikes = 32767; xylo.bits = 16"),
        *all_of(RULES, FORMAT, "xylo.max_spikes = 32768; xylo.bits = 17"),
        *all_of(RULES, FORMAT, "xylo.max_spikes = 0; xylo.bits = 0"),
        *all_of(RULES, FORMAT, "xylo.bits = 5", "xylo.bits = 7", "xylo.bits = 0"),
        *all_of(RULES, FORMAT, "xylo.flags = 10"),  # not REACHES
        *all_of(RULES, FORMAT, "xylo.flags = 10; xylo.max_spikes = 2; xylo.bits = 3"),
        *all_of(
            RULES, FORMAT,
            "xylo.flags = 778; xylo.adaptation_decay = decay; xylo.adaptation_step = floor",
        ),
        *between(RULES, "xylo.above[0]", 0, THRESHOLD - 1, BOUND),
        *between(RULES, "xylo.above[1]", 0, MEMBRANE - 2, BOUND, "xylo.reset = 5; "),
    ],
    "Alpha": [
        *only(ADAPT, "alpha.reset", 0, 3),
        *all_of(ADAPT, TAKEN, "alpha.reset = 1; alpha.reset_to = above"),
        *all_of(ADAPT, FORMAT, "alpha.reset_to = above", "alpha.reset = 3; alpha.reset_to = above"),
        *only(ADAPT, "alpha.conduction alpha.bits", 0),
        *only(ADAPT, "alpha.max_spikes", 1),
        *all_of(ADAPT, FORMAT, "alpha.synaptic_decay = 0", "alpha.membrane_bias = above"),
        *all_of(ADAPT, FORMAT, "alpha.above[0] = 0; alpha.floor = above"),
        *all_of(
            ADAPT, FORMAT,
            "alpha.flags = 516; alpha.adaptation_decay = decay; alpha.adaptation_step = above",
            "alpha.flags = 260; alpha.max_spikes = 2; alpha.bits = 3; alpha.reset = 4",
        ),
        *between(ADAPT, "alpha.synaptic_decay[0]", 0, 32768, BOUND),
        *between(ADAPT, "alpha.inhibitory_decay[0]", 0, 32768, BOUND),
        *between(ADAPT, "alpha.inhibitory_decay[1]", 0, 32768, BOUND),
    ],
    "thresholds that adapt": [
        *only(ADAPT, "own.reset", 1),
        *only(ADAPT, "own.reset", 0, 1, 2, 3, 4, 5, given=NEW),
        *only(ADAPT, "own.reset", 0, 4, 5, given=FLOOR),
        *only(ADAPT, "refractory.reset", 0),
        *all_of(ADAPT, FORMAT, "own.flags = 576; own.adaptation_decay = 0"),
        *all_of(ADAPT, FORMAT, "own.flags = 544; own.adaptation_step = 0"),
        *all_of(
            ADAPT, FORMAT,
            "refractory.flags = 0; refractory.refractory = 0; refractory.adaptation_step = 0",
            "refractory.flags = 0; refractory.refractory = 0; refractory.adaptation_decay = 0",
            "refractory.flags = 0; refractory.adaptation_step = 0; refractory.adaptation_decay = 0",
        ),
        *between(ADAPT, "own.adaptation_step[0]", -(1 << 24), 1 << 24, BOUND),
        *between(ADAPT, "own.adaptation_step[1]", -(1 << 24), 1 << 24, BOUND),
        *between(ADAPT, "own.adaptation_decay[0]", 0, 32768, BOUND),
        *between(ADAPT, "own.adaptation_decay[1]", 0, 32768, BOUND),
        *between(ADAPT, "refractory.refractory[0]", 0, 32768, BOUND),
        *between(ADAPT, "refractory.refractory[1]", 0, 32768, BOUND),
        *between(ADAPT, "refractory.above[1]", 0, THRESHOLD, BOUND),
        *between(ADAPT, "own.above[0]", 0, THRESHOLD, BOUND, NEW + "own.reset = 2; "),
    ],
    "ports": [
        *only(ADAPT, "own>refractory.port", 0, 1),
        *only(ADAPT, "refractory>alpha.port", 0),
        *only(PLAIN, "hidden>out.port", 0),
        *only(RULES, "input>xylo.port", 0),
        *only(ADAPT, "input>own:2.port", 0, given=POOLED),
        # what is raised has the bound of a current and never saturates
        *between(ADAPT, "input>own:2.shift", 0, 20, FORMAT),
        *between(ADAPT, "input>own:2.shift", 0, 20, FORMAT, "input>own:2.kind = 3; "),
    ],
    "integrators": [
        *between(LATE, "trace.bits", 2, 16, FORMAT),
        *between(LATE, "trace.shift", 0, 30, FORMAT),
        *only(LATE, "trace.activation", 0, 1),
        *all_of(LATE, FORMAT, "trace.flags = 2", "trace.flags = 256"),
        *all_of(LATE, FORMAT, "trace.multiplier = decay", "trace.places = decay"),
        *all_of(VALUES, FORMAT, "encoder.threshold = 0", "encoder.offset = 0"),
        *all_of(VALUES, FORMAT, "out.threshold = bias; out.offset = bias"),
        *between(VALUES, "encoder.threshold[0]", 0, (1 << 30) - 1, BOUND),
        *between(VALUES, "encoder.offset[0]", -CURRENT, CURRENT, BOUND),
        *all_of(LATE, FORMAT, "trace.low = -1", "trace.low = 1", "trace.n_scales = 1"),
        *all_of(MEMORIES, FORMAT, "pooled.places = 0", "pooled.multiplier = 2", "pooled.low = 8"),
        *all_of(MEMORIES, TAKEN, "pooled.n_scales = 1", "pooled.flags = 2048", "pooled.low = 7"),
        *between(MEMORIES, "pooled.places[0]", 0, 31, BOUND),
        *between(MEMORIES, "pooled.places[1]", 0, 31, BOUND),
        *between(MEMORIES, "pooled.multiplier[1]", 0, (1 << 31) - 1, BOUND),
        *all_of(VALUES, FORMAT, "out.table = 0", "out.activation = 0", "out.bits = 15"),
        *all_of(VALUES, TAKEN, "out.table = 0; out.activation = 1; out.bits = 15"),
        *between(LATE, "trace.decay[0]", 0, 32768, BOUND),
        *between(VALUES, "out.decay[0]", 0, 32768, BOUND),
        *between(VALUES, "out.decay[1]", 0, 32768, BOUND),
        *between(VALUES, "out.bias[0]", -CURRENT, CURRENT, BOUND),
        *between(VALUES, "out.bias[1]", -CURRENT, CURRENT, BOUND),
    ],
    "linear states": [
        *between(VALUES, "memory.bits", 2, 16, FORMAT),
        *only(VALUES, "memory.flags", 0),
        *only(VALUES, "memory.order", 2),
        *only(VALUES, "memory.blocks", 1),
        *only(VALUES, "memory.order", 1, given="memory.blocks = 2; "),
        *between(VALUES, "memory.matrix_shift[0]", 0, 31, BOUND),
        *between(VALUES, "memory.matrix_shift[1]", 0, 31, BOUND),
        *between(VALUES, "memory.shift[0]", 0, 30, BOUND),
        *between(VALUES, "memory.shift[1]", 0, 30, BOUND),
    ],
    "delay lines": [
        *only(LATE, "line.bits line.flags line.source", 0),
        *between(LATE, "line.longest", 5, 255, FORMAT)[:2],
        *all_of(LATE, BOUND, "line.longest = 4"),
        *all_of(LATE, FORMAT, "line.longest = 256", "line.longest = 65535"),
        *between(LATE, "line.delays[0]", 0, 5, BOUND),
        *between(LATE, "line.delays[2]", 0, 5, BOUND),
    ],
    "dense": [
        *between(ANALOG, "input>out.shift", 0, 20, FORMAT),
        *only(ANALOG, "input>out.bits", 2, 4),
        *only(ANALOG, "input>out.blocks", 1),
        *only(ANALOG, "input>out.n_in", 3),
        *only(ANALOG, "input>out.n_out", 2),
        *only(ANALOG, "input>out.n_sources input>out.sources", 0),
        *all_of(ANALOG, FORMAT, "input>out.n_sources = 1; input>out.sources = weights"),
        *only(ANALOG, "input>out.kind", 3),
        *only(MANY, "hidden>hidden.kind", 0, 3),
        *only(MANY, "hidden>hidden.bits", but=FORMAT),
        *all_of(MANY, TAKEN, "hidden>hidden.kind = 1; hidden>hidden.bits = 4"),
        *all_of(MANY, TAKEN, "hidden>hidden.kind = 2; hidden>hidden.bits = 2"),
        *all_of(MANY, FORMAT, "hidden>hidden.sources = weights"),
        *only(MANY, "input+out>hidden.n_sources", 2),
        *only(MANY, "input+out>hidden.n_in", 5),
        *only(MANY, "input+out>hidden.blocks", 1),
        *only(MANY, "input+out>hidden.sources[0] input+out>hidden.source", 0),
        *only(MANY, "input+out>hidden.sources[1]", 2),
    ],
    "windows": [
        *only(MAPS, "input>map.groups", 1, 2),
        *only(MAPS, "input>map.padding_top input>map.padding_left", 0, 1),
        *between(MAPS, "input>map.stride_y", 1, 255, FORMAT),
        *between(MAPS, "input>map.stride_x", 1, 255, FORMAT),
        *all_of(MAPS, FORMAT, "input>map.kernel_height = 0", "input>map.kernel_height = 1"),
        *all_of(MAPS, FORMAT, "input>map.kernel_width = 0"),
        *all_of(MAPS, TAKEN, "input>map.kernel_width = 1", "input>map.kernel_height = 2"),
        *only(MAPS, "input>map.in_height input>map.in_channels input>map.out_width", 2),
        *only(MAPS, "input>map.in_width", 3),
        *only(MAPS, "input>map.out_height", 1),
        *only(MAPS, "input>map.out_channels", 4),
        *all_of(MAPS, TAKEN, "input>map.in_height = 3; input>map.in_width = 2"),
        *all_of(
            MAPS, FORMAT,
            "input>map.in_height = 1; input>map.in_width = 4; input>map.in_channels = 3",
        ),
        *all_of(MAPS, FORMAT, "input>map.out_width = 8; input>map.out_channels = 1"),
        *only(MAPS, "map>pooled.groups", 4),
        *only(MAPS, "map>pooled.weights", 0),
        *all_of(MAPS, FORMAT, "map>pooled.out_width = 2; map>pooled.out_channels = 2"),
        *all_of(
            MAPS, FORMAT,
            "map>pooled.in_width = 4; map>pooled.in_channels = 2; map>pooled.groups = 2",
        ),
    ],
    "delayed synapses": [
        *only(LATE, "line>out.n_in", 3),
        *only(LATE, "line>out.n_out", 2),
        *only(LATE, "line.history", 5, 6, 7),
        *all_of(WIDE, TAKEN, "input.history = 300"),
        *all_of(WIDE, FORMAT, "input.history = 1", "input.history = 0"),
        *all_of(WIDE, FORMAT, "input.history = 257; input>wide.longest = 256"),
        # neuron 0 to 256 after a step; neuron 32 to 0 at once and to 255 after a step
        *all_of(WIDE, FORMAT, "input>wide.starts[0] = 1", "input>wide.starts[33] = 0"),
        *all_of(WIDE, FORMAT, "input>wide.starts[33] = 2", "input>wide.starts[33] = 4"),
        *all_of(WIDE, FORMAT, "input>wide.starts[33] = 0x7fffffff", "input>wide.starts[33] = -1"),
        *all_of(WIDE, FORMAT, "input>wide.starts[7] = 0", "input>wide.starts[7] = 4"),
        *all_of(WIDE, TAKEN, "input>wide.ends[64] = 2", "input>wide.ends[64] = 0"),
        *all_of(WIDE, FORMAT, "input>wide.ends[64] = 3", "input>wide.ends[65] = 1"),
        *all_of(WIDE, FORMAT, "input>wide.ends[65] = 3", "input>wide.ends[0] = 2"),
        # targets of 257 neurons are two bytes: 256 is (0, 1) and the 255 is (255, 0)
        *all_of(WIDE, FORMAT, "input>wide.post[0] = 1"),
        *all_of(WIDE, FORMAT, "input>wide.ends[64] = 2; input>wide.post[4] = 0"),
        *all_of(WIDE, TAKEN, "input>wide.ends[64] = 2; input>wide.post[4] = 1"),
        *all_of(LATE, FORMAT, "line>out.post[0] = 2", "line>out.post[0] = 255"),
    ],
}  # fmt: skip
EVERY_CASE = [case for cases in CASES.values() for case in cases]


def test_the_loader_draws_its_lines_where_the_format_does(verdicts: Verdicts) -> None:
    images = []
    for model, settings, _ in EVERY_CASE:
        image = Image(model)
        for setting in settings.split("; "):
            image.set(setting)
        images.append((GOLDEN[model], image.done()))
    said = verdicts(images)
    wrong = [
        f"{model}: {settings}: {VERDICTS.get(found, found)}, not {VERDICTS[expected]}"
        for (model, settings, expected), found in zip(EVERY_CASE, said, strict=True)
        if found != expected
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("model", GOLDEN)
def test_what_no_table_names_is_zero(verdicts: Verdicts, model: str) -> None:
    images = []
    for record, (heading, at) in Image(model).records.items():
        size = {HEADER: 64, POPULATION: 64, PROJECTION: 48}[heading]
        places = Image(model).places(record).values()
        named = {at + k for at, length in places for k in range(length)}
        for byte in sorted({*range(at, at + size)} - named):
            image = Image(model)
            image.data[byte] = 1
            images.append((GOLDEN[model], image.done()))
    assert len(images) > 10
    assert set(verdicts(images)) == {FORMAT}


@pytest.mark.parametrize(("size", "kind", "forced"), [(16, 7, TAKEN), (17, 2, FORMAT)])
def test_blocks_of_more_than_a_tile_are_no_kind_of_their_own(
    verdicts: Verdicts, size: int, kind: int, forced: int
) -> None:
    made = GOLDEN[BLOCKS]
    (neurons,), entering = made.populations, made.projections[:1]
    ones = np.ones(2 * size, np.int32)
    wide = replace(
        made, readout=SpikeCount("memory"), selftest=None,
        populations=(
            replace(neurons, threshold=ones, bias=0 * ones),
        ),
        projections=(replace(entering[0], weights=np.ones((size, 1), np.int8)),),
    )  # fmt: skip
    image = bytearray(blob.pack_image(wide))
    assert image[128] == kind
    as_it_is = bytes(image)
    if kind != blob.LIF_IN_BLOCKS:
        image[128] = blob.LIF_IN_BLOCKS
        (arena,) = struct.unpack_from("<I", image, 16)
        struct.pack_into("<I", image, 16, arena + 4)
    assert verdicts([(wide, as_it_is), (wide, with_crc(bytes(image)))]) == [TAKEN, forced]


def arrays_of(image: Image, record: str) -> Iterator[tuple[str, int]]:
    """The arrays that a record has, and how many bytes each takes."""
    heading = image.records[record][0]
    there = image.places(record)

    def get(field: str) -> int:
        return image.value(record, field)

    sizes: dict[str, int] = {}
    if heading == HEADER:
        sizes["populations"] = 64 * get("n_populations")
        sizes["projections"] = 48 * get("n_projections")
        sizes["selftest"] = 2 * get("selftest_steps") * image.value("input", "size")
        sizes["readout_table"] = 512
    elif heading == POPULATION:
        kind, size = get("kind"), get("size")
        flags = {f.name: f.flag for f in fields(OF_KIND[heading][kind])}
        for name in ENTRIES:
            shared = flags.get(name) and not get("flags") & flags[name]
            sizes[name] = ENTRIES[name] * (1 if shared else size)
        if kind == blob.INTEGRATOR_KIND:
            sizes |= {name: ENTRIES[name] * get("n_scales") for name in ("multiplier", "places")}
        if kind == blob.LINEAR_KIND:
            order = get("order")
            sizes |= {"matrix": 2 * order * order, "matrix_shift": order, "shift": order}
        sizes["table"] = 514
    else:
        kind = get("kind")
        if kind <= blob.DENSE_VALUES:
            sizes["weights"] = blob.tiled_bytes(get("n_out"), get("n_in"), get("bits"))
            sizes["sources"] = 2 * get("n_sources")
        elif kind == blob.CONV:
            rows = get("kernel_height") * get("kernel_width") * get("in_channels")
            sizes["weights"] = rows * get("out_channels") // get("groups")
        elif kind == blob.DELAYED_SYNAPSES:
            n_in, starts = get("n_in"), get("starts")
            (n,) = struct.unpack_from("<I", image.data, starts + 4 * n_in)
            sizes |= {"starts": 4 * (n_in + 1), "ends": 2 * n_in * (get("longest") + 1)}
            sizes |= {"weights": n, "post": n * (1 if get("n_out") <= 256 else 2)}
    for name, size in sizes.items():
        if there.get(name, (0, 0))[1] == 4 and size and get(name):
            yield name, size


@pytest.mark.parametrize("model", GOLDEN)
def test_an_array_may_end_with_the_image_and_not_behind_it(verdicts: Verdicts, model: str) -> None:
    fitting, short = [], []
    for record in Image(model).records:
        for name, size in arrays_of(Image(model), record):
            image = Image(model)
            at, end = image.value(record, name), blob.align(len(image.data))
            image.data += bytes(end - len(image.data)) + image.data[at : at + size]
            image.set(f"{record}.{name} = {end}")
            whole = image.done()
            fitting.append((GOLDEN[model], whole))
            short.append((GOLDEN[model], with_crc(whole[:-1])))
    assert len(fitting) > 3
    assert set(verdicts(fitting)) == {TAKEN}
    assert set(verdicts(short)) == {FORMAT}


@pytest.mark.parametrize("model", GOLDEN)
def test_the_arena_is_exact(verdicts: Verdicts, model: str) -> None:
    image = blob.pack_image(GOLDEN[model])
    (arena,) = struct.unpack_from("<I", image, 16)
    assert Image(model).arena() == arena
    changed = [
        with_crc(image[:16] + struct.pack("<I", arena + by) + image[20:]) for by in (-4, -1, 1, 4)
    ]
    assert verdicts([(GOLDEN[model], other) for other in changed]) == 4 * [FORMAT]


def bounded(projection: Projection, source: Population | None, size: int, bias: int) -> Graph:
    """A projection from an input of 4 channels, or from a population, into biased neurons."""
    target = LIF(
        "out",
        decay=np.full(size, 9, np.uint16),
        threshold=np.full(size, 9, np.int32),
        bias=np.array([*(size - 1) * [0], bias], np.int32),
        adaptation=Adaptation(np.ones(1, np.uint16), np.ones(1, np.int32)),
    )
    before = () if source is None else (source,)
    readout = SpikeCount("out")
    return Graph(SpikeInput("input", 4), (*before, target), (projection,), readout)


def trace(bits: int) -> Integrator:
    return Integrator("trace", np.zeros(1, np.uint16), np.zeros(4, np.int32), bits=bits)


def dense(bits: int, source: str = "input", shift: int = 0, port: Port = Port.CURRENT) -> Dense:
    return Dense(source, "out", np.ones((2, 4), np.int8), shift, bits=bits, port=port)


MAP = Window((1, 2, 2), (1, 1, 2), (1, 2))
LISTED = DelayedSynapses(
    "input", "out", np.array([0, 1, 3], np.uint16), np.array([0, 0, 1], np.uint16),
    np.array([0, 2, 1], np.uint8), np.ones(3, np.int8), 3,
)  # fmt: skip
EVERY_PAIR = DelayedSynapses.from_dense(
    "trace", "out", np.ones((2, 2, 4), np.int8), np.repeat(np.uint8([0, 1]), 8).reshape(2, 2, 4)
)
# the largest sum of each, by hand: synapses of a neuron x largest weight x largest emission
BOUNDED = {
    "spikes, 8 bits": (dense(8), None, 4 * 128),
    "spikes, 4 bits": (dense(4, shift=2), None, 4 * 8 << 2),
    "spikes, 2 bits": (dense(2), None, 4 * 2),
    "convolution": (
        Conv("input", "out", np.ones((1, 2, 2, 2), np.int8), MAP, 1), None, 2 * 2 * 128 << 1
    ),
    "convolution in groups": (
        Conv("input", "out", np.ones((1, 2, 1, 2), np.int8), MAP, 1, 2), None, 2 * 128 << 1
    ),
    "convolution of values": (
        Conv("trace", "out", np.ones((1, 2, 2, 2), np.int8), MAP), trace(6), 2 * 2 * 128 * 32
    ),
    "pool": (SumPool("input", "out", MAP, 4), None, 2 << 4),
    "pool of values": (SumPool("trace", "out", MAP), trace(6), 2 * 32),
    "delayed synapses, all that are listed": (LISTED, None, 3 * 128 << 3),
    "delayed synapses of values, one a pair and delay": (EVERY_PAIR, trace(5), 4 * 2 * 128 * 16),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDED)
def test_a_current_stays_below_its_bound_by_proof(verdicts: Verdicts, name: str) -> None:
    """With the largest bias beside which it does, of either sign, and with one more."""
    projection, source, largest = BOUNDED[name]
    for sign in (1, -1):
        bias = (1 << 29) - 1 - largest
        graph = bounded(projection, source, 2, sign * bias)
        assert largest_current(graph, graph.populations[-1]) == (1 << 29) - 1
        image = blob.pack_image(graph)
        at = image.index(struct.pack("<i", sign * bias))
        above = with_crc(image[:at] + struct.pack("<i", sign * (bias + 1)) + image[at + 4 :])
        assert verdicts([(graph, image), (graph, above)]) == [TAKEN, BOUND]
        if isinstance(projection, Dense):
            # which Python would pack as the kind that saturates
            wider = bounded(projection, source, 2, sign * (bias + 1))
            assert saturates(wider, wider.populations[-1])
        else:
            with pytest.raises(ModelError, match="the bound is 536870912"):
                bounded(projection, source, 2, sign * (bias + 1))


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_what_raises_a_threshold_stays_below_its_bound_by_proof(
    verdicts: Verdicts, bits: int
) -> None:
    """By its shift, for it has no bias; the bias of the neuron does not count."""
    shift = 29 - 2 - (bits - 1) - 6  # 4 values of 7 bits
    raises = dense(bits, "trace", shift - 1, Port.THRESHOLD)
    image = blob.pack_image(bounded(raises, trace(7), 2, (1 << 29) - 1))
    above = bytearray(image)
    above[64 + 3 * 64 + 1] = shift
    graph = bounded(raises, trace(7), 2, 0)
    assert verdicts([(graph, image), (graph, with_crc(bytes(above)))]) == [TAKEN, BOUND]
    with pytest.raises(ModelError, match="its threshold raised by 536870912"):
        bounded(dense(bits, "trace", shift, Port.THRESHOLD), trace(7), 2, 0)
