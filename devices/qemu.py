"""Emulated boards: real firmware under QEMU, its UART at the end of a pseudo-terminal."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgesnn.devices.serial import SerialTransport
from edgesnn.errors import DeviceError, MissingError


@dataclass(frozen=True)
class Emulated:
    """How a board is emulated: the QEMU program, its arguments, the Debian package it is in."""

    program: str
    arguments: tuple[str, ...]
    package: str


BOARDS = {
    board: Emulated("qemu-system-arm", ("-M", board), "qemu-system-arm")
    for board in (
        "microbit", "mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547",
    )
} | {
    "stm32f405": Emulated("qemu-system-arm", ("-M", "netduinoplus2"), "qemu-system-arm"),
    "virt-rv32": Emulated(
        "qemu-system-riscv32", ("-M", "virt", "-bios", "none"), "qemu-system-misc"
    ),
}  # fmt: skip


def firmware_path(board: str) -> Path:
    """The firmware that runs on an emulated board.

    `$EDGESNN_FIRMWARE/<board>/edgesnn.elf` if that is set, else the build folder of the source
    tree that this package stands in, or of the current folder.

    Raises:
        MissingError: it is not built.
    """
    set_by_user = os.environ.get("EDGESNN_FIRMWARE")
    roots = (
        [Path(set_by_user)]
        if set_by_user
        else [
            Path(__file__).resolve().parent.parent / "build" / "firmware",
            Path.cwd() / "build" / "firmware",
        ]
    )
    for root in roots:
        path = root / board / "edgesnn.elf"
        if path.is_file():
            return path
    raise MissingError(
        f"there is no firmware for {board} in {' or '.join(map(str, roots))}: build it with "
        f"`make firmware BOARD={board}`"
    )


class QemuTransport(SerialTransport):
    """A serial line to a board that this process emulates.

    Raises:
        MissingError: no such board, QEMU or the firmware is not there.
        DeviceError: QEMU did not start.
    """

    def __init__(self, board: str) -> None:
        if board not in BOARDS:
            raise MissingError(
                f"no emulated board is called '{board}': there is {', '.join(BOARDS)}"
            )
        emulated = BOARDS[board]
        if shutil.which(emulated.program) is None:
            raise MissingError(
                f"{emulated.program} is not installed: install the package {emulated.package}"
            )
        self._process = _STARTER.submit(
            subprocess.Popen[str],
            [
                emulated.program, *emulated.arguments, "-kernel", str(firmware_path(board)),
                "-display", "none", "-monitor", "none", "-serial", "pty",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        ).result()  # fmt: skip
        self._board = board
        try:
            super().__init__(self._announced_port())
        except BaseException:
            self._stop()
            raise

    def _announced_port(self) -> str:
        assert self._process.stdout is not None
        said = "it said nothing"
        for line in self._process.stdout:
            port = re.search(r"redirected to (\S+)", line)
            if port is not None:
                return port[1]
            said = line.strip()
        raise DeviceError(f"QEMU did not start {self._board}: {said}")

    @property
    def process_id(self) -> int:
        """Of the board, by which the system knows it."""
        return self._process.pid

    def close(self) -> None:
        """Close the line and stop the emulation."""
        super().close()
        self._stop()

    def _stop(self) -> None:
        self._process.kill()
        with self._process:
            pass  # waits for its end and closes its pipe

    def _gone(self) -> DeviceError:
        return DeviceError(f"the emulated {self._board} has stopped: start over")


# Linux ends QEMU with the thread that started it, so that one must last as long as this process
_STARTER = ThreadPoolExecutor(1)


def _end_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def open_qemu(rest: str) -> QemuTransport:
    """The transport of `qemu://BOARD`."""
    return QemuTransport(rest)
