"""Images of a board's flash: its firmware, and with it a model where the firmware keeps one.

What is known of a board is read from its firmware (`about` in boards/freestanding/start.c), so that
an image that was built elsewhere needs nothing beside it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgesnn.errors import FormatError, MissingError, ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from intelhex import IntelHex

    from edgesnn.blob import Model
    from edgesnn.devices.signing import Update

ABOUT = struct.Struct("<6I32s")
FORMAT = 1
# as in firmware/app/store.c
RECORD_PAGES, RECORD_BYTES, SEAL_BYTES = 2, 32, 32
RECORD_MAGIC = 0x524E5345
UF2_START, UF2_SECOND, UF2_END = 0x0A324655, 0x9E5D5157, 0x0AB16F30
UF2_HAS_FAMILY = 0x2000
UF2_PAYLOAD = 256
SECTOR = 4096
"""A UF2 file says all of a sector: bootloaders erase one whenever they write the first piece."""


@dataclass(frozen=True)
class Firmware:
    """The firmware of a board.

    Attributes:
        image: what is written, by address.
        board: its name.
        key: public half of the key that it takes models of, 32 bytes.
        store_at: address of the flash that it keeps models in, as tools that write it count.
        store_bytes, page: of that flash.
        arena_bytes: RAM for the state of a model.
    """

    image: IntelHex
    board: str
    key: bytes
    store_at: int
    store_bytes: int
    page: int
    arena_bytes: int

    @property
    def slot_bytes(self) -> int:
        """Of a slot, the update's seal included."""
        return (self.store_bytes // self.page - RECORD_PAGES) // 2 * self.page


def read_firmware(path: Path) -> Firmware:
    """The firmware in a file that was linked for a board (.elf).

    Raises:
        MissingError: the file or the packages that read it are not there.
        FormatError: it is no firmware of edgesnn, or is too old to say for which board.
    """
    try:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile
        from intelhex import IntelHex
    except ImportError:
        raise MissingError(
            "pyelftools and intelhex, which images are made with, are not installed: "
            "pip install 'edgesnn[flash]'"
        ) from None
    image = IntelHex()
    memory = IntelHex()  # as the processor sees it
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            about = elf.get_section_by_name(".edgesnn")
            # by sections: a segment may begin with the head of the file
            for segment in elf.iter_segments("PT_LOAD"):
                for section in elf.iter_sections("SHT_PROGBITS"):
                    if section["sh_size"] and segment.section_in_segment(section):
                        at = section["sh_addr"]
                        memory.puts(at, section.data())
                        image.puts(at - segment["p_vaddr"] + segment["p_paddr"], section.data())
            data = about.data() if about else b""
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror}") from None
    except ELFError:
        data = b""
    if len(data) != ABOUT.size or not memory.addresses():
        raise FormatError(
            f"{path} is no firmware that says which board it is for: build it with this edgesnn "
            "and give its .elf"
        )
    form, at, size, page, arena, key, board = ABOUT.unpack(data)
    if form != FORMAT:
        raise FormatError(
            f"{path} says format {form} of its board, this edgesnn knows {FORMAT}: build it anew"
        )
    return Firmware(
        image=image,
        board=board.rstrip(b"\0").decode("ascii", "replace"),
        key=memory.gets(key, 32),
        store_at=at,
        store_bytes=size,
        page=page,
        arena_bytes=arena,
    )


def signed_for(firmware: Firmware, path: Path, key: Path | None) -> Update:
    """The update of a model, as the firmware takes it.

    Args:
        firmware: of the board.
        path: a model (.esnn), which is signed here, or a signed one.
        key: the private key; None: that of development builds.

    Raises:
        MissingError: a file is not there.
        FormatError: one is damaged.
        ModelError: the model is signed with another key or for another board, or does not fit.
    """
    import monocypher

    from edgesnn import blob
    from edgesnn.devices import signing

    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror}") from None
    if signing.is_update(data):
        update = signing.read_update(data, str(path))
        body = update.data[signing.SIGNATURE_BYTES :]
        if not monocypher.signature_check(data[: signing.SIGNATURE_BYTES], firmware.key, body):
            raise ModelError(
                f"{path} is not signed with the key that the firmware of {firmware.board} was "
                "built for: sign it with that one"
            )
        if update.target not in ("", firmware.board):
            raise ModelError(
                f"{path} was signed for {update.target}, not for {firmware.board}: sign it for "
                "that board"
            )
    else:
        own = signing.read_key(key)
        if own.public != firmware.key:
            what = "the key of development builds" if key is None else str(key)
            raise ModelError(
                f"the firmware of {firmware.board} does not take models that are signed with "
                f"{what}: sign the model with the private half of its key (`edgesnn sign`)"
            )
        update = signing.make_update(data, own, 1)
    _check_room(firmware, blob.unpack(update.image, str(path)), path)
    return update


def _check_room(firmware: Firmware, model: Model, path: Path) -> None:
    from edgesnn.devices.signing import IMAGE_AT

    there = firmware.slot_bytes - IMAGE_AT - SEAL_BYTES
    if len(model.image) > there:
        raise ModelError(
            f"{path} does not fit into a slot of the flash of {firmware.board} "
            f"({len(model.image)} bytes needed, {there} there): give it narrower weights"
        )
    if model.arena_bytes > firmware.arena_bytes:
        raise ModelError(
            f"the state of {path} does not fit into the RAM of {firmware.board} "
            f"({model.arena_bytes} bytes needed, {firmware.arena_bytes} there): choose another "
            "board or a smaller network"
        )


def store_image(firmware: Firmware, update: Update) -> IntelHex:
    """The flash that models are kept in with one, which has proved itself and is active.

    What an earlier record may have left is made void.
    """
    from intelhex import IntelHex

    from edgesnn.devices.signing import IMAGE_AT

    record = struct.pack("<IIBB", RECORD_MAGIC, 1, 0, 0).ljust(RECORD_BYTES - 4, b"\0")
    crc = zlib.crc32(update.data[:IMAGE_AT])
    slot = firmware.store_at + RECORD_PAGES * firmware.page
    image = IntelHex()
    image.puts(firmware.store_at, record + struct.pack("<I", zlib.crc32(record)))
    image.puts(firmware.store_at + firmware.page, b"\xff" * RECORD_BYTES)
    image.puts(slot, update.data)
    seal = struct.pack("<II", crc, crc ^ 0xFFFFFFFF).ljust(SEAL_BYTES, b"\0")
    image.puts(slot + firmware.slot_bytes - SEAL_BYTES, seal)
    return image


def uf2(image: IntelHex, family: int) -> bytes:
    """An image as a file for bootloaders that show up as a drive.

    Args:
        image: what is written.
        family: the number of the chip's kind in the list that came with the format.

    Returns:
        Blocks of 512 bytes, each with 256 of the image; whole sectors, erased where nothing is.
    """
    sectors = sorted({address // SECTOR * SECTOR for address in image.addresses()})
    places = [at + k for at in sectors for k in range(0, SECTOR, UF2_PAYLOAD)]
    blocks = []
    for number, at in enumerate(places):
        data = image.tobinstr(start=at, size=UF2_PAYLOAD)
        head = struct.pack(
            "<8I", UF2_START, UF2_SECOND, UF2_HAS_FAMILY, at, UF2_PAYLOAD, number, len(places),
            family,
        )  # fmt: skip
        blocks.append((head + data).ljust(508, b"\0") + struct.pack("<I", UF2_END))
    return b"".join(blocks)
