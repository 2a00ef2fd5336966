"""Firmware onto boards: the exact command lines, and one of them for real."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from native import FIRMWARE, call, tool
from nrf51 import Microbit
from powercut import image

from edgesnn import blob
from edgesnn.cli import main
from edgesnn.devices import open_board
from edgesnn.devices.flash import PLANS

EDGESNN = Path(sys.executable).with_name("edgesnn")
COMMAND_LINES = {
    "microbit": ["pyocd load --target nrf51 /x/edgesnn.elf"],
    "nrf52832": ["pyocd load --target nrf52 /x/edgesnn.elf"],
    "nrf52840": ["pyocd load --target nrf52840 /x/edgesnn.elf"],
    "microbit-boot": [
        "stm32flash -m 8n1 -b 115200 -w /x/edgesnn.bin -v -g 0x08000000 /dev/ttyACM0"
    ],
}


def edgesnn(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("board", PLANS)
def test_the_command_lines_are_exactly_these(board: str) -> None:
    lines = PLANS[board].command_lines(Path("/x/edgesnn.elf"), "/dev/ttyACM0")
    assert [" ".join(line) for line in lines] == COMMAND_LINES[board]


def test_a_dry_run_shows_what_would_be_run(tmp_path: Path) -> None:
    elf = tmp_path / "edgesnn.elf"
    elf.write_bytes(b"")
    done = edgesnn("flash", "--board", "microbit", "--image", elf, "--dry-run")
    assert done.exit_code == 0
    assert done.stdout == f"pyocd load --target nrf51 {elf}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--board", "toaster"], "there is no plan to flash a board called 'toaster'"),
        (["--board", "microbit-boot"], "flashed over a serial port: name it with --port"),
        (["--board", "microbit", "--image", "/none.elf"], "there is no file /none.elf"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], words: str) -> None:
    done = edgesnn("flash", *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_tool_is_named_and_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    elf = tmp_path / "edgesnn.elf"
    elf.write_bytes(b"")
    done = edgesnn("flash", "--board", "microbit", "--image", elf)
    assert done.exit_code == 2
    assert done.stderr == (
        "edgesnn: microbit is flashed with pyocd, which is missing: get `pip install pyocd`\n"
    )


def test_a_tool_that_fails_is_a_board_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a program in the place of the tool, which says no."""
    fake = tmp_path / "pyocd"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    elf = tmp_path / "edgesnn.elf"
    elf.write_bytes(b"")
    done = edgesnn("flash", "--board", "microbit", "--image", elf)
    assert done.exit_code == 3
    assert "pyocd could not write the firmware to microbit" in done.stderr


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bootloader and firmware of the board with the serial bootloader."""
    tool("qemu-system-arm")
    folder = FIRMWARE.parent / "build" / "firmware" / "microbit-boot"
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
    for seconds in (0.4, 0.9, 1.3):
        with Microbit(firmware / "boot.elf", flash) as board:
            line = PLANS["microbit-boot"].command_lines(firmware / "edgesnn.elf", board.port)[0]
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
    kernel = FIRMWARE.parent / "build" / "firmware" / "microbit" / "edgesnn.elf"
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
