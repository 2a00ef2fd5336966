"""Norse: a state_dict and a description of its layers (`edgesnn.converters.modules`).

Norse 1.1.0, `norse/torch/functional/{lif,lif_box,leaky_integrator}.py`. In each step

    LIF, LIFRecurrent   i = i + x (+ recurrent);  v = v + dt tau_mem_inv (v_leak - v + i)
                        i = i - dt tau_syn_inv i;  spikes above v_th, then v = v_reset
    LIFBox              v = v + dt tau_mem_inv (x + v_leak - v);  spikes above v_th, then the reset
    LI, LILinear        i, v as LIF, no spikes

A membrane starts at v_leak; it is kept as v - v_leak here. The current jumps before the membrane
feels it and decays after, so that what is felt is that of one step: decay, then jump.

Of the description, or else of the file: `tau_mem_inv` (100), `tau_syn_inv` (200), `v_leak` (0),
`v_th` (1), `v_reset` (0); of the description: `dt` (0.001), `reset` ("value", or "subtract" of
LIFBox). Of the file, for LIFRecurrent: `recurrent_weights`, `input_weights` is a Linear of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesnn.converters.modules import OUT_OF_REACH, Layer, Neurons, read_modules
from edgesnn.errors import FormatError, ModelError
from edgesnn.graph import Reset
from edgesnn.network import Network
from edgesnn.sources import Options, Source


def read_norse(path: Path, options: Options) -> Network:
    """The network in a state_dict and its description.

    Raises:
        FormatError: the file is damaged, or does not go with its description.
        ModelError: a layer cannot be kept; the message names it.
    """
    return read_modules(path, options, MAKERS, "Norse", "1.1.0", (".alpha", ".method"))


def _neurons(layer: Layer, version: str) -> Neurons:
    dt = float(layer.value("dt", 1e-3))

    def lost(name: str, default: float) -> Any:
        share = dt * layer.value(name, default).astype(np.float64)
        if not np.all((share > 0) & (share <= 1)):
            raise ModelError(f"{layer.called}: dt * {name} leaves 0..1")
        return share

    membrane, leak = lost("tau_mem_inv", 100.0), layer.value("v_leak", 0.0).astype(np.float64)
    rule: dict[str, Any] = {"beta": 1 - membrane}
    if layer.kind != "LIFBox":
        rule["alpha"] = 1 - lost("tau_syn_inv", 200.0)
    made = Neurons(rule, gain=membrane)
    if layer.kind == "LI":
        if np.any(leak != np.ravel(leak)[0]):
            raise ModelError(f"{layer.called}: neurons that are compared leak to other potentials")
        rule |= {"threshold": np.float64(OUT_OF_REACH), "reset": Reset.NONE}
        return made
    rule["threshold"] = layer.value("v_th", 1.0).astype(np.float64) - leak
    how = layer.option("reset", "value")
    if how not in ("value", "subtract") or (how == "subtract" and layer.kind != "LIFBox"):
        raise FormatError(f"{layer.called} has the reset {how!r}, which Norse's does not know")
    rule["reset"] = Reset.SUBTRACT_AT_ONCE if how == "subtract" else Reset.ZERO_AT_ONCE
    value = layer.value("v_reset", 0.0).astype(np.float64) - leak
    if how == "subtract" and np.any(leak):
        raise ModelError(f"{layer.called}: subtracts a threshold that is not from 0: not supported")
    if how == "value" and np.any(value):
        rule["reset_to"] = value
    if layer.kind == "LIFRecurrent":
        made.recurrent = layer.array("recurrent_weights"), None
    return made


MAKERS = dict.fromkeys(("LIF", "LIFRecurrent", "LIFBox", "LI"), _neurons)

SOURCE = Source(
    name="norse",
    describes="Norse state_dict with a description: LIF, LIFRecurrent, LIFBox, LI",
    recognises=lambda path: False,  # its files hold nothing that others do not
    read=read_norse,
    described=True,
)
