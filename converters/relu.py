"""ReLU networks of PyTorch: a state_dict and a description (`edgesnn.converters.modules`).

No spiking network yet: integrators without memory, with ReLU, for `convert --spikes` to turn into
spiking neurons (`edgesnn.balance`). Neurons of the description are `ReLU`; the last linear layer
needs none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgesnn.converters.modules import Layer, Neurons, read_modules
from edgesnn.graph import Activation
from edgesnn.network import Network
from edgesnn.sources import Options, Source


def read_relu(path: Path, options: Options) -> Network:
    """The network in a state_dict and its description.

    Raises:
        FormatError: the file is damaged, or does not go with its description.
        ModelError: a layer cannot be kept; the message names it.
    """
    return read_modules(path, options, {"ReLU": _relu}, "PyTorch", "2")


def _relu(layer: Layer, version: str) -> Neurons:
    rule = {"beta": np.float64(0), "activation": Activation.RELU}
    return Neurons(rule, integrates=True)


SOURCE = Source(
    name="relu",
    describes="PyTorch state_dict of a ReLU network with a description, for --spikes",
    recognises=lambda path: False,
    read=read_relu,
    described=True,
)
