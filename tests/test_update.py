"""Models into the flash of boards: by the command, over bad links, again and again."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from links import Faults, Link, NoisyLink
from native import FIRMWARE, call, tool
from powercut import STRANGER, image

from edgesnn import blob
from edgesnn.cli import main
from edgesnn.devices import Board, open_board, open_transport, protocol
from edgesnn.devices.qemu import BOARDS, firmware_path
from edgesnn.devices.signing import DEVELOPMENT, make_update, read_key
from edgesnn.devices.update import install
from edgesnn.errors import DeviceError, ModelError

OLD, NEW = (blob.unpack(image(weight)) for weight in (3, 1))
LARGE = blob.unpack(image(2, size=9000))
"""Longer than a page of any board, so that an update of it can be cut in the middle."""
WITH_WATCHDOG = [name for name in BOARDS if name not in ("stm32f405", "virt-rv32")]


def update_of(model: blob.Model, version: int) -> bytes:
    return make_update(model.image, DEVELOPMENT, version).data


@pytest.fixture
def board() -> Iterator[Board]:
    with open_board("virtual") as board:
        yield board


def put(board: Board, model: blob.Model, version: int) -> int:
    stored = board.stored()
    assert stored is not None
    return install(
        board, make_update(model.image, DEVELOPMENT, version), stored.page, lambda sent: None
    )


def version_on(board: Board) -> int | None:
    """The version that runs from flash; None: none does."""
    stored = board.stored()
    assert stored is not None
    return None if stored.model is None else stored.version


def edgesnn(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "old.esnn").write_bytes(OLD.image)
    (tmp_path / "new.esnn").write_bytes(NEW.image)
    return tmp_path


def test_an_update_stays_and_runs_at_every_start(models: Path) -> None:
    port = f"virtual://?flash={models / 'flash'}"
    done = edgesnn("update", models / "old.esnn", "--port", port, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["version"], said["bytes_sent"]) == (1, len(OLD.image) + 128)
    with open_board(port) as board:
        assert version_on(board) == 1
        assert board.info.model_loaded
        board.selftest()


def test_the_same_model_again_is_not_sent(models: Path) -> None:
    port = f"virtual://?flash={models / 'flash'}"
    for sent in (len(OLD.image) + 128, 0):
        done = edgesnn("update", models / "old.esnn", "--port", port, "--json")
        assert json.loads(done.stdout)["bytes_sent"] == sent


def test_a_downgrade_is_refused_unless_asked_for(models: Path) -> None:
    port = f"virtual://?flash={models / 'flash'}"
    assert edgesnn("update", models / "old.esnn", "--port", port, "--version", 7).exit_code == 0
    line = ("update", models / "new.esnn", "--port", port, "--version", 6)
    refused = edgesnn(*line)
    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[-1] == (
        f"edgesnn: board virtual runs version 7 and {models / 'new.esnn'} would be 6: give a "
        "higher --version, or --allow-downgrade"
    )
    assert edgesnn(*line, "--allow-downgrade").exit_code == 0
    with open_board(port) as board:
        assert version_on(board) == 6


def test_the_board_itself_refuses_a_downgrade(board: Board) -> None:
    put(board, OLD, 2)
    with pytest.raises(ModelError, match="it runs a newer version"):
        put(board, NEW, 1)
    assert version_on(board) == 2


def test_another_key_is_refused_before_anything_is_sent(models: Path) -> None:
    assert edgesnn("keys", models / "mine").exit_code == 0
    done = edgesnn("update", models / "new.esnn", "--key", models / "mine")
    assert done.exit_code == 2
    assert "does not take models that are signed with" in done.stderr


def test_the_board_itself_refuses_a_stranger(board: Board) -> None:
    put(board, OLD, 1)
    data = make_update(NEW.image, STRANGER, 2).data
    with pytest.raises(ModelError, match="takes only models that are signed with its key"):
        board.send_update(data, 4096)
    board.restart()
    assert version_on(board) == 1


def test_a_signed_model_needs_no_key(models: Path) -> None:
    signed = models / "new.esup"
    line = ("sign", models / "new.esnn", "-o", signed, "--version", 3)
    assert edgesnn(*line).exit_code == 0
    port = f"virtual://?flash={models / 'flash'}"
    assert edgesnn("update", signed, "--port", port).exit_code == 0
    done = edgesnn("update", signed, "--port", port, "--version", 4)
    assert done.exit_code == 2
    assert "is signed already" in done.stderr


def test_a_development_build_says_so(models: Path) -> None:
    done = edgesnn("update", models / "old.esnn")
    assert "virtual runs a development build: anyone can change its model" in done.stderr
    with open_board("virtual") as board:
        assert board.info.development


class CutLink(Link):
    """Fails for good behind so many bytes to the board."""

    def __init__(self, link: object, left: int) -> None:
        super().__init__(link)  # type: ignore[arg-type]
        self.left = left

    def write(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            raise DeviceError("the link is gone")
        super().write(data)


def test_a_cut_update_goes_on_where_it_was(models: Path) -> None:
    url = f"virtual://?flash={models / 'flash'}"
    data = update_of(LARGE, 1)
    board = Board(CutLink(open_transport(url), 8000))
    with board, pytest.raises(DeviceError, match="the link is gone"):
        board.send_update(data, 4096)
    with open_board(url) as board:
        assert put(board, LARGE, 1) == len(data) - 4096
        assert version_on(board) == 1


def test_an_update_comes_through_a_bad_link() -> None:
    link = NoisyLink(open_transport("virtual://"), seed=1)
    with Board(link) as board:
        link.to_board = link.to_host = Faults(flip=2e-3)
        board.send_update(update_of(LARGE, 1), 4096)
        link.to_board = link.to_host = Faults()
        assert link.damaged > 5
        board.restart()
        assert version_on(board) == 1


def test_what_is_not_confirmed_is_given_up_at_the_next_start(board: Board) -> None:
    put(board, OLD, 1)
    board.send_update(update_of(NEW, 2), 4096)
    assert version_on(board) == 1
    board.restart()
    assert version_on(board) == 2
    with pytest.raises(ModelError, match="a model is on trial"):
        board.send_update(update_of(NEW, 3), 4096)
    board.restart()
    assert version_on(board) == 1


def test_an_interrupted_trial_is_no_obstacle(models: Path) -> None:
    port = f"virtual://?flash={models / 'flash'}"
    with open_board(port) as board:
        board.send_update(update_of(OLD, 1), 4096)
        board.restart()  # on trial, and then the host is gone
    assert edgesnn("update", models / "new.esnn", "--port", port).exit_code == 0
    with open_board(port) as board:
        stored = board.stored()
        assert stored is not None
        assert stored.model == protocol.Slot(
            len(NEW.image), int.from_bytes(NEW.image[12:16], "little")
        )


def test_verify_runs_what_is_in_flash(models: Path) -> None:
    """Nothing is sent where the model is there, so that the one in flash is proved."""
    port = f"virtual://?flash={models / 'flash'}"
    assert edgesnn("update", models / "old.esnn", "--port", port).exit_code == 0
    np.save(models / "recordings.npy", np.ones((1, 5, 1), np.float32))
    line = ("verify", models / "old.esnn", "--input", models / "recordings.npy", "--port", port)
    assert edgesnn(*line).exit_code == 0
    with open_board(port) as board:
        board.use(OLD)
        assert board.models() == protocol.Models(protocol.STORED_SLOT, ())


def test_a_host_may_be_killed_at_any_moment(models: Path) -> None:
    """The process of the board dies with it: the power is cut, flash and all."""
    flash = models / "flash"
    port = f"virtual://?flash={flash}"
    with open_board(port) as board:
        put(board, OLD, 1)
    (models / "large.esnn").write_bytes(LARGE.image)
    program = Path(sys.executable).with_name("edgesnn")
    update = [program, "update", models / "large.esnn", "--port", port]
    cut = 0
    for tenths in range(8):
        with subprocess.Popen(
            update, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(0.3 + 0.05 * tenths)
            cut += process.poll() is None
            process.send_signal(signal.SIGKILL)
        with open_board(port) as board:
            assert version_on(board) is not None
            board.selftest()
    assert cut > 0
    assert edgesnn("update", models / "large.esnn", "--port", port).exit_code == 0


@pytest.mark.board
@pytest.mark.parametrize("name", [name for name in BOARDS if name != "stm32f405"])
def test_an_update_on_every_emulated_board(name: str) -> None:
    """On `microbit` by the flash controller of its chip; on the others in memory in its place."""
    with open_board(name) as board:
        assert put(board, OLD, 1) == len(OLD.image) + 128
        assert put(board, LARGE, 2) == len(LARGE.image) + 128
        assert version_on(board) == 2
        data = make_update(NEW.image, STRANGER, 3).data
        stored = board.stored()
        assert stored is not None
        with pytest.raises(ModelError, match="takes only models that are signed with its key"):
            board.send_update(data, stored.page)
        board.send_update(update_of(NEW, 3), stored.page)
        board.restart()
        assert version_on(board) == 3
        board.restart()  # nobody has confirmed it
        assert version_on(board) == 2
        board.selftest()


@pytest.mark.board
def test_a_board_whose_flash_cannot_be_written_says_so() -> None:
    """QEMU has the flash of this one, and not what writes it."""
    with open_board("stm32f405") as board:
        stored = board.stored()
        assert stored is not None
        with pytest.raises(ModelError, match="its flash does not keep what is written to it"):
            board.send_update(update_of(OLD, 1), stored.page)
        assert version_on(board) is None
        board.put_model(OLD)


@pytest.mark.board
def test_firmware_with_a_key_takes_nothing_that_is_not_signed_with_it(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("arm-none-eabi-gcc")
    assert edgesnn("keys", models / "mine").exit_code == 0
    out = models / "mps2-an386"
    call(["make", "-C", FIRMWARE, "BOARD=mps2-an386", f"KEY={models / 'mine.h'}", f"OUT={out}"])
    monkeypatch.setenv("EDGESNN_FIRMWARE", str(models))
    with open_board("mps2-an386") as board:
        assert not board.info.development
        with pytest.raises(ModelError, match="takes only models that are signed with its key"):
            board.put_model(OLD)
        stored = board.stored()
        assert stored is not None
        with pytest.raises(ModelError, match="takes only models that are signed with its key"):
            board.send_update(update_of(OLD, 1), stored.page)
        assert version_on(board) is None
        own = make_update(OLD.image, read_key(models / "mine"), 1)
        install(board, own, stored.page, lambda sent: None)
        assert version_on(board) == 1


@pytest.mark.board
@pytest.mark.parametrize("name", WITH_WATCHDOG)
def test_a_watchdog_ends_a_trial_that_nobody_confirms(name: str) -> None:
    """In the time of the emulated board, which passes at once where the board sleeps."""
    tool("qemu-system-arm")
    command = ["qemu-system-arm", "-M", name, "-kernel", firmware_path(name), "-display", "none"]
    command += ["-monitor", "none", "-serial", "pty", "-icount", "shift=4,sleep=off"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split("redirected to ")[1].split()[0]
        try:
            with open_board(port) as board:
                board.send_update(update_of(NEW, 1), 4096)
                board.restart()
                end = time.monotonic() + 20
                version: int | None = 1
                while version is not None and time.monotonic() < end:
                    time.sleep(0.3)
                    with contextlib.suppress(DeviceError):  # it was started anew
                        version = version_on(board)
                        continue
                    board.restart()
                assert version is None
        finally:
            process.kill()
