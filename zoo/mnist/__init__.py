"""Convolutional networks of one and of four time steps for MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CHANNELS = (16, 40, 64)
NETWORKS = (
    ("t1", "official, T = 1", 1),
    ("t1-ternary", "official, T = 1, ternary convolutions", 1),
    ("t4", "official, T = 4", 4),
)


def description(steps: int) -> dict[str, Any]:
    """What `edgesnn convert --describe` needs beside the weights."""
    layers: list[dict[str, Any]] = []
    for k in range(len(CHANNELS)):
        layers += [
            {"type": "Conv2d", "key": f"features.{2 * k}", "stride": 2, "padding": 1 + (k == 0)},
            {"type": "BatchNorm2d", "key": f"features.{2 * k + 1}"},
            {"type": "LIF", "threshold": f"threshold.t{k}", "leak": f"leak.l{k}"},
        ]
    layers += [{"type": "Flatten"}, {"type": "Linear", "key": "classifier.0"}, {"type": "Output"}]
    return {
        "steps": steps,
        "input": [1, 28, 28],
        "input_kind": "analog",
        "classes": [str(digit) for digit in range(10)],
        "layers": layers,
    }
