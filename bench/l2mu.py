"""The L2MU as its authors wrote it, in snnTorch: dense layers and `Leaky` neurons.

u takes in x, h and m of the step before, and m; each memory is a block of `order` neurons; the
answer is the class with the most spikes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import snntorch
import torch
from torch import nn

CELL = "l2mu_cell."


class L2MU(nn.Module):
    """One step a call; states are kept by the caller.

    Args:
        state: the state_dict of a checkpoint in the authors' layout, as arrays.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        super().__init__()
        arrays = {key.removeprefix("model."): np.array(value, np.float32)
                  for key, value in state.items()}  # fmt: skip
        self.encoder = nn.ModuleList()
        self.encoder_neurons = nn.ModuleList()
        while f"encoder.{len(self.encoder)}.linear.weight" in arrays:
            name = f"encoder.{len(self.encoder)}."
            self.encoder.append(_linear(arrays, f"{name}linear"))
            self.encoder_neurons.append(_leaky(arrays, _neurons(arrays, name)))
        for name in ("e_x", "e_h", "e_m", "A", "B", "W_x", "W_h", "W_m", "output_transformation"):
            self.add_module(name, _linear(arrays, CELL + name))
        for name in ("u", "m", "h", "output"):
            self.add_module(f"spk_{name}", _leaky(arrays, f"{CELL}spk_{name}"))
        self.memories = self.e_x.out_features
        self.order = self.A.out_features
        self.sizes = (self.memories, self.memories * self.order, self.W_h.out_features,
                      self.output_transformation.out_features)  # fmt: skip

    def start(self, batch: int) -> list[torch.Tensor]:
        """The states before the first step: membranes, then the spikes of m and h."""
        encoder = [layer.out_features for layer in self.encoder]
        return [torch.zeros(batch, n) for n in (*encoder, *self.sizes, *self.sizes[1:3])]

    def forward(self, x: torch.Tensor, state: list[torch.Tensor]) -> torch.Tensor:
        """Spikes (batch, classes) of one step; `state` is moved on."""
        at = 0
        for linear, neurons in zip(self.encoder, self.encoder_neurons, strict=True):
            x, state[at] = neurons(linear(x), state[at])
            at += 1
        v_u, v_m, v_h, v_o, m, h = state[at:]
        u, v_u = self.spk_u(self.e_x(x) + self.e_h(h) + self.e_m(m), v_u)
        current = self.A(m.view(-1, self.memories, self.order)) + self.B(u.unsqueeze(2))
        m, v_m = self.spk_m(current.view(-1, self.memories * self.order), v_m)
        h, v_h = self.spk_h(self.W_x(x) + self.W_h(h) + self.W_m(m), v_h)
        o, v_o = self.spk_output(self.output_transformation(h), v_o)
        state[at:] = [v_u, v_m, v_h, v_o, m, h]
        return o


def _linear(arrays: Mapping[str, Any], name: str) -> nn.Linear:
    weight, bias = arrays[f"{name}.weight"], arrays.get(f"{name}.bias")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = torch.from_numpy(weight)
    if bias is not None:
        layer.bias.data = torch.from_numpy(bias)
    return layer


def _neurons(arrays: Mapping[str, Any], name: str) -> str:
    return next(key.removesuffix(".beta") for key in arrays
                if key.startswith(name) and key.endswith(".beta"))  # fmt: skip


def _leaky(arrays: Mapping[str, Any], name: str) -> snntorch.Leaky:
    return snntorch.Leaky(
        beta=torch.from_numpy(arrays[f"{name}.beta"]),
        threshold=torch.from_numpy(arrays[f"{name}.threshold"]),
        reset_mechanism="subtract",
    )
