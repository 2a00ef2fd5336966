"""Sensors that are live: a board's own, or a phone or a watch that sends lines of text.

A line is `milliseconds,value,value,...`, ended by a newline: the sensor's own clock, and a number a
channel. Any transport carries it; over Bluetooth it comes from the Nordic UART Service, which many
watches and phone apps print to as it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from edgesnn.devices.commands import JSON, PATH, board_options
from edgesnn.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgesnn.devices.board import Answer, Board, Frame
    from edgesnn.devices.transport import Transport
    from edgesnn.graph import Graph

SILENCE_S = 10.0
MOST_LINE = 4096


class Lines:
    """Samples from lines of text.

    Args:
        link: that they come over.
        channels: values in a line.

    Attributes:
        bad: lines that were something else, and dropped.
        lost: samples that nothing tells of here; their time stamps do.
    """

    def __init__(self, link: Transport, channels: int) -> None:
        self.bad = self.lost = 0
        self._link, self._channels = link, channels
        self._held = b""
        self._whole = False  # the first line may have begun before we listened

    def read(self, timeout: float) -> list[tuple[float, list[float]]]:
        """What has come, waiting up to `timeout` seconds: (milliseconds, values) of each sample.

        Raises:
            DeviceError: the link is gone.
        """
        *lines, self._held = (self._held + self._link.read(timeout)).split(b"\n")
        if len(self._held) > MOST_LINE:
            self._held = b""
            self.bad += 1
        samples = []
        for line in lines:
            sample = self._parsed(line) if self._whole else None
            if sample is not None:
                samples.append(sample)
            elif self._whole:
                self.bad += 1
            self._whole = True
        return samples

    def silence(self, source: str) -> str:
        """What to do when nothing comes."""
        return (
            f"{source} has sent no line 'milliseconds' and {self._channels} values for "
            f"{SILENCE_S:.0f} s ({self.bad} other lines): start its app, and look at what it sends"
        )

    def _parsed(self, line: bytes) -> tuple[float, list[float]] | None:
        try:
            stamp, *values = map(float, line.split(b","))
        except ValueError:
            return None
        # a stamp goes on in microseconds
        if len(values) != self._channels or not all(map(math.isfinite, (1e3 * stamp, *values))):
            return None
        return stamp, values


class Own:
    """Samples of the sensor that is on a board itself.

    Args:
        board: it may run frames meanwhile, those of this sensor too.
        channels: values in a sample.

    Attributes:
        bad: packets check themselves: none.
        lost: samples that the board took and no longer had when it was asked.

    Raises:
        ModelError: the board has no sensor, or one of another width.
        DeviceError: the link failed.
    """

    def __init__(self, board: Board, channels: int) -> None:
        now = board.samples(0)
        if now.channels != channels:
            raise ModelError(
                f"the sensor of board {board.info.name} has {now.channels} channels, the model "
                f"takes {channels}: choose a model for this sensor"
            )
        self.bad = self.lost = 0
        self._board = board
        self._next = now.taken
        self._pause = now.period_us / 2e6
        self._asked = time.monotonic()
        self._clock = Clock()

    def read(self, timeout: float) -> list[tuple[float, list[float]]]:
        """What was taken since the last call: (milliseconds, values) of each sample.

        Waits at most `timeout` seconds until it is worth asking.
        """
        wait = self._asked + self._pause - time.monotonic()
        if self._board.under_way or wait > timeout:
            time.sleep(timeout)
            return []
        time.sleep(max(0.0, wait))
        self._asked = time.monotonic()
        new = self._board.samples(self._next)
        self.lost += (new.first - self._next) & 0xFFFFFFFF
        self._next = (new.first + len(new.samples)) & 0xFFFFFFFF
        return [(self._clock.unwrapped(t) / 1e3, list(map(float, v))) for t, v in new.samples]

    def silence(self, source: str) -> str:
        """What to do when nothing comes."""
        name = self._board.info.name
        return f"the sensor of board {name} has taken no sample for {SILENCE_S:.0f} s: restart it"


class Clock:
    """Microseconds of a clock of 32 bits, which starts again every 71 minutes, as one count."""

    def __init__(self) -> None:
        self._last: int | None = None

    def unwrapped(self, micros: int) -> int:
        """The time, given often enough, counted on from the first one."""
        before = micros if self._last is None else self._last
        self._last = before + ((micros - before) & 0xFFFFFFFF)
        return self._last


@click.command()
@click.argument("model", type=PATH)
@click.option(
    "--source",
    required=True,
    help="Where samples come from: 'board' for the board's own sensor; lines from ble://NAME, a "
    "port or a URL.",
)
@board_options
@click.option("--units", default="", help="What the values are in: one for all, or g,g,g.")
@click.option("--scale", default=1.0, help="What a sensor's 1 is worth in --units: 1/8192, say.")
@click.option("--steps", type=click.IntRange(1), help="Samples to take; default: until Ctrl-C.")
@click.option("--keep", type=PATH, help="Write the samples down in this .csv file, too.")
@click.option("--log", type=PATH, help="Write frames and answers down in this log, for `replay`.")
@JSON
def live(
    model: Path, source: str, board: str, units: str, scale: float, steps: int | None,
    keep: Path | None, log: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run a live sensor through a model on a board, and print what it recognises as it changes.

    A source other than the board itself sends a line a sample: milliseconds,value,value,...
    """
    import json
    from contextlib import ExitStack
    from itertools import chain

    import numpy as np

    from edgesnn import blob
    from edgesnn.devices.backend import open_board
    from edgesnn.devices.board import Fate
    from edgesnn.devices.log import LogWriter
    from edgesnn.devices.record import record
    from edgesnn.devices.transport import open_transport
    from edgesnn.errors import MissingError
    from edgesnn.recordings import Recording, conversion, timing, units_of_all

    loaded = blob.load(model)
    graph = loaded.graph
    own = units_of_all(source, tuple(filter(None, units.split(","))), graph.input.size)
    said: list[str] = []
    factors = conversion(source, own, getattr(graph.input, "units", ()), said)
    for line in said:
        click.echo(line, err=True)
    factors = np.full(graph.input.size, scale) if factors is None else factors * scale
    fates = dict.fromkeys(Fate, 0)
    taken: list[float] = []
    with ExitStack() as opened:
        sensor: Lines | Own
        if source != "board":
            link = open_transport(source)
            opened.callback(link.close)
            sensor = Lines(link, graph.input.size)
        device = opened.enter_context(open_board(board, reconnect=True))
        device.put_model(loaded)
        if source == "board":
            sensor = Own(device, graph.input.size)
        kept = None
        if keep is not None:
            try:
                kept = opened.enter_context(keep.open("w", buffering=1))
            except OSError as error:
                raise MissingError(
                    f"cannot write {keep}: {error.strerror}; choose another folder"
                ) from None
            kept.write(_header(graph.input.size, own))
        frames = _frames(sensor, source, graph, factors, steps, taken, kept)
        if log is None:
            device.reset()
            answers: Iterator[list[Answer]] = device.stream_in_batches(frames)
        else:
            writer = opened.enter_context(LogWriter.create(log, loaded, source=source, period=0.0))
            writer.board(device, board)
            opened.callback(writer.closed)
            answers = record(device, writer, 0, frames)
        label = -1
        try:
            for answer in chain.from_iterable(answers):
                fates[answer.fate] += 1
                if answer.result is not None and answer.result.label != label:
                    label = answer.result.label
                    seconds = (taken[answer.number] - taken[0]) / 1e3
                    if not as_json:
                        click.echo(f"{seconds:9.2f} s  {loaded.classes[label]}")
        except KeyboardInterrupt:
            pass  # how a stream without an end is ended
    clock = np.array(taken) / 1e3
    recording = Recording(np.zeros((len(clock), 1)), None, clock)
    values = {
        "board": device.info.name,
        "samples": len(taken),
        "frames_answered": fates[Fate.ANSWERED],
        "frames_lost": sum(fates.values()) - fates[Fate.ANSWERED],
        "bad_lines": sensor.bad,
        "samples_lost": sensor.lost,
        "last": loaded.classes[label] if label >= 0 else None,
        "timing": timing([recording]) if len(taken) > 1 else None,
    }
    if as_json:
        click.echo(json.dumps(values))
        return
    for name, value in values.items():
        click.echo(f"{name.replace('_', ' '):26} {value}")


def _frames(
    sensor: Lines | Own,
    source: str,
    graph: Graph,
    factors: npt.NDArray[np.float64],
    steps: int | None,
    taken: list[float],
    kept: TextIO | None,
) -> Iterator[Frame | None]:
    """Samples as frames; `taken` gets their time stamps, in ms."""
    import numpy as np

    from edgesnn.devices.board import Frame
    from edgesnn.errors import DeviceError

    heard = time.monotonic()
    while steps is None or len(taken) < steps:
        samples = sensor.read(0.0)
        if samples:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_S:
            raise DeviceError(sensor.silence(source))
        for stamp, values in samples[: None if steps is None else steps - len(taken)]:
            if kept is not None:
                kept.write(",".join(map(repr, (stamp, *values))) + "\n")
            taken.append(stamp)
            frame = graph.input.quantize(np.array(values) * factors)
            yield Frame(frame, int(stamp * 1e3) & 0xFFFFFFFF)
        if not samples:
            yield None


def _header(channels: int, units: tuple[str, ...]) -> str:
    named = [f"x{k} [{units[k]}]" if units else f"x{k}" for k in range(channels)]
    return ",".join(["time [ms]", *named]) + "\n"
