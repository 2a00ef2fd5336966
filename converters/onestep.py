"""Networks of one or a few time steps, with a threshold and a leak of each layer.

Chowdhury, Rathi, Roy, "Towards Ultra Low Latency Spiking Neural Networks for Vision and Sequential
Tasks Using Temporal Pruning", ECCV 2022. In each step, pixels entering as currents every time:

    v = leak * v + W s + b;  s = [v / threshold - 1 > 0];  v = v - threshold * s;  out = out + W s

With one step neither leak nor reset matters, and each channel's test is one exact integer
threshold. Average pooling acts on spikes; batch norms are in the weights or folded.

Of the file: `features.<n>.weight`, `classifier.<n>.weight`, and under names that the description
gives, `threshold` and `leak` of each layer (`threshold.t0`, `leak.l0`). Layers are described as in
`edgesnn.converters.modules`; neurons are `LIF`, the last layer is followed by `Output`. `steps` (1)
of the description is how many frames, all the same, a picture is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edgesnn.converters.modules import Layer, Neurons, read_modules, state_dict
from edgesnn.errors import EdgesnnError, FormatError, ModelError
from edgesnn.graph import Reset
from edgesnn.network import FloatArray, Network
from edgesnn.sources import Options, Source


def read_onestep(path: Path, options: Options) -> Network:
    """The network in a checkpoint and its description.

    Raises:
        FormatError: the file is damaged, or does not go with its description.
        ModelError: a layer cannot be kept; the message names it.
    """
    described = dict(options.description)
    steps = described.pop("steps", 1)
    if not isinstance(steps, int) or steps < 1:
        raise FormatError(f"'steps' in the description of {path} is {steps!r}, not a number from 1")
    described.setdefault("readout", "last")

    def neurons(layer: Layer, version: str) -> Neurons:
        threshold = _named(layer, "threshold")
        kept = np.clip(_named(layer, "leak"), 0, 1) if steps > 1 else np.zeros(())
        if steps == 1 and isinstance(layer.option("leak", None), str):
            layer.used.add(str(layer.option("leak", None)))
        if np.any(threshold <= 0):
            raise ModelError(f"{layer.called} has a threshold that is not above 0")
        # with one step no reset is seen, and none keeps the test exact
        reset = Reset.SUBTRACT_AT_ONCE if steps > 1 else Reset.NONE
        return Neurons({"beta": kept, "threshold": threshold, "reset": reset})

    def output(layer: Layer, version: str) -> Neurons:
        return Neurons({"beta": np.float64(1 if steps > 1 else 0)}, integrates=True)

    made = replace(options, description=described)
    network = read_modules(path, made, {"LIF": neurons, "Output": output}, "IIR-SNN", "25b4b1f")
    said = f"a picture is {steps} frame{'s, all the same' if steps > 1 else ''}"
    return replace(network, remarks=(*network.remarks, said))


def _named(layer: Layer, name: str) -> FloatArray:
    """A parameter under the key that the description gives, or the number that it gives."""
    key = layer.option(name, None)
    if not isinstance(key, str):
        return layer.value(name)
    if key not in layer.state:
        raise FormatError(f"{layer.path} lacks the key '{key}', which {layer.called} names")
    layer.used.add(key)
    value = np.asarray(layer.state[key], np.float32)
    if value.size not in (1, layer.size):
        raise ModelError(f"{layer.path}: '{key}' has {value.size} values for {layer.shape}")
    return value.reshape(()) if value.size == 1 else value.reshape(-1)


def _recognises(path: Path) -> bool:
    try:
        keys = list(state_dict(path))
    except EdgesnnError:
        return False
    return any(key.startswith("threshold.t") for key in keys) and any(
        key.startswith("leak.l") for key in keys
    )


SOURCE = Source(
    name="onestep",
    describes="networks of one or a few time steps (IIR-SNN) with a description",
    recognises=_recognises,
    read=read_onestep,
    described=True,
)
