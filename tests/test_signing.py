"""Signed models: what is signed is taken, and not one bit of it may change."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import monocypher
import pytest
from native import FIRMWARE, STRICT, TESTS, call, tool

from edgesnn.devices import signing
from edgesnn.devices.signing import DEVELOPMENT, IMAGE_AT, make_update
from edgesnn.errors import FormatError, MissingError, ModelError
from firmware.signature.fetch import fetch

KILOBYTES_16 = 16384


def test_the_firmware_has_the_public_half_of_the_development_key() -> None:
    text = (FIRMWARE / "signature" / "development_key.h").read_text()
    numbers = [int(word.strip(" ,\\"), 16) for word in text.split() if word.startswith("0x")]
    assert bytes(numbers) == DEVELOPMENT.public


def test_a_signature_covers_head_and_image() -> None:
    update = make_update(b"image", DEVELOPMENT, 3)
    signature, rest = update.data[:64], update.data[64:]
    assert monocypher.signature_check(signature, DEVELOPMENT.public, rest)
    assert not monocypher.signature_check(signature, bytes(32), rest)
    assert rest[64:] == b"image"


def test_an_update_is_read_back() -> None:
    update = make_update(b"image", DEVELOPMENT, 3, replaces=7, target="microbit")
    assert signing.read_update(update.data, "x") == update
    assert (update.version, update.replaces, update.target) == (3, 7, "microbit")


@pytest.mark.parametrize("at", [IMAGE_AT - 1, IMAGE_AT, IMAGE_AT - 50])
def test_a_damaged_file_is_refused_in_one_sentence(at: int) -> None:
    data = bytearray(make_update(b"image", DEVELOPMENT, 3).data)
    data[at] ^= 1
    with pytest.raises(FormatError, match=r"^x is damaged or cut short: copy it again$"):
        signing.read_update(bytes(data), "x")


def test_what_is_no_update_is_refused() -> None:
    with pytest.raises(FormatError, match="x is no signed model"):
        signing.read_update(b"nothing", "x")


def test_numbers_and_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="-1 is no version"):
        make_update(b"", DEVELOPMENT, -1)
    with pytest.raises(ModelError, match="is no name of a board"):
        make_update(b"", DEVELOPMENT, 1, target="b" * 32)


def test_a_private_key_is_for_its_owner_only(tmp_path: Path) -> None:
    key, header = signing.make_key(tmp_path / "watch")
    path = tmp_path / "watch"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signing.read_key(path) == key
    assert header.read_text().count("0x") == 32
    with pytest.raises(MissingError, match="choose another name"):
        signing.make_key(path)


def test_a_file_without_a_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("00" * 63)
    with pytest.raises(FormatError, match="holds no private key"):
        signing.read_key(path)
    with pytest.raises(MissingError, match="cannot read the key"):
        signing.read_key(tmp_path / "none")


def test_every_single_bit_flip_of_a_signed_model_of_16_kb_is_refused(tmp_path: Path) -> None:
    """By the signature alone, on the code that boards run; its CRC-32 would refuse them, too."""
    image = bytes((7 * k + k // 256) % 256 for k in range(KILOBYTES_16))
    update = tmp_path / "update"
    update.write_bytes(make_update(image, DEVELOPMENT, 1).data)
    program, made = tmp_path / "flips", tmp_path / "monocypher.o"
    include = [f"-I{FIRMWARE / part}" for part in ("app", "signature")]
    common = [tool("cc"), "-O3", *include, f"-I{fetch()}"]
    call([*common, "-c", fetch() / "monocypher.c", "-o", made])
    sources = (TESTS / "flips.c", FIRMWARE / "signature" / "signature.c")
    call([*common, *STRICT, *sources, made, "-o", program])
    parts = os.cpu_count() or 1
    commands: list[list[str | Path]] = [
        [program, update, str(first), str(parts)] for first in range(parts)
    ]
    with ThreadPoolExecutor(parts) as pool:
        said = [[int(word) for word in out.split()] for out in pool.map(call, commands)]
    refused, flipped, whole = (sum(column) for column in zip(*said, strict=True))
    assert whole == parts, "the update as it is must be taken"
    assert flipped == 8 * (IMAGE_AT + KILOBYTES_16) > 131_072
    assert refused == flipped
    print(f"{refused} of {flipped} single-bit flips are refused")
