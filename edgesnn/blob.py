"""Graph to bytes and back: the `.esnn` file.

A file is the *image*, which is all that a board takes and which the C core runs in place, followed
by *notes* for people and hosts (names, class labels, units, the fidelity report), which no board
needs. `docs/format.md` shows the layout; the records below are its definition. Everything is
little-endian and every array starts at a multiple of 4 bytes from the start of the image.
"""

from __future__ import annotations

import json
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
    AnalogInput,
    CubaLIF,
    Dense,
    Graph,
    Input,
    Int8Array,
    Population,
    Potential,
    PotentialMode,
    Projection,
    Readout,
    Reset,
    SelfTest,
    SpikeCount,
    SpikeInput,
)

MAGIC = b"ESNN"
NOTES_MAGIC = b"NOTE"
VERSION = 1
HEADER = struct.Struct("<4sHHIIIIHHIIHBBIIHH12x")
POPULATION = struct.Struct("<BBBBHHIIIIHH4x")
PROJECTION = struct.Struct("<BBHHHHHI16x")
NOTES_HEADER = struct.Struct("<4sII")
CRC_START = 16
TILE = 16
ANALOG_INPUT, SPIKE_INPUT, POPULATION_LIF, POPULATION_CUBA_LIF = 0, 1, 2, 3
PROJECTION_DENSE = 0
READOUT_SPIKE_COUNT, READOUT_POTENTIAL = 0, 1
NAMES = ("names", "classes", "units")
DECAY_PER_NEURON, SYNAPTIC_DECAY_PER_NEURON = 1, 2


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

    A table of 12 bytes an input or population, one int32 a neuron of the largest population for
    its current, the membranes (and synaptic currents) as int32, the event lists as uint16, and the
    scores as int32.
    """
    total = 12 * (1 + len(graph.populations)) + 4 * max(p.size for p in graph.populations)
    if isinstance(graph.input, SpikeInput):
        total += align(2 * graph.input.size)
    for population in graph.populations:
        states = 2 if isinstance(population, CubaLIF) else 1
        total += 4 * states * population.size + align(2 * population.size)
    return total + 4 * graph.size(graph.readout.population)


class _Writer:
    def __init__(self, start: int) -> None:
        self.start = start
        self.parts: list[bytes] = []
        self.offset = start

    def add(self, array: npt.NDArray[Any]) -> int:
        """Append an array, return its offset from the start of the image."""
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        offset = self.offset
        self.parts.append(raw.ljust(align(len(raw)), b"\0"))
        self.offset += align(len(raw))
        return offset


def pack_image(graph: Graph) -> bytes:
    """The image of a graph: what `esnn_load` takes.

    Weights lie in tiles of TILE target neurons (see `tiled`), so that a tile's sums stay in
    registers for all the spikes of a step.
    """
    n_populations = 1 + len(graph.populations)
    populations_at = HEADER.size
    projections_at = populations_at + n_populations * POPULATION.size
    body = _Writer(projections_at + len(graph.projections) * PROJECTION.size)
    populations = [_pack_input(graph.input, body)]
    first = 0
    for population in graph.populations:
        count = len(graph.into(population.name))
        populations.append(_pack_population(population, first, count, body))
        first += count
    projections = [_pack_projection(graph, p, body) for p in graph.projections]
    selftest_at, selftest_digest, selftest_steps = 0, 0, 0
    if graph.selftest is not None:
        selftest_at = body.add(graph.selftest.frames)
        selftest_digest, selftest_steps = graph.selftest.digest, len(graph.selftest.frames)
    kind, mode = _readout_code(graph.readout)

    def header(crc: int) -> bytes:
        return HEADER.pack(
            MAGIC, VERSION, HEADER.size, body.offset, crc, arena_bytes(graph), graph.step_us,
            n_populations, len(graph.projections), populations_at, projections_at,
            graph.index(graph.readout.population), kind, mode,
            selftest_at, selftest_digest, selftest_steps, 0,
        )  # fmt: skip

    rest = b"".join(populations + projections + body.parts)
    crc = zlib.crc32(rest, zlib.crc32(header(0)[CRC_START:]))
    return header(crc) + rest


def _pack_input(part: Input, body: _Writer) -> bytes:
    if isinstance(part, AnalogInput):
        at = body.add(part.fraction_bits)
        return POPULATION.pack(ANALOG_INPUT, 0, 0, 0, part.size, 0, at, 0, 0, 0, 0, 0)
    return POPULATION.pack(SPIKE_INPUT, 0, 0, 0, part.size, 0, 0, 0, 0, 0, 0, 0)


def _pack_population(part: Population, first: int, count: int, body: _Writer) -> bytes:
    kind = POPULATION_LIF if isinstance(part, LIF) else POPULATION_CUBA_LIF
    flags, synaptic_at = 0, 0
    decay_at = body.add(part.decay)
    flags |= DECAY_PER_NEURON if len(part.decay) > 1 else 0
    if isinstance(part, CubaLIF):
        synaptic_at = body.add(part.synaptic_decay)
        flags |= SYNAPTIC_DECAY_PER_NEURON if len(part.synaptic_decay) > 1 else 0
    threshold_at = body.add(part.threshold)
    bias_at = body.add(part.bias) if np.any(part.bias) else 0
    return POPULATION.pack(
        kind, part.reset, flags, 0, part.size, 0,
        decay_at, synaptic_at, threshold_at, bias_at, first, count,
    )  # fmt: skip


def tiled(weights: Int8Array) -> Int8Array:
    """Weights (n_out, n_in) as they lie in an image, flat.

    Tile after tile of TILE target neurons, the last of 4, 8, 12 or 16 (padded with 0); in each
    tile a row of its width for every source neuron.
    """
    n_out, n_in = weights.shape
    padded = np.zeros((align(n_out), n_in), np.int8)
    padded[:n_out] = weights
    tiles = [padded[o : o + TILE].T.ravel() for o in range(0, len(padded), TILE)]
    return np.concatenate(tiles)


def untiled(flat: Int8Array, n_out: int, n_in: int) -> Int8Array:
    """The inverse of `tiled`: weights (n_out, n_in)."""
    parts = []
    for o in range(0, align(n_out), TILE):
        width = min(TILE, align(n_out) - o)
        parts.append(flat[o * n_in : (o + width) * n_in].reshape(n_in, width).T)
    return np.ascontiguousarray(np.concatenate(parts)[:n_out])


def _pack_projection(graph: Graph, part: Projection, body: _Writer) -> bytes:
    n_out, n_in = part.weights.shape
    return PROJECTION.pack(
        PROJECTION_DENSE, part.shift, graph.index(part.source), graph.index(part.target),
        part.blocks, n_in, n_out, body.add(tiled(part.weights)),
    )  # fmt: skip


def _readout_code(readout: Readout) -> tuple[int, int]:
    if isinstance(readout, SpikeCount):
        return READOUT_SPIKE_COUNT, 0
    return READOUT_POTENTIAL, int(readout.mode)


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


class _Reader:
    def __init__(self, image: bytes) -> None:
        self.image = image

    def array(self, offset: int, dtype: str, *shape: int) -> npt.NDArray[Any]:
        count = int(np.prod(shape))
        flat = np.frombuffer(self.image, np.dtype(dtype), count, offset)
        return flat.reshape(shape).astype(flat.dtype.newbyteorder("="))


def _unpack_image(image: bytes, notes: dict[str, Any]) -> Graph:
    (
        _, _, _, _, _, _, step_us, n_populations, n_projections, populations_at, projections_at,
        readout_population, readout_kind, readout_mode, selftest_at, selftest_digest,
        selftest_steps, _,
    ) = HEADER.unpack_from(image)  # fmt: skip
    read = _Reader(image)
    names = notes.get("names") or ["input", *(f"population{k}" for k in range(1, n_populations))]
    records = [
        POPULATION.unpack_from(image, populations_at + k * POPULATION.size)
        for k in range(n_populations)
    ]
    units = tuple(notes.get("units", ()))
    projections = [
        _unpack_projection(image, projections_at + k * PROJECTION.size, names, read)
        for k in range(n_projections)
    ]
    graph = Graph(
        input=_unpack_input(records[0], names[0], units, read),
        populations=tuple(
            _unpack_population(record, name, read)
            for record, name in zip(records[1:], names[1:], strict=True)
        ),
        projections=tuple(projections),
        readout=_unpack_readout(readout_kind, readout_mode, names[readout_population]),
        step_us=step_us,
    )
    if selftest_steps == 0:
        return graph
    frames = read.array(selftest_at, "<i2", selftest_steps, graph.input.size)
    return Graph(
        graph.input, graph.populations, graph.projections, graph.readout, graph.step_us,
        SelfTest(frames, selftest_digest),
    )  # fmt: skip


def _unpack_input(
    record: tuple[Any, ...], name: str, units: tuple[str, ...], read: _Reader
) -> Input:
    kind, size, at = record[0], record[4], record[6]
    if kind == ANALOG_INPUT:
        return AnalogInput(name, read.array(at, "<i1", size), units)
    if kind == SPIKE_INPUT:
        return SpikeInput(name, size)
    raise ValueError(f"the first population is of kind {kind}, not an input")


def _unpack_population(record: tuple[Any, ...], name: str, read: _Reader) -> Population:
    kind, reset, flags, _, size, _, decay_at, synaptic_at, threshold_at, bias_at, _, _ = record
    decay = read.array(decay_at, "<u2", size if flags & DECAY_PER_NEURON else 1)
    threshold = read.array(threshold_at, "<i4", size)
    bias = read.array(bias_at, "<i4", size) if bias_at else np.zeros(size, np.int32)
    if kind == POPULATION_LIF:
        return LIF(name, decay, threshold, bias, Reset(reset))
    if kind == POPULATION_CUBA_LIF:
        per_neuron = flags & SYNAPTIC_DECAY_PER_NEURON
        synaptic = read.array(synaptic_at, "<u2", size if per_neuron else 1)
        return CubaLIF(name, decay, synaptic, threshold, bias, Reset(reset))
    raise ValueError(f"population '{name}' is of unknown kind {kind}")


def _unpack_projection(image: bytes, at: int, names: list[str], read: _Reader) -> Projection:
    kind, shift, source, target, blocks, n_in, n_out, weights_at = PROJECTION.unpack_from(image, at)
    if kind != PROJECTION_DENSE:
        raise ValueError(f"a projection is of unknown kind {kind}")
    weights = untiled(read.array(weights_at, "<i1", n_in * align(n_out)), n_out, n_in)
    return Dense(names[source], names[target], weights, shift, blocks)


def _unpack_readout(kind: int, mode: int, population: str) -> Readout:
    if kind == READOUT_SPIKE_COUNT:
        return SpikeCount(population)
    if kind == READOUT_POTENTIAL:
        return Potential(population, PotentialMode(mode))
    raise ValueError(f"the read-out is of unknown kind {kind}")
