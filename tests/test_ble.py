"""Boards over Bluetooth without a radio: bleak on a D-Bus, and on two stacks of Bumble."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import bleak
import numpy as np
import pytest
from bluez import Bluez, private_bus
from bumbled import Air, backends
from click.testing import CliRunner
from nus import ADAPTERS, Watch
from powercut import image
from uart import Uart

from edgesnn import blob, reference
from edgesnn.cli import main
from edgesnn.devices import Board, Fate, Stream, Transport, ble, open_board, open_transport
from edgesnn.devices.backend import board_url
from edgesnn.devices.protocol import Slot
from edgesnn.devices.recordings import basic_motions
from edgesnn.errors import DeviceError, EdgesnnError, MissingError
from edgesnn.quantize import quantize
from edgesnn.sources import read_network
from edgesnn.zoo.basicmotions import CHECKPOINT

BOARDS = ("virtual", pytest.param("microbit", marks=pytest.mark.board))
NAME = "edgesnn watch"
ADDRESS = "F0:00:5E:00:53:02"


class Peripheral(Protocol):
    """What a test needs of a peripheral, whatever carries it."""

    connections: int

    def lose_link_after(self, notifications: int) -> None: ...


Put = Callable[[str, Any], Peripheral]


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with private_bus(tmp_path_factory.mktemp("bus")) as address:
        yield address


@pytest.fixture
def bluez(bus: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bluez]:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus)
    service = Bluez(bus)
    yield service
    service.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ble, "SCAN_S", 0.5)
    monkeypatch.setattr(ble, "RECONNECT_S", 0.5)


@pytest.fixture(params=["bluez", "bumble"])
def put(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Put]:
    """Brings a peripheral into range, by its name and the UART behind it."""
    if request.param == "bluez":
        bluez = request.getfixturevalue("bluez")
        yield lambda name, uart: bluez.put(name, ADDRESS, uart)
        return

    async def started() -> Air:
        air = Air()
        await air.start()
        return air

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, ble._loop()).result(10)

    air: Air = run(started())
    scanner, client = backends(air)

    class Scanner(bleak.BleakScanner):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "backend": scanner})

    monkeypatch.setattr(ble, "BleakScanner", Scanner)
    monkeypatch.setattr(ble, "BleakClient", functools.partial(bleak.BleakClient, backend=client))
    yield lambda name, uart: run(air.put(name, uart))
    run(air.stop())


@pytest.fixture
def uart_of() -> Iterator[Callable[[str], Uart]]:
    """The UART of a board that is started for it, by the board's name."""
    with ExitStack() as opened:

        def start(board: str) -> Uart:
            try:
                uart = Uart(open_transport(board_url(board)))
            except MissingError as error:
                pytest.fail(str(error), pytrace=False)
            opened.callback(uart.close)
            return uart

        yield start


@pytest.fixture(scope="module")
def watch() -> tuple[blob.Model, np.ndarray[Any, Any], reference.Outputs]:
    """The zoo's network, five minutes of a watch as frames, and what the reference says of them.

    A recording is longer than what any board holds back, so that its link can be lost in it.
    """
    conversion = quantize(read_network(CHECKPOINT), basic_motions("train").signal)
    model = blob.unpack(blob.pack(conversion.graph))
    frames = model.graph.input.quantize(basic_motions("test").signal[:30].reshape(3, 1000, 6))
    return model, frames, reference.run(model.graph, frames)


@pytest.mark.parametrize("board", BOARDS)
def test_recordings_stream_through_a_lost_link(
    put: Put, uart_of: Callable[[str], Uart], watch: Any, board: str
) -> None:
    """The board keeps its state and gets every frame; answers that nobody heard are counted."""
    model, frames, expected = watch
    uart = uart_of(board)
    peripheral = put(NAME, uart)
    link = open_transport(f"ble://{NAME}")
    assert isinstance(link, ble.BleTransport)
    with Board(link) as device:
        assert device.info.name == board
        device.put_model(model)
        stream = Stream(device, frames)
        middle = 1
        for sample, answer in stream:
            if (sample, answer.number) == (middle, 250):
                peripheral.lose_link_after(3)
        session = stream.session
        assert link.reconnections == 1
        assert peripheral.connections == 2
        assert uart.unheard > 0
        assert set(np.unique(session.fates)) == {Fate.ANSWERED, Fate.LOST}
        assert {sample for sample, _ in session.lost} == {middle}
        assert session.lost[0][1] > 250
        assert session.fates[middle, -1] == Fate.ANSWERED
        answered = session.fates == Fate.ANSWERED
        same = session.outputs.digests == expected.digests
        assert same[answered].all()  # behind the loss, too: the board has run every frame
    assert max(uart.writes) == 244  # of an MTU of 247
    assert link.reconnections == 1


def test_the_app_behind_the_service_of_a_watch(
    put: Put, watch: Any, nus_programs: dict[str, Path]
) -> None:
    """Both sides as they are: bleak, two characteristics, and what a watch runs behind them."""
    model, frames, expected = watch
    behind = Watch(nus_programs["zephyr"])
    peripheral = put(NAME, behind)
    with open_board(f"ble://{NAME}") as device:
        assert (device.info.name, device.info.window) == ("nus", 2048)
        device.put_model(model)
        stream = Stream(device, frames)
        for sample, answer in stream:
            if (sample, answer.number) == (1, 250):
                peripheral.lose_link_after(3)
    session = stream.session
    answered = session.fates == Fate.ANSWERED
    assert session.fates[:, -1].tolist() == [Fate.ANSWERED] * 3
    assert (session.outputs.digests == expected.digests)[answered].all()
    assert {sample for sample, _ in session.lost} <= {1}
    assert peripheral.connections == 2
    behind.close()


def small_model(weight: int, path: Path) -> Path:
    path.write_bytes(image(weight))
    return path


def update_over_ble(model: Path) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["update", str(model), "--ble", NAME, "--json"])
    assert done.exit_code == 0, done.output
    shown: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return shown


@pytest.mark.parametrize("board", BOARDS)
def test_a_model_is_updated_on_the_air(
    put: Put, uart_of: Callable[[str], Uart], tmp_path: Path, board: str
) -> None:
    """Signed, sent, tried and confirmed; where the same model is there, nothing is sent."""
    put(NAME, uart_of(board))
    for version, weight in ((1, 3), (2, 4)):
        shown = update_over_ble(small_model(weight, tmp_path / "model.esnn"))
        assert (shown["board"], shown["version"]) == (board, version)
        assert shown["bytes_sent"] == shown["bytes"] > 0
    assert update_over_ble(tmp_path / "model.esnn")["bytes_sent"] == 0
    with open_board(f"ble://{NAME}") as device:
        stored = device.stored()
        assert stored is not None
        assert (stored.version, stored.on_trial, device.info.model_loaded) == (2, False, True)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_store_of_a_watch_takes_updates_through_lost_links(
    put: Put, nus_programs: dict[str, Path], tmp_path: Path, adapter: str
) -> None:
    """The app behind the service, with an adapter's flash: the link is lost in each update."""
    behind = Watch(nus_programs[adapter])
    peripheral = put(NAME, behind)
    path = small_model(3, tmp_path / "model.esnn")
    for version, lost_after in ((1, 3), (2, 6)):
        path.write_bytes(image(version, size=20_000))
        peripheral.lose_link_after(lost_after)
        shown = update_over_ble(path)
        assert (shown["board"], shown["version"]) == ("nus", version)
        with open_board(f"ble://{NAME}") as device:
            stored = device.stored()
            assert stored is not None
            assert stored.model == Slot.of(image(version, size=20_000))
            assert not stored.on_trial
            device.selftest()
    behind.close()
    assert peripheral.connections >= 6  # four opened, two lost


@pytest.mark.board
def test_verify_proves_a_board_on_the_air(
    put: Put, uart_of: Callable[[str], Uart], watch: Any, tmp_path: Path
) -> None:
    put(NAME, uart_of("microbit"))
    blob.save(tmp_path / "m.esnn", watch[0].graph)
    np.save(tmp_path / "x.npy", basic_motions("test").signal[:3])
    done = CliRunner().invoke(
        main,
        ["verify", str(tmp_path / "m.esnn"), "--input", str(tmp_path / "x.npy"),
         "--ble", NAME, "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout.splitlines()[-1])
    assert (shown["board"], shown["agreement_with_reference"]) == ("microbit", 1.0)


def test_a_peripheral_is_found_by_its_address_too(put: Put, uart_of: Callable[[str], Uart]) -> None:
    put(NAME, uart_of("virtual"))
    with open_board(f"ble://{ADDRESS.lower()}") as board:
        assert board.info.name == "virtual"


def test_every_write_fits_the_smallest_link(
    bluez: Bluez, uart_of: Callable[[str], Uart], watch: Any
) -> None:
    uart = uart_of("virtual")
    bluez.put(NAME, ADDRESS, uart, mtu=23)
    with open_board(f"ble://{NAME}") as board:
        board.put_model(watch[0])
    assert max(uart.writes) == 20


def test_peripherals_are_listed_nearest_first(bluez: Bluez, uart_of: Callable[[str], Uart]) -> None:
    bluez.put("scale", "F0:00:5E:00:53:03", None, rssi=-90)
    bluez.put(NAME, ADDRESS, uart_of("virtual"))
    found = [(p.name, p.address, p.uart) for p in ble.peripherals(0.5)]
    assert found == [(NAME, ADDRESS, True), ("scale", "F0:00:5E:00:53:03", False)]


def refused(url: str, kind: type[EdgesnnError], words: str) -> None:
    with pytest.raises(kind, match=words) as raised:
        open_transport(url)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("impatient")
def test_what_cannot_be_reached_is_one_sentence(bluez: Bluez) -> None:
    refused("ble://", DeviceError, "^ble:// names no peripheral: write ble://NAME or ble://ADDR")
    refused("ble://nobody", DeviceError, "^no peripheral called nobody is in range: bring it clos")
    scale = bluez.put("scale", "F0:00:5E:00:53:03", None)
    refused("ble://scale", DeviceError, "^scale has no Nordic UART Service: put the edgesnn firm")
    assert not scale.device.connected
    bluez.power(False)
    refused("ble://scale", DeviceError, "^Bluetooth is switched off: switch it on and start over$")
    with pytest.raises(DeviceError, match=r"^Bluetooth is switched off"):
        ble.peripherals(0.1)


def test_a_computer_without_bluetooth_says_so(bus: str, tmp_path: Path) -> None:
    def said(address: str) -> str:
        code = "from edgesnn.devices import open_transport; open_transport('ble://x')"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True,
            env={"DBUS_SYSTEM_BUS_ADDRESS": address},
        )  # fmt: skip
        return done.stderr.splitlines()[-1]

    not_running = "Bluetooth is not running: start its service, on Linux bluetoothd"
    assert not_running in said(f"unix:path={tmp_path / 'none'}")
    assert not_running in said(bus)
    service = Bluez(bus, radio=False)
    assert "this computer has no Bluetooth adapter: plug one in" in said(bus)
    service.close()


@pytest.mark.usefixtures("impatient")
def test_a_peripheral_that_stays_away_ends_the_link(
    bluez: Bluez, uart_of: Callable[[str], Uart]
) -> None:
    watch = bluez.put(NAME, ADDRESS, uart_of("virtual"))
    link = open_transport(f"ble://{NAME}")
    bluez.take(watch)
    gone = f"^no peripheral called {NAME} is in range: bring it closer and wake it up"
    with pytest.raises(DeviceError, match=gone):
        link.read(60.0)
    with pytest.raises(DeviceError, match=gone):
        link.write(b"\0")
    link.close()


@pytest.mark.usefixtures("impatient")
def test_bluetooth_that_is_switched_off_ends_the_link(
    bluez: Bluez, uart_of: Callable[[str], Uart]
) -> None:
    bluez.put(NAME, ADDRESS, uart_of("virtual"))
    link = open_transport(f"ble://{NAME}")
    bluez.power(False)
    with pytest.raises(DeviceError, match=r"^Bluetooth is switched off: switch it on and start"):
        link.read(60.0)
    link.close()


def test_reading_waits_no_longer_than_told_and_a_closed_link_stays_closed(
    bluez: Bluez, uart_of: Callable[[str], Uart]
) -> None:
    watch = bluez.put(NAME, ADDRESS, uart_of("virtual"))
    link: Transport = open_transport(f"ble://{NAME}")
    assert link.read(0.0) == b""
    assert link.read(0.05) == b""
    link.close()
    assert not watch.device.connected
    for use in (lambda: link.read(0.1), lambda: link.write(b"\0")):
        with pytest.raises(DeviceError, match=f"^the link to {NAME} was closed: open it again$"):
            use()
    link.close()


def test_a_link_lost_time_and_again_leaves_nothing_behind(
    bluez: Bluez, uart_of: Callable[[str], Uart]
) -> None:
    watch = bluez.put(NAME, ADDRESS, uart_of("virtual"))
    link = open_transport(f"ble://{NAME}")
    assert isinstance(link, ble.BleTransport)
    held = []
    for losses in range(1, 6):
        bluez.soon(watch.disconnect)
        while link.reconnections < losses:
            link.read(0.05)
        link.write(b"\0")  # waits until all is done
        held.append(len(list(Path("/proc/self/fd").iterdir())))
    assert held[-1] == held[0]
    link.close()
