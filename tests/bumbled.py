"""Bluetooth in one process: two of Bumble's hosts and controllers, joined by a link of its own.

Advertising, connection, the exchange of the MTU, service discovery and every packet of ATT are real
bytes between two stacks; bleak asks Bumble's central in the place of an operating system's.
"""

from __future__ import annotations

import asyncio
from typing import Any

from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError
from bumble import core, gatt
from bumble.att import AttributeValue
from bumble.controller import Controller
from bumble.device import Advertisement, Connection, Device, Peer
from bumble.gatt import Characteristic
from bumble.hci import Address
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink
from uart import Uart

from edgesnn.devices.ble import FROM_PERIPHERAL, SERVICE, TO_PERIPHERAL

MTU = 247
SCAN_MS = 20.0


class Air:
    """A central and what is in the range of its radio, all on the running loop."""

    def __init__(self) -> None:
        self._link = LocalLink()
        self._number = 0
        self.central = self._device("host")

    def _device(self, name: str) -> Device:
        self._number += 1
        address = Address(f"F0:00:5E:00:53:{self._number:02X}")
        controller = Controller(name, link=self._link, public_address=address)
        host = Host(controller, AsyncPipeSink(controller))
        return Device(name=name, address=address, host=host)

    async def start(self) -> None:
        await self.central.power_on()

    async def put(self, name: str, uart: Uart) -> Peripheral:
        """Bring a peripheral with a board's UART into range."""
        peripheral = Peripheral(self._device(name), uart)
        await peripheral.start()
        return peripheral

    async def stop(self) -> None:
        for controller in list(self._link.controllers):
            self._link.remove_controller(controller)


class Peripheral:
    """The Nordic UART Service on Bumble's GATT server."""

    def __init__(self, device: Device, uart: Uart) -> None:
        self.device, self.uart = device, uart
        self.connections = 0
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._notifies: Characteristic[bytes] = Characteristic(
            FROM_PERIPHERAL,
            Characteristic.Properties.NOTIFY,
            Characteristic.READABLE,
        )
        written: Characteristic[bytes] = Characteristic(
            TO_PERIPHERAL,
            Characteristic.Properties.WRITE | Characteristic.Properties.WRITE_WITHOUT_RESPONSE,
            Characteristic.WRITEABLE,
            AttributeValue(write=lambda _, data: uart.written(data)),
        )
        device.add_service(gatt.Service(SERVICE, [written, self._notifies]))
        self._notifies.on(Characteristic.EVENT_SUBSCRIPTION, self._subscribed)
        device.on(Device.EVENT_CONNECTION, self._connected)

    async def start(self) -> None:
        await self.device.power_on()
        await self._advertise()

    async def _advertise(self) -> None:
        data = core.AdvertisingData(
            [(core.AdvertisingData.COMPLETE_LOCAL_NAME, self.device.name.encode())]
        )
        await self.device.start_advertising(
            advertising_data=bytes(data),
            scan_response_data=bytes(
                core.AdvertisingData(
                    [
                        (
                            core.AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS,
                            bytes(core.UUID(SERVICE)),
                        )
                    ]
                )
            ),
            advertising_interval_min=20.0,
            advertising_interval_max=20.0,
        )

    def _connected(self, connection: Connection) -> None:
        self.connections += 1
        self._connection = connection
        connection.on(Connection.EVENT_DISCONNECTION, self._disconnected)

    def _disconnected(self, _: int) -> None:
        self.uart.link(None)
        self._connection = None
        self._loop.create_task(self._advertise())

    def _subscribed(self, bearer: Any, notify: bool, _: bool) -> None:
        self.uart.link(
            (lambda data: self._loop.call_soon_threadsafe(self._notify, data)) if notify else None,
            bearer.att_mtu - 3,
        )

    def _notify(self, data: bytes) -> None:
        if self._connection is not None:
            self._loop.create_task(
                self.device.notify_subscriber(self._connection, self._notifies, data)
            )

    def lose_link_after(self, notifications: int) -> None:
        """Lose the link in the place of the notification after that many more."""

        async def lose() -> None:
            if self._connection is not None:
                await self._connection.disconnect()

        self.uart.lose_after(
            notifications, lambda: asyncio.run_coroutine_threadsafe(lose(), self._loop)
        )


def backends(air: Air) -> tuple[type[BaseBleakScanner], type[BaseBleakClient]]:
    """bleak's scanner and client on the central."""

    class BumbleScanner(BaseBleakScanner):
        def __init__(self, detection_callback: Any, service_uuids: Any, *_: Any, **__: Any) -> None:
            super().__init__(detection_callback, service_uuids)

        async def start(self) -> None:
            self.seen_devices = {}
            air.central.on(Device.EVENT_ADVERTISEMENT, self._heard)
            await air.central.start_scanning(scan_interval=SCAN_MS, scan_window=SCAN_MS)

        async def stop(self) -> None:
            air.central.remove_listener(Device.EVENT_ADVERTISEMENT, self._heard)
            await air.central.stop_scanning()

        def _heard(self, advertisement: Advertisement) -> None:
            name = advertisement.data.get(core.AdvertisingData.Type.COMPLETE_LOCAL_NAME)
            uuids = advertisement.data.get(
                core.AdvertisingData.Type.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS
            )
            seen = AdvertisementData(
                local_name=name and str(name),
                manufacturer_data={},
                service_data={},
                service_uuids=[str(uuid).lower() for uuid in uuids or ()],
                tx_power=None,
                rssi=advertisement.rssi,
                platform_data=(),
            )
            address = advertisement.address.to_string(False)
            device = self.create_or_update_device(
                address, address, seen.local_name, advertisement.address, seen
            )
            self.call_detection_callbacks(device, seen)

    class BumbleClient(BaseBleakClient):
        def __init__(self, device: Any, **kwargs: Any) -> None:
            super().__init__(
                device,
                disconnected_callback=kwargs["disconnected_callback"],
                timeout=kwargs["timeout"],
            )
            self._peer_address = device.details
            self._connection: Connection | None = None

        @property
        def name(self) -> str:
            return self.address

        @property
        def mtu_size(self) -> int:
            assert self._connection is not None
            return self._connection.att_mtu

        @property
        def is_connected(self) -> bool:
            return self._connection is not None

        async def connect(self, pair: bool, **kwargs: Any) -> None:
            self._connection = await air.central.connect_le(
                self._peer_address, timeout=self._timeout
            )
            self._connection.on(Connection.EVENT_DISCONNECTION, self._disconnected)
            self._peer = Peer(self._connection)
            await self._peer.request_mtu(MTU)
            await self._peer.discover_all()
            self.services = BleakGATTServiceCollection()
            for service in self._peer.services:
                known = BleakGATTService(service, service.handle, str(service.uuid).lower())
                self.services.add_service(known)
                for characteristic in service.characteristics:
                    self.services.add_characteristic(
                        BleakGATTCharacteristic(
                            characteristic,
                            characteristic.handle,
                            str(characteristic.uuid).lower(),
                            [],
                            lambda: self.mtu_size - 3,
                            known,
                        )
                    )

        def _disconnected(self, _: int) -> None:
            self._connection = None
            if self._disconnected_callback is not None:
                self._disconnected_callback()

        async def disconnect(self) -> None:
            if self._connection is not None:
                await self._connection.disconnect()

        async def write_gatt_char(
            self, characteristic: BleakGATTCharacteristic, data: Any, response: bool
        ) -> None:
            if self._connection is None:
                raise BleakError("not connected")
            await self._peer.write_value(characteristic.obj, bytes(data), response)

        async def start_notify(
            self, characteristic: BleakGATTCharacteristic, callback: Any, **kwargs: Any
        ) -> None:
            await self._peer.subscribe(characteristic.obj, lambda data: callback(bytearray(data)))

        async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
            await self._peer.unsubscribe(characteristic.obj)

        async def pair(self, *args: Any, **kwargs: Any) -> None:
            raise NotImplementedError

        async def unpair(self) -> None:
            raise NotImplementedError

        async def read_gatt_char(self, *args: Any, **kwargs: Any) -> bytearray:
            raise NotImplementedError

        async def read_gatt_descriptor(self, *args: Any, **kwargs: Any) -> bytearray:
            raise NotImplementedError

        async def write_gatt_descriptor(self, *args: Any, **kwargs: Any) -> None:
            raise NotImplementedError

    return BumbleScanner, BumbleClient
