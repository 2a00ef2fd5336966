"""Adaptive recurrent networks of Yin, Corradi and Bohte (Nature Machine Intelligence 2021).

byin-cwi/Efficient-spiking-networks at bfd47cf. In each step, s- the spike of the step before:

    I = input + recurrent s-
    b = ro b + (1 - ro) s-,  ro = exp(-1 / tau_adp);  B = b_j0 + 1.8 b   (adaptive layers)
    v = al v + (1 - al) I - B s-,  al = exp(-1 / tau_m);  spikes above B

Of the file, under names that the description gives with `keys`, since each task has its own:
`tau_m`, `tau_adp`, `recurrent` (prefix of a Linear, or null). Of the description: `b_j0` (0.1),
`adaptive` (true), `beta` (1.8). `b_j0` is in no checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesnn.converters.modules import Layer, Neurons, read_modules
from edgesnn.errors import EdgesnnError, FormatError, ModelError
from edgesnn.graph import Reset
from edgesnn.network import Adaptation, Network
from edgesnn.sources import Options, Source

STATED = "Efficient-spiking-networks"


def read_srnn(path: Path, options: Options) -> Network:
    """The network in a state_dict and its description.

    Raises:
        FormatError: the file is damaged, or does not go with its description.
        ModelError: a layer cannot be kept; the message names it.
    """
    return read_modules(path, options, {"ALIF": _neurons, "LIF": _neurons}, STATED, "bfd47cf")


def _kept(layer: Layer, key: object) -> Any:
    """exp(-1 / tau) of the time constants under a key, in steps."""
    if not isinstance(key, str) or key not in layer.state:
        raise FormatError(f"{layer.path} lacks the time constants {key!r} that {layer.kind} names")
    layer.used.add(key)
    tau = np.asarray(layer.state[key], np.float64).reshape(-1)
    if tau.size not in (1, layer.size) or not np.all(tau > 0):
        raise ModelError(f"{layer.path}: '{key}' are no {layer.size} time constants above 0")
    return np.exp(-1 / tau)


def _neurons(layer: Layer, version: str) -> Neurons:
    kept = _kept(layer, layer.option("tau_m", None))
    kept = kept[0] if kept.size == 1 else kept
    rule: dict[str, Any] = {
        "beta": kept, "threshold": layer.value("b_j0", 0.1), "reset": Reset.SUBTRACT,
    }  # fmt: skip
    tau_adp = layer.option("tau_adp", None)
    strength = layer.value("beta", 1.8).astype(np.float64)
    if layer.kind == "ALIF":
        slow = _kept(layer, tau_adp)
        step = np.broadcast_to(strength * (1 - slow), slow.shape)
        rule["adaptation"] = Adaptation(slow.astype(np.float32), step.astype(np.float32))
    elif isinstance(tau_adp, str):
        layer.used.add(tau_adp)  # trained beside, and of no effect where beta is 0
    made = Neurons(rule, gain=1 - kept)
    again = layer.option("recurrent", None)
    if isinstance(again, str):
        weight, bias = layer.state.get(again + ".weight"), layer.state.get(again + ".bias")
        if weight is None:
            raise FormatError(f"{layer.path} lacks the key '{again}.weight'")
        layer.used |= {again + ".weight", again + ".bias"}
        made.recurrent = (
            weight.astype(np.float32), None if bias is None else bias.astype(np.float32)
        )  # fmt: skip
    return made


def _recognises(path: Path) -> bool:
    from edgesnn.converters.modules import state_dict

    try:
        keys = list(state_dict(path))
    except EdgesnnError:
        return False
    return any("tau_adp" in key for key in keys) and any("tau_m" in key for key in keys)


SOURCE = Source(
    name="srnn",
    describes="adaptive recurrent networks of Yin et al. 2021 with a description: ALIF, LIF",
    recognises=_recognises,
    read=read_srnn,
    described=True,
)
