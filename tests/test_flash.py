"""Firmware onto boards: the exact command lines, and one of them for real."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from intelhex import IntelHex
from native import FIRMWARE, call, tool
from nrf51 import FLASH_BYTES, Microbit
from powercut import image

from edgesnn import blob
from edgesnn.cli import main
from edgesnn.devices import open_board
from edgesnn.devices.firmware import Firmware, read_firmware, signed_for, store_image
from edgesnn.devices.flash import PLANS, values_of

BUILD = FIRMWARE.parent / "build" / "firmware"
EDGESNN = Path(sys.executable).with_name("edgesnn")
PYOCD = "pyocd load --no-wait --target {} /x/flash.hex"
OPENOCD = 'openocd -f interface/{}.cfg -f target/{}.cfg -c "program /x/flash.hex verify reset exit"'
STM32FLASH = "stm32flash -b 115200 -w /x/flash.bin -v -g 0x08000000 /dev/ttyACM0"
COPY = "cp /x/flash.uf2 /media/boot"
COMMAND_LINES = {
    ("microbit", "pyocd"): [PYOCD.format("nrf51")],
    ("microbit", "openocd"): [OPENOCD.format("cmsis-dap", "nrf51")],
    ("microbit-boot", "stm32flash"): [
        "stm32flash -m 8n1 -b 115200 -w /x/flash.bin -v -g 0x08000000 /dev/ttyACM0"
    ],
    ("nrf52832", "pyocd"): [PYOCD.format("nrf52832")],
    ("nrf52832", "openocd"): [OPENOCD.format("cmsis-dap", "nrf52")],
    ("nrf52840", "pyocd"): [PYOCD.format("nrf52840")],
    ("nrf52840", "openocd"): [OPENOCD.format("cmsis-dap", "nrf52")],
    ("nrf52840", "uf2"): [COPY],
    ("nrf52840", "dfu"): [
        "adafruit-nrfutil dfu genpkg --dev-type 0x0052 --application /x/flash.hex /x/made.zip",
        "adafruit-nrfutil dfu serial --package /x/made.zip --port /dev/ttyACM0 --baudrate 115200 "
        "--singlebank",
    ],
    ("nrf52840", "mcuboot"): [
        "imgtool sign --header-size 0x200 --pad-header --align 4 --slot-size 0x74000 "
        "--version 0.1.0 --key=/k.pem /x/firmware.hex /x/made.hex",
        "pyocd load --no-wait --target nrf52840 /x/made.hex",
        "pyocd load --no-wait --target nrf52840 /x/store.hex",
    ],
    ("stm32f405", "openocd"): [OPENOCD.format("stlink", "stm32f4x")],
    ("stm32f405", "pyocd"): [PYOCD.format("stm32f405rg")],
    ("stm32f405", "stm32flash"): [STM32FLASH],
    ("stm32l476", "openocd"): [OPENOCD.format("stlink", "stm32l4x")],
    ("stm32l476", "pyocd"): [PYOCD.format("stm32l476rg")],
    ("stm32l476", "stm32flash"): [STM32FLASH],
    ("rp2040", "uf2"): [COPY],
    ("rp2040", "openocd"): [OPENOCD.format("cmsis-dap", "rp2040")],
    ("rp2040", "pyocd"): [PYOCD.format("rp2040")],
    ("esp32c3", "esptool"): [
        "esptool --chip esp32c3 --port /dev/ttyACM0 write-flash 0x0 /x/flash.bin"
    ],
}
WAYS = [(board, tool) for board, plans in PLANS.items() for tool in plans]
HANGS_AFTER_S = 60


def edgesnn(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_the_command_lines_are_exactly_these(way: tuple[str, str]) -> None:
    board, tool = way
    values = values_of(
        Path("/x/edgesnn.elf"), model=True, port="/dev/ttyACM0", drive="/media/boot",
        boot_key="/k.pem",
    )  # fmt: skip
    lines = PLANS[board][tool].command_lines(values)
    assert lines == [shlex.split(line) for line in COMMAND_LINES[way]]


def test_what_is_not_there_is_left_out_of_the_command_lines() -> None:
    lines = PLANS["nrf52840"]["mcuboot"].command_lines(values_of(Path("/x/edgesnn.elf")))
    assert [line[0] for line in lines] == ["imgtool", "pyocd"]
    assert not [part for line in lines for part in line if "key" in part]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The firmware of a board, linked as a tool wants it, in a folder of its own."""

    def of(board: str, name: str) -> Path:
        plan = PLANS[board][name]
        plain = next(iter(PLANS[board].values())).build
        folder = tmp_path_factory.mktemp(name) / "firmware"
        call(["make", "-C", FIRMWARE, *plain])
        shutil.copytree(BUILD / board, folder)
        elf = folder / "edgesnn.elf"
        if plan.build != plain:
            elf.unlink()  # what is in it stays: only places differ
            call(["make", "-C", FIRMWARE, *plan.build, f"OUT={folder}"])
        return elf

    return of


SAY_THERE_IS_NO_BOARD = {
    ("nrf52840", "pyocd"): "No connected debug probes",
    ("nrf52840", "openocd"): "unable to find a matching CMSIS-DAP device",
    ("nrf52840", "uf2"): "no drive of a bootloader is here",
    ("nrf52840", "dfu"): "could not open port",
    ("nrf52840", "mcuboot"): "No connected debug probes",
    ("stm32f405", "openocd"): "open failed",
    ("stm32f405", "stm32flash"): "Failed to open port",
    ("rp2040", "openocd"): "unable to find a matching CMSIS-DAP device",
    ("rp2040", "pyocd"): "No connected debug probes",
    ("esp32c3", "esptool"): "Could not open /dev/nowhere",
}


@pytest.mark.board
@pytest.mark.parametrize("way", SAY_THERE_IS_NO_BOARD, ids=" ".join)
def test_the_tools_themselves_do_as_much_as_they_can_without_a_board(
    way: tuple[str, str], built: Callable[[str, str], Path], models: Path
) -> None:
    """Each takes its command line, and fails where it looks for the board."""
    board, name = way
    line = [EDGESNN, "flash", "--board", board, "--tool", name, "--image", built(board, name)]
    line += ["--model", models / "old.esnn"]
    if PLANS[board][name].needs("port"):
        line += ["--port", "/dev/nowhere"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=HANGS_AFTER_S)
    said = done.stdout + done.stderr
    assert SAY_THERE_IS_NO_BOARD[way] in said, said
    assert done.returncode == (2 if name == "uf2" else 3)
    assert done.stderr.splitlines()[-1].startswith("edgesnn: ")


@pytest.mark.board
def test_mcuboot_would_start_the_firmware(
    built: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """imgtool finds it whole, signed with our key and no other, the firmware in its place."""
    elf = built("nrf52840", "mcuboot")
    for key in ("own", "other"):
        call([beside("imgtool"), "keygen", "-k", tmp_path / key, "-t", "ecdsa-p256"])
    done = edgesnn(
        "flash", "--board", "nrf52840", "--tool", "mcuboot", "--image", elf, "--boot-key",
        tmp_path / "own", "--dry-run",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    call([beside("imgtool"), *shlex.split(done.stdout.splitlines()[0])[1:]])
    made = elf.with_name("made.hex")
    assert b"Image was correctly validated" in call(
        [beside("imgtool"), "verify", "-k", tmp_path / "own", made]
    )
    refused = subprocess.run(
        [beside("imgtool"), "verify", "-k", tmp_path / "other", made], capture_output=True
    )
    assert refused.returncode != 0
    signed = IntelHex(str(made))
    assert signed.gets(0xC000, 4) == struct.pack("<I", 0x96F3B83D)  # as MCUboot knows an image
    firmware = read_firmware(elf)
    assert firmware.image.minaddr() == 0xC200
    assert signed.gets(0xC200, 4096) == firmware.image.gets(0xC200, 4096)


@pytest.mark.board
def test_nordics_package_holds_the_firmware(
    built: Callable[[str, str], Path], models: Path
) -> None:
    elf = built("nrf52840", "dfu")
    line = ["flash", "--board", "nrf52840", "--tool", "dfu", "--image", elf, "--port", "x"]
    done = edgesnn(*line, "--model", models / "old.esnn", "--dry-run")
    assert done.exit_code == 0, done.output
    call([beside("adafruit-nrfutil"), *shlex.split(done.stdout.splitlines()[0])[1:]])
    with zipfile.ZipFile(elf.with_name("made.zip")) as package:
        known = json.loads(package.read("manifest.json"))["manifest"]["application"]
        data = package.read(known["bin_file"])
    image = IntelHex(str(elf.with_name("flash.hex")))
    image.padding = 0xFF
    assert image.minaddr() == 0x26000
    assert data == image.tobinstr()
    assert image_in(image, read_firmware(elf)) == blob.load(models / "old.esnn").image


@pytest.mark.board
@pytest.mark.parametrize(("board", "family"), [("nrf52840", 0xADA52840), ("rp2040", 0xE48BFF56)])
def test_a_uf2_file_says_the_same_bytes(
    built: Callable[[str, str], Path], models: Path, board: str, family: int
) -> None:
    """Copied to the drive that a bootloader shows up as, and read back as the format says."""
    elf = built(board, "uf2")
    drive = models / "drive"
    drive.mkdir()
    line = ["flash", "--board", board, "--tool", "uf2", "--image", elf, "--drive", drive]
    line += ["--model", models / "old.esnn"]
    missing = edgesnn(*line)
    assert missing.exit_code == 2
    assert missing.stderr == (
        f"edgesnn: {drive} is no drive of a bootloader: it has no INFO_UF2.TXT\n"
    )
    (drive / "INFO_UF2.TXT").write_text("Model: a test\n")
    assert edgesnn(*line).exit_code == 0
    there = read_uf2((drive / "flash.uf2").read_bytes(), family)
    firmware = read_firmware(elf)
    assert image_in(there, firmware) == blob.load(models / "old.esnn").image
    for start, end in firmware.image.segments():
        assert there.gets(start, end - start) == firmware.image.gets(start, end - start)
    assert {at % 4096 for span in there.segments() for at in span} == {0}  # whole sectors


def read_uf2(data: bytes, family: int) -> IntelHex:
    """By https://github.com/microsoft/uf2, strictly."""
    assert len(data) % 512 == 0
    image = IntelHex()
    for number in range(len(data) // 512):
        block = data[512 * number : 512 * (number + 1)]
        first, second, flags, at, size, own, count, kind = struct.unpack_from("<8I", block)
        assert block[:4] == b"UF2\n"
        assert (first, second) == (0x0A324655, 0x9E5D5157)
        assert block[508:] == bytes.fromhex("306fb10a")
        assert (flags, size, own, count, kind) == (
            0x2000, 256, number, len(data) // 512, family,
        )  # fmt: skip
        assert at % 256 == 0
        image.puts(at, block[32 : 32 + size])
    return image


def image_in(flash: IntelHex, firmware: Firmware) -> bytes:
    """The model in the first slot, found as the store of a board finds it."""
    slot = firmware.store_at + 2 * firmware.page
    update = flash.gets(slot, 128)
    (size,) = struct.unpack_from("<I", update, 72)
    return bytes(flash.gets(slot + 128, size))


def beside(name: str) -> Path:
    """A tool that came with the packages of the tests."""
    return Path(tool(name)) if shutil.which(name) else Path(sys.executable).with_name(name)


@pytest.mark.board
@pytest.mark.parametrize(
    ("board", "machine"), [("microbit", "microbit"), ("stm32f405", "netduinoplus2")]
)
def test_a_board_runs_the_model_in_its_image_from_the_first_start(
    built: Callable[[str, str], Path], models: Path, board: str, machine: str
) -> None:
    """On an emulated chip that holds the image and nothing else."""
    tool("qemu-system-arm")
    elf = built(board, next(iter(PLANS[board])))
    line = ("flash", "--board", board, "--image", elf, "--dry-run")
    done = edgesnn(*line, "--model", models / "large.esnn")
    assert done.exit_code == 0, done.output
    command = ["qemu-system-arm", "-M", machine, "-display", "none", "-monitor", "none"]
    command += ["-serial", "pty", "-device", f"loader,file={elf.with_name('flash.hex')}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().split("redirected to ")[1].split()[0]
            with open_board(port) as device:
                stored = device.stored()
                assert device.info.name == board
                assert device.info.model_loaded  # before anything was sent
                assert stored is not None
                assert (stored.version, stored.on_trial) == (1, False)
            verify = ("verify", models / "large.esnn", "--input", models / "recordings.npy")
            verified = edgesnn(*verify, "--port", port)
            assert verified.exit_code == 0, verified.output
            assert "agreement with reference   1" in verified.stdout
        finally:
            process.kill()


@pytest.mark.board
def test_a_board_takes_updates_over_the_model_in_its_image(
    built: Callable[[str, str], Path], models: Path, tmp_path: Path
) -> None:
    """With the flash controller of the chip.

    QEMU gets the firmware as its kernel as well: it writes that anew at every reset, and would do
    so with the model.
    """
    tool("qemu-system-arm")
    elf = built("microbit", "pyocd")
    line = ("flash", "--board", "microbit", "--image", elf, "--dry-run")
    done = edgesnn(*line, "--model", models / "large.esnn")
    assert done.exit_code == 0, done.output
    image = IntelHex(str(elf.with_name("flash.hex")))
    image.padding = 0xFF
    flash = tmp_path / "flash"
    flash.write_bytes(image.tobinstr(0, FLASH_BYTES - 1))
    with Microbit(elf, flash) as board:
        assert edgesnn("update", models / "new.esnn", "--port", board.port).exit_code == 0
        with open_board(board.port) as device:
            stored = device.stored()
            assert stored is not None
            assert stored.version == 2


@pytest.mark.board
def test_what_a_board_kept_before_does_not_outlive_its_image(
    built: Callable[[str, str], Path], models: Path
) -> None:
    """The other page may have a record of a later update, and tools erase only what they write."""
    elf = built("microbit", "pyocd")
    firmware = read_firmware(elf)
    image = store_image(firmware, signed_for(firmware, models / "old.esnn", None))
    pages = {address // firmware.page for address in image.addresses()}
    first = firmware.store_at // firmware.page
    assert {first, first + 1} <= pages
    assert image.gets(firmware.store_at + firmware.page, 32) == b"\xff" * 32


@pytest.mark.board
def test_a_model_that_the_board_would_not_take_is_refused(
    built: Callable[[str, str], Path], models: Path, tmp_path: Path
) -> None:
    elf = built("microbit", "pyocd")
    assert edgesnn("keys", tmp_path / "mine").exit_code == 0
    (models / "wide.esnn").write_bytes(image(4, size=70_000))

    def refusal(model: str | Path, *more: str | Path) -> str:
        line = ("flash", "--board", "microbit", "--image", elf, "--dry-run", "--model")
        done = edgesnn(*line, models / model, *more)
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1
        assert not list(elf.parent.glob("*.hex"))
        return done.stderr

    assert "does not fit into a slot of the flash of microbit" in refusal("wide.esnn")
    # the firmware has the key of development builds
    assert "sign the model with the private half" in refusal(
        "old.esnn", "--key", tmp_path / "mine.h"
    )
    assert "cannot read" in refusal("none.esnn")
    sign = ("sign", models / "old.esnn", "--version", "1", "-o")
    assert edgesnn(*sign, models / "a.esup", "--for", "virtual").exit_code == 0
    assert "was signed for virtual, not for microbit" in refusal("a.esup")
    assert edgesnn(*sign, models / "b.esup", "--key", tmp_path / "mine").exit_code == 0
    assert "is not signed with the key" in refusal("b.esup")


@pytest.mark.board
def test_firmware_of_another_board_or_place_is_refused(built: Callable[[str, str], Path]) -> None:
    """What is written to the wrong place would leave a board without firmware."""
    plain, behind = built("nrf52840", "pyocd"), built("nrf52840", "uf2")

    def refusal(board: str, tool: str, image: Path) -> str:
        line = ("flash", "--board", board, "--tool", tool, "--image", image, "--dry-run")
        done = edgesnn(*line)
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1
        return done.stderr

    assert "is firmware for nrf52840, not for nrf52832" in refusal("nrf52832", "pyocd", plain)
    assert "from 0x0 on: give the --tool" in refusal("nrf52840", "uf2", plain)
    assert "from 0x26000 on: give the --tool" in refusal("nrf52840", "pyocd", behind)
    assert "from 0x26000 on: give the --tool" in refusal("nrf52840", "mcuboot", behind)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--board", "toaster"], "there is no plan to flash a board called 'toaster'"),
        (["--board", "microbit", "--tool", "spoon"], "give --tool pyocd or openocd"),
        (["--board", "microbit-boot"], "flashed over a serial port: name it with --port"),
        (["--board", "microbit", "--image", "/none.elf"], "there is no file /none.elf"),
        (
            ["--board", "microbit-boot", "--port", "x", "--model", "m.esnn"],
            "writes firmware alone: send the model afterwards",
        ),
        (["--board", "microbit", "--image", __file__], "is no firmware that says which board"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], words: str) -> None:
    done = edgesnn("flash", "--dry-run", *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_tool_is_named_and_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    elf = tmp_path / "edgesnn.elf"
    elf.write_bytes(b"")
    done = edgesnn("flash", "--board", "microbit", "--image", elf)
    assert done.exit_code == 2
    assert done.stderr == (
        "edgesnn: microbit is flashed with pyocd, which is missing: get `pip install pyocd`\n"
    )


@pytest.mark.board
def test_a_tool_that_fails_is_a_board_that_failed(
    built: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a program in the place of the tool, which says no."""
    elf = built("microbit", "pyocd")
    fake = tmp_path / "pyocd"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    done = edgesnn("flash", "--board", "microbit", "--image", elf)
    assert done.exit_code == 3
    assert "pyocd could not write the firmware to microbit" in done.stderr


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bootloader and firmware of the board with the serial bootloader."""
    tool("qemu-system-arm")
    folder = BUILD / "microbit-boot"
    call(["make", "-C", FIRMWARE, "BOARD=microbit", "BOOT=1"])
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name, data in (("old", image(3)), ("new", image(1)), ("large", image(2, size=9000))):
        (tmp_path / f"{name}.esnn").write_bytes(data)
    np.save(tmp_path / "recordings.npy", np.arange(40, dtype=np.float32).reshape(2, 20, 1))
    return tmp_path


def flash_firmware(board: Microbit, firmware: Path) -> None:
    """Again where that is needed: stm32flash waits for half a second, which emulation may miss."""
    line = ("--port", board.port, "--image", firmware / "edgesnn.elf")
    command = [EDGESNN, "flash", "--board", "microbit-boot", *line]
    for _ in range(5):
        done = subprocess.run(command, capture_output=True, timeout=60)
        if done.returncode == 0:
            return
    pytest.fail(done.stderr.decode())


@pytest.mark.board
def test_stm32flash_then_update_then_verify(firmware: Path, models: Path) -> None:
    """A blank chip with a bootloader becomes a board that computes what the reference does."""
    tool("stm32flash")
    with Microbit(firmware / "boot.elf", models / "flash") as board:
        flash_firmware(board, firmware)
        port = ("--port", board.port)
        assert edgesnn("update", models / "old.esnn", *port).exit_code == 0
        assert edgesnn("update", models / "large.esnn", *port).exit_code == 0
        verify = ("verify", models / "large.esnn", "--input", models / "recordings.npy", *port)
        verified = edgesnn(*verify)
        assert verified.exit_code == 0, verified.output
        assert "agreement with reference   1" in verified.stdout
        with open_board(board.port) as device:
            stored = device.stored()
            assert stored is not None
            assert stored.version == 2
        board.cut()
    with (
        Microbit(firmware / "boot.elf", models / "flash") as board,
        open_board(board.port) as device,
    ):
        assert device.info.model_loaded  # without anything having been sent


@pytest.mark.board
def test_firmware_that_was_cut_can_be_written_again(firmware: Path, models: Path) -> None:
    """The bootloader starts none that is not whole, whatever moment the power went at."""
    tool("stm32flash")
    flash = models / "flash"
    way = ("--board", "microbit-boot", "--image", firmware / "edgesnn.elf")
    for seconds in (0.4, 0.9, 1.3):
        with Microbit(firmware / "boot.elf", flash) as board:
            edgesnn("flash", *way, "--port", board.port, "--dry-run")
            values = values_of(firmware / "edgesnn.elf", port=board.port)
            (line,) = PLANS["microbit-boot"]["stm32flash"].command_lines(values)
            with subprocess.Popen(line, stdout=subprocess.DEVNULL) as writer:
                time.sleep(seconds)
                writer.kill()
            board.cut()
    with Microbit(firmware / "boot.elf", flash) as board:
        flash_firmware(board, firmware)
        with open_board(board.port) as device:
            assert device.info.name == "microbit"


@pytest.mark.board
def test_power_may_go_at_any_moment_of_an_update(firmware: Path, models: Path) -> None:
    """As tests/test_powercut.py, coarser, with the real flash controller and the process killed."""
    tool("qemu-system-arm")
    kernel = BUILD / "microbit" / "edgesnn.elf"
    flash = models / "flash"
    images = {name: blob.load(models / f"{name}.esnn").image for name in ("old", "large")}
    with Microbit(kernel, flash) as board:
        begun = time.monotonic()
        update = [EDGESNN, "update", models / "old.esnn", "--port", board.port]
        subprocess.run(update, check=True, capture_output=True)
        whole = time.monotonic() - begun  # a large one takes longer
        board.cut()
    interrupted, running = 0, len(images["old"])
    ran = set()
    for n in range(12):
        # the other one: a model that is there already is not sent
        name = "old" if running == len(images["large"]) else "large"
        with Microbit(kernel, flash) as board:
            update = [EDGESNN, "update", models / f"{name}.esnn", "--port", board.port]
            with subprocess.Popen(
                update, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as host:
                time.sleep(whole * (0.4 + 0.06 * n))
                interrupted += host.poll() is None
                board.cut()
                host.send_signal(signal.SIGKILL)
        with Microbit(kernel, flash) as board, open_board(board.port) as device:
            stored = device.stored()
            assert stored is not None
            assert stored.model is not None, "no model runs"
            device.selftest()
            running = stored.model.image_bytes
            ran.add(running)
            board.cut()
    assert interrupted >= 3, (interrupted, whole)
    assert ran <= {len(data) for data in images.values()}
