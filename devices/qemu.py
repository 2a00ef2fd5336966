"""Emulated boards: real firmware under QEMU, its UART at the end of a pseudo-terminal."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgesnn.devices.serial import SerialTransport
from edgesnn.errors import DeviceError, MissingError


@dataclass(frozen=True)
class Emulated:
    """How a board is emulated: the QEMU program, its machine, and the Debian package it is in."""

    program: str
    machine: str
    package: str


BOARDS = {
    "mps2-an386": Emulated("qemu-system-arm", "mps2-an386", "qemu-system-arm"),
}


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
        self._process = subprocess.Popen(
            [
                emulated.program, "-M", emulated.machine, "-kernel", str(firmware_path(board)),
                "-display", "none", "-monitor", "none", "-serial", "pty",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=_end_with_parent,
        )  # fmt: skip
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        port = re.search(r"redirected to (\S+)", said)
        if port is None:
            self._stop()
            raise DeviceError(f"QEMU did not start {board}: {said.strip() or 'it said nothing'}")
        super().__init__(port[1])

    def close(self) -> None:
        """Close the line and stop the emulation."""
        super().close()
        self._stop()

    def _stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def _end_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def open_qemu(rest: str) -> QemuTransport:
    """The transport of `qemu://BOARD`."""
    return QemuTransport(rest)
