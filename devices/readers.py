"""Readers of recordings, by file ending; see `edgesnn.recordings` for what they give."""

from __future__ import annotations

import csv
import math
import re
import wave
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.devices.recordings import read_ts
from edgesnn.errors import FormatError, MissingError
from edgesnn.recordings import Recording, canonical_unit

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
TIME = ("t", "time", "timestamp")
LABEL = ("label", "class", "activity")
RECORDING = ("recording", "session", "subject")
WISDM_UNITS = {"accel": "m/s^2", "gyro": "rad/s", "ar_v": "m/s^2"}


def read_npy(path: Path) -> Sequence[Recording]:
    """Recordings (samples, steps, channels) of numpy.save.

    Raises:
        FormatError: not such an array.
    """
    array = _load(path)
    if not isinstance(array, np.ndarray):
        raise FormatError(f"{path} is an archive of arrays: end its name in .npz")
    return [Recording(sample) for sample in _three_axes(path, array)]


def read_npz(path: Path) -> Sequence[Recording]:
    """Recordings of numpy.savez.

    `signal` is (samples, steps, channels), or (all steps, channels) with `offset`, (samples + 1):
    recording k is signal[offset[k]:offset[k + 1]]. Beside it there may be `label` (samples,), an
    index into `classes` where that is there; `time` in s, with the axes of `signal` but the
    channels'; `rate_hz`; `units`, one a channel.

    Raises:
        FormatError: not such an archive.
    """
    arrays = _load(path)
    if isinstance(arrays, np.ndarray):
        raise FormatError(f"{path} is one array: end its name in .npy")
    with arrays:
        try:
            held = {name: np.asarray(arrays[name]) for name in arrays.files}
        except Exception as error:  # as in _load
            raise FormatError(f"{path} is damaged ({error}): save it again") from None
    if "signal" not in held:
        raise FormatError(f"{path} holds no array 'signal' but {', '.join(held)}: rename it")
    signal, time = held["signal"], held.get("time")
    if "offset" in held:
        offset = held["offset"].tolist()
        inside = signal.ndim == 2 and offset == sorted(offset) and offset[-1:] == [len(signal)]
        if not inside or offset[0] != 0 or not _numbers(signal):
            raise FormatError(
                f"{path}: offset must rise from 0 to the {len(signal)} steps of a signal "
                "(steps, channels)"
            )
        parts = [slice(*ends) for ends in pairwise(offset)]
    else:
        samples, steps, _ = _three_axes(path, signal).shape
        parts = [slice(k * steps, (k + 1) * steps) for k in range(samples)]
    if time is not None and time.shape != signal.shape[:-1]:
        raise FormatError(f"{path}: time has shape {time.shape}, not {signal.shape[:-1]}")
    signal = signal.reshape(-1, signal.shape[-1])
    time = None if time is None else time.reshape(-1).astype(np.float64)
    labels = held.get("label", np.full(len(parts), ""))
    if len(labels) != len(parts):
        raise FormatError(f"{path}: {len(labels)} labels for {len(parts)} recordings")
    if "classes" in held and labels.dtype.kind in "iu":
        if not np.all((labels >= 0) & (labels < len(held["classes"]))):
            raise FormatError(f"{path}: a label is no index into classes")
        labels = held["classes"][labels]
    units = tuple(canonical_unit(str(unit)) for unit in held.get("units", ()))
    if units and len(units) != signal.shape[-1]:
        raise FormatError(f"{path}: {len(units)} units for {signal.shape[-1]} channels")
    rate = float(held["rate_hz"]) if "rate_hz" in held else None
    return [
        Recording(signal[part], rate, None if time is None else time[part], units, str(label))
        for part, label in zip(parts, labels, strict=True)
        if len(signal[part])
    ]


def read_csv(path: Path) -> Sequence[Recording]:
    """Recordings in a text table, a step a line, with commas, semicolons or tabs.

    A first line that is no numbers names the columns: `time [ms]` (or `t`, `timestamp`, in s, ms,
    us or ns), `label` (`class`, `activity`), `recording` (`session`, `subject`), and a channel by
    any other name, with its unit in brackets: `ax [m/s^2]`. A new label or recording starts a new
    recording. Without that line every column is a channel.

    Raises:
        FormatError: not such a table, with the line.
    """
    lines = [
        (number, line)
        for number, line in enumerate(_text(path).splitlines(), start=1)
        if line.strip()
    ]
    first = lines[0][1] if lines else ""
    delimiter = max(",;\t", key=first.count)
    columns = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]
    if all(map(_is_number, columns)):
        columns = [str(k) for k in range(len(columns))]
    else:
        del lines[0]
    if not lines:
        raise FormatError(f"{path} holds no numbers: give a table with a step a line")
    names, units = zip(*map(_name_and_unit, columns), strict=True)
    time_at = next((k for k, name in enumerate(names) if name in TIME), None)
    keys = [k for k, name in enumerate(names) if name in LABEL + RECORDING]
    channels = [k for k in range(len(names)) if k != time_at and k not in keys]
    if not channels:
        raise FormatError(f"{path} has no column with a channel: add one to {', '.join(columns)}")
    if time_at is not None and units[time_at] not in SECONDS:
        raise FormatError(
            f"{path}: column '{columns[time_at]}' does not say its unit: name it "
            f"'{names[time_at]} [ms]', or s, us, ns"
        )
    table, words = _table(path, lines, delimiter, columns, keys)
    changes = np.flatnonzero(np.any(np.diff(table[:, keys], axis=0) != 0, axis=1)) + 1
    label_at = next((k for k in keys if names[k] in LABEL), None)
    found = []
    for part in np.split(table, changes):
        time = None
        if time_at is not None:
            time = (part[:, time_at] - part[0, time_at]) * SECONDS[units[time_at]]
        found.append(
            Recording(
                part[:, channels],
                None,
                time,
                tuple(units[k] for k in channels) if any(units[k] for k in channels) else (),
                "" if label_at is None else words[label_at][int(part[0, label_at])],
            )
        )
    return found


def read_wisdm(path: Path) -> Sequence[Recording]:
    """Recordings of one sensor in the raw layout of WISDM: `subject,class,nanoseconds,x,y,z;`.

    The units are those of the sensor that the file's name tells (accel, gyro). A new subject or
    class starts a new recording.

    Raises:
        FormatError: not such a file, with the line.
    """
    rows: list[tuple[tuple[str, str], int, list[float]]] = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        for record in filter(str.strip, line.split(";")):
            fields = [field.strip() for field in record.split(",")]
            if len(fields) != 6 or not fields[2].isdigit() or not all(map(_is_number, fields[3:])):
                raise FormatError(
                    f"{path}, line {number}: '{record.strip()[:60]}' is not "
                    "'subject,class,nanoseconds,x,y,z;': mend or remove it"
                )
            rows.append(((fields[0], fields[1]), int(fields[2]), list(map(float, fields[3:]))))
    if not rows:
        raise FormatError(f"{path} holds no 'subject,class,nanoseconds,x,y,z;': give a raw file")
    unit = next((unit for word, unit in WISDM_UNITS.items() if word in path.name.lower()), "")
    found = []
    for (_, label), group in groupby(rows, key=itemgetter(0)):
        _, stamps, values = zip(*group, strict=True)
        time = (np.array(stamps, np.int64) - stamps[0]) * 1e-9
        found.append(Recording(np.array(values), None, time, (unit,) * 3 if unit else (), label))
    return found


def read_arff(path: Path) -> Sequence[Recording]:
    """Recordings in an ARFF table, through scipy.

    As in the UCR archive, where every attribute but the class is numbered (`att1`, `att2`): a line
    is a recording of one channel. Else a line is a step, and a new class starts a new recording.

    Raises:
        MissingError: scipy is not installed.
        FormatError: not such a table.
    """
    try:
        from scipy.io import arff
    except ImportError:
        raise MissingError(
            "scipy, which reads .arff, is not installed: pip install 'edgesnn[recordings]'"
        ) from None
    _text(path)
    try:
        table, meta = arff.loadarff(str(path))
    except (arff.ArffError, NotImplementedError, ValueError, StopIteration, IndexError) as error:
        raise FormatError(f"{path} is no ARFF table ({error}): export it again") from None
    kinds = dict(zip(meta.names(), meta.types(), strict=True))
    if "relational" in kinds.values():
        raise FormatError(
            f"{path} has relational attributes: give the .ts file of the same data set"
        )
    channels = [name for name, kind in kinds.items() if kind == "numeric"]
    nominal = [name for name in kinds if name not in channels]
    if not channels or not len(table):
        raise FormatError(f"{path} holds no numbers: give a table with numeric attributes")
    values = np.stack([table[name].astype(np.float64) for name in channels], axis=1)
    labels = [row.decode() for row in table[nominal[-1]]] if nominal else [""] * len(table)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise FormatError(
            f"{path}, row {row + 1} of the data: {channels[column]} is missing: fill it in or "
            "remove the row"
        )
    if len(channels) > 1 and all(re.fullmatch(r"\D*\d+", name) for name in channels):
        return [Recording(v[:, None], label=name) for v, name in zip(values, labels, strict=True)]
    numbered = groupby(enumerate(labels), key=itemgetter(1))
    parts = [(label, [row for row, _ in group]) for label, group in numbered]
    return [Recording(values[rows], label=label) for label, rows in parts]


def read_time_series(path: Path) -> Sequence[Recording]:
    """Recordings in a `.ts` file, see `edgesnn.devices.recordings.read_ts`."""
    signal, labels = read_ts(path)
    return [Recording(s, label=label) for s, label in zip(signal, labels, strict=True)]


def read_wav(path: Path) -> Sequence[Recording]:
    """The one recording in a WAV file of integers, in parts of full scale (-1 to 1).

    Raises:
        FormatError: not such a file, or cut short.
    """
    try:
        with wave.open(str(path)) as file:
            width, rate, channels = file.getsampwidth(), file.getframerate(), file.getnchannels()
            data = file.readframes(file.getnframes())
            whole = len(data) == file.getnframes() * width * channels
    except (wave.Error, EOFError, OSError, RuntimeError) as error:
        raise FormatError(
            f"{path} is no WAV file of integers ({str(error) or 'it is cut short'}): save it as PCM"
        ) from None
    if not data or not whole or width > 4:
        raise FormatError(f"{path} holds less sound than it says, or no PCM: save it again")
    samples = np.frombuffer(data, np.uint8).reshape(-1, channels, width)
    if width == 1:
        values = samples[..., 0].astype(np.int32) - 128
    else:
        # into the upper bytes of 32 bits, so that the sign is where it belongs
        wide = np.zeros((*samples.shape[:2], 4), np.uint8)
        wide[..., 4 - width :] = samples
        values = wide.view("<i4")[..., 0] >> (32 - 8 * width)
    return [
        Recording(values / 2.0 ** (8 * width - 1), float(rate), None, ("full scale",) * channels)
    ]


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:  # of a damaged file, NumPy raises whatever its parsers do
        raise FormatError(
            f"{path} is not a {path.suffix} file ({error}): save it with numpy.save"
            f"{'z' if path.suffix == '.npz' else ''}"
        ) from None


def _numbers(array: npt.NDArray[Any]) -> bool:
    return array.dtype.kind in "biuf" and array.size > 0


def _three_axes(path: Path, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.ndim != 3 or not _numbers(array):
        raise FormatError(
            f"{path} holds {array.dtype} of shape {array.shape}: give numbers of shape "
            "(samples, steps, channels)"
        )
    return array


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise FormatError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except OSError as error:
        raise MissingError(f"{path} cannot be read ({error.strerror}): check it") from None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _name_and_unit(column: str) -> tuple[str, str]:
    """`ax [g]` and `ax (g)` to ("ax", "g"); `t_ms` to ("t", "ms")."""
    found = re.fullmatch(r"(.*?)\s*[\[(](.*)[\])]", column)
    name, unit = found.groups() if found else (column, "")
    stem, _, end = name.lower().rpartition("_")
    if not found and stem in TIME and end in SECONDS:
        return stem, end
    return name.strip().lower(), canonical_unit(unit)


def _table(
    path: Path,
    lines: Sequence[tuple[int, str]],
    delimiter: str,
    columns: Sequence[str],
    keys: Sequence[int],
) -> tuple[npt.NDArray[np.float64], dict[int, list[str]]]:
    """Numbers (lines, columns), and the words that those in the columns `keys` stand for."""
    codes: dict[int, dict[str, int]] = {k: {} for k in keys}

    def coded(k: int) -> Callable[[str], int]:
        return lambda word: codes[k].setdefault(word.strip(), len(codes[k]))

    try:
        table = np.loadtxt(
            (line for _, line in lines), delimiter=delimiter, comments=None, quotechar='"',
            ndmin=2, converters={k: coded(k) for k in keys} or None, encoding=None,
        )  # fmt: skip
    except ValueError:
        table = np.full((1, 1), np.nan)
    if table.shape[1] == len(columns) and np.isfinite(table).all():
        return table, {k: list(words) for k, words in codes.items()}
    for number, line in lines:
        row = next(csv.reader([line], delimiter=delimiter))
        if len(row) != len(columns):
            raise FormatError(
                f"{path}, line {number}: {len(row)} columns where {len(columns)} were expected"
            )
        for k, cell in enumerate(map(str.strip, row)):
            if k not in keys and not _is_number(cell):
                raise FormatError(
                    f"{path}, line {number}: column '{columns[k]}' is "
                    f"{repr(cell) if cell else 'empty'}, no number: mend or remove the line"
                )
    raise FormatError(f"{path} is no table of numbers: export it again")
