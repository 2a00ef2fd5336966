"""How well a controller does, beside a PID in the same plant with the same sensor and motors."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import blob
from edgesnn.blimp import task as tasks
from edgesnn.blimp.controllers import COMMAND_ONE, Genome, build
from edgesnn.blimp.course import OFFSET, Ground
from edgesnn.blimp.task import D, Flier, Flown, I, P, Role, Task

Array = npt.NDArray[np.float64]
HELD = 700
STEPS = (50, 150, 50, 100, 50)
"""Set-points of the flights of PD and I, cm, 70 s each."""
FULL_STEPS = (50, 100, 200, 50)
"""Steps of 0.5 m, 1 m and 1.5 m, 70 s each."""


@dataclass(frozen=True)
class Answer:
    """How well steps were followed.

    Attributes:
        rmse: of the altitude error, m, all the time.
        steady: largest mean |e| of the last 10 s of a set-point, cm.
        overshoots: of each step, cm, by the true altitude.
    """

    rmse: float
    steady: float
    overshoots: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """For reports."""
        return {"rmse_m": self.rmse, "steady_cm": self.steady, "overshoots_cm": self.overshoots}


def script(over: Ground, steps: tuple[int, ...], buoyancy: int, helper: int = 0) -> Task:
    """A flight of steps in the fitted blimp; nothing of it is drawn."""
    return replace(
        over.task, flier=Flier.NETWORK, ticks=HELD * len(steps), script=steps, helper=helper,
        buoyancy=(buoyancy, buoyancy),
    )  # fmt: skip


def steps_of(flown: Flown, steps: tuple[int, ...]) -> Answer:
    """How well a flight followed its steps."""
    error = flown.columns["error"].reshape(len(steps), HELD).astype(float)
    altitude = flown.columns["altitude"].reshape(len(steps), HELD).astype(float)
    overshoots = tuple(
        float(max(0.0, np.max(np.sign(now - before) * (altitude[k] - now))))
        for k, (before, now) in enumerate(itertools.pairwise(steps), 1)
    )
    steady = float(np.abs(error[:, -100:]).mean(axis=1).max())
    return Answer(float(np.sqrt((error**2).mean())) / 100, steady, overshoots)


def fly_steps(
    image: bytes | None, over: Ground, steps: tuple[int, ...], buoyancy: int, helper: int = 0
) -> Answer:
    """Fly steps and judge them."""
    task = script(over, steps, buoyancy, helper)
    return steps_of(tasks.fly(image, task, over.track, Role.TEST, 0), steps)


def mimic(image: bytes | None, over: Ground) -> tuple[Array, Array]:
    """Commands and targets of the 500 s that were held out, in units of a command of 1."""
    flown = [tasks.fly(image, t, over.track, Role.TEST, 0) for t in over.tests()]
    commands = np.concatenate([f.columns["network"] for f in flown]) / COMMAND_ONE
    targets = np.concatenate([f.columns["target"] for f in flown]) / COMMAND_ONE
    return np.clip(commands, -10, 10), targets


def loss(commands: Array, targets: Array, unit: float = tasks.PAPER_UNIT) -> float:
    """Mean absolute error, in the paper's unit if not told otherwise, + 1 - Pearson's."""
    still = commands.std() == 0 or targets.std() == 0
    rho = 0.0 if still else float(np.corrcoef(commands, targets)[0, 1])
    return float(unit * np.abs(commands - targets).mean()) + 1 - rho


def baselines(over: Ground) -> dict[str, Any]:
    """What others reach in the same windows and plant."""
    flown = [tasks.fly(None, t, over.track, Role.TEST, 0) for t in over.tests()]
    error = np.concatenate([f.columns["error"] for f in flown]) / 100
    _, targets = mimic(None, over)
    # best gain of a P controller on the windows themselves: as favourable as can be
    proportional = min(loss(np.clip(k * error, -10, 10), targets) for k in np.arange(0, 25, 0.25))
    seen = {}
    for leak in (0.3, 0.5, 0.6):
        y, values = 0.0, []
        for target in targets:
            y = leak * y + (1 - leak) * target
            values.append(y)
        seen[f"pd_through_leak_{leak}"] = loss(np.array(values), targets)
    return {
        "mimic": {"zero": loss(0 * targets, targets), "p_only": proportional, **seen},
        "mean_abs_target": float(np.abs(targets).mean()),
        "pd_neutral": fly_steps(None, over, STEPS, 0, P | D).as_json(),
        "pd_offset": fly_steps(None, over, STEPS, OFFSET, P | D).as_json(),
        "pid_offset": fly_steps(None, over, STEPS, OFFSET, P | D | I).as_json(),
        "pid_offset_steps": fly_steps(None, over, FULL_STEPS, OFFSET, P | D | I).as_json(),
    }


def judged(controller: str, genome: Genome, over: Ground) -> dict[str, Any]:
    """A controller's figures by the marks of docs/blimp.md."""
    image = blob.pack_image(build(genome))
    if controller == "pd":
        commands, targets = mimic(image, over)
        return {
            "mimic_loss": loss(commands, targets),
            "mimic_loss_code_unit": loss(commands, targets, 1.0),
            "neutral": fly_steps(image, over, STEPS, 0).as_json(),
        }
    if controller == "i":
        return {"offset": fly_steps(image, over, STEPS, OFFSET, P | D).as_json()}
    return {"offset": fly_steps(image, over, FULL_STEPS, OFFSET).as_json()}
