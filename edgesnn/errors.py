"""What can go wrong, as one family of exceptions.

Every message is one sentence that names what, where and what to do; the command line prints it
as it stands and exits with `EdgesnnError.exit_code`.
"""

from __future__ import annotations


class EdgesnnError(Exception):
    """Root of every error that a user can cause or mend."""

    exit_code = 2


class FormatError(EdgesnnError):
    """A file or a byte string is not what it claims to be."""


class MissingError(EdgesnnError):
    """A file, an optional package, a tool or a port is not there."""


class ModelError(EdgesnnError):
    """A network or graph breaks a rule of its specification, or does not fit its target."""


class DeviceError(EdgesnnError):
    """A board or the link to it failed."""

    exit_code = 3


class MismatchError(EdgesnnError):
    """A board or backend disagrees with the reference."""

    exit_code = 1
