"""Messages of the stream protocol: the twin of `firmware/app/protocol.h`; see docs/protocol.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from edgesnn.errors import DeviceError
from edgesnn.graph import Int32Array
from edgesnn.runtime import status_text

VERSION = 1
HELLO, MODEL_BEGIN, MODEL_DATA, MODEL_END = 0x01, 0x02, 0x03, 0x04
RESET, FRAME, EVENTS, SELFTEST = 0x05, 0x06, 0x07, 0x08
STATUS, INFO, RESULT = 0x80, 0x81, 0x82
ERR_NO_MODEL, ERR_PACKET, ERR_TOO_LARGE, ERR_ORDER = -64, -65, -66, -67
ERR_ARENA = -9

_STATUS = struct.Struct("<BbHII")
_INFO = struct.Struct("<BBHIII")
_RESULT = struct.Struct("<HHIIIIII")
RESULT_BYTES = _RESULT.size

_WORDS = {
    ERR_NO_MODEL: "it holds no model",
    ERR_PACKET: "it does not know this packet, or its length is wrong",
    ERR_TOO_LARGE: "its frames or answers do not fit into a packet",
    ERR_ORDER: "a piece of the model came out of order",
}


@dataclass(frozen=True)
class Status:
    """The verdict on a request; `needed` and `there` are bytes where the code is about memory."""

    request: int
    code: int
    needed: int
    there: int

    @classmethod
    def unpack(cls, payload: bytes) -> Status:
        """Raises DeviceError for a payload of another length."""
        request, code, _, needed, there = _unpack(_STATUS, payload, "STATUS")
        return cls(request, code, needed, there)

    def text(self) -> str:
        """The verdict in words."""
        words = _WORDS.get(self.code) or status_text(self.code)
        if self.code == ERR_TOO_LARGE and self.request == MODEL_BEGIN:
            words = "it does not fit into the board's memory"
        if self.code in (ERR_TOO_LARGE, ERR_ARENA):
            words += f" ({self.needed} bytes needed, {self.there} there)"
        return words


@dataclass(frozen=True)
class Info:
    """What a board says of itself.

    Attributes:
        version: of the protocol.
        model_loaded: whether a model is ready to run.
        payload_limit: longest payload it takes or gives, bytes.
        window: bytes that may be under way to it, unanswered.
        model_bytes, arena_bytes: room for an image and for its state.
        name: of the board.
    """

    version: int
    model_loaded: bool
    payload_limit: int
    window: int
    model_bytes: int
    arena_bytes: int
    name: str

    @classmethod
    def unpack(cls, payload: bytes) -> Info:
        """Raises DeviceError for a payload that is too short or another protocol version."""
        if payload[:1] != bytes([VERSION]):
            raise DeviceError(
                f"the board speaks protocol version {payload[0] if payload else 'none'}, this "
                f"edgesnn speaks {VERSION}: update the older of the two"
            )
        version, loaded, limit, window, model, arena = _unpack(_INFO, payload[: _INFO.size], "INFO")
        name = payload[_INFO.size :].decode("ascii", "replace")
        return cls(version, bool(loaded), limit, window, model, arena, name)


@dataclass(frozen=True)
class Result:
    """What one step gave on a board.

    Attributes:
        label: index of the class with the highest score so far.
        step: steps since the last reset, this one included.
        spikes, synops, macs: of this step, as in `edgesnn.reference.Outputs`.
        digest: CRC-32 of this step's spikes and scores (`edgesnn.reference.digest`).
        micros: what the step took on the board, µs (0: it has no clock).
        scores: (classes,) int32.
    """

    label: int
    step: int
    spikes: int
    synops: int
    macs: int
    digest: int
    micros: int
    scores: Int32Array

    @classmethod
    def unpack(cls, payload: bytes) -> Result:
        """Raises DeviceError for a payload whose length does not fit its scores."""
        fields = _unpack(_RESULT, payload[:RESULT_BYTES], "RESULT")
        label, count, step, spikes, synops, macs, digest, micros = fields
        if len(payload) != result_bytes(count):
            raise DeviceError(
                f"the board sent RESULT with {len(payload)} bytes, not {result_bytes(count)} for "
                f"{count} scores: update it"
            )
        scores = np.frombuffer(payload, "<i4", offset=RESULT_BYTES)
        return cls(label, step, spikes, synops, macs, digest, micros, scores.astype(np.int32))


def result_bytes(classes: int) -> int:
    """Payload of a RESULT with that many scores, bytes."""
    return RESULT_BYTES + 4 * classes


def _unpack(layout: struct.Struct, payload: bytes, what: str) -> tuple[int, ...]:
    if len(payload) != layout.size:
        raise DeviceError(
            f"the board sent {what} with {len(payload)} bytes, not {layout.size}: update it"
        )
    return layout.unpack(payload)
