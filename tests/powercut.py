"""Cut the power of a board in the middle of an update, by the million: `make powercuts`.

`powercut.c` is the board: the stream app on flash that loses its power. This makes the models and
the scenarios for it. `python tests/powercut.py --budget 0.01` runs a hundredth of the cuts.
"""

from __future__ import annotations

import argparse
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import monocypher
import numpy as np
from native import APP, CORE, FIRMWARE, STRICT, TESTS, call, tool

from edgesnn import blob, reference
from edgesnn.devices.signing import DEVELOPMENT, IMAGE_AT, Key, make_update
from edgesnn.graph import LIF, AnalogInput, Dense, Graph, SpikeCount
from firmware.signature.fetch import fetch

ALL_CUTS = 1_000_000
PAGE, UNIT, SLOT_PAGES = 128, 4, 8
FLASH = (2 + 2 * SLOT_PAGES) * PAGE
STRANGER = Key(monocypher.generate_signing_key_pair()[0])


def image(weight: int, selftest: int | None = None, size: int = 1) -> bytes:
    """A model of one neuron.

    Args:
        weight: of its synapse.
        selftest: another digest than its golden run gives.
        size: bytes, about.
    """
    one = np.ones(1, np.int32)
    graph = Graph(
        AnalogInput("input", np.zeros(1, np.int8)),
        (LIF("out", np.array([32768], np.uint16), 10 * one, 0 * one),),
        (Dense("input", "out", np.full((1, 1), weight, np.int8)),),
        SpikeCount("out"),
    )
    if size > 1:
        frames = np.full((size // 2, 1), weight, np.int16)  # a long golden run
        return blob.pack_image(reference.with_selftest(graph, frames))
    frames = np.array([[6], [5]], np.int16)
    if selftest is not None:
        return blob.pack_image(graph.with_selftest(frames, selftest))
    return blob.pack_image(reference.with_selftest(graph, frames))


@dataclass(frozen=True)
class Scenario:
    """An update and what must come of it: `new`, `old`, or `back` (new, then not confirmed)."""

    update: bytes
    expected: str
    sent: int
    first: bool = False
    """There is no model on the board before."""


def _with_head(update: bytes, **numbers: int) -> bytes:
    """An update with other numbers in its head, signed and with the right CRC of the head."""
    at = {"length": 8, "crc": 12, "version": 16, "replaces": 20}
    head = bytearray(update[64:IMAGE_AT])
    for name, value in numbers.items():
        struct.pack_into("<I", head, at[name], value)
    struct.pack_into("<I", head, 60, zlib.crc32(head[:60]))
    body = bytes(head) + update[IMAGE_AT:]
    return DEVELOPMENT.sign(body) + body


def scenarios() -> dict[str, Scenario]:
    """All that can come to a board, by name."""
    good = make_update(image(1), DEVELOPMENT, 2).data
    room = SLOT_PAGES * PAGE - 32 - IMAGE_AT
    large = make_update(image(1) + bytes(room), DEVELOPMENT, 2).data
    refused = {
        "bad CRC": good[:-1] + bytes([good[-1] ^ 1]),
        "bad CRC, signed": _with_head(good, crc=1),
        "bad signature": bytes([good[0] ^ 1]) + good[1:],
        "signed by a stranger": make_update(image(1), STRANGER, 2).data,
        "downgrade": make_update(image(1), DEVELOPMENT, 0).data,
        "too large": large,
        "no model": make_update(bytes(300), DEVELOPMENT, 2).data,
        "for another board": make_update(image(1), DEVELOPMENT, 2, target="powercut2").data,
        "self-test fails": make_update(image(1, selftest=1), DEVELOPMENT, 2).data,
    }
    return {
        "good": Scenario(good, "new", len(good)),
        "good, for this board": Scenario(
            make_update(image(1), DEVELOPMENT, 2, target="powercut").data, "new", len(good)
        ),
        "a downgrade that was asked for": Scenario(
            make_update(image(1), DEVELOPMENT, 0, replaces=1).data, "new", len(good)
        ),
        "the first one": Scenario(good, "new", len(good), first=True),
        "never confirmed": Scenario(good, "back", len(good)),
        "truncated": Scenario(good, "old", len(good) - 64),
        "truncated, and says so": Scenario(
            _with_head(good[:-64], length=len(good) - 64 - IMAGE_AT), "old", len(good) - 64
        ),
        **{name: Scenario(update, "old", len(update)) for name, update in refused.items()},
    }


def build(folder: Path, *flags: str) -> Path:
    """The board as a program."""
    library = fetch()
    include = [f"-I{FIRMWARE / part}" for part in ("core", "app", "signature")]
    common = [tool("cc"), *flags, *include, f"-I{library}"]
    made = folder / "monocypher.o"
    call([*common, "-c", library / "monocypher.c", "-o", made])
    program = folder / "powercut"
    sources = (TESTS / "powercut.c", FIRMWARE / "signature" / "signature.c", *APP, *CORE)
    call([*common, *STRICT, *sources, made, "-o", program])
    return program


def command(
    program: Path, folder: Path, name: str, scenario: Scenario, unit: int, *mode: str
) -> list[str | Path]:
    """The command line that runs a scenario."""
    old, new = folder / "old.update", folder / f"{name}.update"
    old.write_bytes(make_update(image(3), DEVELOPMENT, 1).data)
    new.write_bytes(scenario.update)
    return [
        program, str(PAGE), str(unit), str(FLASH), "-" if scenario.first else old, new,
        str(scenario.sent), scenario.expected, *mode,
    ]  # fmt: skip


def counts(said: bytes) -> tuple[int, int]:
    """Runs and cuts, from what the program printed."""
    found = re.fullmatch(rb"(\d+) runs, (\d+) cuts\n", said)
    assert found is not None, said
    return int(found[1]), int(found[2])


def random_runs(program: Path, folder: Path, runs: int) -> tuple[int, int]:
    """Runs with several cuts each at random, shared among the scenarios; runs and cuts done."""
    every = scenarios()
    share = -(-runs // len(every))
    commands = [
        command(program, folder, name, scenario, UNIT, "random", str(share), str(seed))
        for seed, (name, scenario) in enumerate(every.items())
    ]
    return total(
        commands, lambda line: subprocess.run(line, check=True, capture_output=True).stdout
    )


def total(
    commands: Sequence[list[str | Path]], run: Callable[[list[str | Path]], bytes]
) -> tuple[int, int]:
    """Runs and cuts of commands that run side by side."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = [counts(said) for said in pool.map(run, commands)]
    return sum(runs for runs, _ in done), sum(cuts for _, cuts in done)


def main() -> None:
    """Run a share of the million."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=1.0, help="Share of 1,000,000 runs.")
    budget = parser.parse_args().budget
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            runs, cuts = random_runs(build(folder, "-O2"), folder, round(ALL_CUTS * budget))
        except subprocess.CalledProcessError as error:
            sys.exit(error.stderr.decode())
    print(
        f"{runs} updates in {len(scenarios())} scenarios, power cut {cuts} times: after each the "
        f"old or the new model ran, {time.monotonic() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
