"""Sensors that are live: a phone or a watch that sends its samples as lines of text.

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

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgesnn.devices.board import Frame
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
    """

    def __init__(self, link: Transport, channels: int) -> None:
        self.bad = 0
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

    def _parsed(self, line: bytes) -> tuple[float, list[float]] | None:
        try:
            stamp, *values = map(float, line.split(b","))
        except ValueError:
            return None
        if len(values) != self._channels or not all(map(math.isfinite, (stamp, *values))):
            return None
        return stamp, values


@click.command()
@click.argument("model", type=PATH)
@click.option("--source", required=True, help="Where lines come from: ble://NAME, a port or a URL.")
@board_options
@click.option("--units", default="", help="What the values are in: one for all, or g,g,g.")
@click.option("--steps", type=click.IntRange(1), help="Samples to take; default: until Ctrl-C.")
@click.option("--keep", type=PATH, help="Write the samples down in this .csv file, too.")
@JSON
def live(
    model: Path, source: str, board: str, units: str, steps: int | None, keep: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Run a live sensor through a model on a board, and print what it recognises as it changes.

    The source sends a line a sample: milliseconds,value,value,...
    """
    import json
    from contextlib import ExitStack

    import numpy as np

    from edgesnn import blob
    from edgesnn.devices.backend import open_board
    from edgesnn.devices.board import Fate
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
    fates = dict.fromkeys(Fate, 0)
    taken: list[float] = []
    with ExitStack() as opened:
        link = open_transport(source)
        opened.callback(link.close)
        device = opened.enter_context(open_board(board, reconnect=True))
        device.put_model(loaded)
        device.reset()
        kept = None
        if keep is not None:
            try:
                kept = opened.enter_context(keep.open("w", buffering=1))
            except OSError as error:
                raise MissingError(
                    f"cannot write {keep}: {error.strerror}; choose another folder"
                ) from None
            kept.write(_header(graph.input.size, own))
        lines = Lines(link, graph.input.size)
        frames = _frames(lines, source, graph, factors, steps, taken, kept)
        label = -1
        try:
            for answer in device.stream(frames):
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
        "bad_lines": lines.bad,
        "last": loaded.classes[label] if label >= 0 else None,
        "timing": timing([recording]) if len(taken) > 1 else None,
    }
    if as_json:
        click.echo(json.dumps(values))
        return
    for name, value in values.items():
        click.echo(f"{name.replace('_', ' '):26} {value}")


def _frames(
    lines: Lines,
    source: str,
    graph: Graph,
    factors: npt.NDArray[np.float64] | None,
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
        samples = lines.read(0.0)
        if samples:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_S:
            raise DeviceError(
                f"{source} has sent no line 'milliseconds' and {graph.input.size} values for "
                f"{SILENCE_S:.0f} s ({lines.bad} other lines): start its app, and look at what it "
                "sends"
            )
        for stamp, values in samples[: None if steps is None else steps - len(taken)]:
            if kept is not None:
                kept.write(",".join(map(repr, (stamp, *values))) + "\n")
            physical = np.array(values) if factors is None else np.array(values) * factors
            taken.append(stamp)
            yield Frame(graph.input.quantize(physical), int(stamp * 1e3) & 0xFFFFFFFF)
        if not samples:
            yield None


def _header(channels: int, units: tuple[str, ...]) -> str:
    named = [f"x{k} [{units[k]}]" if units else f"x{k}" for k in range(channels)]
    return ",".join(["time [ms]", *named]) + "\n"
