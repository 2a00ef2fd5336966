"""sinabs: a state_dict and a description of its layers (`edgesnn.converters.modules`).

sinabs 2.0.3 to 3.1.3, `sinabs/layers/functional/lif.py`. In each step, with a = exp(-1 / tau), tau
in steps:

    i = a_syn (i + x), or x without tau_syn
    v = a_mem v + (1 - a_mem) i with norm_input (the default), else a_mem v + i
    spikes: MultiSpike (the default) trunc(v / threshold) where v > 0; SingleSpike one where it is
            reached; then v loses threshold times spikes, or becomes 0 (MembraneReset)
    v = max(v, min_v_mem)

IAF has a_mem = 1 and norm_input=False, ExpLeak does not spike.

Of the file, or else of the description: `tau_mem`, `tau_syn` (null), `alpha_mem`, `alpha_syn`,
`spike_threshold` (1), `min_v_mem` (null); `rec_connect.weight` and `.bias`. Of the description:
`norm_input` (true), `spike_fn` ("MultiSpike"), `reset_fn` ("MembraneSubtract"), `max_spikes` (127).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesnn.converters.modules import Layer, Neurons, read_modules
from edgesnn.errors import FormatError
from edgesnn.graph import Conduction, Fire, Reset
from edgesnn.network import Network
from edgesnn.sources import Options, Source

MOST = 127
RESETS = {"MembraneSubtract": Reset.SUBTRACT_AT_ONCE, "MembraneReset": Reset.ZERO_AT_ONCE}


def read_sinabs(path: Path, options: Options) -> Network:
    """The network in a state_dict and its description.

    Raises:
        FormatError: the file is damaged, or does not go with its description.
        ModelError: a layer cannot be kept; the message names it.
    """
    return read_modules(path, options, MAKERS, "sinabs", "3.1.3", (".v_mem", ".i_syn"))


def _kept(layer: Layer, which: str) -> Any:
    """The share of a state that is kept, or None where the layer has no such state."""
    if layer.option(f"tau_{which}", "absent") is None:
        return None
    alpha = layer.optional(f"alpha_{which}")
    if alpha is not None:
        return alpha.reshape(-1)[0] if alpha.size == 1 else alpha
    tau = layer.value(f"tau_{which}", 0.0 if which == "syn" else None)
    return None if which == "syn" and not np.any(tau) else np.exp(-1 / tau.astype(np.float64))


def _neurons(layer: Layer, version: str) -> Neurons:
    leaks = not layer.kind.startswith("IAF")
    beta = np.asarray(_kept(layer, "mem") if leaks else 1.0, np.float64)
    rule: dict[str, Any] = {"beta": beta}
    alpha = _kept(layer, "syn")
    if alpha is not None:
        rule |= {"alpha": np.asarray(alpha, np.float64), "conduction": Conduction.DECAYED}
    normed = leaks and layer.option("norm_input", True)
    made = Neurons(rule, gain=1 - beta if normed else 1.0)
    stored = layer.optional("min_v_mem")
    if layer.option("min_v_mem", None) is not None or stored is not None:
        rule["floor"] = layer.value("min_v_mem")
    if layer.kind.startswith("ExpLeak"):
        if alpha is not None or "floor" in rule:
            raise FormatError(f"{layer.called}: ExpLeak with tau_syn or min_v_mem is not supported")
        made.integrates = True
        return made
    spikes = layer.option("spike_fn", "MultiSpike")
    reset = layer.option("reset_fn", "MembraneSubtract")
    if spikes not in ("MultiSpike", "SingleSpike", "MaxSpike") or reset not in RESETS:
        raise FormatError(f"{layer.called} has spike_fn {spikes!r} and reset_fn {reset!r}")
    most = int(layer.value("max_spikes", MOST))
    rule |= {
        "threshold": layer.value("spike_threshold", 1.0), "fire": Fire.REACHES,
        "reset": RESETS[reset], "max_spikes": 1 if spikes == "SingleSpike" else most,
    }  # fmt: skip
    weight = layer.optional("rec_connect.weight")
    if weight is not None:
        made.recurrent = weight, layer.optional("rec_connect.bias")
    return made


KINDS = ("LIF", "LIFRecurrent", "IAF", "IAFRecurrent", "ExpLeak")
MAKERS = {kind + end: _neurons for kind in KINDS for end in ("", "Squeeze")}

SOURCE = Source(
    name="sinabs",
    describes="sinabs state_dict with a description: LIF, IAF, their recurrent forms, ExpLeak",
    recognises=lambda path: False,  # its files hold nothing that others do not
    read=read_sinabs,
    described=True,
)
