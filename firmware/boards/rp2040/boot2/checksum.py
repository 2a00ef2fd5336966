"""Fill the second stage of the boot up to 252 bytes, with their checksum behind them.

The RP2040's ROM runs no other: CRC-32 with the polynomial 0x04c11db7 from all ones, neither
reflected nor inverted (its datasheet, 2.8.1.3.1).
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

SIZE = 252


def checksum(data: bytes) -> int:
    """The CRC-32 of some bytes, their first bit first."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


def complete(code: bytes) -> bytes:
    """256 bytes of code and checksum. Raises ValueError for code that is too long."""
    if len(code) > SIZE:
        raise ValueError(f"the second stage has {len(code)} bytes, more than {SIZE}")
    data = code.ljust(SIZE, b"\0")
    return data + struct.pack("<I", checksum(data))


if __name__ == "__main__":
    source, out = map(Path, sys.argv[1:])
    out.write_bytes(complete(source.read_bytes()))
