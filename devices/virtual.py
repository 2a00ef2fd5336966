"""The virtual board: the firmware's stream app built for the host, at the end of a pseudo-terminal.

`virtual://` starts one for as long as it is open; `python -m edgesnn.devices.virtual` starts one by
hand and prints its port, for any program that can talk to a serial line.
"""

from __future__ import annotations

import os
import re
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
    """A serial line to a virtual board in a process of its own.

    Args:
        model_bytes, arena_bytes: the memory that the board has for a model and for its state.
        flash: the file that its flash is kept in; "": it starts empty and is forgotten.

    Raises:
        DeviceError: it did not start.
    """

    def __init__(
        self, model_bytes: int = MODEL_BYTES, arena_bytes: int = ARENA_BYTES, flash: str = ""
    ) -> None:
        # the board leaves when its standard input ends: with this process, however that ends
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "edgesnn.devices.virtual",
                str(model_bytes), str(arena_bytes), flash,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert self._process.stdout is not None
            port = self._process.stdout.readline().decode().strip()
            if not port:
                raise DeviceError(
                    "the virtual board did not start: run `python -m edgesnn.devices.virtual`"
                )
            super().__init__(port)
        except BaseException:
            self._stop()
            raise

    @property
    def process_id(self) -> int:
        """Of the board, by which the system knows it."""
        return self._process.pid

    def close(self) -> None:
        """Close the line and stop the board."""
        super().close()
        self._stop()

    def _stop(self) -> None:
        self._process.kill()
        with self._process:
            pass  # waits for its end and closes its pipes

    def _gone(self) -> DeviceError:
        return DeviceError("the virtual board has stopped: start over")


def open_virtual(rest: str) -> VirtualTransport:
    """The transport of `virtual://`.

    `virtual://?model=BYTES&arena=BYTES&flash=FILE` is a board with that much memory for a model and
    its state, and flash that is kept in a file.

    Raises:
        DeviceError: something else is asked of it.
    """
    values = {"model": str(MODEL_BYTES), "arena": str(ARENA_BYTES), "flash": ""}
    for part in rest.removeprefix("?").split("&") if rest else ():
        name, _, value = part.partition("=")
        fits = name == "flash" or re.fullmatch("[0-9]{1,9}", value)
        if not rest.startswith("?") or name not in values or not fits:
            raise DeviceError(
                f"virtual:// cannot take '{rest}': write virtual:// or, for a board with other "
                "memory, virtual://?model=BYTES&arena=BYTES&flash=FILE"
            )
        values[name] = value
    return VirtualTransport(int(values["model"]), int(values["arena"]), values["flash"])


def main() -> None:
    """Run a virtual board until standard input ends; its port is the one line printed.

    Arguments: the bytes for a model and for its state, where the usual ones are not wanted, and the
    file that the flash is kept in.
    """
    from edgesnn._core import ffi, lib

    model_bytes, arena_bytes = map(int, sys.argv[1:3] or (MODEL_BYTES, ARENA_BYTES))
    flash = "".join(sys.argv[3:])
    board, host = os.openpty()
    tty.setraw(host)
    try:
        print(os.ttyname(host), flush=True)
    except BrokenPipeError:  # whoever wanted it has gone
        os._exit(0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def leave_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    # `host` stays open here, so that the line outlives the programs that come and go on it
    lib.virtual_board_run(
        board, model_bytes, arena_bytes, os.fsencode(flash) if flash else ffi.NULL
    )


if __name__ == "__main__":
    main()
