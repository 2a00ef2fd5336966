"""Seven activities of the hand, from what a watch measures in two seconds."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesnn.zoo import data

HERE = Path(__file__).parent
STEPS = 40
"""A window, at 20 Hz."""
FOLDS = 5
LAGS = (0, 1, 2, 4, 10)
"""The signal itself, and what it changed by over so many steps."""
MAX_DELAY = 2 * max(LAGS) + 1
CLASSES = data.WRIST_CLASSES
SHARES = {"train": 0.8, "test": 0.2}

DESCRIPTION: dict[str, Any] = {
    "version": "1.0.0",
    "input": 6,
    "input_kind": "analog",
    "units": list(data.WRIST_UNITS),
    "step_us": round(1e6 / data.WRIST_HZ),
    "classes": list(CLASSES),
    "readout": "sum",
    "layers": [
        {"type": "Delays", "key": "levels", "max_delay": MAX_DELAY},
        {"type": "Leaky", "key": "levels", "beta": 0, "reset_mechanism": "none"},
        {"type": "Linear", "key": "hidden"},
        {"type": "Leaky", "key": "slow", "threshold": 1},
        {"type": "Linear", "key": "output"},
        {"type": "Leaky", "key": "output", "beta": 0, "threshold": 1e30, "reset_mechanism": "none"},
    ],
}


def held_out(fold: int) -> NDArray[np.int64]:
    """Subjects of a fold: every fifth, in the order of their numbers."""
    return np.unique(recordings().subject)[fold::FOLDS]


@cache
def recordings() -> data.Wrist:
    """The recordings, read once."""
    return data.wrist()


def windows(
    chosen: NDArray[np.bool_], steps: int = STEPS, start: int = 0
) -> tuple[Any, NDArray[np.int64]]:
    """Consecutive windows (n, steps, 6) float32 of some recordings, and their classes (n,)."""
    every = recordings()
    cut = []
    for k in np.flatnonzero(chosen):
        signal = every.signals[k][start:]
        cut.append(signal[: len(signal) // steps * steps].reshape(-1, steps, 6))
    label = np.repeat(every.label[chosen], [len(part) for part in cut])
    return np.concatenate(cut), label


def of_subjects(subjects: NDArray[np.int64], steps: int = STEPS) -> tuple[Any, NDArray[np.int64]]:
    """Windows of some subjects."""
    return windows(np.isin(recordings().subject, subjects), steps)


def random_windows(part: str) -> tuple[Any, NDArray[np.int64]]:
    """The papers' split: four fifths of all windows, chosen at random, to train on."""
    signals, label = windows(np.ones(len(recordings().label), bool))
    order = np.random.default_rng(0).permutation(len(label))
    first = round(SHARES["train"] * len(label))
    chosen = order[:first] if part == "train" else order[first:]
    return signals[chosen], label[chosen]
