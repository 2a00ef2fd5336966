"""Whatever compiles the core, it computes the reference's bits."""

from __future__ import annotations

import random
import re
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import equality
import numpy as np
import pytest
from equality import ROOM, Words, run
from graphs import frames_for, graph
from inventory import EVERYTHING, used
from native import APP, CORE, FIRMWARE, STRICT, TESTS, build, call, tool
from test_count import count
from test_hostile import GOLDEN, with_crc

from edgesnn import blob, reference
from edgesnn.errors import FormatError

TRAPPING = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
AS_ON_ARM = ("-funsigned-char", "-fshort-enums")
COMPILERS = {
    "gcc -O0": ("gcc", "-O0"),
    "gcc -O2": ("gcc", "-O2"),
    "gcc -O3": ("gcc", "-O3"),
    "gcc -O2, trapping": ("gcc", "-O2", *TRAPPING),
    "gcc -Os, types as on Arm": ("gcc", "-Os", *AS_ON_ARM),
    "gcc -m32 -O0": ("gcc", "-m32", "-O0"),
    "gcc -m32 -O2": ("gcc", "-m32", "-O2"),
    "gcc -m32 -O3": ("gcc", "-m32", "-O3"),
    "clang -O0": ("clang", "-O0"),
    "clang -O2": ("clang", "-O2"),
    "clang -O3": ("clang", "-O3"),
    "clang -m32 -O0": ("clang", "-m32", "-O0"),
    "clang -m32 -O2": ("clang", "-m32", "-O2"),
    "clang -m32 -O3": ("clang", "-m32", "-O3"),
    "gcc -O3, vectors": ("gcc", "-O3", "-DESNN_HOST"),
    "gcc -m32 -O2, vectors": ("gcc", "-m32", "-O2", "-DESNN_HOST"),
    "clang -O2, vectors": ("clang", "-O2", "-DESNN_HOST"),
}
LINUX = {
    "arm": ("arm-linux-gnueabihf-gcc", "-mcpu=cortex-a7", "qemu-arm"),
    "aarch64": ("aarch64-linux-gnu-gcc", "-mcpu=cortex-a53", "qemu-aarch64"),
}
ON_CORES = 1000
TRIED_ON_M0 = 2600  # of which not all fit
CORTEX = ["cortex-m0", "cortex-m3", "cortex-m4"]


@pytest.fixture(scope="module")
def cases() -> tuple[Path, Words]:
    """10,000 random graphs over 100 steps each, and what the reference makes of them."""
    return equality.cases()


def used_by(seeds: Iterable[int]) -> set[str]:
    return set().union(*(used(graph(seed)) for seed in seeds))


def assert_all_equal(found: Words, expected: Words) -> None:
    wrong = equality.differing(found, expected)
    assert not wrong, (
        f"{len(wrong)} graphs gave other bits, the first is tests/graphs.py's graph"
        f"({wrong[0]}): {found[wrong[0]]}, not {expected[wrong[0]]}"
    )


def test_the_random_graphs_use_everything_and_how_it_meets() -> None:
    """Already those that the smallest core tries."""
    assert EVERYTHING - used_by(range(TRIED_ON_M0)) == set()


@pytest.mark.parametrize("name", COMPILERS)
def test_any_compiler_and_option_gives_the_same_bits(
    tmp_path: Path, cases: tuple[Path, Words], name: str
) -> None:
    compiler, *flags = COMPILERS[name]
    optional = compiler == "clang" or "-m32" in flags
    program = build(tmp_path, "compilers.c", compiler, *flags, *ROOM, optional=optional)
    file, expected = cases
    assert len(expected) == 10_000
    assert_all_equal(run([program], file, tmp_path), expected)


@pytest.mark.parametrize("machine", LINUX)
def test_watches_with_linux_give_the_same_bits(
    tmp_path: Path, cases: tuple[Path, Words], machine: str
) -> None:
    """As programs for 32-bit and 64-bit Arm Linux, under user-mode emulation."""
    compiler, cpu, emulator = LINUX[machine]
    program = build(tmp_path, "compilers.c", compiler, "-O2", "-static", cpu, *ROOM)
    file, expected = cases
    assert_all_equal(run([tool(emulator), program], file, tmp_path), expected)


@pytest.mark.board
@pytest.mark.parametrize("core", count.CORES)
def test_emulated_cores_give_the_same_bits(
    tmp_path: Path, cases: tuple[Path, Words], core: str
) -> None:
    """At least 1,000 graphs on every core, with the kernels that are made for it."""
    file, expected = cases
    small = core in count.RAM_BYTES
    room = (6144, 256, 6144) if small else (20480, 1024, 24576)
    names = ("IMAGE_BYTES", "FRAME_BYTES", "ARENA_SIZE")
    defines = [f"-D{name}={size}" for name, size in zip(names, room, strict=True)]
    program = {TESTS / "compilers.c": ("-O2", "-DESNN_EMULATED", "-UARENA_SIZE", *defines)}
    elf = count.link_program(core, tmp_path, "compilers", program, 0)
    tried = TRIED_ON_M0 if small else 1100
    (tmp_path / "cases").write_bytes(equality.first_cases(file, tried))
    count.emulate(core, elf, tmp_path)
    found = equality.read_results((tmp_path / "results").read_bytes())
    fits = found[:, 0] != equality.TOO_LARGE
    assert fits.sum() >= ON_CORES
    assert_all_equal(found[fits], expected[:tried][fits])
    missing = EVERYTHING - used_by(np.flatnonzero(fits))
    # more than 256 neurons with delayed synapses seldom fit 16 kB
    assert missing <= ({"DelayedSynapses, targets of 16 bits"} if small else set())


def hostile(image: bytes, rng: random.Random) -> bytes:
    """An image with a byte or two changed, most often in its records, and the rest made right."""
    changed = bytearray(image)
    for _ in range(rng.choice((1, 1, 2))):
        last = len(image) if rng.random() < 0.5 else min(len(image), 450)
        at = rng.randrange(blob.CRC_START, last)
        changed[at] = rng.choice((rng.randrange(256), rng.randrange(8), changed[at] ^ 1, 255))
    try:
        arena = blob.arena_bytes(blob.unpack(with_crc(bytes(changed))).graph)
        struct.pack_into("<I", changed, 16, arena)
    except (FormatError, struct.error):
        pass
    return with_crc(bytes(changed))


def test_what_the_core_takes_means_the_same_in_python(tmp_path: Path) -> None:
    program = build(tmp_path, "compilers.c", "gcc", "-O2", *ROOM)
    rng = random.Random(0)
    images = [
        (name, hostile(blob.pack_image(made), rng), frames_for(made, 1, 12))
        for name, made in GOLDEN.items()
        for _ in range(1000)
    ]
    file = tmp_path / "cases"
    file.write_bytes(b"".join(equality.as_bytes(image, frames[0]) for _, image, frames in images))
    taken: Counter[str] = Counter()
    results = run([program], file, tmp_path)
    for found, (name, image, frames) in zip(results, images, strict=True):
        if found[0] == 0:
            taken[name] += 1
            outputs = reference.run(blob.unpack(image).graph, frames)
            assert found.tolist() == equality.result_of(outputs)
    assert all(taken[name] > 60 for name in GOLDEN), taken


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
    there = set(re.findall(r" [TR] (\S+)$", symbols, re.MULTILINE))
    assert "esnn_check" in there
    allowed = re.compile(r"memcpy|memset|__aeabi_(lmul|llsl|llsr|lasr|u?idiv|u?(id|ld)ivmod)")
    assert [name for name in needed - there if not allowed.fullmatch(name)] == []
