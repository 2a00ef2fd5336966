"""Networks with learned synaptic delays (DCLS): `model.<n>.{weight,P,SIG}` and batch norms.

Hammouamri, Khalfaoui-Hassani, Masquelier, "Learning Delays in Spiking Neural Networks using Dilated
Convolutions with Learnable Spacings", ICLR 2024. Evaluation rounds every position P half to even,
clamps it to -D//2..D//2 and takes one tap a synapse, so that with the largest delay D (odd)

    out[t] = sum of weight / (1 + 1e-7) * in[t - (D//2 - P)];  several taps a synapse add up

Batch norm follows, then SpikingJelly's LIF with decay_input=False (`converters/spikingjelly.py`),
reset to 0; the last layer is a leaky integral without batch norm and spikes. Checkpoints hold the
positions unrounded, and sigma as the training left it, which evaluation does not use.

What is not in the file is in the description: `tau` (steps) and `max_delay` (D) are required;
`threshold` (1), `readout` ("softmax"; "max", "sum", "count" with `output_threshold`). Frames are
followed by (layers) * (D - 1) // 2 silent ones, over which the answer is summed too.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgesnn.converters.modules import (
    OUT_OF_REACH,
    Layer,
    Neurons,
    read_modules,
    state_dict,
)
from edgesnn.errors import EdgesnnError, FormatError
from edgesnn.graph import Fire, Reset
from edgesnn.network import Network
from edgesnn.sources import Options, Source

KNOWN = {"tau", "max_delay", "threshold", "readout", "output_threshold", "classes", "step_us",
         "input_kind", "units"}  # fmt: skip


def read_dcls(path: Path, options: Options) -> Network:
    """The network in a checkpoint and what its description adds.

    Raises:
        FormatError: the file is damaged, or does not go with its description.
        ModelError: a layer cannot be kept; the message names it.
    """
    described = options.description
    unknown = sorted(set(described) - KNOWN)
    if unknown:
        raise FormatError(f"the description of {path} has '{unknown[0]}', which is not known")
    for key in ("tau", "max_delay"):
        if key not in described:
            raise FormatError(f"{path} does not hold '{key}': say it in a description, --describe")
    state = state_dict(path)
    places = sorted(
        (key.removesuffix(".P") for key in state if key.endswith(".P")),
        key=lambda place: [int(n) if n.isdecimal() else 0 for n in place.split(".")],
    )
    if not places or state[places[0] + ".weight"].ndim != 3:
        raise FormatError(f"{path} has no layer with 'weight' and 'P': it is no DCLS network")
    layers: list[dict[str, Any]] = []
    for k, place in enumerate(places):
        layers.append({"type": "Delays", "key": place, "max_delay": described["max_delay"]})
        head, _, number = place.rpartition(".")
        if not number.isdecimal():
            raise FormatError(f"{path}: '{place}' has no number: save the Sequential's state_dict")
        following = [f"{head}.{int(number) + n}".lstrip(".") for n in (1, 2)]
        if f"{following[0]}.running_mean" in state:
            layers.append({"type": "BatchNorm1d", "key": following[0]})
        neurons: dict[str, Any] = {"type": "LIF", "tau": described["tau"]}
        wide = next((f for f in following if f"{f}.w" in state), None)
        if wide is not None:
            neurons["key"] = wide
        neurons["threshold"] = described.get("threshold", 1.0)
        if k == len(places) - 1:
            neurons["threshold"] = described.get("output_threshold", OUT_OF_REACH)
        layers.append(neurons)
    kept = ("classes", "step_us", "input_kind", "units")
    whole: dict[str, Any] = {
        **{key: described[key] for key in kept if key in described},
        "version": "d169b4e", "readout": described.get("readout", "softmax"),
        "input": int(state[places[0] + ".weight"].shape[1]), "layers": layers,
    }  # fmt: skip
    network = read_modules(
        path, replace(options, description=whole), MAKERS, "SNN-delays", "d169b4e",
        (".SIG",),
    )  # fmt: skip
    tail = len(places) * (int(described["max_delay"]) - 1) // 2
    said = (
        f"append {tail} silent frames to each recording: its answer is summed over them too; "
        "neurons of inner layers go on through all of them",
    )
    return replace(network, remarks=network.remarks + said)


def _neurons(layer: Layer, version: str) -> Neurons:
    trained = layer.optional("w") if layer.key else None
    tau = layer.value("tau")
    lost = 1 / tau.astype(np.float64)
    if trained is not None:
        lost = 1 / (1 + np.exp(-trained.astype(np.float64).reshape(())))
    threshold = layer.value("threshold")
    silent = float(threshold.max()) >= OUT_OF_REACH
    rule = {
        "beta": 1 - lost, "threshold": threshold, "fire": Fire.REACHES,
        "reset": Reset.NONE if silent else Reset.ZERO_AT_ONCE,
    }  # fmt: skip
    return Neurons(rule)


MAKERS = {"LIF": _neurons}


def _recognises(path: Path) -> bool:
    try:
        state = state_dict(path)
    except EdgesnnError:
        return False
    found = [key for key in state if key.endswith(".P")]
    return bool(found) and all(key.removesuffix("P") + "weight" in state for key in found)


SOURCE = Source(
    name="dcls",
    describes="networks with learned synaptic delays (DCLS) with a description",
    recognises=_recognises,
    read=read_dcls,
    described=True,
)
