"""Serial lines and what can be wrong with them, on real pseudo-terminals and sockets."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator

import numpy as np
import pytest
from links import ChatteringLink, EchoingLink

from edgesnn import blob, reference
from edgesnn.devices import Board, Stream, Transport, open_board, open_transport
from edgesnn.errors import DeviceError, MissingError
from edgesnn.graph import LIF, Graph, SpikeCount, SpikeInput

NOBODY = (
    "^nothing that speaks edgesnn answers on this link: check the port, the baud rate and that "
)

OTHER = "^what comes from this link are no edgesnn packets: check the baud rate, and that the board"


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    """A line that nobody serves: the descriptor of its other end, and its port."""
    other_end, port = os.openpty()
    tty.setraw(port)
    yield other_end, os.ttyname(port)
    os.close(port)
    os.close(other_end)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesnn.devices.board.HELLO_TIMEOUT", 0.1)


def test_bytes_go_both_ways_unchanged(pty: tuple[int, str]) -> None:
    other_end, port = pty
    every_byte = bytes(range(256))
    line = open_transport(port)
    line.write(every_byte)
    assert os.read(other_end, 1000) == every_byte
    os.write(other_end, every_byte)
    received = b""
    while len(received) < 256:
        received += line.read(1.0)
    assert received == every_byte
    line.close()


def test_reading_waits_for_a_first_byte_and_no_longer_than_told(pty: tuple[int, str]) -> None:
    other_end, port = pty
    line = open_transport(f"serial://{port}")
    start = time.monotonic()
    assert line.read(0.2) == b""
    assert 0.15 < time.monotonic() - start < 1
    assert line.read(0.0) == b""
    timer = threading.Timer(0.1, os.write, (other_end, b"x"))
    timer.start()
    assert line.read(5.0) == b"x"
    timer.join()
    assert time.monotonic() - start < 3
    line.close()


def test_a_silent_port_is_given_up_within_seconds(pty: tuple[int, str]) -> None:
    start = time.monotonic()
    with pytest.raises(DeviceError, match=NOBODY):
        open_board(pty[1])
    assert 2 < time.monotonic() - start < 6.5
    open_transport(pty[1]).close()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("link", "words"), [(EchoingLink(), NOBODY), (ChatteringLink(), OTHER)])
def test_a_port_with_something_else_behind_it_is_no_board(link: Transport, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        Board(link)


def test_a_line_that_ends_says_so(pty: tuple[int, str]) -> None:
    other_end, port_end = os.openpty()
    port = os.ttyname(port_end)
    line = open_transport(port)
    os.close(port_end)
    os.close(other_end)
    gone = f"^the link on {port} is gone: plug the board in again and start over$"
    with pytest.raises(DeviceError, match=gone):
        line.write(b"hello")
    for timeout in (0.0, 0.1):
        with pytest.raises(DeviceError, match=gone):
            line.read(timeout)
    line.close()
    with pytest.raises(DeviceError, match=gone):
        line.read(0.1)
    with pytest.raises(DeviceError, match=gone):
        line.write(b"hello")


def test_a_port_that_is_open_elsewhere_is_not_shared(pty: tuple[int, str]) -> None:
    port = pty[1]
    line = open_transport(port)
    with pytest.raises(DeviceError, match=rf"^port {port} is in use: close the other program that"):
        open_transport(port)
    line.close()
    open_transport(port).close()


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("/dev/ttyNONE7", MissingError, r"^there is no port /dev/ttyNONE7: plug the board in, or "),
        ("serial:///dev/ttyNONE7", MissingError, r"^there is no port /dev/ttyNONE7: plug "),
        ("/", DeviceError, r"^port / cannot be opened \(Is a directory\): check its name and"),
        ("/dev/null", DeviceError, r"^port /dev/null cannot be opened \(.*\): check its name and"),
        ("serial://abacus://x", DeviceError, r"^port abacus://x cannot be opened \(invalid URL"),
        (
            "/dev/null?baud=fast",
            DeviceError,
            "^port /dev/null cannot have 'fast' for a baud",
        ),
        ("socket://127.0.0.1:1", DeviceError, r"cannot be opened \(.*Connection refused\): check"),
        ("socket://nowhere", DeviceError, r"^port socket://nowhere cannot be opened \("),
        ("abacus://x", MissingError, r"^no transport is called 'abacus': there is .*serial, ses"),
    ],
)
def test_ports_that_cannot_be_opened(url: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        open_transport(url)


@pytest.mark.parametrize("prefix", ["", "serial://"])
def test_a_board_at_the_end_of_a_socket(prefix: str) -> None:
    code = (
        "import socket; from edgesnn._core import ffi, lib; "
        "server = socket.create_server(('127.0.0.1', 0)); "
        "print(server.getsockname()[1], flush=True); link, _ = server.accept(); "
        "lib.virtual_board_run(link.fileno(), 65536, 65536, ffi.NULL); link.close(); server.close()"
    )
    ones = np.ones(4, np.int32)
    graph = Graph(
        SpikeInput("input", 4),
        (LIF("out", np.array([32768], np.uint16), 3 * ones, ones),),
        (),
        SpikeCount("out"),
    )
    frames = np.zeros((2, 30, 4), np.int16)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        number = int(server.stdout.readline())
        with open_board(f"{prefix}socket://127.0.0.1:{number}") as board:
            board.put_model(blob.unpack(blob.pack(reference.with_selftest(graph, frames[0]))))
            session = Stream(board, frames).run()
        assert server.wait(5) == 0
    assert session.agreement(reference.run(graph, frames)) == 1
    assert session.outputs.spikes.sum() > 0
