"""Bluetooth Low Energy through bleak: boards and sensors behind the Nordic UART Service."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from bleak import BleakClient, BleakScanner
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakDBusError,
    BleakDeviceNotFoundError,
    BleakError,
)
from bleak.exc import BleakBluetoothNotAvailableReason as Reason

from edgesnn.errors import DeviceError, EdgesnnError, MissingError

SERVICE = "6e400001-b5a3-f393-e0a9-e50e24dcca9e"
TO_PERIPHERAL = "6e400002-b5a3-f393-e0a9-e50e24dcca9e"
FROM_PERIPHERAL = "6e400003-b5a3-f393-e0a9-e50e24dcca9e"

SCAN_S = 10.0
CONNECT_S = 15.0
RECONNECT_S = 30.0
PAUSE_S = 0.2
TRIES = 3
ERRORS = (BleakError, OSError, EOFError, asyncio.TimeoutError)
NO_SERVICE = "org.freedesktop.DBus.Error.ServiceUnknown"
STAYS_SO = (BleakBluetoothNotAvailableError, BleakDeviceNotFoundError)

T = TypeVar("T")


@dataclass(frozen=True)
class Peripheral:
    """A peripheral that advertises.

    Attributes:
        name: that it advertises, "" for none.
        address: of its radio; a UUID on macOS.
        rssi: strength of its signal, dBm.
        uart: whether it advertises the Nordic UART Service.
    """

    name: str
    address: str
    rssi: int
    uart: bool


class BleTransport:
    """The Nordic UART Service of one peripheral, as a byte stream.

    A link that is lost is made again in the background: what was under way is lost, as on any noisy
    line, and `read` and `write` fail only when the peripheral has stayed away for `RECONNECT_S`.

    Args:
        name: the name that the peripheral advertises, or its address.

    Attributes:
        reconnections: how often a lost link was made again.

    Raises:
        MissingError: this computer has no Bluetooth adapter.
        DeviceError: Bluetooth is off, the peripheral is out of range or has no such service.
    """

    def __init__(self, name: str) -> None:
        if not name:
            raise DeviceError(
                "ble:// names no peripheral: write ble://NAME or ble://ADDRESS, as "
                "`edgesnn devices` lists them"
            )
        self.name = name
        self.reconnections = 0
        self._arrived = bytearray()
        self._changed = threading.Condition()
        self._failure: EdgesnnError | None = None
        self._closing = False
        self._client: BleakClient | None = None
        self._written: BleakGATTCharacteristic | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        _run(self._open())

    def read(self, timeout: float) -> bytes:
        """See `Transport.read`."""
        with self._changed:
            self._changed.wait_for(lambda: self._arrived or self._failure is not None, timeout)
            if not self._arrived and self._failure is not None:
                raise self._failure
            data = bytes(self._arrived)
            self._arrived.clear()
            return data

    def write(self, data: bytes) -> None:
        """See `Transport.write`; waits while the link is being made again."""
        _run(self._write(data))

    def close(self) -> None:
        """Disconnect."""
        self._closing = True
        _run(self._close())
        self._fail(DeviceError(f"the link to {self.name} was closed: open it again"))

    async def _open(self) -> None:
        tries = 0
        while self._client is None:
            try:
                await self._connect(SCAN_S)
            except ERRORS as error:
                tries += 1
                # radios miss each other at times; one that is off or not there stays so
                if isinstance(error, STAYS_SO) or tries == TRIES:
                    raise _in_words(self.name, error) from error
                await asyncio.sleep(PAUSE_S)

    async def _connect(self, scan_s: float) -> None:
        client = BleakClient(await _find(self.name, scan_s), self._lost, timeout=CONNECT_S)
        await client.connect()
        try:
            written = client.services.get_characteristic(TO_PERIPHERAL)
            notifies = client.services.get_characteristic(FROM_PERIPHERAL)
            if written is None or notifies is None:
                raise DeviceError(
                    f"{self.name} has no Nordic UART Service: put the edgesnn firmware on it, or "
                    "name another peripheral"
                )
            await client.start_notify(notifies, self._notified)
            if not client.is_connected:
                raise BleakError("lost at once")
        except BaseException:
            with contextlib.suppress(*ERRORS):
                await client.disconnect()
            raise
        self._client, self._written = client, written

    def _notified(self, _: BleakGATTCharacteristic, data: bytearray) -> None:
        with self._changed:
            self._arrived += data
            self._changed.notify_all()

    def _lost(self, client: BleakClient) -> None:
        # one that never became ours tells of it by its own error
        if client is self._client and not self._closing:
            self._client = None
            self._reconnecting = asyncio.ensure_future(self._reconnect(client))

    async def _reconnect(self, lost: BleakClient) -> None:
        with contextlib.suppress(*ERRORS):  # else it keeps what it used to reach the system's stack
            await lost.disconnect()
        end = time.monotonic() + RECONNECT_S
        while self._client is None and self._failure is None:
            try:
                await self._connect(max(PAUSE_S, end - time.monotonic()))
            except ERRORS as error:
                if time.monotonic() >= end:
                    self._fail(_in_words(self.name, error))
                await asyncio.sleep(PAUSE_S)
            except DeviceError as error:
                self._fail(error)
        if self._written is not None and self._failure is None:
            self.reconnections += 1
            # the packets that were cut must not take the next ones along, on either side
            self._notified(self._written, bytearray(b"\0"))
            await self._send(b"\0")

    def _fail(self, error: EdgesnnError) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    async def _write(self, data: bytes) -> None:
        if self._reconnecting is not None:
            await asyncio.wait({self._reconnecting})
        if self._failure is not None:
            raise self._failure
        await self._send(data)

    async def _send(self, data: bytes) -> None:
        """Send what the link takes; where it is lost, the rest is lost with what was under way."""
        while data and (client := self._client) is not None:
            assert self._written is not None
            size = self._written.max_write_without_response_size
            try:
                await client.write_gatt_char(self._written, data[:size], response=False)
            except ERRORS as error:
                if client.is_connected:
                    raise _in_words(self.name, error) from error
                return
            data = data[size:]

    async def _close(self) -> None:
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.wait({self._reconnecting})
        if self._client is not None:
            with contextlib.suppress(*ERRORS):  # it is gone already, which is what was wanted
                await self._client.disconnect()


def peripherals(timeout: float = SCAN_S) -> list[Peripheral]:
    """The peripherals that advertise within `timeout` seconds, the nearest first.

    Raises:
        MissingError: this computer has no Bluetooth adapter.
        DeviceError: Bluetooth is off, or may not be used.
    """
    try:
        found = _run(BleakScanner.discover(timeout, return_adv=True))
    except ERRORS as error:
        raise _in_words("a peripheral", error) from error
    heard = [
        Peripheral(seen.local_name or device.name or "", device.address, seen.rssi,
                   SERVICE in seen.service_uuids)
        for device, seen in found.values()
    ]  # fmt: skip
    return sorted(heard, key=lambda peripheral: -peripheral.rssi)


def open_ble(rest: str) -> BleTransport:
    """The transport of `ble://NAME` and `ble://ADDRESS`."""
    return BleTransport(rest)


async def _find(name: str, timeout: float) -> BLEDevice:
    def is_it(device: BLEDevice, seen: AdvertisementData) -> bool:
        return name in (seen.local_name, device.name) or name.upper() == device.address.upper()

    device = await BleakScanner.find_device_by_filter(is_it, timeout)
    if device is None:
        raise BleakDeviceNotFoundError(name)
    return device


def _in_words(name: str, error: Exception) -> EdgesnnError:
    """What went wrong with Bluetooth, in one sentence."""
    if isinstance(error, BleakBluetoothNotAvailableError):
        if error.reason is Reason.NO_BLUETOOTH:
            return MissingError("this computer has no Bluetooth adapter: plug one in")
        if error.reason is Reason.POWERED_OFF:
            return DeviceError("Bluetooth is switched off: switch it on and start over")
        return DeviceError(
            f"Bluetooth cannot be used ({error.args[0]}): allow it in the system's settings"
        )
    if isinstance(error, BleakDeviceNotFoundError):
        return DeviceError(
            f"no peripheral called {name} is in range: bring it closer and wake it up, and see "
            "which ones are there with `edgesnn devices`"
        )
    no_service = isinstance(error, BleakDBusError) and error.dbus_error == NO_SERVICE
    no_bus = isinstance(error, OSError) and not isinstance(error, TimeoutError)
    if no_service or no_bus:
        return DeviceError("Bluetooth is not running: start its service, on Linux bluetoothd")
    why = str(error).splitlines()[0] if str(error) else "it does not answer"
    return DeviceError(f"the link to {name} failed ({why}): bring it closer and start over")


def _run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine of the loop that all of this process's Bluetooth runs on."""
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    # bleak wants one loop for as long as the program lasts
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="bluetooth", daemon=True).start()
    return loop
