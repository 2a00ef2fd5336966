"""The recorded flights (Gonzalez-Alvarez et al., ICRA 2022, Apache-2.0), read where they are.

`$EDGESNN_DATA/blimp`, or `shared/data/blimp` beside the project. Nothing of them is kept here.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesnn import _core
from edgesnn.errors import FormatError, MissingError

FLIGHTS = 6
Array = npt.NDArray[np.float64]


def folder() -> Path:
    """Where the recordings are, or would be."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    return Path(os.environ.get("EDGESNN_DATA", beside)) / "blimp"


def flights() -> list[tuple[Array, npt.NDArray[np.int64], Array]]:
    """Time [s], motor command (-3..3) and altitude [m] of every flight, 30 samples a second.

    Raises:
        MissingError: they are not there.
        FormatError: a file does not hold three columns of numbers.
    """
    found = []
    for number in range(1, FLIGHTS + 1):
        path = folder() / f"gonzalez_blimp_sysid_data{number}.csv"
        try:
            table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
        except OSError:
            raise MissingError(
                f"there are no recorded flights at {path}: set EDGESNN_DATA to the folder that "
                "holds blimp/, or take a synthetic flight"
            ) from None
        except ValueError as error:
            raise FormatError(f"{path} is no table of numbers ({error}): copy it again") from None
        if table.shape[1] != 3:
            raise FormatError(f"{path} has {table.shape[1]} columns, not 3: copy it again")
        found.append((table[:, 0], table[:, 1].astype(np.int64), table[:, 2]))
    return found


def record(seconds: Array, altitude: Array) -> npt.NDArray[np.int16]:
    """Samples as they come, late or bunched, to a grid of 0.1 s, by the firmware's own recorder.

    Args:
        seconds: (samples,) time stamps, s.
        altitude: (samples,), m.

    Returns:
        (ticks,) int16, cm, whole ones as the lidar gives them.
    """
    recorder = _core.ffi.new("blimp_recorder *")
    room = int(10 * (seconds[-1] - seconds[0])) + 2 if len(seconds) else 1
    out = np.zeros(room, np.int16)
    n = 0
    for time, height in zip(seconds, altitude, strict=True):
        at = _core.ffi.cast("int16_t *", out.ctypes.data + 2 * n)
        micros = round(float(time) * 1e6) & 0xFFFFFFFF
        n += int(_core.lib.blimp_record(recorder, micros, round(float(height) * 1e3), at, room - n))
    grid: npt.NDArray[np.int16] = out[:n].copy()
    return grid


def tracks() -> list[npt.NDArray[np.int16]]:
    """The altitudes of every recorded flight, cm, ten a second."""
    return [record(time, altitude) for time, _, altitude in flights()]


def synthetic(seed: int = 0, ticks: int = 1500) -> list[npt.NDArray[np.int16]]:
    """Three made-up flights, for who has no recorded ones: altitudes in cm that wander."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(3):
        speed = np.zeros(ticks)
        for t in range(1, ticks):
            speed[t] = 0.98 * speed[t - 1] + rng.normal(0, 0.4)
        height = 200 + 100 * np.sin(np.cumsum(speed) / 150)
        made.append(np.round(height).astype(np.int16))
    return made
