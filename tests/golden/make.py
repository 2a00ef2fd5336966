"""Golden traces of the snnTorch that is installed: `python tests/golden/make.py OUTPUT_FOLDER`.

Needs torch, snntorch and NumPy and nothing of edgesnn; `make golden` runs it once for each version.

Weights, biases, thresholds and inputs are multiples of 1/64 and decays of 1/256. A current is then
exact in float32 in whatever order it is summed, and what is left of a step are single IEEE
operations in the order that snnTorch writes them, so that every membrane has one right value, to
the last bit, and no spike hangs on rounding. In `integers` the decays are 0 and 1 and the rest
multiples of 1/4: nothing is rounded at all, in floats or in integers, and many membranes end
exactly at their thresholds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import snntorch
import torch
from torch import Tensor, nn

SCRIPT = "tests/golden/make.py"
Arrays = dict[str, np.ndarray]


class Grid:
    """Random multiples of 1/parts, and decays of 1/decays."""

    def __init__(self, seed: int, parts: int, decays: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.parts, self.decays = parts, decays

    def normal(self, spread: float, *shape: int) -> Tensor:
        return _tensor(np.rint(self.parts * self.rng.normal(0, spread, shape)) / self.parts)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return _tensor(np.rint(self.parts * self.rng.uniform(low, high, shape)) / self.parts)

    def decay(self, low: float, high: float, *shape: int) -> Tensor:
        return _tensor(np.rint(self.decays * self.rng.uniform(low, high, shape)) / self.decays)

    def spikes(self, rate: float, *shape: int) -> Tensor:
        return _tensor(self.rng.random(shape) < rate)

    def linear(self, inputs: int, outputs: int, spread: float, bias: bool = False) -> nn.Linear:
        layer = nn.Linear(inputs, outputs, bias=bias)
        layer.weight.data = self.normal(spread, outputs, inputs)
        if bias:
            layer.bias.data = self.normal(0.1, outputs)
        return layer

    def neurons(
        self, rule: str, reset: str, threshold: tuple[float, float], *shape: int
    ) -> nn.Module:
        """Neurons with random parameters: one for all, or one each with their number as shape."""
        values = {
            "beta": self.decay(0.5, 0.95, *shape),
            "threshold": self.uniform(*threshold, *shape),
            "reset_mechanism": reset,
        }
        if rule == "synaptic":
            return snntorch.Synaptic(alpha=self.decay(0.3, 0.8, *shape), **values)
        return snntorch.Leaky(**values)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


class Recorder:
    """Calls neurons and keeps what they put out."""

    def __init__(self) -> None:
        self.spikes: dict[str, list[Tensor]] = {}
        self.membranes: dict[str, list[Tensor]] = {}

    def __call__(self, name: str, result: tuple[Tensor, ...]) -> Tensor:
        spikes, *_, membrane = result
        self.spikes.setdefault(name, []).append(spikes.clone())
        self.membranes.setdefault(name, []).append(membrane.clone())
        return spikes

    def arrays(self) -> Arrays:
        arrays = {}
        for name, spikes in self.spikes.items():
            fired = torch.stack(spikes, 1).numpy() != 0
            assert 0.02 < fired.mean() < 0.8, f"{name} spikes at a rate of {fired.mean()}"
            arrays[f"{name}.spikes"] = fired
            arrays[f"{name}.membrane"] = torch.stack(self.membranes[name], 1).numpy()
        return arrays


def layered(grid: Grid, rule: str, reset: str, inputs: str, pass_states: bool = False) -> Arrays:
    """Input -> recurrent hidden neurons with parameters of their own -> output neurons."""
    channels, size, classes, samples, steps = 3, 10, 4, 3, 28
    into = grid.linear(channels, size, 0.5, bias=True)
    recurrent = grid.linear(size, size, 0.3)
    out = grid.linear(size, classes, 0.5, bias=True)
    hidden = grid.neurons(rule, reset, (0.5, 1.5), size)
    output = grid.neurons(rule, reset, (0.8, 1.2))
    signal = {"analog": grid.normal, "spikes": grid.spikes}[inputs](0.5, samples, steps, channels)

    record = Recorder()
    spikes = torch.zeros(samples, size)
    states: tuple[Tensor, ...] = tuple(torch.zeros(samples, size) for _ in range(2))
    for t in range(steps):
        current = into(signal[:, t]) + recurrent(spikes)
        result = hidden(current, *states) if pass_states else hidden(current)
        states = result[1:]
        spikes = record("hidden", result)
        record("output", output(out(spikes)))

    return {
        "input": signal.numpy(),
        **record.arrays(),
        **parameters("hidden", hidden, {"input": into, "hidden": recurrent}),
        **parameters("output", output, {"hidden": out}),
    }


def parameters(name: str, neurons: nn.Module, layers: dict[str, nn.Linear]) -> Arrays:
    """What neurons and the layers into them, by source, hold; the first layer has the bias."""
    kept = ("alpha", "beta", "threshold", "reset_mechanism_val")
    state = neurons.state_dict()
    arrays = {f"{name}.{key}": state[key].numpy() for key in kept if key in state}
    arrays[f"{name}.bias"] = next(iter(layers.values())).bias.data.numpy()
    for source, layer in layers.items():
        arrays[f"{source}>{name}.weight"] = layer.weight.data.numpy()
    return arrays


def side_by_side(grid: Grid) -> Arrays:
    """Input -> recurrent neurons of every rule and reset, none of which hears of the others."""
    channels, size, samples, steps = 3, 6, 3, 40
    signal = grid.spikes(0.5, samples, steps, channels)
    record = Recorder()
    arrays = {"input": signal.numpy()}
    for rule in ("leaky", "synaptic"):
        for reset in ("subtract", "zero", "none"):
            name = f"{rule}_{reset}"
            into = grid.linear(channels, size, 0.5, bias=True)
            recurrent = grid.linear(size, size, 0.5)
            neurons = grid.neurons(rule, reset, (0.5, 2.0), size)
            spikes = torch.zeros(samples, size)
            for t in range(steps):
                spikes = record(name, neurons(into(signal[:, t]) + recurrent(spikes)))
            arrays |= parameters(name, neurons, {"input": into, name: recurrent})
    return {**arrays, **record.arrays()}


class SpikingLinear(nn.Module):
    """A layer of the encoder."""

    def __init__(self, linear: nn.Linear, spk: nn.Module) -> None:
        super().__init__()
        self.linear, self.spk = linear, spk


class L2MU(nn.Module):
    """The authors' network and state_dict: encoder, then u, m, h and the output."""

    def __init__(self, grid: Grid, rule: str, resets: dict[str, str]) -> None:
        super().__init__()
        self.channels, x, self.memories, self.order, h, classes = 4, 8, 3, 4, 8, 3
        m = self.memories * self.order
        self.encoder = nn.ModuleList(
            [
                SpikingLinear(
                    grid.linear(self.channels, x, 0.8, bias=True),
                    grid.neurons(rule, resets["encoder"], (0.7, 1.2), x),
                )
            ]
        )
        self.l2mu_cell = cell = nn.Module()
        cell.e_x, cell.e_h, cell.e_m = (grid.linear(n, self.memories, 0.4) for n in (x, h, m))
        cell.A, cell.B = grid.linear(self.order, self.order, 0.5), grid.linear(1, self.order, 1.2)
        cell.W_x, cell.W_h, cell.W_m = (grid.linear(n, h, 0.3) for n in (x, h, m))
        cell.output_transformation = grid.linear(h, classes, 0.5, bias=True)
        cell.spk_u = grid.neurons(rule, resets["u"], (0.4, 0.8), self.memories)
        cell.spk_m = grid.neurons(rule, resets["m"], (0.2, 0.5))
        cell.spk_h = grid.neurons(rule, resets["h"], (0.4, 0.8))
        cell.spk_output = grid.neurons(rule, resets["o"], (0.4, 0.8))
        cell.spk_u.graded_spikes_factor = torch.tensor(0.5)
        cell.spk_h.graded_spikes_factor = torch.tensor(2.0)
        self.h = h

    def trace(self, signal: Tensor) -> Arrays:
        record = Recorder()
        cell, samples = self.l2mu_cell, len(signal)
        m = torch.zeros(samples, self.memories * self.order)
        h = torch.zeros(samples, self.h)
        for t in range(signal.shape[1]):
            layer = self.encoder[0]
            x = record("encoder0", layer.spk(layer.linear(signal[:, t])))
            u = record("u", cell.spk_u(cell.e_x(x) + cell.e_h(h) + cell.e_m(m)))
            current = cell.A(m.view(samples, self.memories, self.order)) + cell.B(u.unsqueeze(-1))
            m = record("m", cell.spk_m(current.view(samples, -1)))
            h = record("h", cell.spk_h(cell.W_x(x) + cell.W_h(h) + cell.W_m(m)))
            record("o", cell.spk_output(cell.output_transformation(h)))
        return record.arrays()


def l2mu(grid: Grid, rule: str, **resets: str) -> Arrays:
    """An L2MU behind an encoder, with spikes of u and h that count half and double."""
    resets = dict.fromkeys(("encoder", "u", "m", "h", "o"), "subtract") | resets
    network = L2MU(grid, rule, resets)
    signal = grid.normal(1.0, 3, 40, network.channels)
    state = {f"state.{key}": value.numpy() for key, value in network.state_dict().items()}
    return {"input": signal.numpy(), **state, **network.trace(signal)}


FINE, COARSE = (64, 256), (4, 1)
# the seeds are such that every population spikes, and not always
CASES: dict[str, tuple[int, tuple[int, int], Callable[[Grid], Arrays]]] = {
    "leaky-subtract": (0, FINE, lambda grid: layered(grid, "leaky", "subtract", "spikes")),
    "leaky-zero": (1, FINE, lambda grid: layered(grid, "leaky", "zero", "analog")),
    "leaky-none": (2, FINE, lambda grid: layered(grid, "leaky", "none", "spikes")),
    "synaptic-subtract": (3, FINE, lambda grid: layered(grid, "synaptic", "subtract", "analog")),
    "synaptic-zero": (4, FINE, lambda grid: layered(grid, "synaptic", "zero", "spikes")),
    "synaptic-none": (5, FINE, lambda grid: layered(grid, "synaptic", "none", "analog")),
    "synaptic-called-with-states": (
        6,
        FINE,
        lambda grid: layered(grid, "synaptic", "subtract", "analog", pass_states=True),
    ),
    "l2mu-lif": (7, FINE, lambda grid: l2mu(grid, "leaky")),
    "l2mu-cuba": (9, FINE, lambda grid: l2mu(grid, "synaptic", m="zero")),
    "integers": (10, COARSE, side_by_side),
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for case, (seed, places, make) in CASES.items():
        with torch.no_grad():
            arrays = make(Grid(seed, *places))
        provenance = {
            "framework": "snnTorch",
            "version": snntorch.__version__,
            "torch": torch.__version__.split("+")[0],
            "seed": seed,
            "script": SCRIPT,
        }
        np.savez_compressed(
            folder / f"snntorch-{snntorch.__version__}-{case}.npz",
            provenance=json.dumps(provenance),
            **arrays,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
