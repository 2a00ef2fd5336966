"""Boards that can be reached: serial ports and peripherals in range, and what runs on each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import click
from serial.tools import list_ports

from edgesnn.devices.backend import open_board
from edgesnn.errors import EdgesnnError

AT_ONCE = 8


@dataclass(frozen=True)
class Found:
    """Something that may be a board.

    Attributes:
        url: to reach it by.
        what: it says of itself: the maker's words, or the advertised name and signal.
        runs: what runs on it, "" where it was not asked.
    """

    url: str
    what: str
    runs: str = ""


def serial_ports() -> list[Found]:
    """The serial ports of this computer."""
    ports = sorted(list_ports.comports())
    return [Found(port.device, port.description or "serial port") for port in ports]


def peripherals(seconds: float) -> list[Found]:
    """The peripherals with the Nordic UART Service that advertise within `seconds`.

    Raises:
        MissingError: this computer has no Bluetooth adapter.
        DeviceError: Bluetooth is off, or may not be used.
    """
    from edgesnn.devices import ble

    return [
        Found(f"ble://{peripheral.address}", f"{peripheral.name or '?'}, {peripheral.rssi} dBm")
        for peripheral in ble.peripherals(seconds)
        if peripheral.uart
    ]


def identify(found: Found) -> Found:
    """Ask what runs on it, within seconds; the answer, or why there is none, in one line."""
    try:
        with open_board(found.url) as board:
            info = board.info
            runs = (
                f"edgesnn {info.firmware}{' (development build)' * info.development} on "
                f"{info.name}, "
                f"{'a model' if info.model_loaded else 'no model'} loaded, room for "
                f"{info.model_bytes:,} bytes and {info.arena_bytes:,} of state"
            )
    except EdgesnnError as error:
        runs = str(error)
    return Found(found.url, found.what, runs)


@click.command()
@click.option(
    "--scan", type=click.FloatRange(0), default=5.0, show_default=True,
    help="Seconds to listen for peripherals; 0: none.",
)  # fmt: skip
@click.option("--ask/--no-ask", default=True, help="Open each and ask what runs on it.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def devices(scan: float, ask: bool, as_json: bool) -> None:
    """List serial ports and Bluetooth peripherals, with what runs on each."""
    import json
    from dataclasses import asdict

    found = serial_ports()
    if scan:
        try:
            found += peripherals(scan)
        except EdgesnnError as error:
            click.echo(f"edgesnn: {error}", err=True)
    if ask and found:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(identify, found))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found]))
        return
    for one in found:
        click.echo(f"{one.url:24} {one.what}" + (f"\n{'':24} {one.runs}" if one.runs else ""))
    if not found:
        click.echo("there is no serial port and no peripheral: plug a board in, or wake it up")
