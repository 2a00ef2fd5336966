"""Labelled sensor recordings: the `.ts` text reader and the BasicMotions data set."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgesnn.errors import FormatError, MissingError

__all__ = ["Recordings", "basic_motions", "read_ts"]

_WRONG_HEADER = {
    "timestamps": ("true", "holds time stamps; export evenly sampled values without them"),
    "equallength": ("false", "holds unequal lengths; cut or pad every sample to one length"),
    "missing": ("true", "holds missing values; fill them in before reading"),
    "classlabel": ("false", "holds no class labels; append ':label' to every sample"),
}


@dataclass(frozen=True)
class Recordings:
    """Equally long labelled recordings.

    signal: float64 (samples, steps, channels), in the physical units named by `units`.
    label: int64 (samples,), an index into `classes`.
    classes: class names, sorted alphabetically.
    rate_hz: sampling rate in Hz.
    units: one unit per channel.
    """

    signal: NDArray[np.float64]
    label: NDArray[np.int64]
    classes: tuple[str, ...]
    rate_hz: float
    units: tuple[str, ...]


def read_ts(path: str | os.PathLike[str]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Read a multivariate, equal-length, timestamp-free `.ts` text file.

    Returns the signal, float64 (samples, steps, channels) in the units of the file, and the
    class label of each sample, (samples,).

    Raises MissingError when the file cannot be opened and FormatError, naming the line, when
    it is not such a file.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MissingError(
            f"{path} cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not UTF-8 text; give a .ts text file") from error

    in_data = False
    dimensions: int | None = None
    known: tuple[str, ...] = ()
    samples: list[NDArray[np.float64]] = []
    labels: list[str] = []
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        where = f"{path}, line {number}:"
        if not line or line.startswith("#"):
            continue
        if in_data:
            *fields, label = line.split(":")
            label = label.strip()
            if not fields or not label or "," in label or (known and label not in known):
                expected = f" (one of {', '.join(known)})" if known else ""
                raise FormatError(
                    f"{where} the class label is missing or unknown;"
                    f" end the line with ':label'{expected}"
                )
            sample = _sample(fields, where)
            shape = samples[0].shape if samples else (sample.shape[0], dimensions or len(fields))
            if sample.shape != shape:
                raise FormatError(
                    f"{where} {sample.shape[1]} channels of {sample.shape[0]} steps where"
                    f" {shape[1]} of {shape[0]} were expected; make all samples alike"
                )
            samples.append(sample)
            labels.append(label)
        elif line.startswith("@"):
            key, *values = line[1:].split() or [""]
            key = key.lower()
            in_data = key == "data"
            wrong, advice = _WRONG_HEADER.get(key, ("", ""))
            if values and values[0].lower() == wrong:
                raise FormatError(f"{where} the file {advice}")
            if key == "dimensions":
                if not values or not values[0].isdigit():
                    raise FormatError(f"{where} give the number of channels after @dimensions")
                dimensions = int(values[0])
            elif key == "classlabel":
                known = tuple(values[1:])
        else:
            raise FormatError(f"{where} data before '@data'; put the line '@data' above it")
    if not samples:
        raise FormatError(f"{path} has no sample after '@data'; give a complete .ts file")
    return np.stack(samples), tuple(labels)


def basic_motions(split: Literal["train", "test"]) -> Recordings:
    """Load the official BasicMotions train or test split: 40 recordings of 100 steps at 10 Hz.

    Channels: accelerometer x, y, z in m/s^2, then gyroscope x, y, z in rad/s.

    Looks in `$EDGESNN_DATA/BasicMotions/`, then among the files of the installed `aeon`
    package. Raises MissingError when neither holds the file, FormatError when it is damaged.
    """
    name = f"BasicMotions_{split.upper()}.ts"
    folders = []
    if data := os.environ.get("EDGESNN_DATA"):
        folders.append(Path(data) / "BasicMotions")
    # Importing aeon would pull in scikit-learn and numba for the sake of one text file.
    spec = importlib.util.find_spec("aeon")
    for location in (spec.submodule_search_locations if spec else None) or ():
        folders.append(Path(location) / "datasets" / "data" / "BasicMotions")
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        raise MissingError(
            f"{name} was not found: run 'pip install --no-deps aeon', or set EDGESNN_DATA to the"
            " folder that holds BasicMotions/"
        )
    signal, labels = read_ts(path)
    units = ("m/s^2",) * 3 + ("rad/s",) * 3
    if signal.shape[2] != len(units):
        raise FormatError(
            f"{path} has {signal.shape[2]} channels instead of {len(units)}; give the original file"
        )
    classes, label = np.unique(labels, return_inverse=True)
    return Recordings(signal, label.astype(np.int64), tuple(classes.tolist()), 10.0, units)


def _sample(fields: list[str], where: str) -> NDArray[np.float64]:
    """Parse the comma-separated channels of one sample into (steps, channels)."""
    try:
        channels = [[float(value) for value in field.split(",")] for field in fields]
    except ValueError as error:
        raise FormatError(f"{where} {error}; write plain numbers between commas") from error
    if len({len(channel) for channel in channels}) != 1:
        raise FormatError(f"{where} channels of unequal length; give every channel as many steps")
    sample: NDArray[np.float64] = np.array(channels, dtype=np.float64).T
    if not np.isfinite(sample).all():
        raise FormatError(f"{where} a value is not finite; replace it by a number")
    return sample
