"""Fit the model of the blimp to the recorded flights: `python -m edgesnn.zoo.blimp.fit`.

The model, every 0.1 s (explicit Euler, as the device computes it), with a motor command c in -3..3:

    a += (f(c) - a) lag;   v += 0.1 (a - drag v - quadratic v |v| + b - stiffness (h - 2 m));
    h += 0.1 v

All six flights are simulated open loop from their first to their last sample, each with a buoyancy
b and an initial speed of its own; scipy's least squares with a soft L1 loss fits everything at
once. Writes plant.json beside this file and prints the open-loop error.
"""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from edgesnn.blimp.data import flights
from edgesnn.zoo.blimp import PLANT

Array = npt.NDArray[np.float64]
NAMES = ("lag", "drag", "quadratic", "stiffness", "up1", "up2", "up3", "down1", "down2", "down3")
START = (0.16, 0.18, 0.35, 0.013, 0.037, 0.1, 0.184, 0.04, 0.077, 0.142)
REST = 2.0
STEP = 0.1


def simulate(parameters: Array, commands: npt.NDArray[np.int64], first: Array) -> Array:
    """Altitudes (batch, flights, steps) of parameters (batch, 10 + 2 flights).

    Args:
        parameters: those of NAMES, then the buoyancies [m/s^2], then the initial speeds [m/s].
        commands: (flights, steps), -3..3.
        first: (flights,), initial altitudes, m.
    """
    batch, n = len(parameters), len(first)
    lag, drag, quadratic, stiffness = (parameters[:, k, np.newaxis] for k in range(4))
    table = np.zeros((batch, 7))
    table[:, 4:] = parameters[:, 4:7]
    table[:, 2::-1] = -parameters[:, 7:10]
    buoyancy, v = parameters[:, 10 : 10 + n], parameters[:, 10 + n :].copy()
    h = np.tile(first, (batch, 1))
    a = np.zeros((batch, n))
    out = np.zeros((batch, n, commands.shape[1]))
    for t in range(commands.shape[1]):
        out[:, :, t] = h
        a += (table[:, commands[:, t] + 3] - a) * lag
        v += STEP * (a - drag * v - quadratic * v * abs(v) + buoyancy - stiffness * (h - REST))
        h = h + STEP * v
    return out


def main() -> None:
    """Fit, print the error, write plant.json."""
    recorded = [(u[::3], h[::3]) for _, u, h in flights()]
    n = len(recorded)
    longest = max(len(u) for u, _ in recorded)
    commands = np.zeros((n, longest), np.int64)
    altitude = np.full((n, longest), np.nan)
    for k, (u, h) in enumerate(recorded):
        commands[k, : len(u)], altitude[k, : len(h)] = u, h
    there = ~np.isnan(altitude)
    first = altitude[:, 0]

    def residuals(x: Array) -> Array:
        return np.asarray((simulate(x[np.newaxis], commands, first)[0] - altitude)[there])

    def jacobian(x: Array) -> Array:
        steps = np.maximum(1e-5, 1e-4 * np.abs(x))
        moved = simulate(np.vstack([x, x + np.diag(steps)]), commands, first)[:, there]
        return np.asarray(((moved[1:] - moved[0]) / steps[:, np.newaxis]).T)

    speeds = [(h[5] - h[0]) / 0.5 for _, h in recorded]
    start = np.array([*START, *([0.0] * n), *speeds])
    fit = least_squares(residuals, start, jacobian, loss="soft_l1", f_scale=0.2, max_nfev=60)
    error = simulate(fit.x[np.newaxis], commands, first)[0] - altitude
    rms = [float(np.sqrt(np.nanmean(e**2))) for e in error]
    spread = [float(np.nanstd(h)) for h in altitude]
    found = {name: float(value) for name, value in zip(NAMES, fit.x, strict=False)}
    overall = float(np.sqrt(np.nanmean(error**2)))
    result = {
        "parameters": found,
        "buoyancy": [float(b) for b in fit.x[10 : 10 + n]],
        "open_loop_rmse_m": rms,
        "open_loop_rmse_m_all": overall,
        "altitude_std_m": spread,
        "seconds": [round(len(u) * STEP, 1) for u, _ in recorded],
    }
    PLANT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    print("open-loop RMSE of each flight [m]:", *(f"{r:.3f}" for r in rms), f"all: {overall:.3f}")
    print("standard deviation of altitude [m]:", *(f"{s:.3f}" for s in spread))


if __name__ == "__main__":
    main()
