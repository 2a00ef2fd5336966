"""A stream while it runs, in the terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgesnn.devices.board import Answer, Fate
from edgesnn.devices.session import Session, Stream
from edgesnn.graph import AnalogInput, Graph, Int16Array
from edgesnn.terminal import console

BLOCKS = "▁▂▃▄▅▆▇█"
STEPS = 48
BAR = 24
MOST_CHANNELS = 12
REFRESH_HZ = 8
RECENT = 200
RATE_S = 2.0
RATE_PARTS = 20
STYLES = {Fate.LOST: "yellow", Fate.MISSED: "red", Fate.UNKNOWN: "red"}


class StreamView:
    """What a stream has come to: signals, spikes, classes, rate and losses.

    Args:
        graph: of the model on the board.
        classes: names of its classes.
        frames: (samples, steps, channels) int16 that are streamed.
        board: name of the board.
    """

    def __init__(
        self, graph: Graph, classes: Sequence[str], frames: Int16Array, board: str
    ) -> None:
        self._graph, self._classes, self._frames, self._board = graph, classes, frames, board
        self._sample = self._step = self._count = 0
        self._fates = dict.fromkeys(STYLES, 0)
        self._spikes: deque[int] = deque(maxlen=STEPS)
        self._marks: deque[Fate] = deque(maxlen=STEPS)
        self._scores: npt.NDArray[np.int32] | None = None
        self._label = -1
        self._latency: deque[float] = deque(maxlen=RECENT)
        # answers come in batches: a rate needs a while
        self._counts = deque([(time.monotonic(), 0)], maxlen=RATE_PARTS)

    def answered(self, sample: int, answer: Answer) -> None:
        """Take in what became of a frame."""
        if sample != self._sample:
            self._spikes.clear()
            self._marks.clear()
        self._sample, self._step = sample, answer.number
        self._count += 1
        now = time.monotonic()
        if now - self._counts[-1][0] >= RATE_S / RATE_PARTS:
            self._counts.append((now, self._count))
        self._marks.append(answer.fate)
        self._spikes.append(answer.result.spikes if answer.result else 0)
        if answer.result is None:
            self._fates[answer.fate] += 1
            return
        self._latency.append(answer.latency)
        self._scores, self._label = answer.result.scores, answer.result.label

    @property
    def rate(self) -> float:
        """Frames a second of late."""
        before, counted = self._counts[0]
        span = time.monotonic() - before
        return (self._count - counted) / span if span > 0 else 0.0

    def __rich__(self) -> Group:
        samples, steps = self._frames.shape[:2]
        lost = sum(self._fates.values())
        left = (samples * steps - self._count) / self.rate if self.rate else 0.0
        trip = f"{np.median(self._latency) * 1e3:.1f} ms" if self._latency else "unknown"
        head = Text(
            f"{self._board}, recording {self._sample + 1} of {samples}, step {self._step + 1} of "
            f"{steps}\n{self.rate:,.0f} frames/s, round trip {trip}, {left:,.0f} s left, "
        ).append(f"{lost} lost", style="red" if lost else "")
        rows = Table.grid(padding=(0, 1))
        for name, line in self._lines():
            rows.add_row(name, line)
        return Group(head, rows)

    def _lines(self) -> Iterator[tuple[str, Text]]:
        start = max(0, self._step + 1 - STEPS)
        shown = self._frames[self._sample, start : self._step + 1].astype(float)
        units: tuple[str, ...] = ()
        if isinstance(self._graph.input, AnalogInput):
            shown = np.ldexp(shown, -self._graph.input.fraction_bits.astype(int))
            units = self._graph.input.units
        channels = shown.shape[1]
        for k in range(min(channels, MOST_CHANNELS)):
            unit = f" {units[k]}" if units else ""
            now = f" {shown[-1, k]:9.3g}{unit}"
            yield f"input {k}", Text(sparkline(shown[:, k])).append(now, style="dim")
        if channels > MOST_CHANNELS:
            yield "", Text(f"and {channels - MOST_CHANNELS} more", style="dim")
        spikes = Text(sparkline(np.array(self._spikes, float)))
        for place, fate in enumerate(self._marks):
            if fate in STYLES:
                spikes.stylize(f"reverse {STYLES[fate]}", place, place + 1)
        yield "spikes", spikes.append(f" {self._spikes[-1] if self._spikes else 0:9}", style="dim")
        if self._scores is None:
            return
        low, high = min(0, int(self._scores.min())), max(1, int(self._scores.max()))
        for k, score in enumerate(self._scores[:MOST_CHANNELS]):
            width = round(BAR * (int(score) - low) / (high - low))
            style = "bold green" if k == self._label else "blue"
            bar = Text("█" * width, style=style).append(f" {int(score)}", style="dim")
            yield self._classes[k], bar


def sparkline(values: npt.NDArray[np.float64]) -> str:
    """A block a value, the lowest to the highest of them; empty for none."""
    if not len(values):
        return ""
    span = np.ptp(values)
    heights = (values - values.min()) / span if span > 0 else np.zeros(len(values))
    return "".join(BLOCKS[int(height * (len(BLOCKS) - 1) + 0.5)] for height in heights)


def view_of(stream: Stream) -> Session:
    """Run a stream and show it on stderr; its last state stays there."""
    model = stream.board.model
    assert model is not None
    view = StreamView(model.graph, model.classes, stream.frames, stream.board.info.name)
    with Live(view, console=console, refresh_per_second=REFRESH_HZ):
        for sample, answer in stream:
            view.answered(sample, answer)
    return stream.session
