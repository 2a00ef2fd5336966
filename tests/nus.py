"""The stream app behind the Nordic UART Service as a program, in lock step with its driver."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from native import APP, CORE, FIRMWARE, SANITIZERS, STRICT, TESTS, call, tool

from firmware.signature.fetch import fetch

NUS = FIRMWARE / "nus"
SIGNATURE = FIRMWARE / "signature"


def build_nus(folder: Path) -> Path:
    """The program, with sanitizers."""
    path = folder / "nus"
    include = ("-I", FIRMWARE / "core", "-I", FIRMWARE / "app", "-I", NUS, "-I", SIGNATURE)
    sources = (TESTS / "nus.c", NUS / "nus.c", *APP, *CORE, SIGNATURE / "signature.c")
    library, made = fetch(), folder / "monocypher.o"
    call([tool("cc"), *SANITIZERS, "-c", library / "monocypher.c", "-o", made])
    include = (*include, "-I", library)
    call([tool("cc"), *STRICT, *SANITIZERS, *include, *sources, made, "-o", path])
    return path


class Program:
    """An event, then all that comes of it: each notification goes to `notified`."""

    def __init__(self, path: Path, notified: Callable[[bytes], None]) -> None:
        self._notified = notified
        self._process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._settle()

    def event(self, kind: bytes, number: int, data: bytes = b"") -> None:
        """Let something happen: see nus.c."""
        assert self._process.stdin is not None
        self._process.stdin.write(kind + struct.pack("<H", number) + data)
        self._process.stdin.flush()
        self._settle()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(10) == 0
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _settle(self) -> None:
        out = self._process.stdout
        assert out is not None
        while True:
            head = out.read(2)
            assert len(head) == 2, "the program has ended: see what the sanitizers say"
            (size,) = struct.unpack("<H", head)
            if not size:
                return
            self._notified(out.read(size))


class Watch:
    """The program as what is behind two characteristics; see `uart.Uart`.

    Whoever carries it calls it from one thread.
    """

    def __init__(self, path: Path) -> None:
        self.writes: list[int] = []
        self._notify: Callable[[bytes], None] | None = None
        self._left: int | None = None
        self._lose: Callable[[], None] = lambda: None
        self._program = Program(path, self._say)

    def written(self, data: bytes) -> None:
        self.writes.append(len(data))
        self._program.event(b"w", len(data), data)

    def link(self, notify: Callable[[bytes], None] | None, size: int = 20) -> None:
        self._notify = notify
        self._program.event(b"l", 0 if notify is None else size)

    def lose_after(self, notifications: int, lose: Callable[[], None]) -> None:
        self._left, self._lose = notifications, lose

    def close(self) -> None:
        self._program.close()

    def _say(self, data: bytes) -> None:
        if self._left == 0:
            self._left, self._notify = None, None
            self._lose()
        if self._notify is not None:
            self._left = None if self._left is None else self._left - 1
            self._notify(data)
