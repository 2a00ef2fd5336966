"""SpikingJelly: a state_dict and a description of its layers (`edgesnn.converters.modules`).

SpikingJelly 0.0.0.0.14 to 2.0.0, `spikingjelly/activation_based/neuron`. In each step, with r the
reset potential (0 where `v_reset` is null):

    IFNode    v = v + x
    LIFNode, decay_input=True    v = v + (x - (v - r)) / tau
    LIFNode, decay_input=False   v = v - (v - r) / tau + x
    ParametricLIFNode            LIFNode with 1 / tau = sigmoid(w)

then it spikes where v reaches `v_threshold`, and v becomes `v_reset`, or loses the threshold where
`v_reset` is null, in the same step. A membrane starts at `v_reset`; it is kept as v - v_reset here.

Of the file: `w` of ParametricLIFNode. Nothing else of a neuron is in it, so the description says
`tau` (2), `v_threshold` (1), `v_reset` (0, or null), `decay_input` (true).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgesnn.converters.modules import Layer, Neurons, read_modules
from edgesnn.errors import ModelError
from edgesnn.graph import Fire, Reset
from edgesnn.network import Network
from edgesnn.sources import Options, Source


def read_spikingjelly(path: Path, options: Options) -> Network:
    """The network in a state_dict and its description.

    Raises:
        FormatError: the file is damaged, or does not go with its description.
        ModelError: a layer cannot be kept; the message names it.
    """
    return read_modules(path, options, MAKERS, "SpikingJelly", "2.0.0", (".v",))


def _neurons(layer: Layer, version: str) -> Neurons:
    soft = layer.option("v_reset", 0.0) is None
    rest = np.float64(0 if soft else layer.value("v_reset", 0.0))
    threshold = layer.value("v_threshold", 1.0)
    rule = {
        "threshold": threshold.astype(np.float64) - rest,
        "reset": Reset.SUBTRACT_AT_ONCE if soft else Reset.ZERO_AT_ONCE,
        "fire": Fire.REACHES,
        "beta": np.ones(()),
    }
    if layer.kind == "IFNode":
        return Neurons(rule)
    if layer.kind == "ParametricLIFNode":
        lost = 1 / (1 + np.exp(-layer.array("w").astype(np.float64).reshape(())))
        layer.asked |= {"init_tau"}
    else:
        lost = 1 / layer.value("tau", 2.0).astype(np.float64)
    if not np.all((lost > 0) & (lost <= 1)):
        raise ModelError(f"{layer.called}: tau is below 1")
    rule["beta"] = 1 - lost
    return Neurons(rule, gain=lost if layer.option("decay_input", True) else 1.0)


MAKERS = dict.fromkeys(("IFNode", "LIFNode", "ParametricLIFNode"), _neurons)

SOURCE = Source(
    name="spikingjelly",
    describes="SpikingJelly state_dict with a description: IFNode, LIFNode, ParametricLIFNode",
    recognises=lambda path: False,  # its files hold nothing that others do not
    read=read_spikingjelly,
    described=True,
)
