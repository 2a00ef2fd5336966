"""Bluetooth without a radio: `org.bluez`, as bleak asks for it, on a D-Bus of its own.

The D-Bus and its calls are real. What is not: the radio, pairing, and the quirks of bluetoothd.
"""

# BlueZ's names, and letters of D-Bus types as annotations
# ruff: noqa: F722, N802

import asyncio
import contextlib
import select
import subprocess
import threading
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

from bleak.backends.bluezdbus.manager import _global_instances as bluez_managers
from dbus_fast import BusType, DBusError, PropertyAccess
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import (
    DBusBool,
    DBusBytes,
    DBusDict,
    DBusInt16,
    DBusObjectPath,
    DBusStr,
    DBusUInt16,
)
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property
from native import tool
from uart import Uart

from edgesnn.devices import ble
from edgesnn.devices.ble import FROM_PERIPHERAL, SERVICE, TO_PERIPHERAL

ADAPTER = "/org/bluez/hci0"
READ = PropertyAccess.READ
ADVERTISING_S = 0.05


@contextlib.contextmanager
def private_bus(folder: Path) -> Iterator[str]:
    """A message bus for this test alone; its address."""
    command = [tool("dbus-daemon"), "--session", "--nofork", "--print-address", "--nopidfile"]
    command += ["--address", f"unix:path={folder / 'bus'}"]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, **quiet) as daemon:
        try:
            yield daemon.stdout.readline().strip()
        finally:
            asyncio.run_coroutine_threadsafe(_leave(), ble._loop()).result()
            daemon.terminate()


async def _leave() -> None:
    """Take bleak off the bus, which it would stay on for ever and complain about when it ends."""
    manager = bluez_managers.get(asyncio.get_running_loop())
    if manager is not None and manager._bus is not None:
        manager._bus.disconnect()
        await manager._bus.wait_for_disconnect()


class Adapter(ServiceInterface):
    """The computer's radio."""

    def __init__(self) -> None:
        super().__init__("org.bluez.Adapter1")
        self.powered = True
        self.discovering = False

    @dbus_property(access=READ)
    def Address(self) -> DBusStr:
        return "00:00:5E:00:53:00"

    @dbus_property(access=READ)
    def Name(self) -> DBusStr:
        return "host"

    @dbus_property(access=READ)
    def Powered(self) -> DBusBool:
        return self.powered

    @dbus_property(access=READ)
    def Discovering(self) -> DBusBool:
        return self.discovering

    @dbus_property(access=READ)
    def Roles(self) -> "as":
        return ["central"]

    @dbus_method()
    def SetDiscoveryFilter(self, properties: DBusDict) -> None:
        pass

    @dbus_method()
    def StartDiscovery(self) -> None:
        self._discover(True)

    @dbus_method()
    def StopDiscovery(self) -> None:
        self._discover(False)

    def _discover(self, on: bool) -> None:
        if not self.powered:
            raise DBusError("org.bluez.Error.NotReady", "Resource Not Ready")
        self.discovering = on
        self.emit_properties_changed({"Discovering": on})

    def power(self, on: bool) -> None:
        self.powered = on
        self.discovering = False
        self.emit_properties_changed({"Powered": on, "Discovering": False})


class Device(ServiceInterface):
    """A peripheral as the computer's radio knows it."""

    def __init__(self, name: str, address: str, uuids: list[str], rssi: int) -> None:
        super().__init__("org.bluez.Device1")
        self.own_name, self.own_address, self.uuids = name, address, uuids
        self.path = f"{ADAPTER}/dev_{address.replace(':', '_')}"
        self.connected = self.resolved = False
        self.rssi = rssi
        self.on_connect = self.on_disconnect = None

    @dbus_property(access=READ)
    def Address(self) -> DBusStr:
        return self.own_address

    @dbus_property(access=READ)
    def AddressType(self) -> DBusStr:
        return "random"

    @dbus_property(access=READ)
    def Name(self) -> DBusStr:
        return self.own_name

    @dbus_property(access=READ)
    def Alias(self) -> DBusStr:
        return self.own_name

    @dbus_property(access=READ)
    def Adapter(self) -> DBusObjectPath:
        return ADAPTER

    @dbus_property(access=READ)
    def Paired(self) -> DBusBool:
        return False

    @dbus_property(access=READ)
    def Connected(self) -> DBusBool:
        return self.connected

    @dbus_property(access=READ)
    def ServicesResolved(self) -> DBusBool:
        return self.resolved

    @dbus_property(access=READ)
    def RSSI(self) -> DBusInt16:
        return self.rssi

    @dbus_property(access=READ)
    def UUIDs(self) -> "as":
        return self.uuids

    @dbus_method()
    async def Connect(self) -> None:
        self.on_connect()

    @dbus_method()
    def Disconnect(self) -> None:
        self.on_disconnect()


class Service(ServiceInterface):
    """The Nordic UART Service of a peripheral that is connected."""

    def __init__(self, device: str) -> None:
        super().__init__("org.bluez.GattService1")
        self.device = device

    @dbus_property(access=READ)
    def UUID(self) -> DBusStr:
        return SERVICE

    @dbus_property(access=READ)
    def Primary(self) -> DBusBool:
        return True

    @dbus_property(access=READ)
    def Device(self) -> DBusObjectPath:
        return self.device


class Characteristic(ServiceInterface):
    """One direction of the UART."""

    def __init__(self, service: str, uuid: str, flags: list[str], uart: Uart, mtu: int) -> None:
        super().__init__("org.bluez.GattCharacteristic1")
        self.service, self.uuid, self.flags, self.uart, self.mtu = service, uuid, flags, uart, mtu
        self.value = b""
        self.notifying = False
        self.to_notify: asyncio.Queue[bytes] = asyncio.Queue()

    @dbus_property(access=READ)
    def UUID(self) -> DBusStr:
        return self.uuid

    @dbus_property(access=READ)
    def Service(self) -> DBusObjectPath:
        return self.service

    @dbus_property(access=READ)
    def Value(self) -> DBusBytes:
        return self.value

    @dbus_property(access=READ)
    def Notifying(self) -> DBusBool:
        return self.notifying

    @dbus_property(access=READ)
    def Flags(self) -> "as":
        return self.flags

    @dbus_property(access=READ)
    def MTU(self) -> DBusUInt16:
        return self.mtu

    @dbus_method()
    def WriteValue(self, value: DBusBytes, options: DBusDict) -> None:
        if len(value) > self.mtu - 3:
            raise DBusError("org.bluez.Error.InvalidValueLength", "too long for the link")
        self.uart.written(value)

    @dbus_method()
    def StartNotify(self) -> None:
        loop = asyncio.get_running_loop()
        self.notifying = True
        self.emit_properties_changed({"Notifying": True})
        self.uart.link(
            lambda data: loop.call_soon_threadsafe(self.to_notify.put_nowait, data), self.mtu - 3
        )

    @dbus_method()
    def StopNotify(self) -> None:
        self.uart.link(None)

    async def notify(self, bus: MessageBus) -> None:
        """Notify what comes, no faster than the bus takes it: dbus-fast gives up on a full one."""
        while True:
            self.value = await self.to_notify.get()
            while not select.select((), (bus._sock,), (), 0)[1]:
                await asyncio.sleep(0.001)
            self.emit_properties_changed({"Value": self.value})


class Bluez:
    """A Bluetooth service in a thread of its own, with what is in the range of its radio."""

    def __init__(self, address: str, radio: bool = True) -> None:
        self._radio = radio
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.adapter = Adapter()
        self._in_range: dict[str, FakePeripheral] = {}
        self._seen: set[str] = set()
        self.do(self._start(address))

    async def _start(self, address: str) -> None:
        self.bus = await MessageBus(bus_address=address, bus_type=BusType.SYSTEM).connect()
        if self._radio:
            self.bus.export(ADAPTER, self.adapter)
        await self.bus.request_name("org.bluez")
        self._advertising = asyncio.create_task(self._advertise())

    async def _advertise(self) -> None:
        while True:
            await asyncio.sleep(ADVERTISING_S)
            if not self.adapter.discovering:
                continue
            for path, peripheral in self._in_range.items():
                if path not in self._seen:
                    self._seen.add(path)
                    self.bus.export(path, peripheral.device)
                peripheral.advertise()

    def do(self, work: Awaitable[Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def soon(self, function: Any, *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(function, *arguments)

    def power(self, on: bool) -> None:
        """Switch Bluetooth on or off, which ends every connection."""

        async def switch() -> None:
            self.adapter.power(on)
            for peripheral in self._in_range.values():
                peripheral.disconnect()

        self.do(switch())

    def put(
        self, name: str, address: str, uart: Uart | None, mtu: int = 247, rssi: int = -60
    ) -> "FakePeripheral":
        """Bring a peripheral into range; without a `uart` it has no such service."""
        peripheral = FakePeripheral(self, name, address, uart, mtu, rssi)
        self.soon(self._in_range.__setitem__, peripheral.device.path, peripheral)
        return peripheral

    def take(self, peripheral: "FakePeripheral") -> None:
        """Carry a peripheral out of range: a connection to it is lost."""

        async def take() -> None:
            self._in_range.pop(peripheral.device.path, None)
            peripheral.disconnect()
            if peripheral.device.path in self._seen:
                self._seen.remove(peripheral.device.path)
                self.bus.unexport(peripheral.device.path)

        self.do(take())

    def close(self) -> None:
        async def end() -> None:
            self._advertising.cancel()
            for peripheral in self._in_range.values():
                peripheral.disconnect()
            self.bus.disconnect()
            await self.bus.wait_for_disconnect()

        self.do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class FakePeripheral:
    """A peripheral in range, with a board's UART behind it."""

    def __init__(
        self, bluez: Bluez, name: str, address: str, uart: Uart | None, mtu: int, rssi: int
    ) -> None:
        self.bluez, self.uart = bluez, uart
        self.device = Device(name, address, [SERVICE] if uart else [], rssi)
        self.device.on_connect, self.device.on_disconnect = self.connect, self.disconnect
        self.connections = 0
        self._notifying: list[asyncio.Task[None]] = []
        service = f"{self.device.path}/service0010"
        self._objects = {}
        if uart is not None:
            write, notify = ["write", "write-without-response"], ["notify"]
            self._objects = {
                service: Service(self.device.path),
                f"{service}/char0011": Characteristic(service, TO_PERIPHERAL, write, uart, mtu),
                f"{service}/char0013": Characteristic(service, FROM_PERIPHERAL, notify, uart, mtu),
            }

    def advertise(self) -> None:
        self.device.rssi ^= 1  # a radio never hears the same twice
        self.device.emit_properties_changed({"RSSI": self.device.rssi})

    def connect(self) -> None:
        if not self.bluez.adapter.powered:
            raise DBusError("org.bluez.Error.NotReady", "Resource Not Ready")
        self.connections += 1
        self.device.connected = True
        self.device.emit_properties_changed({"Connected": True})
        for path, interface in self._objects.items():
            self.bluez.bus.export(path, interface)
            if isinstance(interface, Characteristic):
                interface.to_notify = asyncio.Queue()
                self._notifying.append(asyncio.create_task(interface.notify(self.bluez.bus)))
        self.device.resolved = True
        self.device.emit_properties_changed({"ServicesResolved": True})

    def disconnect(self) -> None:
        if not self.device.connected:
            return
        if self.uart is not None:
            self.uart.link(None)
        for task in self._notifying:
            task.cancel()
        for path in self._objects:
            self.bluez.bus.unexport(path)
        self.device.connected = self.device.resolved = False
        self.device.emit_properties_changed({"ServicesResolved": False, "Connected": False})

    def lose_link_after(self, notifications: int) -> None:
        """Lose the link in the place of the notification after that many more."""
        self.uart.lose_after(notifications, lambda: self.bluez.soon(self.disconnect))
