"""Faults while a model runs: flipped bits, inputs at full scale for hours, sensors and clocks that
fail, a trial that traffic keeps alive.

Power that goes is in tests/test_powercut.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from native import FIRMWARE, STRICT, TESTS, build, call, tool
from test_compatibility import MODELS
from test_live import Printing

from edgesnn import blob, reference, runtime
from edgesnn.devices import Frame, live, log
from edgesnn.errors import DeviceError
from edgesnn.graph import AnalogInput, Graph, Int16Array
from edgesnn.recordings import Recording, timing

NAMES = [path.stem for path in MODELS[2]]
MODEL = {path.stem: blob.load(path) for path in MODELS[2]}
HOUR = 20 * 3600
"""Frames of a sensor of 20 Hz."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each model's image, all that a board has."""
    folder = tmp_path_factory.mktemp("images")
    for name, model in MODEL.items():
        (folder / name).write_bytes(model.image)
    return {name: folder / name for name in MODEL}


def harness(folder: Path, sanitizers: str) -> Path:
    return build(
        folder, "faults.c", "clang", "-g", "-O1", f"-fsanitize={sanitizers}",
        "-fno-sanitize-recover=all",
    )  # fmt: skip


@pytest.fixture(scope="module")
def flips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flipped bit may well overflow a sum: of this harness memory alone is asked."""
    return harness(tmp_path_factory.mktemp("flips"), "address")


@pytest.fixture(scope="module")
def hours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harness(tmp_path_factory.mktemp("hours"), "address,undefined")


@pytest.mark.parametrize("what", ["memory", "flash"])
def test_a_flipped_bit_of_a_number_stays_in_bounds(
    flips: Path, images: dict[str, Path], what: str
) -> None:
    """One at a time; every flip in flash is found by a check, some by the digests of answers."""
    told = 0
    for image in images.values():
        flipped, of_them = map(int, call([flips, what, image]).split())
        assert flipped > 100
        told += of_them
    assert told > 1000


def test_nothing_is_used_before_it_is_written(tmp_path: Path, images: dict[str, Path]) -> None:
    """By MemorySanitizer, in an arena that nobody has written to, of changed models too."""
    flags = ("-g", "-O1", "-fsanitize=memory", "-fno-sanitize-recover=all", "-DUNWRITTEN")
    program = build(tmp_path, "hostile.c", "clang", *flags)
    for image in images.values():
        assert call([program, "run", image]) == b"ran: 1\n"
        assert b"format: " in call([program, "scramble", image, "300"])


def constant(graph: Graph, what: str) -> Int16Array:
    """(input size,): the largest values that the input takes, the least, or others."""
    size, values = graph.input.size, isinstance(graph.input, AnalogInput)
    limit = 1 << (graph.input.bits - 1) if isinstance(graph.input, AnalogInput) else 1
    if what == "largest":
        return np.full(size, limit - 1 if values else 1, np.int16)
    if what == "least":
        return np.full(size, -limit if values else 0, np.int16)
    return np.full(size, limit // 2, np.int16) if values else (np.arange(size) % 2).astype(np.int16)


INPUTS = ("largest", "stuck", "least")


@pytest.mark.parametrize("name", NAMES)
def test_an_input_at_full_scale_or_stuck_for_an_hour_gives_the_references_bits(
    name: str, hours: Path, images: dict[str, Path]
) -> None:
    """An hour is run with sanitizers and by the core that hosts use, its beginning by the
    reference too: what saturates has done so by then."""
    model = MODEL[name]
    said = [int(line) for line in call([hours, "hours", images[name], str(HOUR)]).split()]
    frames = np.stack([constant(model.graph, what) for what in INPUTS])
    whole = np.repeat(frames[:, np.newaxis], HOUR, 1)
    digests = runtime.run(model.image, whole, threads=1).digests
    numbers = np.arange(1, HOUR + 1, dtype=np.uint64)
    assert said == [int((d.astype(np.uint64) * numbers).sum() & 0xFFFFFFFF) for d in digests]
    beginning = reference.steps(model.graph, whole[:, :600])
    for step, state in enumerate(beginning):
        assert [state.digest(k) for k in range(len(INPUTS))] == digests[:, step].tolist()


def phone(text: str) -> tuple[Iterator[Frame | None], live.Lines, list[float]]:
    """The frames of a sensor of two channels that prints lines, and the stamps that they get."""
    sensor, taken = live.Lines(Printing("cut\n" + text, 1 << 20), 2), list[float]()
    network: Any = SimpleNamespace(input=AnalogInput("input", np.zeros(2, np.int8)))
    return live._frames(sensor, "phone", network, np.ones(2), None, taken, None), sensor, taken


def test_a_stuck_sensor_is_run_and_a_silent_one_ends_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same value for ever may be true; what the network makes of it is shown above."""
    clock = SimpleNamespace(monotonic=lambda: now, sleep=lambda seconds: None)
    monkeypatch.setattr(live, "time", clock)
    monkeypatch.setattr("test_live.time", clock)
    now = 0.0
    frames, _, taken = phone("".join(f"{50 * k},7,-7\n" for k in range(HOUR // 10)))
    for _ in range(HOUR // 10):
        frame = next(frames)
        assert frame is not None
        assert frame.values.tolist() == [7, -7]
    assert next(frames) is None
    now = live.SILENCE_S + 1
    with pytest.raises(DeviceError, match="phone has sent no line"):
        next(frames)
    assert len(taken) == HOUR // 10


def test_a_sensors_clock_that_jumps_costs_no_sample_and_is_told() -> None:
    stamps = [0.0, 50.0, 100.0, -1e12, -1e12 + 50, 1e300, 1e300, 0.0, 50.0]
    frames, sensor, taken = phone("".join(f"{stamp!r},{k},0\n" for k, stamp in enumerate(stamps)))
    made = [next(frames) for _ in stamps]
    assert [None if f is None else int(f.values[0]) for f in made] == list(range(len(stamps)))
    assert all(f is not None and 0 <= f.time_us < 2**32 for f in made)
    assert (taken, sensor.bad) == (stamps, 0)
    clock = np.array(taken) / 1e3
    assert "gap" in timing([Recording(np.zeros((len(clock), 1)), None, clock)])


def test_a_stamp_that_is_no_time_is_a_bad_line() -> None:
    """Microseconds of it are beyond any number."""
    frames, sensor, taken = phone("1e308,1,1\n50,2,2\n")
    frame = next(frames)
    assert frame is not None
    assert frame.values.tolist() == [2, 2]
    assert (taken, sensor.bad) == ([50.0], 1)


def test_the_computers_clock_may_jump_while_a_session_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Summer time, or a clock that is set: the log's times run on from where it was opened."""
    model = MODEL[NAMES[0]]
    with log.LogWriter.create(tmp_path / "s.esnl", model, source="x", period=0.0) as writer:
        before = writer.now_us()
        for jump_s in (3600, -86400):
            jumped = time.time_ns() + jump_s * 10**9
            monkeypatch.setattr(time, "time_ns", lambda jumped=jumped: jumped)
            assert 0 <= writer.now_us() - before < 3600 * 10**6 / 2


def test_traffic_keeps_no_watchdog_quiet(tmp_path: Path) -> None:
    """A model on trial lives on by its host's confirmation, not by frames that go on coming."""
    program = tmp_path / "watchdog"
    flags = [flag for flag in STRICT if flag != "-Wmissing-prototypes"]
    include = [f"-I{FIRMWARE / name}" for name in ("app", "core", "signature", "boards/virtual")]
    call([
        tool("gcc"), *flags, "-Wno-unused-function", "-O1", "-ffunction-sections", *include,
        TESTS / "watchdog.c", "-Wl,--gc-sections", "-o", program,
    ])  # fmt: skip
    assert call([program]) == b"before: 5 bytes\nafter: restarted\n"
