"""Random graphs and what the reference makes of them, in a file that any build of the core runs."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from graphs import frames_for, graph
from native import TESTS, call

from edgesnn import blob, reference
from edgesnn.graph import Int16Array
from edgesnn.reference import Outputs

COUNT, STEPS = 10_000, 100
PART = 250
WORDS = 5
TOO_LARGE = 1
# what a host has room for; tests/compilers.c wants it defined
ROOM = ("-DIMAGE_BYTES=1048576", "-DFRAME_BYTES=65536", "-DARENA_SIZE=1048576")
CACHE = TESTS.parent / "build" / "equality"
Words = npt.NDArray[np.uint32]


def as_bytes(image: bytes, frames: Int16Array) -> bytes:
    """A case as tests/compilers.c reads it; frames (steps, input size)."""
    steps, size = frames.shape
    padded = np.zeros((steps, (size + 1) // 2 * 2), "<i2")
    padded[:, :size] = frames
    head = struct.pack("<III", len(image), size, steps)
    return head + image.ljust(blob.align(len(image)), b"\0") + padded.tobytes()


def result_of(outputs: Outputs) -> list[int]:
    """What tests/compilers.c must write for a case of one sample that was run."""
    since, number = outputs.decided[0], np.arange(1, outputs.digests.shape[1] + 1)
    decided = np.where((since > 0) & (number >= since), since, 0)
    steps = np.stack([outputs.digests[0], outputs.step_labels[0] + (decided << 16)], axis=1)
    crc = zlib.crc32(steps.astype("<u4").tobytes())
    work = (outputs.spikes[0], outputs.synops[0], outputs.macs[0])
    return [0, crc, *(int(total) % 2**32 for total in work)]


def _part(first: int) -> tuple[bytes, list[list[int]]]:
    cases, results = [], []
    for seed in range(first, first + PART):
        made = graph(seed)
        frames = frames_for(made, 1, STEPS, seed)
        cases.append(as_bytes(blob.pack_image(made), frames[0]))
        results.append(result_of(reference.run(made, frames)))
    return b"".join(cases), results


def _version() -> str:
    """Of everything that the cases and their results follow from."""
    package = Path(blob.__file__).parent
    sources = [package / f"{name}.py" for name in ("graph", "reference", "blob")]
    sources += [TESTS / "graphs.py", TESTS / "equality.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def cases() -> tuple[Path, Words]:
    """The file of COUNT cases, and their results (COUNT, WORDS), made anew where there is none."""
    file, results = CACHE / f"{_version()}.cases", CACHE / f"{_version()}.npy"
    if not results.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        for old in CACHE.iterdir():
            old.unlink()
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            parts = list(pool.map(_part, range(0, COUNT, PART)))
        file.write_bytes(b"".join(part for part, _ in parts))
        np.save(results, np.array([row for _, rows in parts for row in rows], np.uint32))
    return file, np.load(results)


def first_cases(file: Path, n: int) -> bytes:
    """The bytes of the first n cases of a file."""
    data = file.read_bytes()
    at = 0
    for _ in range(n):
        image, size, steps = struct.unpack_from("<III", data, at)
        at += 12 + blob.align(image) + steps * blob.align(2 * size)
    return data[:at]


def read_results(data: bytes) -> Words:
    """What tests/compilers.c wrote, (cases, WORDS)."""
    return np.frombuffer(data, "<u4").reshape(-1, WORDS)


def run(program: Sequence[str | Path], file: Path, folder: Path) -> Words:
    """What a build of tests/compilers.c makes of a file of cases."""
    call([*program, file, folder / "results"])
    return read_results((folder / "results").read_bytes())


def differing(found: Words, expected: Words) -> Sequence[int]:
    """Numbers of the cases whose results are not as they must be."""
    assert found.shape == expected.shape
    return [int(k) for k in np.flatnonzero((found != expected).any(axis=1))]
