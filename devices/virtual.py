"""The virtual board: the firmware's stream app built for the host, at the end of a pseudo-terminal.

`virtual://` starts one for as long as it is open; `python -m edgesnn.devices.virtual` starts one by
hand and prints its port, for any program that can talk to a serial line.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import tty

from edgesnn.devices.serial import SerialTransport
from edgesnn.errors import DeviceError

MODEL_BYTES = 4 << 20
ARENA_BYTES = 1 << 20


class VirtualTransport(SerialTransport):
    """A serial line to a virtual board in a process of its own."""

    def __init__(self) -> None:
        # the board leaves when its standard input ends: with this process, however that ends
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgesnn.devices.virtual"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().decode().strip()
        if not port:
            self._stop()
            raise DeviceError(
                "the virtual board did not start: run `python -m edgesnn.devices.virtual`"
            )
        super().__init__(port)

    def close(self) -> None:
        """Close the line and stop the board."""
        super().close()
        self._stop()

    def _stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def open_virtual(rest: str) -> VirtualTransport:
    """The transport of `virtual://`."""
    if rest:
        raise DeviceError(f"virtual:// takes no name, and got '{rest}': write virtual://")
    return VirtualTransport()


def main() -> None:
    """Run a virtual board until standard input ends; its port is the one line printed."""
    from edgesnn._core import lib

    board, host = os.openpty()
    tty.setraw(host)
    print(os.ttyname(host), flush=True)
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def leave_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    # `host` stays open here, so that the line outlives the programs that come and go on it
    lib.virtual_board_run(board, MODEL_BYTES, ARENA_BYTES)


if __name__ == "__main__":
    main()
