"""Pictures of a session (the one module that needs matplotlib, extra `demo`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import reference
from edgesnn.devices.board import Fate
from edgesnn.devices.log import Log
from edgesnn.devices.qemu import BOARDS
from edgesnn.devices.recordings import Recordings
from edgesnn.devices.session import Session
from edgesnn.errors import FormatError, MissingError
from edgesnn.graph import AnalogInput, Graph, Int16Array

try:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.axes import Axes
except ImportError:
    raise MissingError(
        "matplotlib, which draws the picture, is not installed: pip install 'edgesnn[demo]'"
    ) from None

MOST_STEPS = 5000
INK = "#1f2933"
HUES = ("#2563eb", "#ea580c", "#059669", "#9333ea", "#dc2626", "#0891b2", "#ca8a04", "#475569")


def report(
    path: Path,
    graph: Graph,
    recordings: Recordings,
    frames: Int16Array,
    session: Session,
    confusion: npt.NDArray[np.int64],
) -> None:
    """Draw signals, spikes and prediction over time, and the confusion matrix, to a PNG file.

    One recording of each class is shown, one after the other. The spikes are the reference's:
    where the session agrees with it, they are the board's.
    """
    chosen = [int(np.argmax(recordings.label == k)) for k in range(len(recordings.classes))]
    seconds = np.arange(len(chosen) * frames.shape[1]) / recordings.rate_hz
    pyplot.rcParams.update({"font.size": 9, "axes.edgecolor": INK, "text.color": INK})
    figure = pyplot.figure(figsize=(13, 9), layout="constrained")
    grid = figure.add_gridspec(4, 2, width_ratios=(3, 1.15), height_ratios=(1, 1, 1.8, 1))
    over_time = [figure.add_subplot(grid[0, 0])]
    over_time += [figure.add_subplot(grid[k, 0], sharex=over_time[0]) for k in (1, 2, 3)]
    signal = np.concatenate([recordings.signal[k] for k in chosen])
    _signals(over_time[:2], seconds, signal, recordings.units)
    _spikes(over_time[2], graph, frames[chosen], seconds)
    _prediction(over_time[3], seconds, recordings, session, chosen)
    for axes in over_time:
        for border in range(1, len(chosen)):
            axes.axvline(border * frames.shape[1] / recordings.rate_hz, color="#9aa5b1", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    for place, k in enumerate(chosen):
        over_time[0].text(
            (place + 0.5) / len(chosen), 1.04, recordings.classes[recordings.label[k]],
            transform=over_time[0].transAxes, ha="center", weight="bold",
        )  # fmt: skip
    over_time[-1].set_xlabel("seconds, one recording of each activity")
    _matrix(figure.add_subplot(grid[:2, 1]), confusion, recordings.classes)
    _latency(figure.add_subplot(grid[2, 1]), session)
    _facts(figure.add_subplot(grid[3, 1]), session, confusion)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def seconds(stamps: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """Since the first of time stamps in µs, which wrap at 2^32."""
    steps = np.diff(stamps).astype(np.int32)
    return np.concatenate([[0], np.cumsum(steps, dtype=np.int64)]) / 1e6


def session(path: Path, log: Log, number: int | None = None) -> None:
    """Draw a recording of a session log: signals, spikes, answers, losses and round trips.

    The spikes are the reference's, run on the frames that the board has seen; `edgesnn replay`
    tells whether its answers agree. No more than `MOST_STEPS` steps are drawn.

    Args:
        path: of the picture, PNG, SVG or PDF by its ending.
        log: a session.
        number: of the recording; None: the first.

    Raises:
        MissingError: the session has no such recording, or the folder may not be written.
        FormatError: the ending of the path is none of these.
    """
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise FormatError(f"{path} cannot be drawn: end its name in .png, .svg or .pdf")
    numbers = [recording.number for recording in log.recordings if len(recording.frames)]
    number = numbers[0] if number is None and numbers else number
    if number not in numbers:
        asked = "no recording" if number is None else f"no recording {number}"
        there = f"it has {numbers[0]} to {numbers[-1]}" if numbers else "record it again"
        raise MissingError(f"the session has {asked} with frames: {there}")
    recording = next(r for r in log.recordings if r.number == number)
    graph = log.model.graph
    frames, fates = recording.frames[:MOST_STEPS], recording.fates[:MOST_STEPS]
    at = seconds(recording.stamps[: len(frames)])
    timed = bool(np.any(at))
    if not timed:
        at = np.arange(len(frames), dtype=float)
    pyplot.rcParams.update({"font.size": 9, "axes.edgecolor": INK, "text.color": INK})
    figure, rows = pyplot.subplots(
        4, 1, figsize=(11, 9), sharex=True, layout="constrained", height_ratios=(1.2, 1.8, 1, 0.8)
    )
    physical, unit = frames.astype(float), "input"
    if isinstance(graph.input, AnalogInput):
        physical = np.ldexp(physical, -graph.input.fraction_bits.astype(int))
        unit = ", ".join(dict.fromkeys(graph.input.units)) or unit
    for hue, channel in zip(HUES * physical.shape[1], physical.T, strict=False):
        rows[0].plot(at, channel, lw=0.8, color=hue)
    rows[0].set_ylabel(unit)
    seen = fates != Fate.MISSED
    _spikes(rows[1], graph, frames[None, seen], at[seen])
    labels = np.array([-1 if r is None else r.label for r in recording.results[:MOST_STEPS]])
    answered = fates == Fate.ANSWERED
    rows[2].plot(at[answered], labels[answered], ".", ms=3, color=INK)
    rows[2].set_yticks(range(len(log.model.classes)), log.model.classes)
    rows[2].set_ylim(-0.6, len(log.model.classes) - 0.4)
    rows[2].set_ylabel("answer")
    trip = (recording.received_us - recording.sent_us)[:MOST_STEPS] / 1e3
    rows[3].plot(at[answered], trip[answered], ".", ms=2, color=HUES[0])
    rows[3].set_ylabel("round trip, ms")
    for row in rows:
        row.spines[["top", "right"]].set_visible(False)
        for gone in at[fates > Fate.ANSWERED]:
            row.axvline(gone, color=HUES[4], lw=0.6, alpha=0.6)
    rows[-1].set_xlabel("seconds" if timed else "steps")
    board = log.boards[-1]["name"] if log.boards else "no board"
    shown = f", the first {MOST_STEPS} steps" if len(recording.frames) > MOST_STEPS else ""
    figure.suptitle(
        f"recording {number} on {board}{', emulated' if board in BOARDS else ''}: "
        f"{int(answered.sum())} of {int(np.sum(fates != Fate.WAITING))} frames answered{shown}"
    )
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        figure.savefig(part, dpi=110)
        part.replace(path)
    except OSError as error:
        raise MissingError(
            f"cannot write {path}: {error.strerror}; choose another folder"
        ) from None
    finally:
        part.unlink(missing_ok=True)
        pyplot.close(figure)


def _signals(
    axes: list[Axes], seconds: npt.NDArray[Any], signal: npt.NDArray[Any], units: tuple[str, ...]
) -> None:
    for place, unit in zip(axes, dict.fromkeys(units), strict=True):
        channels = [c for c, name in enumerate(units) if name == unit]
        for hue, channel, axis in zip(HUES, channels, "xyz", strict=False):
            place.plot(seconds, signal[:, channel], lw=0.9, color=hue, label=axis)
        place.set_ylabel(unit)
        place.legend(loc="upper left", ncols=3, frameon=False, fontsize=7)


def _spikes(
    axes: Axes, graph: Graph, frames: Int16Array, positions: npt.NDArray[np.float64]
) -> None:
    """A dot a spike, populations stacked, recordings side by side; `positions` of all steps."""
    steps = frames.shape[1]
    base = 0
    rows: dict[str, int] = {}
    for population in graph.populations:
        rows[population.name] = base
        base += population.size
    dots: dict[str, list[tuple[float, int]]] = {name: [] for name in rows}
    for t, state in enumerate(reference.steps(graph, frames)):
        for name, first in rows.items():
            for sample, neuron in np.argwhere(state.emitted[name]):
                dots[name].append((positions[sample * steps + t], first + int(neuron)))
    for hue, points in zip(HUES * len(rows), dots.values(), strict=False):
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, ".", ms=1.6, color=hue)
    middles = [rows[p.name] + p.size / 2 for p in graph.populations]
    axes.set_yticks(middles, [f"{p.name} ({p.size})" for p in graph.populations])
    axes.set_ylim(-1, base)
    axes.set_ylabel("spikes")


def _prediction(
    axes: Axes,
    seconds: npt.NDArray[Any],
    recordings: Recordings,
    session: Session,
    chosen: list[int],
) -> None:
    labels = np.concatenate([session.outputs.step_labels[k] for k in chosen])
    truth = np.repeat(recordings.label[chosen], session.fates.shape[1])
    axes.step(seconds, truth, color="#cbd2d9", lw=6, where="mid", label="truth")
    axes.plot(seconds, labels, ".", ms=3, color=INK, label="answer of the board")
    axes.set_yticks(range(len(recordings.classes)), recordings.classes)
    axes.set_ylim(-0.6, len(recordings.classes) - 0.4)
    axes.legend(loc="upper left", ncols=2, frameon=False, fontsize=7)
    axes.set_ylabel("prediction")


def _matrix(axes: Axes, confusion: npt.NDArray[np.int64], classes: tuple[str, ...]) -> None:
    axes.imshow(confusion, cmap="Blues")
    for row, column in np.ndindex(confusion.shape):
        count = int(confusion[row, column])
        dark = count > confusion.max() / 2
        axes.text(column, row, str(count), ha="center", va="center", color="white" if dark else INK)
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    axes.set_title("test recordings")


def _latency(axes: Axes, session: Session) -> None:
    answered = session.latency[np.isfinite(session.latency)] * 1e3
    axes.hist(answered, bins=40, color=HUES[0])
    axes.set_xlabel("round trip, ms (queueing included)")
    axes.set_ylabel("frames")
    axes.spines[["top", "right"]].set_visible(False)


def _facts(axes: Axes, session: Session, confusion: npt.NDArray[np.int64]) -> None:
    axes.axis("off")
    emulated = session.board in BOARDS
    lines = (
        f"board {session.board}{', emulated' if emulated else ''}",
        f"accuracy {100 * np.trace(confusion) / confusion.sum():.1f} %",
        f"{session.answered} of {session.sent} frames answered",
        f"{session.micros.mean():,.0f} µs a step{' of emulation' if emulated else ''}",
    )
    axes.text(0, 1, "\n".join(lines), va="top", linespacing=1.7)
