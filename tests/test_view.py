"""What people see of a stream: the live view, the picture of a session, and what can be reached."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluez import Bluez, private_bus
from click.testing import CliRunner, Result
from rich.console import Console
from serial.tools import list_ports_common
from test_board import SUMMING, frames_of
from uart import Uart

from edgesnn import blob
from edgesnn.cli import main
from edgesnn.devices import Fate, discovery, open_transport
from edgesnn.devices.board import Answer
from edgesnn.devices.protocol import Result as Step
from edgesnn.devices.serial import SerialTransport
from edgesnn.devices.view import BLOCKS, StreamView, sparkline


def edgesnn(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def shown(view: StreamView) -> str:
    console = Console(width=80, file=io.StringIO())
    console.print(view)
    return console.file.getvalue()  # type: ignore[attr-defined]


def step(number: int, label: int) -> Step:
    return Step(label, number + 1, 7, 0, 0, 0, 0, 0, np.array([-3, 12, 5, 0, 1], np.int32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model and recordings: m.esnn and x.npy."""
    blob.save(tmp_path / "m.esnn", SUMMING.graph)
    np.save(tmp_path / "x.npy", frames_of(60).astype(float))
    return tmp_path


def test_a_sparkline_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline(np.arange(8.0)) == BLOCKS
    assert sparkline(np.ones(3)) == BLOCKS[0] * 3
    assert sparkline(np.zeros(0)) == ""


def test_the_view_shows_signals_spikes_classes_and_losses() -> None:
    frames = frames_of(60)
    classes = ["sit", "walk", "run", "jump", "swim"]
    view = StreamView(SUMMING.graph, classes, frames, "watch")
    shown(view)  # before anything has come
    for number in range(10):
        view.answered(0, Answer(number, step(number, 1), 0.002))
    view.answered(0, Answer(10, None, fate=Fate.LOST))
    text = shown(view)
    assert "watch, recording 1 of 1, step 11 of 60\n" in text
    assert "1 lost" in text
    assert "round trip 2.0 ms" in text
    for words in ("input 2", "spikes", *classes):
        assert words in text
    assert max(map(len, text.splitlines())) <= 80


def test_stream_shows_itself(folder: Path) -> None:
    done = edgesnn("stream", folder / "m.esnn", "--input", folder / "x.npy", "--view", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["frames_answered"] == 60


def test_a_picture_keeps_the_time_that_samples_were_stamped_with() -> None:
    picture = pytest.importorskip("edgesnn.devices.picture")
    stamps = np.array([2**32 - 50_000, 0, 50_000, 2_050_000], np.uint32)  # wraps, and has a gap
    assert picture.seconds(stamps).tolist() == [0, 0.05, 0.1, 2.1]


def test_a_session_becomes_a_picture(folder: Path) -> None:
    log = folder / "run.esnl"
    done = edgesnn("record", folder / "m.esnn", "--input", folder / "x.npy", "-o", log)
    assert done.exit_code == 0, done.output
    assert edgesnn("plot", "session", log, "-o", folder / "run.png").exit_code == 0
    assert (folder / "run.png").read_bytes().startswith(b"\x89PNG")
    assert edgesnn("plot", "session", log, "-o", folder / "run.svg").exit_code == 0
    whole = log.read_bytes()
    (folder / "cut.esnl").write_bytes(whole[: len(whole) * 2 // 3])
    assert edgesnn("plot", "session", folder / "cut.esnl", "-o", folder / "c.png").exit_code == 0
    refused: list[tuple[tuple[Any, ...], str]] = [
        ((log, "-o", folder / "run.bmp"), "end its name in .png, .svg or .pdf"),
        ((log, "-o", folder / "no" / "run.png"), "cannot write"),
        ((log, "-o", folder / "run.png", "--recording", 7), "has no recording 7 with frames: it "),
        ((folder / "none", "-o", folder / "run.png"), "none"),
        ((folder / "m.esnn", "-o", folder / "run.png"), "m.esnn"),
    ]
    for arguments, words in refused:
        done = edgesnn("plot", "session", *arguments)
        assert done.exit_code == 2, (arguments, done.output)
        (line,) = done.stderr.splitlines()
        assert words in line
    assert {p.suffix for p in folder.iterdir()} == {".esnn", ".npy", ".esnl", ".png", ".svg"}


def test_devices_lists_what_runs_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    board = open_transport("virtual://")
    assert isinstance(board, SerialTransport)
    port = board.port
    board._line.close()  # the board lives on, for whoever opens its port
    known = list_ports_common.ListPortInfo(port)
    known.description = "a board"
    monkeypatch.setattr(discovery.list_ports, "comports", lambda: [known])
    with private_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        bluez, uart = Bluez(address), Uart(open_transport("virtual://"))
        bluez.put("edgesnn watch", "F0:00:5E:00:53:02", uart)
        bluez.put("scale", "F0:00:5E:00:53:03", None)
        done = edgesnn("devices", "--scan", "0.5", "--json")
        asleep = edgesnn("devices", "--scan", "0.5", "--no-ask")
        bluez.power(False)
        off = edgesnn("devices", "--scan", "0.5", "--no-ask")
        uart.close()
        bluez.close()
    board.close()
    assert done.exit_code == 0, done.output
    serial, watch = json.loads(done.stdout)
    assert (serial["url"], serial["what"]) == (port, "a board")
    assert watch["url"] == "ble://F0:00:5E:00:53:02"
    assert watch["what"] in ("edgesnn watch, -59 dBm", "edgesnn watch, -60 dBm")
    for found in (serial, watch):
        assert found["runs"].startswith("edgesnn ")
        assert "on virtual, no model loaded, room for 4,194,304 bytes" in found["runs"]
    assert "ble://F0:00:5E:00:53:02" in asleep.stdout
    assert "room for" not in asleep.stdout
    assert off.exit_code == 0
    assert off.stderr == "edgesnn: Bluetooth is switched off: switch it on and start over\n"
    assert port in off.stdout


def test_devices_says_why_a_port_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    known = list_ports_common.ListPortInfo("/dev/ttyNONE7")
    monkeypatch.setattr(discovery.list_ports, "comports", lambda: [known])
    done = edgesnn("devices", "--scan", "0")
    assert done.exit_code == 0
    assert "there is no port /dev/ttyNONE7: plug the board in" in done.stdout
    monkeypatch.setattr(discovery.list_ports, "comports", lambda: [])
    assert "there is no serial port and no peripheral" in edgesnn("devices", "--scan", "0").stdout
