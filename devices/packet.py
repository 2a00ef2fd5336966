"""Packets of the stream protocol (docs/protocol.md): bytes in, packets out, no I/O.

The twin of `firmware/app/packet.c`; `tests/test_packet.py` runs one against the other.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

HEAD = struct.Struct("<BH")
TAIL = struct.Struct("<I")
FULL_BLOCK = 255
_CODES = [bytes([code]) for code in range(FULL_BLOCK + 1)]


@dataclass(frozen=True)
class Packet:
    """One packet: its type, its sequence number (modulo 2**16) and what it carries."""

    type: int
    sequence: int
    payload: bytes = b""


def stuff(data: bytes) -> bytes:
    """Consistent overhead byte stuffing: the same bytes without a 0 (Cheshire and Baker, 1999)."""
    out = []
    pieces = data.split(b"\0")
    last = len(pieces) - 1
    for k, piece in enumerate(pieces):
        while len(piece) >= FULL_BLOCK - 1:
            out += [_CODES[FULL_BLOCK], piece[: FULL_BLOCK - 1]]
            piece = piece[FULL_BLOCK - 1 :]
            if k == last and not piece:  # a full block at the very end says it all
                return b"".join(out)
        out += [_CODES[len(piece) + 1], piece]
    return b"".join(out)


def stuffed_bytes(size: int) -> int:
    """The most that `size` bytes can come to when they are stuffed."""
    return size + size // (FULL_BLOCK - 1) + 1


def unstuff(data: bytes) -> bytes | None:
    """The inverse of `stuff`; None where no data could have given these bytes."""
    out = bytearray(data)
    end = len(data)
    full = []
    at = 0
    while at < end:  # a length byte becomes the 0 that its block ends with, one block earlier
        code = data[at]
        out[at] = 0
        at += code
        if code == FULL_BLOCK:
            full.append(at)
        elif not code:
            return None
    if at != end:
        return None
    for place in reversed(full):
        del out[place : place + 1]  # behind a full block there is no 0
    return bytes(out[1:])


def encode(packet: Packet) -> bytes:
    """A packet as it goes over a link: stuffed, with its CRC-32, ended by a 0."""
    body = HEAD.pack(packet.type, packet.sequence & 0xFFFF) + packet.payload
    return stuff(body + TAIL.pack(zlib.crc32(body))) + b"\0"


def packet_bytes(payload: int) -> int:
    """The most that a packet with a payload of that size takes on a link, delimiter included."""
    return stuffed_bytes(HEAD.size + payload + TAIL.size) + 1


class Decoder:
    """Puts packets together from bytes as they arrive.

    Args:
        capacity: longest packet kept, bytes: type, sequence number, payload and CRC-32. A longer
            one is dropped and counted as bad.

    Attributes:
        bad: damaged or oversized packets dropped so far.
    """

    def __init__(self, capacity: int = 1 << 20) -> None:
        self.bad = 0
        self._capacity = capacity
        self._pending = bytearray()
        self._skip = False

    @property
    def pending(self) -> int:
        """Bytes that have come behind the last delimiter and are kept."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that these bytes complete, in order."""
        packets = []
        *whole, rest = data.split(b"\0")
        for piece in whole:
            self._keep(piece)
            packet = None if self._skip else _decode(bytes(self._pending), self._capacity)
            if packet is not None:
                packets.append(packet)
            elif self._pending or self._skip:
                self.bad += 1
            self._pending.clear()
            self._skip = False
        self._keep(rest)
        return packets

    def _keep(self, piece: bytes) -> None:
        # no data of `capacity` bytes is longer than this when stuffed, however that was done
        if len(self._pending) + len(piece) > stuffed_bytes(self._capacity):
            self._skip = True
            self._pending.clear()
        if not self._skip:
            self._pending += piece


def _decode(stuffed: bytes, capacity: int) -> Packet | None:
    data = unstuff(stuffed)
    if data is None or not HEAD.size + TAIL.size <= len(data) <= capacity:
        return None
    body = data[: -TAIL.size]
    if TAIL.unpack_from(data, len(body))[0] != zlib.crc32(body):
        return None
    kind, sequence = HEAD.unpack_from(body)
    return Packet(kind, sequence, body[HEAD.size :])
