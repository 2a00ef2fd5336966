"""Spoken digits from raw samples: a filter bank, levels and learned delays, all in the graph."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesnn.zoo import data

HERE = Path(__file__).parent
RATE = 8000
HOP = 80
"""Samples of a frame: a step is 10 ms, and filters look at two of them."""
BANDS = 28
LEVELS = 4
STEPS = 72
"""Longer clips are cut; 95 % are shorter, and silence follows them."""
LONGEST = 25
"""Of learned delays, odd, as DCLS's."""
NETWORKS = (("delays", "learned delays"), ("none", "no delays"), ("random", "random delays"))

DESCRIPTION: dict[str, Any] = {
    "version": "1.0.0",
    "input": HOP,
    "input_kind": "analog",
    "step_us": round(1e6 * HOP / RATE),
    "classes": [str(digit) for digit in range(10)],
    "readout": "sum",
    "layers": [
        {"type": "Delays", "key": "filters", "max_delay": 3},
        {"type": "Delays", "key": "levels", "max_delay": 1},
        {"type": "Leaky", "key": "levels", "beta": 0, "reset_mechanism": "none"},
        {"type": "Linear", "key": "first"},
        {"type": "BatchNorm1d", "key": "first_norm"},
        {"type": "Leaky", "key": "first_neurons", "threshold": 1},
        {"type": "Delays", "key": "second", "max_delay": LONGEST},
        {"type": "BatchNorm1d", "key": "second_norm"},
        {"type": "Leaky", "key": "second_neurons", "threshold": 1},
        {"type": "Linear", "key": "output"},
        {"type": "Leaky", "key": "output", "beta": 0, "threshold": 1e30, "reset_mechanism": "none"},
    ],
}


@cache
def recordings() -> data.Clips:
    """The clips, read once."""
    return data.fsdd()


def frames(part: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Clips as frames (n, STEPS, HOP) of whole samples, and their digits (n,).

    "test" is the official part, "validation" a tenth of the rest, "train" what is left.
    """
    clips = recordings()
    test = clips.index < 5
    validation = ~test & (clips.index % 10 == 9)
    chosen = {"test": test, "validation": validation, "train": ~test & ~validation}[part]
    found = np.zeros((int(chosen.sum()), STEPS * HOP), np.float32)
    for row, k in zip(found, np.flatnonzero(chosen), strict=True):
        heard = clips.pcm[k][: STEPS * HOP]
        row[: len(heard)] = heard
    return found.reshape(-1, STEPS, HOP), clips.label[chosen]


def filters() -> NDArray[np.float32]:
    """Cosines and sines under a window, (2 * BANDS, 2 * HOP), oldest sample first.

    Centres are even on the mel scale from 150 to 3600 Hz; the wider a band, the shorter its window.
    """
    low, high = (2595 * np.log10(1 + f / 700) for f in (150, 3600))
    centre = 700 * (10 ** (np.linspace(low, high, BANDS) / 2595) - 1)
    width = np.gradient(centre)
    time = np.arange(2 * HOP) - (HOP - 0.5)
    made = []
    for f, b in zip(centre, width, strict=True):
        length = min(2 * HOP, 2 * RATE / b)
        window = np.where(np.abs(time) < length / 2, np.cos(np.pi * time / length) ** 2, 0)
        window /= window.sum()
        phase = 2 * np.pi * f * time / RATE
        made += [window * np.cos(phase), window * np.sin(phase)]
    return np.array(made, np.float32)
