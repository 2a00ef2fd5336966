"""Serial lines through pyserial: real ports, pseudo-terminals, `socket://` and `rfc2217://`."""

from __future__ import annotations

import errno
import os
import re
import select
from io import UnsupportedOperation
from pathlib import Path

import serial

from edgesnn.errors import DeviceError, MissingError

BAUD = 115200


class SerialTransport:
    """One open serial line.

    Args:
        port: a device name or one of pyserial's URLs.
        baud: bits a second, 8N1; pseudo-terminals and sockets ignore it.

    Raises:
        MissingError: there is no such port.
        DeviceError: it is busy or may not be opened.
    """

    def __init__(self, port: str, baud: int = BAUD) -> None:
        self.port = port
        try:
            # exclusive: two programs on one line would take each other's answers
            self._line = serial.serial_for_url(
                port, baudrate=baud, timeout=0, write_timeout=10, exclusive=True
            )
        except (serial.SerialException, ValueError, OSError) as error:
            raise _open_error(port, error) from None

    def read(self, timeout: float) -> bytes:
        """See `Transport.read`."""
        try:
            if not self._wait(timeout):
                return b""
            first: bytes = self._line.read(1)
            if not first:
                return first
            waiting: int = self._line.in_waiting
            return first + (self._line.read(waiting) if waiting else b"")
        except (serial.SerialException, OSError, TypeError, ValueError) as error:
            # TypeError, ValueError: what a read gives on a line that was closed under it
            raise self._gone() from error

    def _wait(self, timeout: float) -> bool:
        """Whether there may be something to read; waits for it."""
        if not timeout:
            return True
        try:
            line: int = self._line.fileno()
        except (AttributeError, UnsupportedOperation):
            # a line without a descriptor; setting its timeout is slow on one that has one
            if timeout != self._line.timeout:
                self._line.timeout = timeout
            return True
        return bool(select.select([line], [], [], timeout)[0])

    def write(self, data: bytes) -> None:
        """See `Transport.write`."""
        try:
            self._line.write(data)
        except (serial.SerialException, OSError) as error:
            raise self._gone() from error

    def close(self) -> None:
        """Close the line."""
        # pyserial forgets to close a socket whose other end has gone
        socket = getattr(self._line, "_socket", None)
        self._line.close()
        if socket is not None:
            socket.close()

    def _gone(self) -> DeviceError:
        return DeviceError(
            f"the link on {self.port} is gone: plug the board in again and start over"
        )


def _open_error(port: str, error: Exception) -> MissingError | DeviceError:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT or ("://" not in port and not Path(port).exists()):
        return MissingError(f"there is no port {port}: plug the board in, or name another port")
    if number in (errno.EBUSY, errno.EAGAIN):
        return DeviceError(f"port {port} is in use: close the other program that has it open")
    if number == errno.EACCES:
        return DeviceError(f"port {port} may not be opened: join its group (often 'dialout')")
    why = os.strerror(number) if number else error
    return DeviceError(f"port {port} cannot be opened ({why}): check its name and cable")


def open_serial(rest: str) -> SerialTransport:
    """The transport of `serial://PORT` or `serial://PORT?baud=BAUD`.

    Raises:
        DeviceError: BAUD is no number, or the port cannot be opened.
        MissingError: there is no such port.
    """
    port, question, asked = rest.partition("?baud=")
    if question and not re.fullmatch("[1-9][0-9]{0,7}", asked):
        raise DeviceError(
            f"port {port} cannot have '{asked}' for a baud rate: give a number, as ?baud={BAUD}"
        )
    return SerialTransport(port, int(asked or BAUD))
