"""Where recordings come from: the plug-in interface of the readers, and how they are made to fit.

What a sensor gave is kept: nothing is resampled, converted or cut unless that was asked for or the
model states another unit, and whatever is done is said. Frames never run across a gap.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import FormatError, MissingError

GROUP = "edgesnn.readers"
GAP = 1.5
SAME_RATE = 0.01

FloatArray = npt.NDArray[np.float64]

ALIASES = {"m/s²": "m/s^2", "m/s2": "m/s^2", "°/s": "deg/s", "dps": "deg/s", "µT": "uT"}
SCALES = {
    "m/s^2": ("m/s^2", 1.0), "g": ("m/s^2", 9.80665), "mg": ("m/s^2", 9.80665e-3),
    "rad/s": ("rad/s", 1.0), "deg/s": ("rad/s", math.pi / 180), "mdps": ("rad/s", math.pi / 180e3),
    "T": ("T", 1.0), "uT": ("T", 1e-6), "gauss": ("T", 1e-4),
    "V": ("V", 1.0), "mV": ("V", 1e-3), "uV": ("V", 1e-6),
    "m": ("m", 1.0), "cm": ("m", 1e-2), "mm": ("m", 1e-3),
}  # fmt: skip
"""Units that can be turned into one another: the one of SI, and how many of it each is."""


@dataclass(frozen=True)
class Recording:
    """One recording, as its sensor gave it.

    Args:
        signal: (steps, channels), in `units`.
        rate_hz: samples a second that the file states; None where it does not.
        time: (steps,) float64, time stamps in seconds; None where the file has none.
        units: one a channel, or () where the file does not say.
        label: name of its class, "" for none.
    """

    signal: npt.NDArray[Any]
    rate_hz: float | None = None
    time: FloatArray | None = None
    units: tuple[str, ...] = ()
    label: str = ""


Reader = Callable[[Path], Sequence[Recording]]


@dataclass(frozen=True)
class Wanted:
    """What is to be done to recordings.

    Args:
        steps: cut them into pieces of that many; None: they must be equally long.
        units: what they are in, one for all channels or one each; () as the file says.
        recorded_hz: samples a second that they were taken at; None: as the file says.
        resample: to the rate that the model takes frames at.
    """

    steps: int | None = None
    units: tuple[str, ...] = ()
    recorded_hz: float | None = None
    resample: bool = False


@dataclass(frozen=True)
class Fitted:
    """Recordings that a model takes.

    Attributes:
        signal: (samples, steps, channels).
        labels: (samples,) names of classes, "" for none.
        said: what was found and what was done, a line each.
    """

    signal: npt.NDArray[Any]
    labels: tuple[str, ...]
    said: tuple[str, ...]


def read(path: Path) -> Sequence[Recording]:
    """The recordings in a file, by the reader that its ending names.

    Raises:
        MissingError: no such file, or no reader of that ending.
        FormatError: it is not what its ending says.
    """
    if not path.is_file():
        raise MissingError(f"there is no file {path}: check the path")
    readers = {entry.name: entry for entry in entry_points(group=GROUP)}
    ending = path.suffix.removeprefix(".").lower()
    if ending not in readers:
        raise MissingError(
            f"no reader takes {path}: give a file that ends in .{', .'.join(sorted(readers))}"
        )
    reader: Reader = readers[ending].load()
    return reader(path)


def fit(
    path: Path,
    recordings: Sequence[Recording],
    wanted: Wanted,
    *,
    units: tuple[str, ...] = (),
    step_us: int = 0,
) -> Fitted:
    """Make recordings fit a model.

    Args:
        path: where they are from, for people.
        recordings: as read, at least one.
        wanted: what was asked for.
        units: of the model's input; recordings in others are converted. () where it does not say.
        step_us: time from frame to frame of the model, µs; 0 where it does not say.

    Raises:
        FormatError: they do not fit, and what to do.
    """
    said: list[str] = []
    recordings = [_with_options(path, recording, wanted) for recording in recordings]
    stated = [r for r in recordings if r.rate_hz or r.time is not None or r.units]
    if stated:
        said.append(f"{path}: {_summary(recordings)}")
    factors = conversion(str(path), recordings[0].units, units, said)
    if factors is not None:
        recordings = [replace(r, signal=r.signal * factors, units=units) for r in recordings]
    runs = [run for recording in recordings for run in _unbroken(recording)]
    if any(recording.time is not None for recording in recordings):
        said.append(timing(recordings))
    rate = next((r for r in map(_rate, recordings) if r is not None), None)
    if wanted.resample:
        runs = [_resampled(path, run, step_us) for run in runs]
        said.append(_resampling(rate, 1e6 / step_us, runs))
    elif rate and step_us and abs(rate * step_us / 1e6 - 1) > SAME_RATE:
        said.append(
            f"the model takes a frame every {step_us / 1e3:g} ms, the recordings have one every "
            f"{1e3 / rate:.4g} ms: --resample fits them"
        )
    pieces = list(_pieces(runs, wanted.steps))
    lengths = {len(piece.signal) for piece in pieces}
    if len(lengths) != 1:
        raise FormatError(_unequal(path, recordings, runs, wanted.steps))
    if wanted.steps is not None:
        left = sum(len(run.signal) for run in runs) - len(pieces) * wanted.steps
        said.append(f"cut into {len(pieces)} pieces of {wanted.steps} steps; {left} steps left out")
    signal = np.stack([piece.signal for piece in pieces])
    return Fitted(signal, tuple(piece.label for piece in pieces), tuple(said))


def canonical_unit(unit: str) -> str:
    """The spelling of a unit that is used here: m/s² becomes m/s^2."""
    return ALIASES.get(unit.strip(), unit.strip())


def timing(recordings: Sequence[Recording]) -> str:
    """Jitter and gaps of the time stamps in recordings, in a line."""
    deviations = [
        np.abs(np.diff(run.time) - 1 / run.rate_hz)
        for recording in recordings
        for run in _unbroken(recording)
        if run.time is not None and run.rate_hz and len(run.time) > 1
    ]
    jitter = np.percentile(np.concatenate(deviations), 99) if deviations else 0.0
    line = f"time stamps: jitter {jitter * 1e3:.3g} ms at p99"
    gaps = [
        (abs(float(r.time[at] - r.time[at - 1])), k, int(at))
        for k, r in enumerate(recordings)
        if r.time is not None
        for at in _breaks(r)
    ]
    if not gaps:
        return f"{line}, no gaps"
    seconds, number, step = max(gaps)
    return (
        f"{line}, {_count(len(gaps), 'gap')}, the longest of {seconds:.4g} s before step {step} of "
        f"recording {number}; no frames run across one"
    )


def units_of_all(what: str, units: Sequence[str], channels: int) -> tuple[str, ...]:
    """One unit a channel from one for all, one each or none.

    Raises:
        FormatError: another number of them.
    """
    each = tuple(map(canonical_unit, units))
    each = each * channels if len(each) == 1 else each
    if each and len(each) != channels:
        raise FormatError(
            f"{what} has {channels} channels and --units names {len(each)}: give one for all, or "
            "one each"
        )
    return each


def _with_options(path: Path, recording: Recording, wanted: Wanted) -> Recording:
    units = units_of_all(str(path), wanted.units, recording.signal.shape[1])
    rate = wanted.recorded_hz or recording.rate_hz
    return replace(recording, units=units or recording.units, rate_hz=rate)


def _rate(recording: Recording) -> float | None:
    """Samples a second: stated, or the mean of the intervals that are no gaps."""
    if recording.rate_hz is not None or recording.time is None or len(recording.time) < 2:
        return recording.rate_hz
    intervals = np.diff(recording.time)
    median = float(np.median(intervals))
    regular = intervals[(intervals >= 0) & (intervals <= GAP * median)]
    return float(1 / regular.mean()) if median > 0 else None


def _breaks(recording: Recording) -> npt.NDArray[np.intp]:
    """Steps that do not follow the one before them: a sample is missing, or time went back."""
    rate = _rate(recording)
    if recording.time is None or rate is None:
        return np.zeros(0, np.intp)
    intervals = np.diff(recording.time)
    return np.flatnonzero((intervals < 0) | (intervals > GAP / rate)) + 1


def _unbroken(recording: Recording) -> Iterator[Recording]:
    edges = [0, *_breaks(recording).tolist(), len(recording.signal)]
    rate = _rate(recording)
    for start, end in itertools.pairwise(edges):
        time = None if recording.time is None else recording.time[start:end]
        yield replace(recording, signal=recording.signal[start:end], time=time, rate_hz=rate)


def conversion(
    what: str, own: tuple[str, ...], units: tuple[str, ...], said: list[str]
) -> FloatArray | None:
    """What to multiply each channel in units `own` by to have it in `units`; None: as it is.

    Args:
        what: whose channels, for people.
        own: one unit a channel, () for unknown.
        units: of the model's input, () for unknown.
        said: gets a line for each channel that is converted.

    Raises:
        FormatError: a unit cannot be converted.
    """
    if not units or not own or len(own) != len(units) or own == units:
        return None  # nothing known, or a width that the model will refuse itself
    factors = []
    for channel, (unit, target) in enumerate(zip(own, map(canonical_unit, units), strict=True)):
        base, factor = SCALES.get(unit, (unit, 1.0))
        target_base, target_factor = SCALES.get(target, (target, 1.0))
        if base != target_base:
            raise FormatError(
                f"{what}, channel {channel} is in {unit or 'no known unit'} and the model takes "
                f"{target}: give the sensor that it was trained on, or its unit with --units"
            )
        factors.append(factor / target_factor)
        if unit != target:
            said.append(f"channel {channel} converted from {unit} to {target}: × {factors[-1]:.6g}")
    return np.array(factors)


def _resampled(path: Path, run: Recording, step_us: int) -> Recording:
    """Linear onto an even grid where there are time stamps, then a polyphase filter."""
    try:
        from scipy.signal import resample_poly
    except ImportError:
        raise MissingError(
            "scipy, which resamples, is not installed: pip install 'edgesnn[recordings]'"
        ) from None
    if not step_us:
        raise FormatError(
            "the model does not say how often it takes a frame: resample the recordings before"
        )
    if run.rate_hz is None:
        raise FormatError(
            f"{path} does not say its sampling rate: give it with --recorded-at to resample it"
        )
    signal = run.signal.astype(np.float64)
    if run.time is not None and len(signal) > 1:
        span = run.time[-1] - run.time[0]
        grid = run.time[0] + np.arange(int(span * run.rate_hz + 1e-6) + 1) / run.rate_hz
        signal = np.stack([np.interp(grid, run.time, channel) for channel in signal.T], axis=1)
    ratio = Fraction(1e6 / step_us / run.rate_hz).limit_denominator(1000)
    if ratio != 1:
        signal = resample_poly(
            signal, ratio.numerator, ratio.denominator, axis=0, padtype="line"
        )  # fmt: skip
    return replace(run, signal=signal, time=None, rate_hz=1e6 / step_us)


def _pieces(runs: Sequence[Recording], steps: int | None) -> Iterator[Recording]:
    for run in runs:
        if steps is None:
            yield run
            continue
        for start in range(0, len(run.signal) - steps + 1, steps):
            yield replace(run, signal=run.signal[start : start + steps], time=None)


def _unequal(
    path: Path, recordings: Sequence[Recording], runs: Sequence[Recording], steps: int | None
) -> str:
    lengths = sorted(len(run.signal) for run in runs)
    if steps is not None:
        return f"{path} has no piece of {steps} steps without a gap: give at most {lengths[-1]}"
    what = "recordings" if len(runs) == len(recordings) else "parts between gaps"
    return (
        f"the {what} in {path} are {lengths[0]} to {lengths[-1]} steps long: cut them into pieces "
        "of one length with --steps"
    )


def _summary(recordings: Sequence[Recording]) -> str:
    lengths = sorted(len(recording.signal) for recording in recordings)
    steps = f"{lengths[0]}" if lengths[0] == lengths[-1] else f"{lengths[0]} to {lengths[-1]}"
    units = ", ".join(dict.fromkeys(recordings[0].units)) or "units unknown"
    rates = sorted(rate for r in recordings if (rate := _rate(r)) is not None)
    hertz = "rate unknown"
    if rates:
        low, high = f"{rates[0]:.4g}", f"{rates[-1]:.4g}"
        hertz = f"{low} Hz" if low == high else f"{low} to {high} Hz"
    return (
        f"{_count(len(recordings), 'recording')} of {steps} steps, "
        f"{_count(recordings[0].signal.shape[1], 'channel')} ({units}), {hertz}"
    )


def _resampling(rate: float | None, target: float, runs: Sequence[Recording]) -> str:
    return (
        f"resampled from {rate:.4g} to {target:.4g} Hz: time stamps linearly onto an even grid, "
        f"then a polyphase filter; {sum(len(run.signal) for run in runs)} steps"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
