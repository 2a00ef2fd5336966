"""Make the golden trace of XyloSim, whose integer rules the graph has as a profile.

    python make.py FOLDER      with xylosim==0.1.3 and numpy installed

A recurrent layer of 20 neurons and a read-out layer of 5, random in every parameter, one synapse a
neuron; states are driven through their 16 bits now and then.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from xylosim.v1 import XyloLayer, XyloSynapse

CHANNELS, HIDDEN, CLASSES, STEPS = 8, 20, 5, 300


def synapses(weights: np.ndarray) -> list:
    """Of weights (n_in, n_out): a list of synapses for every source neuron."""
    return [[XyloSynapse(k, 0, int(w)) for k, w in enumerate(row) if w] for row in weights]


def main() -> None:
    """Write the trace into the folder that is named."""
    rng = np.random.default_rng(0)
    shapes = {"in": (CHANNELS, HIDDEN), "rec": (HIDDEN, HIDDEN), "out": (HIDDEN, CLASSES)}
    made = {
        f"weights_{name}": rng.integers(-60, 90, shape) * (rng.random(shape) < 0.6)
        for name, shape in shapes.items()
    }
    made["weights_rec"] -= 20
    for name, size in (("", HIDDEN), ("_out", CLASSES)):
        made[f"threshold{name}"] = rng.integers(200, 3000, size)
        made[f"dash_mem{name}"] = rng.integers(1, 7, size)
        made[f"dash_syn{name}"] = rng.integers(0, 6, size)
    shifts = {"in": 3, "rec": 1, "out": 2}
    joins = [synapses(made[f"weights_{name}"]) for name in shapes]  # the layer does not own them
    layer = XyloLayer(
        *joins,
        [[] for _ in range(HIDDEN)],
        made["threshold"], made["threshold_out"], *shifts.values(),
        made["dash_mem"], made["dash_mem_out"],
        made["dash_syn"][:, None], made["dash_syn_out"][:, None], "golden",
    )  # fmt: skip
    frames = (rng.random((STEPS, CHANNELS)) < rng.choice([0, 0.1, 0.8], (STEPS, 1))).astype(int)
    out = layer.evolve(frames.tolist())
    np.savez_compressed(
        Path(sys.argv[1]) / "xylosim-0.1.3.npz",
        frames=frames.astype(np.uint8),
        shifts=np.array(list(shifts.values())),
        spikes=np.array(layer.rec_recurrent_spikes, np.uint8),
        spikes_out=np.array(out, np.uint8),
        v_mem=np.array(layer.rec_v_mem, np.int16),
        **{name: array.astype(np.int16) for name, array in made.items()},
    )


if __name__ == "__main__":
    main()
