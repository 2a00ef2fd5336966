"""A recorded session as if it were a board: `session:PATH`.

It takes the model of the session and gives to each recording's frames, in their order, the answers
that were recorded, and none where that was lost.
"""

from __future__ import annotations

import os
import struct
import time

import numpy as np

from edgesnn.devices import protocol
from edgesnn.devices.log import Log, Recording, read
from edgesnn.devices.packet import Decoder, Packet, encode
from edgesnn.errors import DeviceError, ModelError
from edgesnn.graph import SpikeInput

WINDOW = 16384
PAYLOAD_LIMIT = 4104
SLOTS = 1


class PlaybackTransport:
    """The link to a recorded session.

    Args:
        path: of a session log.

    Raises:
        MissingError, FormatError: as `edgesnn.devices.log.read`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._log: Log = read(path)
        self._decoder = Decoder()
        self._out = b""
        self._token: int | None = None
        self._last = 0
        self._received = b""
        self._loaded = False
        self._next = 0  # recording
        self._now: Recording | None = None
        self._step = 0
        self._open = True

    def read(self, timeout: float) -> bytes:
        """See `Transport.read`."""
        self._check_open()
        if not self._out:
            time.sleep(timeout)
        data, self._out = self._out, b""
        return data

    def write(self, data: bytes) -> None:
        """See `Transport.write`.

        Raises:
            ModelError: a model or a frame that is not the session's.
        """
        self._check_open()
        for packet in self._decoder.feed(data):
            if packet.type == protocol.HELLO:
                self._greet(packet)
            elif (packet.sequence - self._last) & 0xFFFF == 1:
                self._last = packet.sequence
                self._take(packet)

    def close(self) -> None:
        """See `Transport.close`."""
        self._open = False

    def _check_open(self) -> None:
        if not self._open:
            raise DeviceError(f"the session {self._path} was closed: open it again")

    def _answer(self, packet: Packet, kind: int, payload: bytes) -> None:
        self._out += encode(Packet(kind, packet.sequence, payload))

    def _status(self, packet: Packet, code: int = 0, needed: int = 0, there: int = 0) -> None:
        status = protocol.Status(packet.type, code, needed, there)
        self._answer(packet, protocol.STATUS, status.pack())

    def _greet(self, packet: Packet) -> None:
        token = protocol.token_of(packet.payload)
        resumed = token == self._token
        if not resumed:
            self._token, self._last = token, packet.sequence
        board = self._log.boards[-1] if self._log.boards else {}
        info = protocol.Info(
            version=protocol.VERSION,
            model_loaded=self._loaded,
            resumed=resumed,
            payload_limit=PAYLOAD_LIMIT,
            window=WINDOW,
            model_bytes=len(self._log.model.image),
            arena_bytes=self._log.model.arena_bytes,
            last=self._last,
            slots=SLOTS,
            steps=self._step,
            name=str(board.get("name", "session")),
            firmware=str(board.get("firmware", "unknown")),
        )
        self._answer(packet, protocol.INFO, info.pack())

    def _take(self, packet: Packet) -> None:
        image = self._log.model.image
        if packet.type == protocol.MODEL_BEGIN:
            self._loaded, self._received = False, b""
            self._status(packet, needed=len(image), there=len(image))
        elif packet.type == protocol.MODEL_DATA:
            self._received += packet.payload[4:]
            self._status(packet, needed=len(image), there=len(self._received))
        elif packet.type in (protocol.MODEL_END, protocol.SELECT):
            if packet.type == protocol.MODEL_END and self._received != image:
                raise ModelError(
                    f"{self._path} was recorded with another model: give the one that it was "
                    "recorded with"
                )
            self._loaded = True
            self._status(packet)
        elif packet.type == protocol.LIST:
            slots = (protocol.Slot.of(image),) if self._loaded else ()
            models = protocol.Models(0 if self._loaded else None, slots)
            self._answer(packet, protocol.MODELS, models.pack())
        elif packet.type == protocol.COUNT:
            self._answer(packet, protocol.COUNTERS, struct.pack("<9I", *[0] * 9))
        elif not self._loaded:
            self._status(packet, protocol.ERR_NO_MODEL)
        elif packet.type == protocol.RESET:
            self._begin()
            self._status(packet)
        elif packet.type in (protocol.FRAME, protocol.EVENTS):
            self._run(packet)
        elif packet.type == protocol.SELFTEST:
            self._status(packet)
        else:
            self._status(packet, protocol.ERR_PACKET)

    def _begin(self) -> None:
        if self._next == len(self._log.recordings):
            raise DeviceError(
                f"the session {self._path} has {self._next} recordings and no more: give it those "
                "that it was recorded from"
            )
        self._now = self._log.recordings[self._next]
        self._next += 1
        self._step = 0

    def _run(self, packet: Packet) -> None:
        recording, step = self._now, self._step
        if recording is None or step >= len(recording.frames):
            raise DeviceError(
                f"the session {self._path} has no frame {step} here: give it the recordings that "
                "it was recorded from"
            )
        values = recording.frames[step]
        spikes = isinstance(self._log.model.graph.input, SpikeInput)
        expected = np.flatnonzero(values).astype("<u2") if spikes else values.astype("<i2")
        if packet.payload[protocol.STAMP.size :] != expected.tobytes():
            raise ModelError(
                f"frame {step} of recording {recording.number} is not the one in {self._path}: a "
                "session answers its own frames only"
            )
        self._step += 1
        result = recording.results[step]
        if result is not None:
            stamp = packet.payload[: protocol.STAMP.size]
            payload = result.pack()
            self._answer(packet, protocol.RESULT, payload[:28] + stamp + payload[32:])


def open_session(rest: str) -> PlaybackTransport:
    """The transport of `session:PATH`."""
    return PlaybackTransport(rest)
