"""Links to boards, behind one small interface, found by the scheme of a URL.

A transport is a plug-in: a function `open(rest) -> Transport` in the entry-point group
`edgesnn.transports`, named like its scheme, where `rest` is what follows `scheme://` or `scheme:`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Protocol

from edgesnn.errors import MissingError

GROUP = "edgesnn.transports"
PYSERIAL_SCHEMES = ("socket", "rfc2217")


class Transport(Protocol):
    """A byte stream in both directions."""

    def read(self, timeout: float) -> bytes:
        """What has arrived, waiting up to `timeout` seconds for a first byte; b"" if none came.

        Raises:
            DeviceError: the link is gone.
        """

    def write(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            DeviceError: the link is gone.
        """

    def close(self) -> None:
        """Let go of the link, and stop what was started for it."""


def open_transport(url: str) -> Transport:
    """The transport that a URL names; a bare port name and pyserial's own URLs are serial.

    `serial:///dev/ttyACM0`, `socket://host:port`, `virtual://`, `qemu://mps2-an386`,
    `session:run.esnl`, `ble://NAME`.

    Raises:
        MissingError: no such scheme, or what it names is not there.
        DeviceError: the link cannot be opened.
    """
    scheme, separator, rest = url.partition(":")
    # one letter is a drive of Windows, not a scheme
    if not separator or len(scheme) == 1 or "/" in scheme or scheme in PYSERIAL_SCHEMES:
        scheme, rest = "serial", url
    rest = rest.removeprefix("//")
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    if scheme not in known:
        raise MissingError(
            f"no transport is called '{scheme}': there is {', '.join(sorted(known)) or 'none'}"
        )
    opener: Callable[[str], Transport] = known[scheme].load()
    return opener(rest)
