"""snnTorch: a state_dict and a description of its layers (`edgesnn.converters.modules`).

snnTorch 0.7.0 to 1.0.0, `snntorch/_neurons`. In each step, with r whether the membrane passed its
threshold in the step before, x the input:

    Leaky      v = beta v + x          Synaptic   i = alpha i + x;  v = beta v + i
    Lapicque   v = x T / C + (1 - T / (R C)) v
    Alpha      e = alpha e + x;  h = beta h - x;  v = (1 + log alpha / log(beta / alpha)) (e + h)
    RLeaky, RSynaptic   x += recurrent(spikes of the step before)

and the reset. With `reset_delay=True`, snnTorch's default, it takes effect one step late:
"subtract" takes the threshold off after the decay; "zero" of `Leaky` keeps the new input, of all
others it loses it. With `reset_delay=False` "zero" clears the membrane at once, and "subtract" does
with one more subtraction where the residue is still above the threshold (`Reset.SUBTRACT_RESIDUE`).
`Synaptic` before 0.9.4 and `RSynaptic` of all these versions reset a variable that is thrown away,
so that they behave as with `reset_delay=True`. `Alpha` with "subtract" has a rule of its own: one
step late the threshold is taken off e, h before this step is added to v, and h is cleared.

Of the file: `beta`, `alpha`, `threshold`, `graded_spikes_factor`, `reset_mechanism_val`,
`recurrent.weight`, `recurrent.bias`, `V`, `R`, `C`, `time_step`. Of the description: `reset_delay`
(true), and what an older version leaves out of the file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from edgesnn.converters.modules import Layer, Neurons, read_modules, state_dict
from edgesnn.errors import EdgesnnError, FormatError, ModelError
from edgesnn.graph import Reset
from edgesnn.network import FloatArray, Network
from edgesnn.sources import Options, Source

VERSION = "1.0.0"
MECHANISMS = {"subtract": 0, "zero": 1, "none": 2}


def read_snntorch(path: Path, options: Options) -> Network:
    """The network in a state_dict and its description.

    Raises:
        FormatError: the file is damaged, or does not go with its description.
        ModelError: a layer cannot be kept; the message names it.
    """
    # a membrane that happened to be saved is no parameter
    saved = (".mem", ".syn", ".spk", ".syn_exc", ".syn_inh")
    return read_modules(path, options, MAKERS, "snnTorch", VERSION, saved)


def _release(version: str) -> tuple[int, int, int]:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if found is None:
        raise FormatError(f"{version!r} is no version of snnTorch: write it as 1.0.0")
    return int(found[1]), int(found[2]), int(found[3] or 0)


def _mechanism(layer: Layer) -> int:
    named = layer.option("reset_mechanism", None)
    stored = layer.optional("reset_mechanism_val")
    if named is None and stored is None:
        named = "zero" if layer.kind == "Alpha" else "subtract"
    if stored is not None and named is None:
        value = stored.reshape(-1)[0] if stored.size else -1
    else:
        value = MECHANISMS.get(str(named), -1)
    if value not in (0, 1, 2):
        raise FormatError(f"{layer.called} has the reset {named or stored}, which is not known")
    return int(value)


def _reset(layer: Layer, version: str) -> Reset:
    delayed = layer.option("reset_delay", True)
    if layer.kind in ("Alpha", "Lapicque") and not delayed:
        raise ModelError(f"{layer.called}: {layer.kind} of snnTorch has no reset_delay")
    release = _release(version)
    thrown_away = layer.kind == "RSynaptic" or (layer.kind == "Synaptic" and release < (0, 9, 4))
    mechanism = _mechanism(layer)
    if delayed or thrown_away:
        zero = Reset.ZERO if layer.kind == "Leaky" else Reset.ZERO_DISCARD
        return (Reset.SUBTRACT, zero, Reset.NONE)[mechanism]
    return (Reset.SUBTRACT_RESIDUE, Reset.ZERO_AT_ONCE, Reset.NONE)[mechanism]


def _decay(layer: Layer, name: str) -> FloatArray:
    # snnTorch clips at run time
    return np.clip(layer.value(name), 0, 1)


def _neurons(layer: Layer, version: str) -> Neurons:
    for name in ("inhibition", "state_quant"):
        if layer.option(name, False):
            raise ModelError(f"{layer.called} has {name}, which is not supported")
    rule: dict[str, Any] = {
        "threshold": layer.value("threshold", 1.0), "reset": _reset(layer, version),
    }  # fmt: skip
    made = Neurons(rule, emits=float(layer.value("graded_spikes_factor", 1.0)))
    if layer.kind == "Lapicque":
        step = layer.value("time_step", 1.0)
        resistance, capacitance = layer.value("R", 1.0), layer.value("C", 1.0)
        layer.optional("beta")  # only sets C
        kept = 1 - step / (resistance * capacitance)
        if np.any(kept < 0) or np.any(kept > 1):
            raise ModelError(
                f"{layer.called}: Lapicque with R C below time_step (beta below 0.368) turns the "
                "sign of its membrane in every step: not supported, train it with a larger beta"
            )
        rule["beta"] = kept
        made.gain = step / capacitance
        return made
    rule["beta"] = _decay(layer, "beta")
    if layer.kind in ("Synaptic", "RSynaptic", "Alpha"):
        rule["alpha"] = _decay(layer, "alpha")
    if layer.kind == "Alpha":
        alpha, beta = rule["alpha"].astype(np.float64), rule.pop("beta").astype(np.float64)
        if np.any(alpha <= beta) or np.any(beta <= 0) or np.any(alpha >= 1):
            raise ModelError(f"{layer.called}: Alpha needs 1 > alpha > beta > 0")
        made.gain = np.log(alpha) / (np.log(beta) - np.log(alpha)) + 1
        rule |= {"inhibitory": beta, "beta": np.zeros(())}
        if rule["reset"] is Reset.SUBTRACT:
            rule |= {"beta": 1 / made.gain, "reset_to": made.gain * rule["threshold"]}
    if layer.kind in ("RLeaky", "RSynaptic"):
        weight = layer.optional("recurrent.weight")
        if weight is not None:
            if weight.ndim != 2:
                raise ModelError(f"{layer.called} has a convolution as recurrence: not supported")
            made.recurrent = weight, layer.optional("recurrent.bias")
            layer.optional("V")
        else:
            own = layer.optional("recurrent.V")
            made.one_to_one = layer.value("V", own)
    return made


KINDS = ("Leaky", "Synaptic", "RLeaky", "RSynaptic", "Lapicque", "Alpha")
MAKERS = dict.fromkeys(KINDS, _neurons)


def _recognises(path: Path) -> bool:
    try:
        keys = list(state_dict(path))
    except EdgesnnError:
        return False
    marked = any(key.endswith((".graded_spikes_factor", ".reset_mechanism_val")) for key in keys)
    return marked and not any("l2mu_cell." in key for key in keys)


SOURCE = Source(
    name="snntorch",
    describes="snnTorch state_dict with a description: Leaky, Synaptic, RLeaky, RSynaptic, "
    "Lapicque, Alpha",
    recognises=_recognises,
    read=read_snntorch,
    described=True,
)
