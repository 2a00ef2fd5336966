"""An emulated micro:bit whose flash outlives it: the debugger of QEMU copies its memory.

QEMU forgets the flash when it ends, and so would every power cut.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

FLASH_BYTES = 256 * 1024
PIECE = 1024


class Debugger:
    """As much of GDB's remote protocol as it takes to stop the processor and copy memory."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(path))
        self._left = b""

    def close(self) -> None:
        self._socket.close()

    def ask(self, command: str) -> str:
        body = command.encode()
        self._socket.sendall(b"$%s#%02x" % (body, sum(body) & 0xFF))
        return self._answer()

    def stop(self) -> None:
        self._socket.sendall(b"\x03")
        self._answer()

    def go_on(self) -> None:
        self._socket.sendall(b"$c#63")

    def read(self, address: int, size: int) -> bytes:
        return bytes.fromhex(self.ask(f"m{address:x},{size:x}"))

    def write(self, address: int, data: bytes) -> None:
        assert self.ask(f"M{address:x},{len(data):x}:{data.hex()}") == "OK"

    def _answer(self) -> str:
        while (found := re.search(rb"\$([^#]*)#..", self._left)) is None:
            self._left += self._socket.recv(65536)
        self._left = self._left[found.end() :]
        self._socket.sendall(b"+")
        return found[1].decode()


class Microbit:
    """A board that is on, from its start to `cut`; `flash` is the file that keeps its flash."""

    def __init__(self, kernel: Path, flash: Path) -> None:
        self._flash = flash
        debug = flash.with_suffix(".gdb")
        debug.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [
                "qemu-system-arm", "-M", "microbit", "-kernel", kernel, "-S", "-display", "none",
                "-monitor", "none", "-serial", "pty", "-gdb", f"unix:{debug},server=on,wait=off",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        found = re.search(r"redirected to (\S+)", said)
        assert found is not None, said
        self.port = found[1]
        # QEMU looks only once a second whether somebody has opened its end
        self._keeps_open = os.open(self.port, os.O_RDWR | os.O_NOCTTY)
        end = time.monotonic() + 10
        while not debug.exists() and time.monotonic() < end:
            time.sleep(0.01)
        self._debugger = Debugger(debug)
        self._debugger.ask("?")
        if flash.exists():
            data = flash.read_bytes()
            for at in range(0, FLASH_BYTES, PIECE):
                piece = data[at : at + PIECE]
                if piece != b"\xff" * PIECE:
                    self._debugger.write(at, piece)
        self._debugger.go_on()

    def cut(self) -> None:
        """The power goes, wherever the processor is."""
        self._debugger.stop()
        data = b"".join(self._debugger.read(at, PIECE) for at in range(0, FLASH_BYTES, PIECE))
        self._flash.write_bytes(data)
        self._stop()

    def _stop(self) -> None:
        self._debugger.close()
        os.close(self._keeps_open)
        self._process.kill()
        with self._process:
            pass

    def __enter__(self) -> Microbit:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._stop()
