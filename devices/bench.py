"""How fast frames go through a board and its link: `python -m edgesnn.devices.bench`.

Times are of this computer and this emulation: they say nothing of a chip.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

import click
import numpy as np

from edgesnn import blob, reference
from edgesnn.devices.backend import board_url
from edgesnn.devices.board import Board
from edgesnn.devices.transport import Transport, open_transport
from edgesnn.errors import MissingError
from edgesnn.graph import LIF, AnalogInput, Dense, Graph, Potential

BAUD = 115200
BITS_A_BYTE = 10
CHANNELS = 6
CLASSES = 4


class PacedLink:
    """A link that carries no more than a serial line of a baud rate, in each direction.

    Attributes:
        sent, received: bytes that it has carried.
    """

    def __init__(self, link: Transport, baud: int = BAUD) -> None:
        self._link = link
        self._out = _Lane(BITS_A_BYTE / baud)
        self._in = _Lane(BITS_A_BYTE / baud)
        self.sent = self.received = 0

    def read(self, timeout: float) -> bytes:
        """See `Transport.read`."""
        end = time.monotonic() + timeout
        while True:
            self._carry()
            self._in.push(self._link.read(0.0))
            data = self._in.pop()
            self.received += len(data)
            if data or time.monotonic() >= end:
                return data
            time.sleep(0.0005)

    def write(self, data: bytes) -> None:
        """See `Transport.write`."""
        self._out.push(data)
        self._carry()

    def close(self) -> None:
        """See `Transport.close`."""
        self._link.close()

    def _carry(self) -> None:
        data = self._out.pop()
        self.sent += len(data)
        if data:
            self._link.write(data)


class _Lane:
    """Bytes that leave one after the other, each after the time that it takes on the line."""

    def __init__(self, seconds_a_byte: float) -> None:
        self._seconds = seconds_a_byte
        self._waiting = bytearray()
        self._from = 0.0  # when the first of them began

    def push(self, data: bytes) -> None:
        if data and not self._waiting:
            self._from = max(self._from, time.monotonic())
        self._waiting += data

    def pop(self) -> bytes:
        count = int((time.monotonic() - self._from) / self._seconds)
        count = max(0, min(count, len(self._waiting)))
        data = bytes(self._waiting[:count])
        del self._waiting[:count]
        self._from += count * self._seconds
        return data


@dataclass(frozen=True)
class Figures:
    """What was measured of a board.

    Attributes:
        frames_per_s: streamed as fast as they go.
        round_trip_us_p50, round_trip_us_p99: of single frames, each sent after the answer to the
            one before.
        line_use: share of what the line carries in its busier direction that was carried; None
            where nothing paces the link.
    """

    board: str
    frames_per_s: float
    round_trip_us_p50: float
    round_trip_us_p99: float
    line_use: float | None

    def __str__(self) -> str:
        use = "" if self.line_use is None else f", {100 * self.line_use:.1f} % of the line"
        return (
            f"{self.board:24} {self.frames_per_s:10,.0f} frames/s, round trip "
            f"{self.round_trip_us_p50:,.0f} us p50, {self.round_trip_us_p99:,.0f} us p99{use}"
        )


def model() -> blob.Model:
    """A small network, so that the link is measured and not the steps."""
    rng = np.random.default_rng(0)
    one = np.ones(CLASSES, np.int32)
    graph = Graph(
        AnalogInput("input", np.zeros(CHANNELS, np.int8)),
        (LIF("out", np.array([30000], np.uint16), 900 * one, 0 * one),),
        (Dense("input", "out", rng.integers(-9, 9, (CLASSES, CHANNELS)).astype(np.int8)),),
        Potential("out"),
    )
    frames = np.zeros((1, CHANNELS), np.int16)
    return blob.unpack(blob.pack(reference.with_selftest(graph, frames)))


def measure(name: str, frames: int, singles: int, baud: int = 0) -> Figures:
    """Stream frames, and step single ones, through a board.

    Args:
        name: of the board, as of `open_board`.
        frames, singles: how many.
        baud: of a serial line that is put before it; 0: none.

    Raises:
        MissingError: there is no such board.
        DeviceError: it does not answer.
    """
    link = open_transport(board_url(name))
    paced = PacedLink(link, baud) if baud else None
    values = np.random.default_rng(0).integers(-300, 300, (frames, CHANNELS)).astype(np.int16)
    with Board(paced or link) as board:
        board.put_model(model())
        board.reset()
        before = (paced.sent, paced.received) if paced else (0, 0)
        start = time.monotonic()
        for _ in board.stream_in_batches(values):
            pass
        seconds = time.monotonic() - start
        use = None
        if paced:
            carried = max(paced.sent - before[0], paced.received - before[1])
            use = carried * BITS_A_BYTE / baud / seconds
        trips = [
            answer.latency * 1e6
            for k in range(singles)
            for answer in board.stream(values[k % frames : k % frames + 1])
        ]
    p50, p99 = np.percentile(trips, (50, 99))
    paced_name = f"{name}, {baud} baud" if baud else name
    return Figures(paced_name, frames / seconds, float(p50), float(p99), use)


@click.command()
@click.option("--board", "boards", multiple=True, help="Default: virtual and an emulated one.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def main(boards: tuple[str, ...], as_json: bool) -> None:
    """Print frames a second and round trips through boards, and the use of a paced line."""
    figures = []
    for name in boards or ("virtual", "mps2-an386"):
        try:
            figures.append(measure(name, 50_000 if name == "virtual" else 3_000, 1_000))
        except MissingError as error:
            if boards:
                raise
            click.echo(f"left out: {error}", err=True)
    figures.append(measure("virtual", 600, 50, BAUD))
    if as_json:
        click.echo(json.dumps([asdict(figure) for figure in figures]))
        return
    for figure in figures:
        click.echo(figure)


if __name__ == "__main__":
    main()
