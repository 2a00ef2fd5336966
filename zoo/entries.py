"""The trained networks that the project ships, and the recordings that each is judged on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesnn.devices.recordings import basic_motions
from edgesnn.zoo import basicmotions, data, digits, mnist, wrist

CALIBRATED_ON = 256


@dataclass(frozen=True)
class Judged:
    """Recordings (samples, steps, channels) to calibrate on and to judge by, and the classes.

    `early`, signals and labels of the training data, is what a margin for early answers is chosen
    on; None: the network answers at the end.
    """

    calibration: NDArray[Any]
    signals: NDArray[Any]
    label: NDArray[np.int64]
    early: tuple[NDArray[Any], NDArray[np.int64]] | None = None


@dataclass(frozen=True)
class Entry:
    """A committed network and one way to judge it.

    Args:
        name: of the row, unique; networks of the folds of one protocol differ by their last word.
        task, protocol: for people; rows that share them are folds and are averaged in the table.
        checkpoint: committed weights.
        load: the recordings; raises MissingError that says where to get them.
        source, description: what `edgesnn convert` is told by --source and --describe.
    """

    name: str
    task: str
    protocol: str
    checkpoint: Path
    load: Callable[[], Judged]
    source: str
    description: dict[str, Any] = field(default_factory=dict)


def _basic_motions() -> Judged:
    train, test = basic_motions("train"), basic_motions("test")
    return Judged(train.signal, test.signal, test.label)


def _every(signals: NDArray[Any], count: int = CALIBRATED_ON) -> NDArray[Any]:
    """So many of them, evenly."""
    return signals[:: max(1, len(signals) // count)][:count]


def _wrist(split: str, steps: int = wrist.STEPS) -> Callable[[], Judged]:
    def load() -> Judged:
        if split == "random":
            train, test = wrist.random_windows("train"), wrist.random_windows("test")
        elif split == "all":
            train = test = wrist.of_subjects(wrist.recordings().subject)
        else:
            held = wrist.held_out(int(split))
            others = np.setdiff1d(wrist.recordings().subject, held)
            train, test = wrist.of_subjects(others), wrist.of_subjects(held, steps)
        early = train if steps == wrist.STEPS and split != "all" else None
        return Judged(_every(train[0]), *test, early)

    return load


def _mnist(steps: int) -> Callable[[], Judged]:
    def load() -> Judged:
        train, test = data.mnist("train"), data.mnist("test")
        return Judged(_frames(_every(train.pixels), steps), _frames(test.pixels, steps), test.label)

    return load


def _frames(pixels: NDArray[np.uint8], steps: int) -> NDArray[Any]:
    """Pictures as recordings of equal frames (n, steps, height * width)."""
    return np.repeat(pixels.reshape(len(pixels), 1, -1), steps, axis=1).astype(np.float32)


def _digits() -> Judged:
    train = digits.frames("train")
    return Judged(_every(train[0]), *digits.frames("test"), train)


def _wrist_entries() -> list[Entry]:
    made = []
    ways = [("random windows", "random", wrist.STEPS)]
    ways += [("by subject", str(k), wrist.STEPS) for k in range(wrist.FOLDS)]
    ways += [("by subject, a decision in 10 s", str(k), 5 * wrist.STEPS)
             for k in range(wrist.FOLDS)]  # fmt: skip
    ways.append(("everybody, its own training windows", "all", wrist.STEPS))
    for protocol, split, steps in ways:
        name = f"wrist{'' if steps == wrist.STEPS else '-10s'}-{split}"
        made.append(Entry(
            name, "7 activities of the hand", protocol, wrist.HERE / f"{split}.pt",
            _wrist(split, steps), "snntorch", wrist.DESCRIPTION,
        ))  # fmt: skip
    return made


ENTRIES = (
    Entry("basicmotions", "4 activities", "40 and 40 recordings", basicmotions.CHECKPOINT,
          _basic_motions, "l2mu"),
    *_wrist_entries(),
    *(Entry(f"mnist-{name}", "10 digits, pictures", protocol, mnist.HERE / f"{name}.pt",
            _mnist(steps), "onestep", mnist.description(steps))
      for name, protocol, steps in mnist.NETWORKS),
    *(Entry(f"digits-{name}", "10 digits, spoken", f"official, {said}", digits.HERE / f"{name}.pt",
            _digits, "snntorch", digits.DESCRIPTION)
      for name, said in digits.NETWORKS),
)  # fmt: skip
