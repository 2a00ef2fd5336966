"""A build for known models holds their operations alone, runs them, and refuses others."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path

import equality
import numpy as np
import pytest
from click.testing import CliRunner
from equality import Words
from graphs import cases
from native import CORE, FIRMWARE, STRICT, TESTS, call, tool

from edgesnn import blob, operations, reference
from edgesnn.cli import main
from edgesnn.devices import Stream, open_board
from edgesnn.errors import ModelError
from edgesnn.graph import LIF, Conv, Dense, Graph, Int16Array, Reset, SpikeCount, SpikeInput, Window

BOARD = "mps2-an386"
LEFT_OUT = [2**32 - 12, 0, 0, 0, 0]
"""The result of a case whose model needs an operation that a build leaves out."""
LISTED = re.compile(r"\[(ESNN_\w+)\] = &(esnn_op_\w+)")


def layers() -> Graph:
    """Two dense layers of plain LIF neurons, and a spike count."""
    rng = np.random.default_rng(0)
    populations = tuple(
        LIF(
            name,
            np.array([29491], np.uint16),
            np.full(size, 400, np.int32),
            np.zeros(size, np.int32),
            Reset.SUBTRACT,
        )
        for name, size in (("hidden", 33), ("out", 5))
    )
    projections = (
        Dense("input", "hidden", rng.integers(-128, 128, (33, 20)).astype(np.int8)),
        Dense("hidden", "out", rng.integers(-128, 128, (5, 33)).astype(np.int8)),
    )
    return Graph(SpikeInput("input", 20), populations, projections, SpikeCount("out"))


def convolution() -> Graph:
    out = LIF(
        "out",
        np.array([29491], np.uint16),
        np.full(20, 400, np.int32),
        np.zeros(20, np.int32),
        Reset.SUBTRACT,
    )
    window = Window((4, 5, 1), (4, 5, 1), (3, 3), (1, 1), (1, 1))
    weights = np.random.default_rng(0).integers(-128, 128, (3, 3, 1, 1)).astype(np.int8)
    conv = Conv("input", "out", weights, window)
    return Graph(SpikeInput("input", 20), (out,), (conv,), SpikeCount("out"))


@pytest.fixture(scope="module")
def frames() -> Int16Array:
    return np.random.default_rng(1).integers(0, 2, (2, 12, 20)).astype(np.int16)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The table of `layers`, as the command line writes it."""
    model, out = tmp_path / "layers.esnn", tmp_path / "table.c"
    blob.save(model, layers(), {})
    done = CliRunner().invoke(main, ["operations", str(model), "-o", str(out)])
    assert done.exit_code == 0, done.output
    return out


def test_it_lists_what_the_models_use(table: Path) -> None:
    assert LISTED.findall(table.read_text()) == [
        ("ESNN_LIF", "esnn_op_lif"),
        ("ESNN_DENSE8", "esnn_op_dense8_single"),
        ("ESNN_SPIKE_COUNT", "esnn_op_spike_count"),
    ]
    both = operations.table([blob.pack_image(layers()), blob.pack_image(convolution())], ["two"])
    assert ("ESNN_CONV", "esnn_op_conv") in LISTED.findall(both)
    assert ("ESNN_DENSE8", "esnn_op_dense8_single") in LISTED.findall(both)


def test_blocks_and_merged_projections_need_more_than_single_ones() -> None:
    hidden = layers()
    recurrent = Dense("hidden", "hidden", np.ones((33, 33), np.int8))
    merged = replace(hidden, projections=(hidden.projections[0], recurrent, hidden.projections[1]))
    source = operations.table([blob.pack_image(merged)], ["merged"])
    assert ("ESNN_DENSE8", "esnn_op_dense8") in LISTED.findall(source)
    assert "_single" not in source


def test_it_knows_every_operation_of_the_core() -> None:
    there = LISTED.findall((FIRMWARE / "core" / "esnn_operations.c").read_text())
    parts = (operations.POPULATIONS, operations.PROJECTIONS, operations.READOUTS)
    assert [tuple(o) for part in parts for o in part.values()] == there


def test_any_table_compiles_strictly(tmp_path: Path) -> None:
    include, out = f"-I{FIRMWARE / 'core'}", tmp_path / "table.o"
    for graph, _ in cases(20, 1, 1):
        file = tmp_path / "table.c"
        file.write_text(operations.table([blob.pack_image(graph)], ["random"]))
        call([tool("gcc"), *STRICT, include, "-c", file, "-o", out])


def test_a_build_with_it_runs_its_models_and_refuses_others(
    table: Path, tmp_path: Path, frames: Int16Array
) -> None:
    program = tmp_path / "compilers"
    sources = [path for path in CORE if path.stem != "esnn_operations"]
    include = f"-I{FIRMWARE / 'core'}"
    call([tool("gcc"), *STRICT, "-O2", *equality.ROOM, include, TESTS / "compilers.c", *sources,
          table, "-o", program])  # fmt: skip
    file = tmp_path / "cases"
    images = [blob.pack_image(graph) for graph in (layers(), convolution())]
    file.write_bytes(b"".join(equality.as_bytes(image, frames[0]) for image in images))
    ran, refused = equality.run([program], file, tmp_path)
    assert ran.tolist() == equality.result_of(reference.run(layers(), frames[:1]))
    assert refused.tolist() == LEFT_OUT


def is_there(image: bytes) -> bool:
    """Whether a model needs none of the operations that `small_table` leaves out."""
    header = blob.HEADER.unpack_from(image)
    populations, projections = header[9], header[10]
    for at in range(populations, projections, blob.POPULATION_SIZE):
        if image[at] == blob.LINEAR_KIND:
            return False
    last = projections + header[8] * blob.PROJECTION_SIZE
    for at in range(projections, last, blob.PROJECTION_SIZE):
        blocks, *_, n_sources = blob.DENSE.unpack_from(image, at + blob.PROJECTION.size)
        if image[at] == blob.POOL:
            return False
        if image[at] <= blob.DENSE_2 and (blocks != 1 or n_sources != 0):
            return False
    return bool(header[12] != blob.FIRST_SPIKE)


def by_small_table(cases: bytes, results: Words) -> Words:
    """What a core with `small_table` makes of cases that all give these results."""
    found, at = results.copy(), 0
    for k in range(len(results)):
        size, width, steps = struct.unpack_from("<III", cases, at)
        if not is_there(cases[at + 12 : at + 12 + size]):
            found[k] = LEFT_OUT
        at += 12 + blob.align(size) + steps * blob.align(2 * width)
    return found


def small_table(folder: Path) -> Path:
    """A table with dense projections of one block from one source, and one of each part less."""
    source = (FIRMWARE / "core" / "esnn_operations.c").read_text()
    for bits in (8, 4, 2):
        source = source.replace(f"&esnn_op_dense{bits},", f"&esnn_op_dense{bits}_single,")
    for name in ("linear_state", "pool", "first_spike"):
        source = source.replace(f"&esnn_op_{name},", "0,")
    table = folder / "small.c"
    table.write_text(source)
    return table


def test_a_build_with_less_runs_what_it_can_and_refuses_the_rest(tmp_path: Path) -> None:
    program, file = tmp_path / "compilers", tmp_path / "cases"
    sources = [path for path in CORE if path.stem != "esnn_operations"]
    call([tool("gcc"), *STRICT, "-O2", *equality.ROOM, f"-I{FIRMWARE / 'core'}",
          TESTS / "compilers.c", *sources, small_table(tmp_path), "-o", program])  # fmt: skip
    every, results = equality.cases()
    file.write_bytes(equality.first_cases(every, 1500))
    expected = by_small_table(file.read_bytes(), results[:1500])
    assert equality.differing(equality.run([program], file, tmp_path), expected) == []
    assert 300 < (expected == LEFT_OUT).all(axis=1).sum() < 1400


@pytest.mark.board
def test_firmware_with_it_runs_its_models_and_refuses_others(
    table: Path, tmp_path: Path, frames: Int16Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("arm-none-eabi-gcc")
    out = tmp_path / "firmware" / BOARD
    call([tool("make"), "-C", FIRMWARE, f"BOARD={BOARD}", f"OPERATIONS={table}", f"OUT={out}"])
    symbols = call([tool("arm-none-eabi-nm"), out / "edgesnn.elf"]).decode()
    assert "esnn_op_dense8_single" in symbols
    assert "esnn_blocks_events" not in symbols
    assert "esnn_op_conv" not in symbols
    assert "esnn_tiles4" not in symbols
    monkeypatch.setenv("EDGESNN_FIRMWARE", str(out.parent))
    ours, other = (
        blob.unpack(blob.pack(reference.with_selftest(graph, frames[0])))
        for graph in (layers(), convolution())
    )
    with open_board(BOARD) as board:
        with pytest.raises(ModelError, match="an operation that this build leaves out"):
            board.put_model(other)
        board.put_model(ours)
        outputs = Stream(board, frames).run().outputs
    expected = reference.run(layers(), frames)
    for name in vars(expected):
        np.testing.assert_array_equal(getattr(outputs, name), getattr(expected, name))
