"""Rockpool: a state_dict and a description of its layers (`edgesnn.converters.modules`).

Rockpool 3.1.0, `rockpool/nn/modules/torch/lif_torch.py`. In each step, with a = exp(-dt / tau):

    i = i + x + w_rec^T s-;  v = a_mem v;  i = a_syn i;  v = v + i + bias
    spikes: floor(v / threshold) where the threshold is reached; v loses threshold times spikes

Of the file, or else of the description: `tau_mem`, `tau_syn` (seconds) or `alpha`, `beta` (decays),
`threshold` (1), `bias` (0), `w_rec`. Of the description: `dt` (0.001), `max_spikes` (127). One
synapse a neuron; LinearTorch is `LinearTorch`, whose `weight` is (inputs, outputs).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesnn.converters.modules import Layer, Neurons, read_modules
from edgesnn.errors import ModelError
from edgesnn.graph import Conduction, Fire, Reset
from edgesnn.network import Network
from edgesnn.sources import Options, Source

MOST = 127


def read_rockpool(path: Path, options: Options) -> Network:
    """The network in a state_dict and its description.

    Raises:
        FormatError: the file is damaged, or does not go with its description.
        ModelError: a layer cannot be kept; the message names it.
    """
    saved = (".vmem", ".isyn", ".spikes", ".noise_std")
    return read_modules(path, options, MAKERS, "Rockpool", "3.1.0", saved)


def _decay(layer: Layer, decay: str, tau: str, dt: float) -> Any:
    stored = layer.optional(decay)
    if stored is not None and layer.optional(tau) is None:
        layer.asked.add(tau)
        return stored.reshape(-1)[0] if stored.size == 1 else stored.reshape(-1)
    return np.exp(-dt / layer.value(tau).astype(np.float64))


def _neurons(layer: Layer, version: str) -> Neurons:
    dt = float(layer.value("dt", 1e-3))
    rule: dict[str, Any] = {
        "beta": np.asarray(_decay(layer, "alpha", "tau_mem", dt), np.float64),
        "alpha": np.asarray(_decay(layer, "beta", "tau_syn", dt), np.float64),
        "threshold": layer.value("threshold", 1.0),
        "reset": Reset.SUBTRACT_AT_ONCE, "fire": Fire.REACHES,
        "conduction": Conduction.DECAYED, "max_spikes": int(layer.value("max_spikes", MOST)),
    }  # fmt: skip
    bias = layer.value("bias", 0.0)
    if np.any(bias):
        rule["membrane_bias"] = bias
    made = Neurons(rule)
    weight = layer.optional("w_rec")
    if weight is not None:
        if weight.shape != (layer.size, layer.size):
            raise ModelError(f"{layer.called} has several synapses a neuron: not supported")
        made.recurrent = weight.T, None
    return made


MAKERS = {"LIFTorch": _neurons}

SOURCE = Source(
    name="rockpool",
    describes="Rockpool state_dict with a description: LIFTorch",
    recognises=lambda path: False,  # its files hold nothing that others do not
    read=read_rockpool,
    described=True,
)
