"""Whatever compiles the core, it computes the reference's bits."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from graphs import graphs_and_frames
from hypothesis import Phase, given, settings
from native import APP, CORE, FIRMWARE, STRICT, build, call, tool
from test_hostile import GOLDEN, crowd, with_crc

from edgesnn import blob, reference
from edgesnn.graph import AnalogInput, Graph, Int16Array
from edgesnn.reference import Outputs

Case = tuple[bytes, Int16Array]
Words = npt.NDArray[np.uint32]

TRAPPING = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
AS_ON_ARM = ("-funsigned-char", "-fshort-enums")
COMPILERS = [
    pytest.param("gcc", ("-O0",), False, id="gcc -O0"),
    pytest.param("gcc", ("-O2",), False, id="gcc -O2"),
    pytest.param("gcc", ("-O3",), False, id="gcc -O3"),
    pytest.param("gcc", ("-O2", *TRAPPING), False, id="gcc -O2, trapping"),
    pytest.param("gcc", ("-Os", *AS_ON_ARM), False, id="gcc -Os, types as on Arm"),
    pytest.param("gcc", ("-m32", "-O2"), True, id="gcc -m32 -O2"),
    pytest.param("clang", ("-O2",), True, id="clang -O2"),
]
CORTEX = ["cortex-m0", "cortex-m3", "cortex-m4"]


@pytest.fixture(scope="module")
def cases() -> list[tuple[Case, Outputs]]:
    """300 random graphs with frames, and some at the ends of every range; always the same."""
    found = [(graph, frames_for(graph)) for graph in (*GOLDEN.values(), crowd())]
    found.append((crowd(), np.ones((2, 12, 600), np.int16)))

    @settings(
        max_examples=300, derandomize=True, database=None, deadline=None, phases=[Phase.generate]
    )
    @given(graphs_and_frames(samples=2))
    def collect(case: tuple[Graph, Int16Array]) -> None:
        found.append(case)

    collect()
    return [((blob.pack_image(g), frames), reference.run(g, frames)) for g, frames in found]


def frames_for(graph: Graph) -> Int16Array:
    rng = np.random.default_rng(0)
    values = [-32768, 32767, 0] if isinstance(graph.input, AnalogInput) else [0, 1]
    return rng.choice(values, (2, 12, graph.input.size)).astype(np.int16)


def run(program: Path, cases: Sequence[Case]) -> list[Words | None]:
    """What the core gave for each case, (samples, steps, 5) uint32; None where it refused it."""
    file = program.with_name("cases")
    with file.open("wb") as out:
        for image, frames in cases:
            out.write(struct.pack("<IIII", len(image), frames.size, *frames.shape[:2]))
            for part in (image, frames.astype("<i2").tobytes()):
                out.write(part.ljust(blob.align(len(part)), b"\0"))
    words = np.frombuffer(call([program, file]), "<u4")
    outputs: list[Words | None] = []
    at = 0
    for _, frames in cases:
        status, at = words[at], at + 1
        if status != 0:
            outputs.append(None)
            continue
        samples, steps = frames.shape[:2]
        outputs.append(words[at : at + samples * steps * 5].reshape(samples, steps, 5))
        at += samples * steps * 5
    assert at == len(words)
    return outputs


def assert_same(words: Words | None, expected: Outputs) -> None:
    assert words is not None
    digests, labels, *work = np.moveaxis(words, 2, 0)
    np.testing.assert_array_equal(digests, expected.digests)
    np.testing.assert_array_equal(labels, expected.step_labels)
    totals = (expected.spikes, expected.synops, expected.macs)
    for counted, total in zip(work, totals, strict=True):
        np.testing.assert_array_equal(counted.sum(axis=1), total)


@pytest.mark.parametrize(("compiler", "flags", "optional"), COMPILERS)
def test_any_compiler_and_option_gives_the_same_bits(
    tmp_path: Path,
    cases: list[tuple[Case, Outputs]],
    compiler: str,
    flags: tuple[str, ...],
    optional: bool,
) -> None:
    program = build(tmp_path, "compilers.c", compiler, *flags, optional=optional)
    outputs = run(program, [case for case, _ in cases])
    for words, (_, expected) in zip(outputs, cases, strict=True):
        assert_same(words, expected)


def test_what_the_core_takes_means_the_same_in_python(tmp_path: Path) -> None:
    program = build(tmp_path, "compilers.c", "gcc", "-O2")
    rng = random.Random(0)
    images = []
    for graph in GOLDEN.values():
        for _ in range(1000):
            changed = bytearray(blob.pack_image(graph))
            changed[rng.randrange(blob.CRC_START, len(changed))] = rng.choice(
                (rng.randrange(256), rng.randrange(4), 255)
            )
            images.append((with_crc(bytes(changed)), frames_for(graph)))
    taken = 0
    for words, (image, frames) in zip(run(program, images), images, strict=True):
        if words is None:
            continue
        taken += 1
        assert_same(words, reference.run(blob.unpack(image).graph, frames))
    assert taken > 1000


def compile_for_arm(folder: Path, cpu: str, sources: Sequence[Path]) -> list[Path]:
    """Objects of core or app sources as firmware without a libc compiles them, strictly."""
    include = [f"-I{FIRMWARE / part}" for part in ("core", "app", "boards/freestanding")]
    options = (f"-mcpu={cpu}", "-mthumb", "-O2", "-ffreestanding", *STRICT, *include)
    objects = [folder / f"{source.stem}.o" for source in sources]
    for source, made in zip(sources, objects, strict=True):
        call([tool("arm-none-eabi-gcc"), *options, "-c", source, "-o", made])
    return objects


@pytest.mark.parametrize("cpu", CORTEX)
def test_core_and_app_compile_for_a_microcontroller_without_a_warning(
    tmp_path: Path, cpu: str
) -> None:
    assert compile_for_arm(tmp_path, cpu, [*CORE, *APP])


@pytest.mark.parametrize("cpu", CORTEX)
def test_the_core_has_no_variables_of_its_own(tmp_path: Path, cpu: str) -> None:
    sizes = call([tool("arm-none-eabi-size"), *compile_for_arm(tmp_path, cpu, CORE)]).decode()
    data_and_bss = [line.split()[1:3] for line in sizes.splitlines()[1:]]
    assert data_and_bss == [["0", "0"]] * len(CORE)


@pytest.mark.parametrize("cpu", CORTEX)
def test_the_core_calls_nothing_but_copies_and_integer_helpers(tmp_path: Path, cpu: str) -> None:
    symbols = call([tool("arm-none-eabi-nm"), *compile_for_arm(tmp_path, cpu, CORE)]).decode()
    needed = set(re.findall(r" U (\S+)$", symbols, re.MULTILINE))
    there = set(re.findall(r" T (\S+)$", symbols, re.MULTILINE))
    assert "esnn_check" in there
    allowed = re.compile(r"memcpy|memset|__aeabi_(lmul|llsl|llsr|lasr|u?idiv|u?(id|ld)ivmod)")
    assert [name for name in needed - there if not allowed.fullmatch(name)] == []
