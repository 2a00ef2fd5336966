"""The recordings of the zoo: read from `$EDGESNN_DATA`, or `../shared/data` beside the project.

Each is read as it lies there packed, or in the layout that its makers publish, so that whoever
downloads it needs to convert nothing. Nothing of it is ever written into the project.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgesnn.devices.readers import read_wisdm
from edgesnn.errors import FormatError, MissingError
from edgesnn.recordings import Recording

WRIST_CLASSES = ("dribbling", "catch", "typing", "writing", "clapping", "teeth", "folding")
WRIST_CODES = "POFQRGS"
WRIST_UNITS = ("m/s^2",) * 3 + ("rad/s",) * 3
WRIST_HZ = 20.0


@dataclass(frozen=True)
class Wrist:
    """Recordings of a watch.

    Args:
        signals: of each recording (samples, 6) float32: acceleration in m/s², rate in rad/s, 20 Hz.
        label: (recordings,) index into `WRIST_CLASSES`.
        subject: (recordings,) number of the wearer.
    """

    signals: list[NDArray[np.float32]]
    label: NDArray[np.int64]
    subject: NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """Pictures (n, height, width) uint8 and their labels (n,) int64."""

    pixels: NDArray[np.uint8]
    label: NDArray[np.int64]


@dataclass(frozen=True)
class Clips:
    """Sound: `pcm` of each clip int16 at 8 kHz, label, speaker and number of the clip, (n,)."""

    pcm: list[NDArray[np.int16]]
    label: NDArray[np.int64]
    speaker: NDArray[np.int64]
    index: NDArray[np.int64]


def folder() -> Path:
    """Where recordings lie."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    return Path(os.environ.get("EDGESNN_DATA", beside))


def wrist() -> Wrist:
    """WISDM smartwatch, its seven activities of the hand.

    Raises:
        MissingError: it is not there; says where to get it.
        FormatError: a file is not of its layout.
    """
    packed = folder() / "wisdm_watch" / "wisdm_watch_hand.npz"
    if packed.exists():
        with np.load(packed) as file:
            signals = np.split(file["signal"], file["offset"][1:-1])
            return Wrist(signals, file["label"].astype(np.int64), file["subject"].astype(np.int64))
    raw = folder() / "wisdm-dataset" / "raw" / "watch"
    if raw.is_dir():
        return _wisdm(raw)
    raise MissingError(
        f"no watch recordings in {folder()}: unpack wisdm-dataset.zip of the UCI repository "
        "(doi.org/10.24432/C5HK59) there, or say in EDGESNN_DATA where it is"
    )


def _wisdm(raw: Path) -> Wrist:
    signals, label, subject = [], [], []
    for path in sorted((raw / "accel").glob("data_*_accel_watch.txt")):
        found = re.fullmatch(r"data_(\d+)_accel_watch\.txt", path.name)
        other = raw / "gyro" / path.name.replace("accel", "gyro")
        if found is None or not other.exists():
            continue
        turn = dict(_raw(other))
        for code, acceleration in _raw(path):
            rate = turn.get(code)
            if rate is None:
                continue
            length = min(len(acceleration), len(rate))
            if length < 40:
                continue
            signals.append(np.concatenate([acceleration[:length], rate[:length]], axis=1))
            label.append(WRIST_CODES.index(code))
            subject.append(int(found[1]))
    if not signals:
        raise FormatError(f"{raw} holds no pair of accel/data_*_accel_watch.txt and gyro/...")
    return Wrist(signals, np.array(label), np.array(subject))


def _raw(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Activities of a file of one sensor whose rate is 19.5 to 20.5 Hz: code and signal."""
    parts: dict[str, list[Recording]] = {}
    for recording in read_wisdm(path):
        if recording.label in WRIST_CODES:
            parts.setdefault(recording.label, []).append(recording)
    for code, recordings in parts.items():
        step = np.median(np.concatenate([np.diff(_time(r)) for r in recordings]))
        if step > 0 and 19.5 <= 1 / step <= 20.5:
            yield code, np.concatenate([r.signal for r in recordings]).astype(np.float32)


def _time(recording: Recording) -> NDArray[np.float64]:
    assert recording.time is not None
    return recording.time


def mnist(part: str) -> Images:
    """MNIST, `part` "train" or "test".

    Raises:
        MissingError: it is not there; says where to get it.
        FormatError: a file is not of its layout.
    """
    name = {"train": "train", "test": "t10k"}[part]
    pixels = _idx(folder() / "mnist" / f"{name}-images-idx3-ubyte", 3)
    return Images(
        pixels, _idx(folder() / "mnist" / f"{name}-labels-idx1-ubyte", 1).astype(np.int64)
    )


def _idx(path: Path, axes: int) -> NDArray[np.uint8]:
    packed = path.with_name(path.name + ".gz")
    if packed.exists():
        data = gzip.decompress(packed.read_bytes())
    elif path.exists():
        data = path.read_bytes()
    else:
        raise MissingError(
            f"there is no {path} (or .gz): get MNIST from its makers' page, "
            "yann.lecun.com/exdb/mnist, or say in EDGESNN_DATA where it is"
        )
    head = 4 + 4 * axes
    if data[:4] != bytes([0, 0, 8, axes]) or len(data) < head:
        raise FormatError(f"{path} is no idx file of bytes with {axes} axes")
    shape = np.frombuffer(data, ">u4", axes, 4)
    if len(data) - head != int(np.prod(shape)):
        raise FormatError(f"{path} says {tuple(shape)} and holds {len(data) - head} bytes")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def fsdd() -> Clips:
    """Free Spoken Digit Dataset: 3,000 clips; its test part are those with an index below 5.

    Raises:
        MissingError: it is not there; says where to get it.
    """
    packed = folder() / "fsdd" / "fsdd_8k_int16.npz"
    if packed.exists():
        with np.load(packed) as file:
            clips = np.split(file["pcm"], file["offset"][1:-1])
            fields = [file[name].astype(np.int64) for name in ("label", "index")]
            _, speaker = np.unique(file["speaker"], return_inverse=True)
        return Clips(clips, fields[0], speaker, fields[1])
    raw = folder() / "free-spoken-digit-dataset" / "recordings"
    if raw.is_dir():
        return _digits(raw)
    raise MissingError(
        f"no spoken digits in {folder()}: clone github.com/Jakobovski/free-spoken-digit-dataset "
        "there, or say in EDGESNN_DATA where it is"
    )


def _digits(raw: Path) -> Clips:
    import wave

    clips, names = [], []
    for path in sorted(raw.glob("*_*_*.wav")):
        digit, speaker, index = path.stem.split("_")
        with wave.open(str(path)) as file:
            if (file.getframerate(), file.getsampwidth(), file.getnchannels()) != (8000, 2, 1):
                raise FormatError(f"{path} is not mono, 16 bits, 8 kHz")
            clips.append(np.frombuffer(file.readframes(file.getnframes()), "<i2"))
        names.append((int(digit), speaker, int(index)))
    if not clips:
        raise FormatError(f"{raw} holds no files <digit>_<speaker>_<index>.wav")
    speakers = sorted({name[1] for name in names})
    return Clips(
        clips,
        np.array([n[0] for n in names]),
        np.array([speakers.index(n[1]) for n in names]),
        np.array([n[2] for n in names]),
    )
