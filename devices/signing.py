"""Updates: a model's image, signed, as a board keeps it; see docs/flashing.md.

The signature is EdDSA over Curve25519 with BLAKE2b, by Monocypher, over everything behind it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import monocypher

from edgesnn.errors import FormatError, MissingError, ModelError

MAGIC, FORMAT = b"ESUP", 1
SECRET_BYTES, SIGNATURE_BYTES, TARGET_BYTES = 64, 64, 32
HEAD = struct.Struct("<4sI4I32s4xI")
IMAGE_AT = SIGNATURE_BYTES + HEAD.size


@dataclass(frozen=True)
class Key:
    """A pair of keys.

    Attributes:
        secret: 64 bytes, of which the second half is the public key.
    """

    secret: bytes

    @property
    def public(self) -> bytes:
        """What a firmware is built with, 32 bytes."""
        return self.secret[32:]

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes."""
        return bytes(monocypher.signature_sign(self.secret, data))


DEVELOPMENT = Key(
    b"edgesnn development: not secret!"
    + bytes.fromhex("1da68ce2165a0015c32b9155019f981b671c4008d90740759a73fb3fdfe40487")
)
"""The key of development builds: in every copy of edgesnn, and so no secret at all."""


@dataclass(frozen=True)
class Update:
    """A signed model.

    Attributes:
        data: signature, head and image.
        image: of the model.
        version: that it was signed as.
        replaces: the newest version that it may take the place of.
        target: name of the board that it is for; "": any.
    """

    data: bytes
    image: bytes
    version: int
    replaces: int
    target: str


def make_update(
    image: bytes, key: Key, version: int, *, replaces: int | None = None, target: str = ""
) -> Update:
    """Sign an image.

    Args:
        image: of a model (`blob.Model.image`).
        key: whose public half the board has.
        version: 0 to 2**32 - 1; a board refuses what is older than its own.
        replaces: the newest version that it may take the place of; default: `version`.
        target: the board that it is for; "": any.

    Raises:
        ModelError: a number or a name does not fit.
    """
    replaces = version if replaces is None else replaces
    for name, value in (("version", version), ("replaced version", replaces)):
        if not 0 <= value < 1 << 32:
            raise ModelError(f"{value} is no {name}: give a whole number from 0 to {2**32 - 1}")
    board = target.encode("ascii", "replace")
    if len(board) >= TARGET_BYTES:
        raise ModelError(f"'{target}' is no name of a board: it has more than 31 characters")
    fields = (MAGIC, FORMAT, len(image), zlib.crc32(image), version, replaces, board)
    head = HEAD.pack(*fields, 0)[:-4]
    body = head + struct.pack("<I", zlib.crc32(head)) + image
    return Update(key.sign(body) + body, image, version, replaces, target)


def read_update(data: bytes, where: str) -> Update:
    """The update in the bytes of a file; its signature is left to the board, which has the key.

    Raises:
        FormatError: it is none, or damaged; names `where`.
    """
    if len(data) < IMAGE_AT or data[SIGNATURE_BYTES : SIGNATURE_BYTES + 4] != MAGIC:
        raise FormatError(f"{where} is no signed model: make one with `edgesnn sign`")
    head = data[SIGNATURE_BYTES:IMAGE_AT]
    _, form, length, crc, version, replaces, target, head_crc = HEAD.unpack(head)
    if form != FORMAT:
        raise FormatError(f"{where} has update format {form}, this edgesnn knows {FORMAT}")
    image = data[IMAGE_AT:]
    if zlib.crc32(head[:-4]) != head_crc or length != len(image) or zlib.crc32(image) != crc:
        raise FormatError(f"{where} is damaged or cut short: copy it again")
    return Update(data, image, version, replaces, target.rstrip(b"\0").decode("ascii", "replace"))


def is_update(data: bytes) -> bool:
    """Whether the bytes of a file look like a signed model."""
    return data[SIGNATURE_BYTES : SIGNATURE_BYTES + 4] == MAGIC


def make_key(path: Path) -> tuple[Key, Path]:
    """Make a pair of keys: the private half goes into a file that only its owner may read.

    Returns:
        it, and the C header with the public half, for `make firmware KEY=...`.

    Raises:
        MissingError: one of the files is there already, or cannot be written.
    """
    key = Key(monocypher.generate_signing_key_pair()[0])
    header = path.with_name(path.name + ".h")
    for there in (path, header):
        if there.exists():
            raise MissingError(f"there is a file {there} already: choose another name")
    try:
        path.touch(0o600, exist_ok=False)  # before there is anything in it to be read
        path.write_text(key.secret.hex() + "\n")
        header.write_text(public_header(key.public))
    except OSError as error:
        for half in (path, header):
            half.unlink(missing_ok=True)
        raise MissingError(
            f"cannot write {path}: {error.strerror}; choose another folder"
        ) from None
    return key, header


def public_header(public: bytes) -> str:
    """The C header that a firmware takes its key from."""
    numbers = ", ".join(f"0x{byte:02x}" for byte in public)
    return f"/* a public key, by `edgesnn keys` */\n#define ESNN_PUBLIC_KEY {numbers}\n"


def read_key(path: Path | None) -> Key:
    """The key in a file of `edgesnn keys`; None: the development key.

    Raises:
        MissingError: there is no such file.
        FormatError: it holds no private key.
    """
    if path is None:
        return DEVELOPMENT
    try:
        secret = bytes.fromhex(path.read_text())
    except OSError as error:
        raise MissingError(f"cannot read the key {path}: {error.strerror}") from None
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise FormatError(
            f"{path} holds no private key: give the file without ending that `edgesnn keys` wrote"
        )
    return Key(secret)
