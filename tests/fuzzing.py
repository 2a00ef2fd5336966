"""Coverage-guided fuzzing of what takes bytes from outside, in C (`make fuzz`).

Three entry points under AddressSanitizer and UndefinedBehaviorSanitizer, by clang's libFuzzer:

* image: check, load, step, self-test, reset (tests/hostile.c);
* packet: the decoder of packets, and the way back (tests/fuzz/packet.c);
* talk: the whole stream app, on packets that are sound and mean anything (tests/fuzz/talk.c).

tests/test_fuzz.py runs each for a short time. What was found once lies in tests/fuzz/found.
"""

from __future__ import annotations

import argparse
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import graphs
from native import APP, CORE, FIRMWARE, TESTS

from edgesnn import blob, reference
from edgesnn.devices import protocol as p
from edgesnn.devices.packet import Packet, encode

RUNS = {"image": 100_000_000, "packet": 100_000_000, "talk": 10_000_000}
"""At a budget of 1."""
FOUND = TESTS / "fuzz" / "found"
HARNESSES = {
    "image": (TESTS / "hostile.c", "-DFUZZ"),
    "packet": (TESTS / "fuzz" / "packet.c", FIRMWARE / "app" / "packet.c"),
    "talk": (TESTS / "fuzz" / "talk.c", *APP),
}
FLAGS = (
    "-std=c99", "-g", "-O2", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all",
    "-fno-sanitize-coverage=trace-cmp",  # as much is covered without, in a third of the time
    "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
)  # fmt: skip
LONGEST = {"image": 1200, "packet": 600, "talk": 1200}
"""Of the inputs to begin with, bytes; mutated ones may be 200 longer."""
DEPTH = {"image": 1, "packet": 5, "talk": 5}
"""Mutations between two runs at most: after several hardly any image is let in."""
# what is freed is not kept away for long, and of where it was allocated only a line is noted: these
# take longer than the code under test
OPTIONS = {**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=4:malloc_context_size=1"}


@dataclass
class Fuzzed:
    """What came of fuzzing one entry point.

    Attributes:
        runs: of the harness.
        stepped: of them, images that were let in and run; 0 for what takes no images.
        failed: whether anything was found.
        said: what the fuzzer said last.
    """

    runs: int
    stepped: int
    failed: bool
    said: str


def build(name: str, folder: Path) -> Path:
    """The harness of an entry point, compiled in `folder`."""
    program = folder / name
    include = ("-I", FIRMWARE / "core", "-I", FIRMWARE / "app")
    subprocess.run(["clang", *FLAGS, *include, *HARNESSES[name], *CORE, "-o", program], check=True)
    return program


def seeds(name: str) -> Iterator[bytes]:
    """Good inputs to begin with."""
    images = []
    for graph, frames in graphs.cases(400, samples=1, steps=2):
        image = blob.pack_image(reference.with_selftest(graph, frames[0]))
        if len(image) <= LONGEST[name]:
            images.append(image)
    if name == "image":
        yield from images
    elif name == "packet":
        for size in (0, 1, 100, 253, 254, 255, 300):
            yield b"\xff" + encode(Packet(p.FRAME, 7, bytes(k % 251 for k in range(size))))
    else:
        said = ((p.FRAME, bytes(10)), (p.SUBSCRIBE, b"\1\0\1\0"), (p.FRAME, bytes(8)),
                (p.LIST, b""), (p.SELECT, b"\0"), (p.SELFTEST, b""), (p.RESET, b""), (p.COUNT, b""),
                (p.EVO_BEGIN, struct.pack("<IIB", 64, 64, 0)), (p.EVO_RUN, bytes(8)),
                (p.SENSE, bytes(4)))  # fmt: skip
        packets = b"".join(bytes([kind, len(payload)]) + payload for kind, payload in said)
        for image in images:
            yield struct.pack("<H", len(image)) + image + packets


def start(name: str, folder: Path, *limits: str) -> subprocess.Popen[str]:
    """Fuzz an entry point in a process of its own."""
    program = build(name, folder)
    corpus, found = folder / f"{name}-corpus", FOUND / name
    corpus.mkdir()
    for k, seed in enumerate(seeds(name)):
        (corpus / f"seed{k}").write_bytes(seed)
    return subprocess.Popen(
        [program, corpus, *([found] if found.is_dir() else []), *limits, "-print_final_stats=1",
         f"-max_len={LONGEST[name] + 200}", f"-mutate_depth={DEPTH[name]}", "-timeout=20",
         f"-artifact_prefix={folder}/"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=OPTIONS,
    )  # fmt: skip


def wait(process: subprocess.Popen[str]) -> Fuzzed:
    """What it came to."""
    said = process.communicate()[1]
    runs = re.search(r"number_of_executed_units: (\d+)", said)
    stepped = re.search(r"^stepped: (\d+)", said, re.MULTILINE)
    lines = [line for line in said.splitlines() if not line.startswith("#")]
    counts = [int(found[1]) if found else 0 for found in (runs, stepped)]
    return Fuzzed(*counts, process.returncode != 0, "\n".join(lines[-60:]))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*HARNESSES, []], help="default: all")
    parser.add_argument("--budget", type=float, default=1.0, help="share of the runs")
    parser.add_argument("--seconds", type=int, default=0, help="at most, for each; default: no end")
    chosen = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        names = chosen.names or list(HARNESSES)
        limit = f"-max_total_time={chosen.seconds}"
        under_way = {
            name: start(name, Path(folder), f"-runs={round(RUNS[name] * chosen.budget)}", limit)
            for name in names
        }
        for name, process in under_way.items():
            fuzzed = wait(process)
            stepped = f", {fuzzed.stepped:,} of them stepped" if fuzzed.stepped else ""
            print(
                f"{name}: {fuzzed.runs:,} runs{stepped}, "
                f"{'FAILED' if fuzzed.failed else '0 findings'}"
            )
            if fuzzed.failed:
                print(fuzzed.said)
            failed |= fuzzed.failed
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
