"""Constructed first means: where evolution starts from, other than random genes.

They are made on the host, from the training windows alone, and are shown beside what comes of
random starts; nothing here runs on a device.

**PD**: matching pursuit. Thousands of random pairs (two encoding and two mirrored hidden neurons)
are run over the training windows in floating point, and twenty are picked, one after the other:
each the one whose read-out is most correlated with what those picked before leave of the target.
Bounded least squares give the read-out weights.

**I**: by design. Encoding neurons are sigma-delta modulators: the pair's difference of rates is
proportional to the error up to half a metre, and saturates there. What counts the two, without
leak, is the integral of the error; as the network is symmetric in the error, the integral rests
only where the error does.

* With recurrence, a hidden membrane counts: +1 for a spike of its own half of the pair, -1 for one
  of the other. A neuron whose own spikes bring back just what the reset takes keeps its count, and
  spikes for as long as that is above its level. Ten pairs have ten levels; the other ten are at
  rest, which keeps a step short, and left to evolution.
* With adaptive thresholds, traces count; with weights -a and +a their difference lowers the
  threshold of one hidden neuron and raises that of the other. Both get the sum of the pair's
  spikes, a steady drive, and so compare the integral with a level; twenty pairs have twenty levels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgesnn.blimp import task as tasks
from edgesnn.blimp.controllers import (
    COMMAND_ONE,
    DESIGNS,
    HIDDEN_ONE,
    METRE,
    NEURONS,
    PAIRS,
    READOUT_SHIFT,
    Design,
    Genome,
    layout,
)
from edgesnn.errors import MissingError
from edgesnn.graph import DECAY_ONE

Array = npt.NDArray[np.float64]
WEIGHT_ONE = 64
READOUT_ONE = COMMAND_ONE >> READOUT_SHIFT
KI = 0.75 * 0.1
"""Of a metre in a tick, in units of the command."""


def joined(*genomes: Genome) -> Genome:
    """The genome of the full controller, from those of its networks, PD first."""
    design = Design(
        True, True, *(tuple(getattr(g.design, name)[k] for k, g in enumerate(genomes))
                      for name in ("adaptive", "recurrent"))
    )  # fmt: skip
    return Genome(design, np.concatenate([g.values for g in genomes]))


def integral(design: Design = DESIGNS["i"]) -> Genome:
    """An I network, whose integral is in its hidden layer; see the module."""
    return _counting_traces(design) if design.adaptive[1] else _counting_membranes(design)


INTEGRATES = tuple(
    f"i {part}" for part in ("hidden weights", "hidden synaptic decay", "hidden decay",
                             "hidden threshold", "recurrent weights")
)  # fmt: skip
"""Genes of an I network with recurrence that hold its count only as they are."""


def _counting_membranes(design: Design) -> Genome:
    levels, step, leak, metres = 10, 0.25, 0.3, 4
    used = np.arange(PAIRS) < levels
    per_count = KI * metres / 2  # of the command
    level = np.minimum(np.rint(step / per_count * (np.arange(PAIRS) + 0.5)), WEIGHT_ONE)
    level[~used] = WEIGHT_ONE
    # pairs that differ do not spike together
    bias = 0.5 * METRE * (1 + (np.arange(PAIRS) % 5 - 2) / 10)
    numbers: dict[str, npt.ArrayLike] = {
        "encoding weights": np.full(PAIRS, WEIGHT_ONE),
        "encoding bias": np.where(used, bias, 0),
        "encoding decay": np.where(used, DECAY_ONE, 0),
        "encoding threshold": np.where(used, metres * METRE, 10 * METRE),
        "hidden weights": np.tile([1, -1, -1, 1], PAIRS),
        "hidden synaptic decay": np.zeros(NEURONS),
        "hidden decay": np.full(NEURONS, DECAY_ONE),
        "hidden threshold": np.repeat(level * HIDDEN_ONE / WEIGHT_ONE, 2),
        "recurrent weights": np.column_stack([level, 0 * level, 0 * level, level]).ravel(),
        "read-out weights": np.where(used, round(step * (1 - leak) * READOUT_ONE), 0),
        "read-out decay": [round(leak * DECAY_ONE)],
    }
    return _genome(design, "i", numbers)


def _counting_traces(design: Design) -> Genome:
    step = 0.125
    per_count = KI / 2  # of the command, for a spike of one metre's modulator
    drive, raising = 6, 36
    level = step / per_count * (np.arange(PAIRS) + 0.5)
    above = drive / WEIGHT_ONE / 0.1 + raising * 16 / HIDDEN_ONE * level
    leak = 0.3
    numbers: dict[str, npt.ArrayLike] = {
        "encoding weights": np.full(PAIRS, WEIGHT_ONE),
        "encoding bias": np.full(PAIRS, METRE // 2),
        "encoding decay": np.full(PAIRS, round(0.9 * DECAY_ONE)),
        "encoding threshold": np.full(PAIRS, METRE),
        "hidden weights": np.full(2 * NEURONS, drive),
        "hidden synaptic decay": np.full(NEURONS, round(0.9 * DECAY_ONE)),
        "hidden decay": np.zeros(NEURONS),
        "hidden threshold": np.repeat(np.minimum(above, 9.99) * HIDDEN_ONE, 2),
        "recurrent weights": np.zeros(2 * NEURONS),
        "trace decay": np.full(NEURONS, DECAY_ONE),
        "threshold weights": np.tile([-raising, raising, raising, -raising], PAIRS),
        "read-out weights": np.full(PAIRS, round(step * (1 - leak) * READOUT_ONE)),
        "read-out decay": [round(leak * DECAY_ONE)],
    }
    return _genome(design, "i", numbers)


def matched(
    task: tasks.Task,
    track: tasks.Track,
    seed: int,
    pool: int = 4000,
    leak: float = 0.3,
    windows: int = 12,
) -> Genome:
    """A PD network by matching pursuit over the training windows of a task.

    Args:
        task: recorded, whose target is the PD's.
        track: recorded altitudes.
        seed: of windows and pairs.
        pool: random pairs.
        leak: of the read-out.
        windows: how many.

    Raises:
        MissingError: scipy is not installed.
    """
    try:
        from scipy.optimize import lsq_linear
    except ImportError:
        raise MissingError(
            "scipy, which makes the first mean, is not installed: pip install 'edgesnn[recordings]'"
        ) from None
    rng = np.random.default_rng(seed)
    flown = [
        tasks.fly(None, task, track, tasks.Role.TRAIN, int(rng.integers(1 << 32)))
        for _ in range(windows)
    ]
    error = np.stack([f.columns["error"] for f in flown]) / 100
    target = np.stack([f.columns["target"] for f in flown]).ravel() / COMMAND_ONE
    pairs = _pairs(pool, rng)
    outputs = _run(pairs, error, leak).reshape(-1, pool)
    norm = np.sqrt((outputs**2).sum(axis=0)) + 1e-9
    norm[norm < 10] = np.inf  # next to silent ones tell nothing of what they do elsewhere
    chosen: list[int] = []
    left = target.astype(np.float32)
    for _ in range(PAIRS):
        score = np.abs(left @ outputs) / norm
        score[chosen] = 0
        chosen.append(int(score.argmax()))
        columns = outputs[:, chosen].astype(np.float64)
        most = 126 / READOUT_ONE
        weights = lsq_linear(columns, target, (-most, most)).x
        left = (target - columns @ weights).astype(np.float32)
    picked = {name: values[chosen] for name, values in pairs.items()}
    two, four = np.repeat, np.column_stack
    p, q = picked["p"], picked["q"]
    return _genome(
        replace(DESIGNS["pd"]), "pd", {
            "encoding weights": WEIGHT_ONE * picked["w"],
            "encoding bias": METRE * picked["bias"],
            "encoding decay": DECAY_ONE * picked["decay"],
            "encoding threshold": METRE * picked["threshold"],
            "hidden weights": WEIGHT_ONE * four([p, q, q, p]).ravel(),
            "hidden synaptic decay": two(DECAY_ONE * picked["synaptic"], 2),
            "hidden decay": two(DECAY_ONE * picked["membrane"], 2),
            "hidden threshold": two(HIDDEN_ONE * picked["above"], 2),
            "read-out weights": READOUT_ONE * weights,
            "read-out decay": [DECAY_ONE * leak],
        },
    )  # fmt: skip


def _genome(design: Design, prefix: str, numbers: dict[str, npt.ArrayLike]) -> Genome:
    parts = [
        np.clip(
            np.rint(np.asarray(numbers[run.name.removeprefix(f"{prefix} ")])), run.low, run.high
        )
        for run in layout(design)
    ]
    return Genome(design, np.concatenate(parts).astype(np.int64))


def _pairs(n: int, rng: np.random.Generator) -> dict[str, Array]:
    """Random pairs that are likely to spike for errors of 4 mm to 2 m."""

    def rarely(share: float, values: Array) -> Array:
        return np.where(rng.random(n) < share, 0.0, values)

    def spread(low: float, high: float) -> Array:
        return np.exp(rng.uniform(np.log(low), np.log(high), n))

    w = rng.uniform(0.2, 1.98, n)
    decay = rarely(0.35, 0.98 * rng.random(n) ** 0.5)
    bias = rarely(0.3, rng.uniform(-1, 1, n))
    level = (w * spread(0.004, 2) + bias) / (1 - decay)
    threshold = np.where((level <= 0) | (rng.random(n) < 0.3), spread(0.02, 5), level)
    return {
        "w": w, "decay": decay, "bias": bias, "threshold": np.clip(threshold, 0.0005, 10),
        "p": rng.uniform(0.1, 1.98, n), "q": rarely(0.4, rng.uniform(-1.98, 1.98, n)),
        "synaptic": rarely(0.6, 0.95 * rng.random(n)),
        "membrane": rarely(0.6, rng.random(n) ** 0.5), "above": spread(0.02, 6),
    }  # fmt: skip


def _run(pairs: dict[str, Array], error: Array, leak: float) -> npt.NDArray[np.float32]:
    """The read-out of each pair, (windows, ticks, n), for errors (windows, ticks) in m."""
    windows, ticks = error.shape
    f = {name: values.astype(np.float32) for name, values in pairs.items()}
    n = len(f["w"])
    signs = np.array([1, -1], np.float32)[:, np.newaxis]

    def zeros() -> npt.NDArray[np.float32]:
        return np.zeros((windows, 2, n), np.float32)

    v, s, i, u, z = zeros(), zeros(), zeros(), zeros(), zeros()
    y = np.zeros((windows, n), np.float32)
    out = np.zeros((windows, ticks, n), np.float32)
    for t in range(ticks):
        entering = f["w"] * signs * error[:, t, np.newaxis, np.newaxis].astype(np.float32)
        v = f["decay"] * v + entering + f["bias"] - s * f["threshold"]
        s = (v > f["threshold"]).astype(np.float32)
        i = f["synaptic"] * i + f["p"] * s + f["q"] * s[:, ::-1]
        u = f["membrane"] * u + i - z * f["above"]
        z = (u > f["above"]).astype(np.float32)
        y = np.float32(leak) * y + z[:, 0] - z[:, 1]
        out[:, t] = y
    return out
