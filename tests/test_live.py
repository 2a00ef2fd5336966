"""Live sensors: a watch that prints its samples, over Bluetooth and over a serial line."""

from __future__ import annotations

import json
import os
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from bluez import Bluez, private_bus
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from uart import Uart

from edgesnn import blob, reference
from edgesnn.cli import main
from edgesnn.devices import live
from edgesnn.devices.backend import open_board
from edgesnn.devices.recordings import basic_motions
from edgesnn.quantize import quantize
from edgesnn.recordings import read
from edgesnn.sources import read_network
from edgesnn.zoo.basicmotions import CHECKPOINT

G = 9.80665


def edgesnn(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


class Printing:
    """A link on which text comes, a few bytes at a time; after it, silence."""

    def __init__(self, text: str, piece: int = 37) -> None:
        self.data, self._piece = text.encode(), piece

    def read(self, timeout: float) -> bytes:
        if not self.data:
            time.sleep(timeout)
        data, self.data = self.data[: self._piece], self.data[self._piece :]
        return data

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


def printed(signal: np.ndarray, start_ms: int = 5000) -> str:
    return "".join(
        f"{start_ms + 100 * k}," + ",".join(map(repr, map(float, step))) + "\n"
        for k, step in enumerate(signal)
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "m.esnn"
    network = read_network(CHECKPOINT)
    graph = quantize(network, basic_motions("train").signal).graph
    blob.save(path, graph, {"classes": list(network.classes)})
    return path


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A watch in range that prints samples in g and rad/s, and what they are."""
    signal = basic_motions("test").signal[3] / np.array([G] * 3 + [1] * 3)
    with private_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        bluez = Bluez(address)
        text = "7,0.3\n" + "Hello from the watch\n" + printed(signal)
        printing = Waiting(text)
        printing.uart = uart = Uart(printing)
        bluez.put("Bangle.js 1234", "F0:00:5E:00:53:04", uart)
        yield signal
        uart.close()
        bluez.close()


class Waiting(Printing):
    """Prints once somebody listens."""

    uart: Uart | None = None

    def read(self, timeout: float) -> bytes:
        if self.uart is None or not self.uart.linked:
            time.sleep(timeout)
            return b""
        return super().read(timeout)


def test_a_watch_is_recognised_over_bluetooth(watch: Any, model: Path, tmp_path: Path) -> None:
    done = edgesnn(
        "live", model, "--source", "ble://Bangle.js 1234", "--units", "g,g,g,rad/s,rad/s,rad/s",
        "--steps", len(watch), "--keep", tmp_path / "kept.csv", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "channel 0 converted from g to m/s^2: × 9.80665" in done.stderr
    loaded = blob.load(model)
    expected = reference.run(
        loaded.graph, loaded.graph.input.quantize(watch * ([G] * 3 + [1] * 3))[None]
    )
    shown = json.loads(done.stdout)
    assert (shown["samples"], shown["frames_answered"]) == (len(watch), len(watch))
    assert shown["last"] == loaded.classes[expected.labels[0]]
    assert shown["bad_lines"] == 1
    assert "no gaps" in shown["timing"]
    (kept,) = read(tmp_path / "kept.csv")
    np.testing.assert_array_equal(kept.signal, watch)
    assert kept.units == ("g",) * 3 + ("rad/s",) * 3


@pytest.fixture
def phone() -> Iterator[tuple[int, str]]:
    other_end, port = os.openpty()
    tty.setraw(port)
    yield other_end, os.ttyname(port)
    os.close(port)
    os.close(other_end)


def test_a_lost_line_is_a_gap_that_is_told(phone: tuple[int, str], model: Path) -> None:
    other_end, port = phone
    lines = printed(basic_motions("test").signal[0][:30]).splitlines(keepends=True)
    del lines[10:14]
    timer = threading.Timer(0.5, os.write, (other_end, ("x\n" + "".join(lines)).encode()))
    timer.start()
    done = edgesnn("live", model, "--source", port, "--steps", 26)
    timer.join()
    assert done.exit_code == 0, done.output
    assert "1 gap, the longest of 0.5 s before step 10" in done.stdout
    assert done.stdout.startswith("     0.00 s  ")


def test_silence_and_other_talk_are_one_sentence(
    phone: tuple[int, str], model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(live, "SILENCE_S", 0.3)
    other_end, port = phone
    timer = threading.Timer(0.2, os.write, (other_end, b"$GPGGA\n1,2,3\n4,5,6\n"))
    timer.start()
    done = edgesnn("live", model, "--source", port, "--steps", 9)
    timer.join()
    assert done.exit_code == 3
    (line,) = done.stderr.splitlines()
    assert "has sent no line 'milliseconds' and 6 values for 0 s" in line
    for arguments, words in (
        (("--source", "/dev/ttyNONE7"), "there is no port /dev/ttyNONE7"),
        (("--source", port, "--units", "g,g"), "has 6 channels and --units names 2"),
        (("--source", port, "--units", "V"), "is in V and the model takes m/s^2"),
        (("--source", port, "--keep", tmp_path / "no" / "x.csv"), "cannot write"),
    ):
        done = edgesnn("live", model, *arguments)
        assert done.exit_code == 2, done.output
        assert words in done.stderr


SCALE = 1 / 2048


@pytest.fixture(
    scope="module", params=["virtual", pytest.param("mps2-an386", marks=pytest.mark.board)]
)
def board(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def saw_teeth(number: int) -> list[int]:
    """What the boards take that have no sensor (firmware/boards/signal)."""
    return [number * (channel + 1) % 64 * 1024 - 32768 for channel in range(6)]


def test_a_boards_own_sensor_is_recognised_and_can_be_replayed(
    board: str, model: Path, tmp_path: Path
) -> None:
    log, csv = tmp_path / "own.esnl", tmp_path / "own.csv"
    done = edgesnn(
        "live", model, "--source", "board", "--board", board, "--scale", SCALE,
        "--steps", 40, "--log", log, "--keep", csv, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert (shown["frames_answered"], shown["frames_lost"], shown["samples_lost"]) == (40, 0, 0)
    assert "no gaps" in shown["timing"]
    (kept,) = read(csv)
    first = next(n for n in range(64) if saw_teeth(n) == kept.signal[0].tolist())
    np.testing.assert_array_equal(kept.signal, [saw_teeth(first + k) for k in range(40)])
    replayed = json.loads(edgesnn("replay", log, "--backend", "reference", "--json").stdout)
    assert replayed["answers_reproduced"] == replayed["frames"] == 40


def test_samples_that_nobody_fetched_are_counted(board: str) -> None:
    with open_board(board) as device:
        start = device.samples(0).taken
        time.sleep(0.5)  # 25 samples, and 15 are kept
        late = device.samples(start)
        assert late.first - start == late.taken - start - 15 > 0
        assert [list(values) for _, values in late.samples] == [
            saw_teeth(late.first + k) for k in range(15)
        ]
        to_come = device.samples(late.taken + 1000)
        assert (to_come.first, to_come.samples) == (to_come.taken, ())


def test_a_sensor_of_another_width_is_refused(tmp_path: Path) -> None:
    narrow = next(g for g in map(graphs.graph, range(100)) if g.input.size == 2)
    blob.save(
        tmp_path / "two.esnn",
        reference.with_selftest(narrow, graphs.frames_for(narrow, 1, 2)[0]),
        {},
    )
    done = edgesnn("live", tmp_path / "two.esnn", "--source", "board")
    assert done.exit_code == 2
    assert "has 6 channels, the model takes 2" in done.stderr


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**32 - 1)))
def test_a_clock_that_wraps_counts_on(start: int, waits: list[int]) -> None:
    clock, now = live.Clock(), start
    assert clock.unwrapped(start) == start
    for wait in waits:
        now += wait
        assert clock.unwrapped(now % 2**32) == now


@given(
    st.lists(
        st.tuples(
            st.floats(-1e300, 1e300),
            st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2),
        ),
        max_size=20,
    ),
    st.integers(1, 50),
)
def test_lines_come_through_whatever_pieces_the_link_makes(
    samples: list[tuple[float, list[float]]], piece: int
) -> None:
    text = "cut\n" + "".join(",".join(map(repr, (t, *v))) + "\n" for t, v in samples)
    link = Printing(text, piece)
    lines = live.Lines(link, 2)
    found = []
    while link.data:
        found += lines.read(0.0)
    assert found == samples
    assert lines.bad == 0


@given(st.binary(max_size=200))
def test_any_bytes_are_samples_or_counted(data: bytes) -> None:
    link = Printing("")
    link.data = data
    lines = live.Lines(link, 1)
    found = []
    while link.data:
        found += lines.read(0.0)
    assert len(found) + lines.bad <= max(0, data.count(b"\n") - 1)
    assert all(np.isfinite([t, *v]).all() for t, v in found)
