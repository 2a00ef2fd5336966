"""What goes wrong between a computer and a board: one sentence and an exit code.

Everything here is typed as users type it, on real pseudo-terminals.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from soak import MODEL, frames_of

from edgesnn import blob
from edgesnn.devices import open_transport
from edgesnn.devices import protocol as p
from edgesnn.devices.packet import Decoder, Packet, encode

EDGESNN = Path(sys.executable).with_name("edgesnn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("failures")
    blob.save(folder / "m.esnn", MODEL.graph)
    np.save(folder / "x.npy", np.stack([frames_of(k, 1000) for k in range(3)]))
    return folder


def edgesnn(*arguments: object) -> tuple[int, str]:
    """Exit code and what is said on standard error, which must be one line."""
    done = subprocess.run(
        [EDGESNN, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.stderr.count("\n") == 1, done.stderr
    return done.returncode, done.stderr.strip()


@contextmanager
def virtual_board() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A board at the end of a port, and its process."""
    with subprocess.Popen(
        [sys.executable, "-m", "edgesnn.devices.virtual"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip(), process
        process.kill()


@contextmanager
def answering(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """A port whose other end answers what it is sent."""
    other_end, port = os.openpty()
    tty.setraw(port)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            if select.select([other_end], [], [], 0.05)[0]:
                os.write(other_end, answer(os.read(other_end, 4096)))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield os.ttyname(port)
    finally:
        over.set()
        thread.join()
        os.close(port)
        os.close(other_end)


@pytest.mark.parametrize("command", ["verify", "stream"])
def test_a_board_that_is_unplugged(folder: Path, command: str) -> None:
    """Before the first frame, and in the middle of a stream in real time."""
    paced = ["--realtime", "--rate", "500"] if command == "stream" else []
    with virtual_board() as (port, process):
        timer = threading.Timer(1.5 if paced else 0, process.kill)
        timer.start()
        if not paced:
            timer.join()
        code, said = edgesnn(
            command,
            folder / "m.esnn",
            "--input",
            folder / "x.npy",
            "--port",
            port,
            *paced,
            "--json",
        )
        timer.join()
    there_is_none = f"edgesnn: there is no port {port}: plug the board in, or name another port"
    gone = f"edgesnn: the link on {port} is gone: plug the board in again and start over"
    assert (code, said) in ((2, there_is_none), (3, gone))
    assert not paced or code == 3


def test_a_port_that_another_program_has_open(folder: Path) -> None:
    with virtual_board() as (port, _):
        line = open_transport(port)
        code, said = edgesnn(
            "verify", folder / "m.esnn", "--input", folder / "x.npy", "--port", port
        )
        line.close()
    assert code == 3
    assert said == f"edgesnn: port {port} is in use: close the other program that has it open"


def at_another_rate(data: bytes, sent: int, read_at: int) -> bytes:
    """What a UART makes of bytes that were sent at another baud rate than it reads at."""
    line = [1] * 20
    for byte in data:
        line += [0, *(byte >> k & 1 for k in range(8)), 1]
    line += [1] * 200
    seen = bytearray()
    at = 0.0  # in bits of the sender
    bit = sent / read_at
    while at < len(line) - 10 * bit:
        if line[int(at)]:
            at += 0.25
            continue
        bits = [line[int(at + (k + 1.5) * bit)] for k in range(8)]
        seen.append(sum(value << k for k, value in enumerate(bits)))
        at += 9.5 * bit
    return bytes(seen)


def test_the_uart_of_the_next_test_reads_its_own_rate() -> None:
    assert at_another_rate(bytes(range(256)), 9600, 9600) == bytes(range(256))
    assert at_another_rate(b"edgesnn", 115200, 9600) != b"edgesnn"


@pytest.mark.parametrize("rate", [57600, 230400])
def test_a_wrong_baud_rate(folder: Path, rate: int) -> None:
    """The board hears nonsense, and its start-up message is nonsense here."""
    words = encode(Packet(p.INFO, 1, bytes(range(40)))) * 3
    with answering(lambda heard: at_another_rate(words, rate, 115200)) as port:
        code, said = edgesnn(
            "verify", folder / "m.esnn", "--input", folder / "x.npy", "--port", port
        )
    assert code == 3
    assert said.startswith("edgesnn: what comes from this link are no edgesnn packets: check the b")


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (1, "the firmware on it is older, flash the current firmware"),
        (3, "this edgesnn is older, update edgesnn"),
    ],
)
def test_firmware_of_another_version(folder: Path, version: int, words: str) -> None:
    decoder = Decoder()
    version_1 = bytes([version, 0]) + bytes.fromhex("0810 00400000 00004000 00001000") + b"virtual"

    def answer(heard: bytes) -> bytes:
        hellos = [q for q in decoder.feed(heard) if q.type == p.HELLO]
        return b"".join(encode(Packet(p.INFO, q.sequence, version_1)) for q in hellos)

    with answering(answer) as port:
        code, said = edgesnn(
            "verify", folder / "m.esnn", "--input", folder / "x.npy", "--port", port
        )
    assert code == 3
    assert said == (
        f"edgesnn: the board speaks protocol version {version}, this edgesnn speaks 2: {words}"
    )


def test_a_port_that_nobody_answers_on(folder: Path) -> None:
    start = time.monotonic()
    with answering(lambda heard: b"") as port:
        code, said = edgesnn(
            "verify", folder / "m.esnn", "--input", folder / "x.npy", "--port", port
        )
    assert code == 3
    assert said.startswith("edgesnn: nothing that speaks edgesnn answers on this link: check the p")
    assert time.monotonic() - start < 30
