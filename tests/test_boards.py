"""Firmware of boards that nothing emulates: what their hardware looks at before it runs it."""

from __future__ import annotations

import binascii
import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from native import FIRMWARE, call, tool

from edgesnn.devices.firmware import read_firmware
from edgesnn.devices.qemu import BOARDS

BUILD = FIRMWARE.parent / "build" / "firmware"
BARE = sorted(
    path.parent.name
    for path in (FIRMWARE / "boards").glob("*/board.mk")
    if path.parent.name not in BOARDS
)
COMPILER = {"esp32c3": "riscv64-unknown-elf-gcc"}
CONSTANTS, CODE, RAM_AS_CODE = 0x3C000000, 0x42000000, 0x700000  # of the ESP32-C3


def firmware(board: str) -> Path:
    tool(COMPILER.get(board, "arm-none-eabi-gcc"))
    call(["make", "-C", FIRMWARE, f"BOARD={board}"])
    return BUILD / board / "edgesnn.elf"


def symbols(elf: Path) -> dict[str, int]:
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        return {symbol.name: int(symbol["st_value"]) for symbol in table.iter_symbols()}


def test_there_are_boards_that_are_built_only() -> None:
    assert {"esp32c3", "nrf52832", "nrf52840", "rp2040", "stm32l476"} <= set(BARE)


@pytest.mark.board
@pytest.mark.parametrize("board", BARE)
def test_its_image_is_what_the_linker_placed_and_leaves_the_models_alone(board: str) -> None:
    elf = firmware(board)
    known = read_firmware(elf)
    known.image.padding = 0xFF
    assert known.board == board
    assert known.image.tobinstr() == elf.with_suffix(".bin").read_bytes()
    assert known.image.maxaddr() < known.store_at
    assert known.slot_bytes >= 96 * 1024


@pytest.mark.board
@pytest.mark.parametrize("board", [board for board in BARE if board not in COMPILER])
def test_its_vectors_point_into_it(board: str) -> None:
    """A Cortex-M takes its stack and its first instruction from there."""
    elf = firmware(board)
    image, names = read_firmware(elf).image, symbols(elf)
    stack, reset, *exceptions = struct.unpack("<16I", image.gets(names["vectors"], 64))
    assert stack == names["stack_top"]
    assert reset == names["reset"] | 1
    assert all(
        address & 1 and image.minaddr() < address < image.maxaddr() for address in exceptions
    )


@pytest.mark.board
def test_the_rp2040_would_start_its_second_stage() -> None:
    """By its datasheet, 2.8.1.3.1; zlib's CRC-32 is the same, with all bits reflected."""

    def reflected(value: int, bits: int) -> int:
        return int(f"{value:0{bits}b}"[::-1], 2)

    elf = firmware("rp2040")
    image = read_firmware(elf).image
    stage = image.gets(0x10000000, 256)
    mirrored = bytes(reflected(byte, 8) for byte in stage[:252])
    expected = reflected(binascii.crc32(mirrored) ^ 0xFFFFFFFF, 32)
    assert struct.unpack("<I", stage[252:]) == (expected,)
    assert symbols(elf)["vectors"] == 0x10000100
    assert struct.pack("<I", 0x10000100) in stage  # where it takes stack and entry from


@pytest.mark.board
def test_the_rom_of_the_esp32c3_would_start_it() -> None:
    """Two magic words, then the first instruction; constants where the whole flash is seen."""
    elf = firmware("esp32c3")
    image, names = read_firmware(elf).image, symbols(elf)
    assert image.gets(0, 8) == struct.pack("<II", 0xAEDB041D, 0xAEDB041D)
    assert names["reset"] == CODE + 8
    assert names["vectors"] % 256 == 0
    assert names["work"] == names["data_start"] + RAM_AS_CODE  # the code in RAM is what is copied
    ram = [names[name] for name in ("data_start", "data_end", "bss_start", "bss_end", "stack_top")]
    assert ram == sorted(ram)
    assert names["data_end"] > names["data_start"]
    loaded = names["data_load"] - CONSTANTS
    assert image.minaddr() == 0
    assert loaded + names["data_end"] - names["data_start"] == image.maxaddr() + 1
    assert CONSTANTS < names["esnn_public_key"] < names["data_load"]
