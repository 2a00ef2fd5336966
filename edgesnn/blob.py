"""Graph to bytes and back: the `.esnn` file.

A file is the *image*, which is all that a board takes and which the C core runs in place, followed
by *notes* for people and hosts (names, class labels, units, the fidelity report), which no board
needs. `docs/format.md` shows the layout; the records below are its definition. Everything is
little-endian and every array starts at a multiple of 4 bytes from the start of the image.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import FormatError, MissingError, ModelError
from edgesnn.graph import (
    LIF,
    MAX_SIZE,
    SOFTMAX_SIZE,
    TABLE_SIZE,
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
    Int8Array,
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
    UInt8Array,
    Window,
    saturates,
)

MAGIC = b"ESNN"
NOTES_MAGIC = b"NOTE"
VERSION = 2
HEADER = struct.Struct("<4sHHIIIIHHIIHBBIIHHII4x")
POPULATION_SIZE, PROJECTION_SIZE = 64, 48
# what all records of a kind begin with, and what follows in those of one kind
POPULATION = struct.Struct("<BBHHHHH")
NEURONS = struct.Struct("<11IBBHBB")
INTEGRATOR = struct.Struct("<IIIBBHIIhhII")
LINEAR_STATE = struct.Struct("<IIIHH")
DELAY_LINE = struct.Struct("<IHH")
PROJECTION = struct.Struct("<BBHHBxI")
DENSE = struct.Struct("<HHHHIHxx")
WINDOW = struct.Struct("<6H6BH")
DELAYED = struct.Struct("<HHHxxIII")
NOTES_HEADER = struct.Struct("<4sII")
CRC_START = 16
SLOT_SIZE = 24
LIST = 256
ROW_WORDS = 4
TILE = 16
(
    ANALOG_INPUT, SPIKE_INPUT, PLAIN_LIF, NEURON, INTEGRATOR_KIND, LINEAR_KIND, DELAY_KIND,
    LIF_IN_BLOCKS,
) = range(8)  # fmt: skip
DENSE_8, DENSE_4, DENSE_2, DENSE_VALUES, CONV, POOL, DELAYED_SYNAPSES = range(7)
SPIKE_COUNT, POTENTIAL, SOFTMAX_SUM, FIRST_SPIKE = range(4)
NAMES = ("names", "classes", "units")
# flags of neurons: arrays with an entry a neuron, by their place in the record, then switches
PER_NEURON = {name: 1 << k for k, name in enumerate(
    ("decay", "synaptic_decay", "inhibitory_decay", "floor", "reset_to",
     "adaptation_decay", "adaptation_step", "refractory")
)}  # fmt: skip
REACHES, ADAPTS, OLD, ROUNDS_ONCE = 1 << 8, 1 << 9, 1 << 10, 1 << 11


@dataclass(frozen=True)
class Model:
    """A graph with its bytes and notes: what an `.esnn` file holds.

    Attributes:
        graph: the meaning.
        image: the bytes that a board runs.
        notes: JSON-able; "classes" (list of str) and "report" (the fidelity report) where known.
    """

    graph: Graph
    image: bytes
    notes: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; their numbers where the notes do not name them."""
        names = self.notes.get("classes", [])
        count = self.graph.size(self.graph.readout.population)
        return tuple(names) if len(names) == count else tuple(str(k) for k in range(count))

    @property
    def arena_bytes(self) -> int:
        """Exact RAM for the state, bytes."""
        return arena_bytes(self.graph)


def align(offset: int) -> int:
    """Up to the next multiple of 4."""
    return (offset + 3) & ~3


def arena_bytes(graph: Graph) -> int:
    """Exact RAM that the core needs for a graph's state, bytes.

    A slot of 24 bytes an input or population; one int32 a neuron of the largest population for its
    current, and one more for its threshold where projections raise one; of each population its
    states, its output and what `DelayedSynapses` projections look back on; the list in which the
    spikes of merged projections are put together; and the scores as int32.
    """
    parts: list[Input | Population] = [graph.input, *graph.populations]
    ports = 1 + any(p.port is Port.THRESHOLD for p in graph.projections)
    total = SLOT_SIZE * len(parts) + 4 * ports * max(p.size for p in graph.populations)
    groups = _groups(graph)
    merged = [sum(graph.size(p.source) for p in group) for group in groups if len(group) > 1]
    total += align(2 * min(LIST, max(merged, default=0)))
    for part in parts:
        bits = 4 * ((part.size + 31) // 32)
        if isinstance(part, DelayLine):
            total += (int(part.delays.max()) + 1) * bits
        else:
            total += 4 * state_words(part) * part.size + align(_blocks(graph, part))
        if not isinstance(part, AnalogInput):
            total += align(2 * part.size)
        total += graph.history(part.name) * (align(2 * part.size) if part.emits_values else bits)
    return total + 4 * graph.size(graph.readout.population)


def _blocks(graph: Graph, part: Input | Population) -> int:
    """How many blocks a part has that the core updates each by itself; 0 where it does not.

    That are plain LIF neurons without bias that only projections in such blocks lead to.
    """
    if not isinstance(part, LIF) or not part.plain or np.any(part.bias):
        return 0
    blocks = set()
    for p in graph.projections:
        if p.target == part.name:
            if isinstance(p, Dense) and len(p.weights) <= TILE and _dense_kind(graph, p) == DENSE_8:
                blocks.add(p.blocks)
            else:
                blocks.add(1)
    return max(blocks) if len(blocks) == 1 and blocks != {1} else 0


def state_words(part: Input | Population) -> int:
    """How many int32 a neuron keeps from step to step."""
    if isinstance(part, (Integrator, LinearState)):
        return 1 if isinstance(part, LinearState) or part.delta is None else 2
    if not isinstance(part, LIF):
        return 0
    currents = (part.synaptic_decay is not None) + (part.inhibitory_decay is not None)
    return 1 + currents + (2 if part.adaptation is not None else 0)


class _Writer:
    def __init__(self, start: int) -> None:
        self.parts: list[bytes] = []
        self.offset = start

    def add(self, array: npt.NDArray[Any] | None) -> int:
        """Append an array, return its offset from the start of the image; 0 for None."""
        if array is None:
            return 0
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        offset = self.offset
        self.parts.append(raw.ljust(align(len(raw)), b"\0"))
        self.offset += align(len(raw))
        return offset


def pack_image(graph: Graph) -> bytes:
    """The image of a graph: what `esnn_load` takes.

    Weights of dense projections lie in tiles (see `tiled`), so that a tile's sums stay in
    registers for all the spikes of a step.
    """
    n_populations = 1 + len(graph.populations)
    populations_at = HEADER.size
    projections_at = populations_at + n_populations * POPULATION_SIZE
    groups = _groups(graph)
    body = _Writer(projections_at + len(groups) * PROJECTION_SIZE)
    records = [_pack_input(graph, body)]
    first = 0
    for population in graph.populations:
        count = sum(group[0].target == population.name for group in groups)
        records.append(_pack_population(graph, population, first, count, body))
        first += count
    records += [_pack_projection(graph, group, body) for group in groups]
    selftest_at, selftest_digest, selftest_steps = 0, 0, 0
    if graph.selftest is not None:
        selftest_at = body.add(graph.selftest.frames)
        selftest_digest, selftest_steps = graph.selftest.digest, len(graph.selftest.frames)
    kind, mode, table_at = _readout_code(graph.readout, body)

    def header(crc: int) -> bytes:
        return HEADER.pack(
            MAGIC, VERSION, HEADER.size, body.offset, crc, arena_bytes(graph), graph.step_us,
            n_populations, len(groups), populations_at, projections_at,
            graph.index(graph.readout.population), kind, mode,
            selftest_at, selftest_digest, selftest_steps, 0, table_at, graph.margin,
        )  # fmt: skip

    rest = b"".join(records + body.parts)
    crc = zlib.crc32(rest, zlib.crc32(header(0)[CRC_START:]))
    return header(crc) + rest


def _pack_input(graph: Graph, body: _Writer) -> bytes:
    part = graph.input
    if isinstance(part, AnalogInput):
        kind, bits = ANALOG_INPUT, part.bits
        at = body.add(part.fraction_bits)
    else:
        kind, bits, at = SPIKE_INPUT, 0, 0
    head = POPULATION.pack(kind, bits, 0, part.size, graph.history(part.name), 0, 0)
    return (head + struct.pack("<I", at)).ljust(POPULATION_SIZE, b"\0")


def _pack_population(
    graph: Graph, part: Population, first: int, count: int, body: _Writer
) -> bytes:
    flags, bits = 0, 0
    if isinstance(part, LIF):
        kind = PLAIN_LIF if part.plain else NEURON
        kind = LIF_IN_BLOCKS if _blocks(graph, part) else kind
        flags, rest = _pack_neurons(part, body)
        bits = part.bits if part.emits_values else 0
    elif isinstance(part, Integrator):
        kind, bits = INTEGRATOR_KIND, part.bits
        flags = PER_NEURON["decay"] if len(part.decay) > 1 else 0
        bias = part.bias if np.any(part.bias) else None
        offsets = [body.add(a) for a in (part.decay, bias, part.table)]
        scaling = (0, 0, 0, 0, 0)
        if (r := part.requantization) is not None:
            flags |= ROUNDS_ONCE if r.once else 0
            at = body.add(r.multiplier), body.add(r.places)
            scaling = (len(r.multiplier), *at, r.low, r.high)
        changes = (0, 0)
        if part.delta is not None:
            # an offset of an array says that there is one
            changes = body.add(part.delta.threshold), body.add(part.delta.offset)
        rest = INTEGRATOR.pack(*offsets, part.shift, part.activation, *scaling, *changes)
    elif isinstance(part, LinearState):
        kind, bits = LINEAR_KIND, part.bits
        arrays = [body.add(a) for a in (part.matrix, part.matrix_shift, part.shift)]
        rest = LINEAR_STATE.pack(*arrays, part.order, part.blocks)
    else:
        kind = DELAY_KIND
        longest = int(part.delays.max())
        rest = DELAY_LINE.pack(body.add(part.delays), graph.index(part.source), longest)
    history = graph.history(part.name)
    head = POPULATION.pack(kind, bits, flags, part.size, history, first, count)
    return (head + rest).ljust(POPULATION_SIZE, b"\0")


def _pack_neurons(part: LIF, body: _Writer) -> tuple[int, bytes]:
    adaptation = part.adaptation
    arrays: dict[str, npt.NDArray[Any] | None] = {
        "decay": part.decay,
        # what a membrane must be above: for `Fire.REACHES` one less than the threshold
        "threshold": part.threshold - np.int32(part.fire),
        "bias": part.bias if np.any(part.bias) else None,
        "synaptic_decay": part.synaptic_decay,
        "inhibitory_decay": part.inhibitory_decay,
        "floor": part.floor,
        "reset_to": part.reset_to,
        "adaptation_decay": None if adaptation is None else adaptation.decay,
        "adaptation_step": None if adaptation is None else adaptation.step,
        "refractory": None if adaptation is None else adaptation.refractory,
        "membrane_bias": part.membrane_bias,
    }
    flags = sum(
        flag
        for name, flag in PER_NEURON.items()
        if (array := arrays[name]) is not None and len(array) > 1
    )
    flags |= REACHES if part.fire is Fire.REACHES else 0
    if adaptation is not None:
        flags |= ADAPTS | (OLD if adaptation.old else 0)
    offsets = [body.add(array) for array in arrays.values()]
    return flags, NEURONS.pack(
        *offsets, part.reset, part.rule, part.max_spikes, part.conduction, part.state_bits
    )


def _places(words: int, bits: int) -> npt.NDArray[np.int64]:
    """Which target neuron of a tile each field of a row holds: (words, 4 bytes, 8 / bits)."""
    word, byte, part = np.indices((words, 4, 8 // bits))
    if bits == 8:
        return np.asarray(4 * word + byte)
    if bits == 4:
        return np.asarray(4 * word + 2 * (byte & 1) + 4 * words * (byte >> 1) + part)
    return np.asarray(16 * word + 4 * part + byte)


def _tiles(n_out: int, bits: int) -> list[tuple[int, int]]:
    """First target neuron and words a row of every tile."""
    per_word = 32 // bits
    words = -(-n_out // per_word)
    return [(at * per_word, min(ROW_WORDS, words - at)) for at in range(0, words, ROW_WORDS)]


def tiled(weights: Int8Array, bits: int = 8) -> UInt8Array:
    """Weights (n_out, n_in) as they lie in an image, flat.

    Tile after tile, and in each tile a row of 1 to 4 words for every source neuron: 4 in all tiles
    but the last. A word holds 4 weights of 8 bits in two's complement, 8 of 4 bits, or 16 of 2
    bits, which are stored as `w + 8` and `w + 2`; which of the tile's target neurons a field is of,
    `docs/format.md` says. What is missing to whole words is filled with weights of 0.
    """
    n_out, n_in = weights.shape
    padded = np.zeros((-(-n_out // (32 // bits)) * (32 // bits), n_in), np.int64)
    padded[:n_out] = weights
    padded += 0 if bits == 8 else 1 << (bits - 1)
    tiles = []
    for first, words in _tiles(n_out, bits):
        fields = padded[first + _places(words, bits)]
        shifts = bits * np.arange(8 // bits)[:, np.newaxis]
        rows = (fields << shifts).sum(axis=2).reshape(4 * words, n_in)
        tiles.append((rows & 0xFF).astype(np.uint8).T.ravel())
    return np.concatenate(tiles)


def untiled(flat: UInt8Array, n_out: int, n_in: int, bits: int = 8) -> Int8Array:
    """The inverse of `tiled`: weights (n_out, n_in)."""
    parts = []
    at = 0
    for _, words in _tiles(n_out, bits):
        size = n_in * 4 * words
        rows = flat[at : at + size].reshape(n_in, words, 4, 1).astype(np.int64)
        at += size
        codes = (rows >> (bits * np.arange(8 // bits))) & ((1 << bits) - 1)
        values = codes.astype(np.uint8).astype(np.int8) if bits == 8 else codes - (1 << (bits - 1))
        tile = np.zeros((32 // bits * words, n_in), np.int8)
        tile[_places(words, bits)] = np.moveaxis(values, 0, -1)
        parts.append(tile)
    return np.ascontiguousarray(np.concatenate(parts)[:n_out])


def tiled_bytes(n_out: int, n_in: int, bits: int) -> int:
    """Bytes of `tiled` weights."""
    return 4 * n_in * -(-n_out * bits // 32)


def _groups(graph: Graph) -> list[list[Projection]]:
    """The projections that share a record: of one target, alike but for their sources.

    What the tiles of a dense projection cost beside their synapses is then paid once.
    """
    groups: list[list[Projection]] = []
    for part in graph.projections:
        group = groups[-1] if groups else []
        if group and _alike(graph, group, part):
            group.append(part)
        else:
            groups.append([part])
    return groups


def _alike(graph: Graph, group: list[Projection], part: Projection) -> bool:
    first = group[0]
    if not (isinstance(first, Dense) and isinstance(part, Dense)):
        return False
    kinds = {_dense_kind(graph, p) for p in (first, part)}
    together = sum(graph.size(p.source) for p in (*group, part))
    return (
        first.target == part.target
        and (first.port, first.bits, first.shift) == (part.port, part.bits, part.shift)
        and first.blocks == part.blocks == 1
        and DENSE_VALUES not in kinds
        and together <= MAX_SIZE
    )


def _dense_kind(graph: Graph, part: Dense) -> int:
    target = graph.populations[graph.index(part.target) - 1]
    wide: bool = graph.part(part.source).emits_values or saturates(graph, target)
    return DENSE_VALUES if wide else {8: DENSE_8, 4: DENSE_4, 2: DENSE_2}[part.bits]


def _pack_projection(graph: Graph, group: list[Projection], body: _Writer) -> bytes:
    part = group[0]
    if isinstance(part, Dense):
        weights = np.concatenate([p.weights for p in group if isinstance(p, Dense)], axis=1)
        n_out, n_in = weights.shape
        kind = _dense_kind(graph, part)
        weights_at = body.add(tiled(weights, part.bits))
        sources = np.array([graph.index(p.source) for p in group], np.uint16)
        merged = len(group) if len(group) > 1 else 0
        sources_at = body.add(sources if merged else None)
        rest = DENSE.pack(part.blocks, n_in, n_out, part.bits, sources_at, merged)
    elif isinstance(part, DelayedSynapses):
        kind = DELAYED_SYNAPSES
        weights_at, rest = _pack_delayed(graph, part, body)
    else:
        kind = CONV if isinstance(part, Conv) else POOL
        weights_at = body.add(conv_rows(part)) if isinstance(part, Conv) else 0
        groups = part.groups if isinstance(part, Conv) else part.window.input_shape[2]
        window = part.window
        rest = WINDOW.pack(
            *window.input_shape, *window.output_shape, *window.kernel, *window.stride,
            *window.padding, groups,
        )  # fmt: skip
    head = PROJECTION.pack(
        kind, part.shift, graph.index(part.source), graph.index(part.target), part.port, weights_at
    )
    return (head + rest).ljust(PROJECTION_SIZE, b"\0")


def conv_rows(part: Conv) -> Int8Array:
    """Weights of a convolution as they lie in an image: (ky, kx, C_in, C_out / groups).

    A spike of an input channel reads the weights of the output channels of its group.
    """
    ky, kx, c_in, c_out = part.weights.shape
    grouped = part.weights.reshape(ky, kx, c_in, part.groups, c_out // part.groups)
    return np.ascontiguousarray(
        np.moveaxis(grouped, 3, 2).reshape(ky, kx, c_in * part.groups, c_out // part.groups)
    )


def _unpacked_rows(rows: Int8Array, groups: int) -> Int8Array:
    """The inverse of `conv_rows`: (ky, kx, C_in / groups, C_out)."""
    ky, kx, c_in, c_out = rows.shape
    grouped = np.moveaxis(rows.reshape(ky, kx, groups, c_in // groups, c_out), 2, 3)
    return np.ascontiguousarray(grouped.reshape(ky, kx, c_in // groups, groups * c_out))


def _pack_delayed(graph: Graph, part: DelayedSynapses, body: _Writer) -> tuple[int, bytes]:
    """Synapses lie as they are listed; tables tell where those of a neuron and delay are."""
    n_in, n_out = graph.size(part.source), graph.size(part.target)
    buckets = part.pre.astype(np.int64) * (part.longest + 1) + part.delay
    counts = np.bincount(buckets, minlength=n_in * (part.longest + 1))
    ends = counts.reshape(n_in, part.longest + 1).cumsum(axis=1)
    starts = np.concatenate(([0], ends[:, -1].cumsum()))
    weights_at = body.add(part.weight)
    return weights_at, DELAYED.pack(
        n_in, n_out, part.longest, body.add(starts.astype(np.uint32)),
        body.add(ends.astype(np.uint16)),
        body.add(part.post.astype(np.uint8 if n_out <= 256 else np.uint16)),
    )  # fmt: skip


def _readout_code(readout: Readout, body: _Writer) -> tuple[int, int, int]:
    if isinstance(readout, SpikeCount):
        return SPIKE_COUNT, 0, 0
    if isinstance(readout, Potential):
        return POTENTIAL, int(readout.mode), 0
    if isinstance(readout, SoftmaxSum):
        return SOFTMAX_SUM, readout.shift, body.add(readout.table)
    return FIRST_SPIKE, 0, 0


def pack(graph: Graph, notes: dict[str, Any] | None = None) -> bytes:
    """Image and notes: the bytes of an `.esnn` file."""
    names = [graph.input.name, *(p.name for p in graph.populations)]
    every: dict[str, Any] = {**(notes or {}), "names": names}
    if isinstance(graph.input, AnalogInput) and graph.input.units:
        every["units"] = list(graph.input.units)
    text = json.dumps(every, sort_keys=True).encode()
    return pack_image(graph) + NOTES_HEADER.pack(NOTES_MAGIC, len(text), zlib.crc32(text)) + text


def save(path: str | os.PathLike[str], graph: Graph, notes: dict[str, Any] | None = None) -> None:
    """Write an `.esnn` file, whole or not at all.

    Raises:
        MissingError: the folder is not there or may not be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            part.write_bytes(pack(graph, notes))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise MissingError(
            f"cannot write {path}: {error.strerror}; choose another folder"
        ) from None


def load(path: str | os.PathLike[str]) -> Model:
    """Read an `.esnn` file.

    Raises:
        MissingError: no such file.
        FormatError: not an `.esnn` file of this version, or damaged.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror}") from None
    return unpack(data, str(path))


def unpack(data: bytes, where: str = "the blob") -> Model:
    """The model in the bytes of an `.esnn` file, or in a bare image.

    Raises:
        FormatError: names `where` and what is wrong.
    """
    image = data[: _image_length(data, where)]
    notes = _unpack_notes(data[len(image) :], where)
    try:
        graph = _unpack_image(image, notes)
    except (struct.error, ValueError, IndexError, KeyError, TypeError, ModelError) as error:
        raise FormatError(
            f"{where} is damaged or hostile ({error}): make it again with `edgesnn convert`"
        ) from None
    return Model(graph, image, notes)


def _image_length(data: bytes, where: str) -> int:
    if len(data) < HEADER.size or data[:4] != MAGIC:
        raise FormatError(f"{where} is not an .esnn file: give one made by `edgesnn convert`")
    _, version, header_size, length, crc = struct.unpack_from("<4sHHII", data)
    if version != VERSION or header_size != HEADER.size:
        raise FormatError(
            f"{where} has format version {version}, this edgesnn reads {VERSION}: convert it again"
        )
    if length > len(data) or length < HEADER.size:
        raise FormatError(f"{where} is cut short ({len(data)} bytes of {length}): copy it again")
    if zlib.crc32(data[CRC_START:length]) != crc:
        raise FormatError(f"{where} is damaged (CRC-32 does not match): copy or convert it again")
    return int(length)


def _unpack_notes(data: bytes, where: str) -> dict[str, Any]:
    if not data:
        return {}
    damaged = FormatError(f"{where} has damaged notes behind its image: copy or convert it again")
    if len(data) < NOTES_HEADER.size:
        raise damaged
    magic, length, crc = NOTES_HEADER.unpack_from(data)
    text = data[NOTES_HEADER.size :]
    if magic != NOTES_MAGIC or len(text) != length or zlib.crc32(text) != crc:
        raise damaged
    try:
        notes = json.loads(text)
    except ValueError:
        raise damaged from None
    if not isinstance(notes, dict) or not all(_names(notes.get(key, [])) for key in NAMES):
        raise damaged
    return notes


def _names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _unpack_image(image: bytes, notes: dict[str, Any]) -> Graph:
    (
        _, _, _, _, _, _, step_us, n_populations, n_projections, populations_at, projections_at,
        readout_population, readout_kind, readout_mode, selftest_at, selftest_digest,
        selftest_steps, _, table_at, margin,
    ) = HEADER.unpack_from(image)  # fmt: skip
    read = _Reader(image)
    names = notes.get("names") or ["input", *(f"population{k}" for k in range(1, n_populations))]
    offsets = range(populations_at, populations_at + n_populations * POPULATION_SIZE, 64)
    units = tuple(notes.get("units", ()))
    populations = [
        _unpack_population(read, at, name, names)
        for at, name in zip(offsets[1:], names[1:], strict=True)
    ]
    sizes = {name: read.record(POPULATION, at)[3] for name, at in zip(names, offsets, strict=True)}
    projections = [
        projection
        for k in range(n_projections)
        for projection in _unpack_projection(read, projections_at + k * PROJECTION_SIZE, sizes)
    ]
    if readout_kind == SOFTMAX_SUM:
        table = read.array(table_at, "<u2", SOFTMAX_SIZE)
        readout: Readout = SoftmaxSum(names[readout_population], table, readout_mode)
    else:
        readout = _unpack_readout(readout_kind, readout_mode, names[readout_population])
    graph = Graph(
        input=_unpack_input(read, populations_at, names[0], units),
        populations=tuple(populations),
        projections=tuple(projections),
        readout=readout,
        step_us=step_us,
        margin=margin,
    )
    if selftest_steps == 0:
        return graph
    frames = read.array(selftest_at, "<i2", selftest_steps, graph.input.size)
    return graph.with_selftest(frames, selftest_digest)


class _Reader:
    def __init__(self, image: bytes) -> None:
        self.image = image

    def array(self, offset: int, dtype: str, *shape: int) -> npt.NDArray[Any]:
        count = math.prod(shape)
        flat = np.frombuffer(self.image, np.dtype(dtype), count, offset)
        return flat.reshape(shape).astype(flat.dtype.newbyteorder("="))

    def optional(self, offset: int, dtype: str, *shape: int) -> npt.NDArray[Any] | None:
        return self.array(offset, dtype, *shape) if offset else None

    def record(self, layout: struct.Struct, offset: int) -> tuple[Any, ...]:
        return layout.unpack_from(self.image, offset)


def _unpack_input(read: _Reader, at: int, name: str, units: tuple[str, ...]) -> Input:
    kind, bits, _, size, *_ = read.record(POPULATION, at)
    if kind == ANALOG_INPUT:
        (fraction_bits,) = struct.unpack_from("<I", read.image, at + POPULATION.size)
        return AnalogInput(name, read.array(fraction_bits, "<i1", size), units, bits)
    if kind == SPIKE_INPUT:
        return SpikeInput(name, size)
    raise ValueError(f"the first population is of kind {kind}, not an input")


def _unpack_population(read: _Reader, at: int, name: str, names: list[str]) -> Population:
    kind, bits, flags, size, *_ = read.record(POPULATION, at)
    at += POPULATION.size
    if kind in (PLAIN_LIF, NEURON, LIF_IN_BLOCKS):
        return _unpack_neurons(read, at, name, flags, size)
    if kind == INTEGRATOR_KIND:
        decay, bias, table, shift, activation, *scaling, threshold, offset = read.record(
            INTEGRATOR, at
        )
        delta = None
        if threshold:
            delta = Delta(read.array(threshold, "<i4", size), read.array(offset, "<i4", size))
        return Integrator(
            name,
            read.array(decay, "<u2", size if flags & PER_NEURON["decay"] else 1),
            read.array(bias, "<i4", size) if bias else np.zeros(size, np.int32),
            shift, bits, Activation(activation), read.optional(table, "<i2", TABLE_SIZE),
            _unpack_requantization(read, bool(flags & ROUNDS_ONCE), *scaling), delta,
        )  # fmt: skip
    if kind == LINEAR_KIND:
        matrix, matrix_shift, row_shift, order, blocks = read.record(LINEAR_STATE, at)
        return LinearState(
            name, read.array(matrix, "<i2", order, order), read.array(matrix_shift, "<u1", order),
            read.array(row_shift, "<u1", order), blocks, bits,
        )  # fmt: skip
    if kind == DELAY_KIND:
        delays, source, _ = read.record(DELAY_LINE, at)
        return DelayLine(name, names[source], read.array(delays, "<u1", size))
    raise ValueError(f"population '{name}' is of unknown kind {kind}")


def _unpack_requantization(
    read: _Reader, once: bool, count: int, multiplier: int, places: int, low: int, high: int
) -> Requantization | None:
    if count == 0:
        return None
    arrays = read.array(multiplier, "<i4", count), read.array(places, "<u2", count)
    return Requantization(*arrays, low, high, once)


def _unpack_neurons(read: _Reader, at: int, name: str, flags: int, size: int) -> LIF:
    *offsets, reset, rule, max_spikes, conduction, state_bits = read.record(NEURONS, at)
    fields = (
        ("decay", "<u2"), ("threshold", "<i4"), ("bias", "<i4"), ("synaptic_decay", "<u2"),
        ("inhibitory_decay", "<u2"), ("floor", "<i4"), ("reset_to", "<i4"),
        ("adaptation_decay", "<u2"), ("adaptation_step", "<i4"), ("refractory", "<u2"),
        ("membrane_bias", "<i4"),
    )  # fmt: skip
    arrays = {}
    for (field, dtype), offset in zip(fields, offsets, strict=True):
        flag = PER_NEURON.get(field, 0)
        count = size if flag == 0 or flags & flag else 1
        arrays[field] = read.optional(offset, dtype, count)
    fire = Fire.REACHES if flags & REACHES else Fire.ABOVE
    adaptation = None
    if flags & ADAPTS:
        adaptation = Adaptation(
            _there(arrays["adaptation_decay"]), _there(arrays["adaptation_step"]),
            bool(flags & OLD), arrays["refractory"],
        )  # fmt: skip
    bias = arrays["bias"]
    return LIF(
        name,
        _there(arrays["decay"]),
        _there(arrays["threshold"]) + np.int32(fire),
        np.zeros(size, np.int32) if bias is None else bias,
        Reset(reset), arrays["synaptic_decay"], arrays["inhibitory_decay"], DecayRule(rule), fire,
        Conduction(conduction), arrays["membrane_bias"], state_bits, max_spikes,
        arrays["floor"], arrays["reset_to"], adaptation,
    )  # fmt: skip


def _there(array: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    if array is None:
        raise ValueError("an array that neurons need is missing")
    return array


def _unpack_projection(read: _Reader, at: int, sizes: dict[str, int]) -> list[Projection]:
    """The projections of one record; `sizes` has every part, in order."""
    names = list(sizes)
    kind, shift, source, target, port, weights_at = read.record(PROJECTION, at)
    ends = names[source], names[target]
    at += PROJECTION.size
    if kind in (DENSE_8, DENSE_4, DENSE_2, DENSE_VALUES):
        blocks, n_in, n_out, bits, sources_at, n_sources = read.record(DENSE, at)
        if bits not in (8, 4, 2):
            raise ValueError(f"a projection has weights of {bits} bits")
        flat = read.array(weights_at, "<u1", tiled_bytes(n_out, n_in, bits))
        weights = untiled(flat, n_out, n_in, bits)
        if n_sources == 0:
            return [Dense(*ends, weights, shift, blocks, bits, Port(port))]
        merged = [names[k] for k in read.array(sources_at, "<u2", n_sources)]
        columns = np.split(weights, np.cumsum([sizes[name] for name in merged])[:-1], axis=1)
        return [
            Dense(name, ends[1], np.ascontiguousarray(part), shift, blocks, bits, Port(port))
            for name, part in zip(merged, columns, strict=True)
        ]
    if kind in (CONV, POOL):
        *numbers, groups = read.record(WINDOW, at)
        shapes = tuple(numbers[:3]), tuple(numbers[3:6])
        pairs = tuple(tuple(numbers[k : k + 2]) for k in (6, 8, 10))
        window = Window(*shapes, *pairs)
        if kind == POOL:
            return [SumPool(*ends, window, shift)]
        if groups == 0:
            raise ValueError("a convolution has 0 groups")
        c_in, c_out = shapes[0][2], shapes[1][2] // groups
        rows = read.array(weights_at, "<i1", *window.kernel, c_in, c_out)
        return [Conv(*ends, _unpacked_rows(rows, groups), window, shift, groups)]
    if kind == DELAYED_SYNAPSES:
        return [_unpack_delayed(read, at, ends, shift, Port(port), weights_at)]
    raise ValueError(f"a projection is of unknown kind {kind}")


def _unpack_delayed(
    read: _Reader, at: int, names: tuple[str, str], shift: int, port: Port, weights_at: int
) -> DelayedSynapses:
    n_in, n_out, longest, starts_at, ends_at, post_at = read.record(DELAYED, at)
    starts = read.array(starts_at, "<u4", n_in + 1)
    ends = read.array(ends_at, "<u2", n_in, longest + 1)
    count = int(starts[-1])
    per_bucket = np.diff(ends.astype(np.int64), prepend=0).ravel().astype(np.int64)
    buckets = np.repeat(np.arange(len(per_bucket)), per_bucket)
    pre, delay = np.divmod(buckets, longest + 1)
    return DelayedSynapses(
        *names, pre.astype(np.uint16),
        read.array(post_at, "<u1" if n_out <= 256 else "<u2", count).astype(np.uint16),
        delay.astype(np.uint8), read.array(weights_at, "<i1", count), shift, port,
    )  # fmt: skip


def _unpack_readout(kind: int, mode: int, population: str) -> Readout:
    if kind == SPIKE_COUNT:
        return SpikeCount(population)
    if kind == POTENTIAL:
        return Potential(population, PotentialMode(mode))
    if kind == FIRST_SPIKE:
        return FirstSpike(population)
    raise ValueError(f"the read-out is of unknown kind {kind}")
