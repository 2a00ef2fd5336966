"""docs/format.md says what `blob` writes and what the core reads."""

from __future__ import annotations

import functools
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from native import FIRMWARE, STRICT, call, tool
from test_hostile import GOLDEN

from edgesnn import blob
from edgesnn.graph import (
    Activation,
    Conduction,
    Conv,
    DecayRule,
    DelayedSynapses,
    Port,
    PotentialMode,
    Reset,
)

DOCUMENT = (FIRMWARE.parent / "docs" / "format.md").read_text()
SIZES = {"u8": 1, "u16": 2, "i16": 2, "u32": 4, "4 bytes": 4}
POPULATION, PROJECTION = blob.POPULATION.format, blob.PROJECTION.format


@dataclass(frozen=True)
class Field:
    """A row of a table."""

    at: int
    size: int
    name: str
    flag: int


@functools.cache
def fields(heading: str) -> list[Field]:
    """The rows of the first table below a heading."""
    (below,) = re.findall(rf"^##+ {re.escape(heading)}$(.*?)(?=^##|\Z)", DOCUMENT, re.M | re.S)
    found = []
    for line in below.splitlines():
        if re.match(r"\| \d", line):
            at, size, name, _, *flag = (cell.strip(" `") for cell in line.strip("|").split("|"))
            found.append(Field(int(at), SIZES[size], name, int("".join(flag) or 0)))
    return found


# heading: the record in C and the member of it, and how Python packs it
RECORDS = {
    "Header, 64 bytes": ("esnn_header", "", [blob.HEADER.format]),
    "Population records, 64 bytes": ("esnn_population", "", [POPULATION]),
    "Input": ("esnn_population", "as.input.", [POPULATION, "<I"]),
    "Plain LIF and neurons": (
        "esnn_population", "as.neurons.", [POPULATION, blob.NEURONS.format]
    ),
    "Integrator": ("esnn_population", "as.integrator.", [POPULATION, blob.INTEGRATOR.format]),
    "Linear state": ("esnn_population", "as.linear.", [POPULATION, blob.LINEAR_STATE.format]),
    "Delay line": ("esnn_population", "as.delay.", [POPULATION, blob.DELAY_LINE.format]),
    "Projection records, 48 bytes": ("esnn_projection", "", [PROJECTION]),
    "Dense": ("esnn_projection", "as.dense.", [PROJECTION, blob.DENSE.format]),
    "Convolution and sum pool": (
        "esnn_projection", "as.window.", [PROJECTION, blob.WINDOW.format]
    ),
    "Delayed synapses": ("esnn_projection", "as.delayed.", [PROJECTION, blob.DELAYED.format]),
}  # fmt: skip


@pytest.mark.parametrize("heading", RECORDS)
def test_python_packs_every_field_where_the_document_says(heading: str) -> None:
    *before, last = RECORDS[heading][2]
    whole = struct.Struct("<" + "".join(layout[1:] for layout in (*before, last)))
    start = sum(struct.calcsize(layout) for layout in before)
    own = len(struct.unpack(last, bytes(struct.calcsize(last))))
    first = len(whole.unpack(bytes(whole.size))) - own
    places = []
    for field in fields(heading):
        assert field.at >= start
        record = bytearray(whole.size)
        record[field.at : field.at + field.size] = b"\xff" * field.size
        values = whole.unpack(record)
        (place,) = (k for k, v in enumerate(values) if v not in (0, bytes(4)))
        assert values[place] in (256**field.size - 1, -1, b"\xff" * 4)
        places.append(place)
    reserved_of_the_header = [17] if heading.startswith("Header") else []
    assert sorted(places + reserved_of_the_header) == list(range(first, first + own))


def test_the_core_reads_every_field_where_the_document_says(tmp_path: Path) -> None:
    source = tmp_path / "format.c"
    claims = [
        f"offsetof({record}, {member}{field.name}) == {field.at} && "
        f"sizeof((({record} *)0)->{member}{field.name}) == {field.size}"
        for heading, (record, member, _) in RECORDS.items()
        for field in fields(heading)
    ]
    claims += [f"{name} == {value}" for name, value in CONSTANTS.items()]
    lines = [f"typedef char claim{k}[({claim}) ? 1 : -1];" for k, claim in enumerate(claims)]
    source.write_text('#include "esnn_internal.h"\n' + "\n".join(lines) + "\n")
    call([tool("gcc"), *STRICT, f"-I{FIRMWARE / 'core'}", "-fsyntax-only", source])


# what the core calls the numbers of `blob` and `graph`
CONSTANTS = {
    **{
        f"ESNN_{name}": value
        for names in (
            ("ANALOG_INPUT", "SPIKE_INPUT", "LIF", "NEURON", "INTEGRATOR", "LINEAR_STATE",
             "DELAY_LINE"),
            ("DENSE8", "DENSE4", "DENSE2", "DENSE_VALUES", "CONV", "POOL", "DELAYED"),
            ("SPIKE_COUNT", "POTENTIAL", "SOFTMAX_SUM", "FIRST_SPIKE"),
        )
        for value, name in enumerate(names)
    },
    **{f"ESNN_RESET_{x.name}": x.value for x in Reset},
    **{f"ESNN_RULE_{x.name}": x.value for x in DecayRule},
    **{f"ESNN_{x.name}": x.value for choices in (Conduction, Activation) for x in choices},
    **{f"ESNN_PORT_{x.name}": x.value for x in Port},
    **{f"ESNN_POTENTIAL_{x.name}": x.value for x in PotentialMode},
    **{
        f"ESNN_{name}_PER_NEURON": blob.PER_NEURON[field]
        for name, field in {
            "DECAY": "decay", "SYNAPTIC": "synaptic_decay", "INHIBITORY": "inhibitory_decay",
            "FLOOR": "floor", "RESET_TO": "reset_to", "ADAPTATION": "adaptation_decay",
            "STEP": "adaptation_step", "REFRACTORY": "refractory",
        }.items()
    },
    "ESNN_REACHES": blob.REACHES, "ESNN_ADAPTS": blob.ADAPTS, "ESNN_OLD": blob.OLD,
    "ESNN_ROUNDS_ONCE": blob.ROUNDS_ONCE,
    "ESNN_VERSION": blob.VERSION,
}  # fmt: skip


def test_flags_are_as_the_document_says() -> None:
    of_neurons = {f.name: f.flag for f in fields("Plain LIF and neurons") if f.flag}
    assert of_neurons == blob.PER_NEURON
    assert f"{blob.REACHES} `REACHES`, {blob.ADAPTS} the threshold adapts, {blob.OLD} " in DOCUMENT


def test_kinds_are_as_the_document_says() -> None:
    for kind, name in (
        (blob.ANALOG_INPUT, "analog input"),
        (blob.SPIKE_INPUT, "spike input"),
        (blob.PLAIN_LIF, "plain LIF"),
        (blob.NEURON, "neurons"),
        (blob.INTEGRATOR_KIND, "integrator"),
        (blob.LINEAR_KIND, "linear state"),
        (blob.DELAY_KIND, "delay line"),
        (blob.LIF_IN_BLOCKS, "plain LIF in blocks"),
        (blob.DENSE_VALUES, "dense of values"),
        (blob.CONV, "convolution"),
        (blob.POOL, "sum pool"),
        (blob.DELAYED_SYNAPSES, "delayed synapses"),
        (blob.SPIKE_COUNT, "spike count"),
        (blob.POTENTIAL, "potential"),
        (blob.SOFTMAX_SUM, "sum of softmax"),
        (blob.FIRST_SPIKE, "first spike"),
    ):
        assert re.search(rf"\b{kind} {name}\b", DOCUMENT), name
    dense = (blob.DENSE_8, blob.DENSE_4, blob.DENSE_2)
    assert "{}, {}, {} dense of spikes with weights of 8, 4, 2 bits".format(*dense) in DOCUMENT


def neuron_of(bits: int, words: int, word: int, byte: int, part: int) -> int:
    """Whose weight a field of a row is, by the formula in the document."""
    (cell,) = re.findall(rf"^\| {bits} \| [^|]* \| ([^|]*) \|$", DOCUMENT, re.M)
    formula = re.sub(r", and the one after it", " + part", cell).strip()
    formula = formula.replace(" mod ", " % ").replace(" div ", " // ")
    formula = re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", formula)
    places = {"i": byte, "j": word, "q": part, "part": part, "W": words}
    return int(eval(formula, {"__builtins__": {}}, places))


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("n_out", [1, 5, 16, 17, 40, 64, 75, 150])
def test_weights_lie_in_tiles_as_the_document_says(bits: int, n_out: int) -> None:
    n_in, per_byte, half = 3, 8 // bits, 1 << (bits - 1)
    weights = np.random.default_rng(n_out).integers(-half, half, (n_out, n_in)).astype(np.int8)
    flat = iter(blob.tiled(weights, bits).tolist())
    found = np.zeros((n_out + 64, n_in), np.int64)
    words_left = -(-n_out * bits // 32)
    first = 0
    while words_left:
        words = min(4, words_left)
        for source in range(n_in):
            for word in range(words):
                for byte in range(4):
                    code = next(flat)
                    for part in range(per_byte):
                        field = code >> (bits * part) & (2 * half - 1)
                        value = (field ^ half) - half if bits == 8 else field - half
                        neuron = first + neuron_of(bits, words, word, byte, part)
                        found[neuron, source] = value
        first += words * 4 * per_byte
        words_left -= words
    assert next(flat, None) is None
    np.testing.assert_array_equal(found[:n_out], weights)
    assert not found[n_out:].any()


def record_of(image: bytes, number: int, heading: str) -> dict[str, int]:
    """The fields of a projection record of an image, read by the document."""
    (start,) = struct.unpack_from("<I", image, 32)
    codes = {1: "<B", 2: "<H", 4: "<I"}
    return {
        field.name: struct.unpack_from(codes[field.size], image, start + 48 * number + field.at)[0]
        for part in ("Projection records, 48 bytes", heading)
        for field in fields(part)
    }


def test_weights_of_a_convolution_lie_as_the_document_says() -> None:
    model = GOLDEN["maps_into_memories"]
    number, conv = next((k, p) for k, p in enumerate(model.projections) if isinstance(p, Conv))
    image = blob.pack_image(model)
    record = record_of(image, number, "Convolution and sum pool")
    of_group = record["out_channels"] // record["groups"]
    shape = (record["kernel_height"], record["kernel_width"], record["in_channels"], of_group)
    found = np.frombuffer(image, np.int8, int(np.prod(shape)), record["weights"]).reshape(shape)
    in_group = record["in_channels"] // record["groups"]
    for channel in range(record["in_channels"]):
        group, c = divmod(channel, in_group)
        outputs = slice(group * of_group, (group + 1) * of_group)
        np.testing.assert_array_equal(found[:, :, channel], conv.weights[:, :, c, outputs])


@pytest.mark.parametrize("name", ["delays_of_channels_and_synapses", "wide_and_late"])
def test_synapses_with_delays_lie_as_the_document_says(name: str) -> None:
    model = GOLDEN[name]
    image = blob.pack_image(model)
    for number, made in enumerate(model.projections):
        if not isinstance(made, DelayedSynapses):
            continue
        record = record_of(image, number, "Delayed synapses")
        rows = record["longest"] + 1
        starts = np.frombuffer(image, "<u4", record["n_in"] + 1, record["starts"]).tolist()
        ends = np.frombuffer(image, "<u2", record["n_in"] * rows, record["ends"]).reshape(-1, rows)
        width = "<u1" if record["n_out"] <= 256 else "<u2"
        post = np.frombuffer(image, width, starts[-1], record["post"])
        weight = np.frombuffer(image, np.int8, starts[-1], record["weights"])
        found = []
        for j in range(record["n_in"]):
            for d in range(rows):
                begin = starts[j] + (int(ends[j, d - 1]) if d else 0)
                found += [(j, d, post[k], weight[k]) for k in range(begin, starts[j] + ends[j, d])]
        listed = list(zip(made.pre, made.delay, made.post, made.weight, strict=True))
        assert found == listed
