"""Golden traces of whole networks: `python tests/golden/modules.py FRAMEWORK OUTPUT_FOLDER`.

Needs torch, NumPy and the framework (snntorch, spikingjelly, norse, sinabs or rockpool) and nothing
of edgesnn; `make golden` runs it once for each. A trace holds the state_dict of Linear -> hidden
neurons -> Linear -> output neurons, the description that a user of edgesnn would write of it, and
what the framework itself computes. Weights and inputs are multiples of 1/64, so that currents are
exact in whatever order they are summed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SCRIPT = "tests/golden/modules.py"
CHANNELS, HIDDEN, CLASSES, SAMPLES, STEPS = 5, 9, 4, 3, 30


@dataclass
class Case:
    """One kind of neuron.

    Args:
        name: of the trace.
        make: the neurons, given how many they are.
        step: what one step of neurons puts out, given input and what the step before returned.
        spec: what the description says of them, `type` included.
        scale: of the weights.
    """

    name: str
    make: Callable[[int], nn.Module]
    step: Callable[[nn.Module, Tensor, Any], tuple[Tensor, Any]]
    spec: dict[str, Any] = field(default_factory=dict)
    scale: float = 1.0


def grid(rng: np.random.Generator, spread: float, *shape: int) -> Tensor:
    """Random multiples of 1/64."""
    return torch.from_numpy((np.rint(64 * rng.normal(0, spread, shape)) / 64).astype(np.float32))


def run(case: Case, seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A network of a case and what it does: arrays, and what there is to say of them."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    fc1, fc2 = nn.Linear(CHANNELS, HIDDEN), nn.Linear(HIDDEN, CLASSES)
    for layer, spread in ((fc1, 0.6), (fc2, 0.5)):
        layer.weight.data = grid(rng, spread * case.scale, *layer.weight.shape)
        layer.bias.data = grid(rng, 0.15 * case.scale, *layer.bias.shape)
    n1, n2 = case.make(HIDDEN), case.make(CLASSES)
    for neurons in (n1, n2):
        for key, value in neurons.named_parameters():
            if "rec" in key and "V" not in key:
                value.data = grid(rng, 0.3 * case.scale, *value.shape)
    signal = torch.from_numpy((rng.random((SAMPLES, STEPS, CHANNELS)) < 0.5).astype(np.float32))
    states: list[Any] = [None, None]
    spikes: dict[str, list[np.ndarray]] = {"n1": [], "n2": []}
    with torch.no_grad():
        for t in range(STEPS):
            hidden, states[0] = case.step(n1, fc1(signal[:, t]), states[0])
            out, states[1] = case.step(n2, fc2(hidden), states[1])
            for name, emitted in (("n1", hidden), ("n2", out)):
                spikes[name].append(emitted.numpy().copy())
    arrays = {"input": np.packbits(signal.numpy().astype(np.uint8), axis=1)}
    for name, emitted in spikes.items():
        counts = np.stack(emitted, 1)
        assert 0.02 < np.mean(counts != 0) < 0.9, f"{case.name}: {name} {np.mean(counts != 0)}"
        assert np.array_equal(counts, np.rint(counts))
        arrays[name] = counts.astype(np.uint8)
    state = {
        f"{name}.{key}": value.numpy()
        for name, module in (("fc1", fc1), ("n1", n1), ("fc2", fc2), ("n2", n2))
        for key, value in module.state_dict().items()
    }
    # one array: each of a .npz file takes some 400 bytes beside its values
    arrays["state"] = np.concatenate([v.reshape(-1).astype(np.float32) for v in state.values()])
    layers = [
        {"type": "Linear", "key": "fc1"}, {**case.spec, "key": "n1"},
        {"type": "Linear", "key": "fc2"}, {**case.spec, "key": "n2"},
    ]  # fmt: skip
    description = {"input": CHANNELS, "input_kind": "spikes", "readout": "count", "layers": layers}
    shapes = {key: list(value.shape) for key, value in state.items()}
    return arrays, {"seed": seed, "steps": STEPS, "state": shapes, "description": description}


def snntorch_cases() -> Iterator[Case]:
    """Every neuron, reset and reset timing of snnTorch."""
    import snntorch as snn

    def step(neurons: nn.Module, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        # states are kept by the neurons, as everywhere that this is possible
        return neurons(x), None

    def kinds(reset: str, delay: bool) -> dict[str, Callable[[int], nn.Module]]:
        common = {"reset_mechanism": reset, "init_hidden": True}
        late = common if delay else {**common, "reset_delay": False}
        made: dict[str, Callable[[int], nn.Module]] = {
            "Leaky": lambda n: snn.Leaky(beta=0.875, **late),
            "Synaptic": lambda n: snn.Synaptic(alpha=0.5, beta=0.75, **late),
            "RLeaky": lambda n: snn.RLeaky(beta=0.875, linear_features=n, **late),
            "RSynaptic": lambda n: snn.RSynaptic(alpha=0.5, beta=0.75, linear_features=n, **late),
            "RLeaky-one": lambda n: snn.RLeaky(beta=0.875, all_to_all=False, V=-0.5, **late),
        }
        if delay:
            made["Lapicque"] = lambda n: snn.Lapicque(R=8, C=0.5, time_step=1, **common)
            made["Alpha"] = lambda n: snn.Alpha(alpha=0.75, beta=0.5, **common)
        return made

    for reset in ("subtract", "zero", "none"):
        for delay in (True, False):
            if reset == "none" and not delay:
                continue
            for kind, make in kinds(reset, delay).items():
                spec: dict[str, Any] = {"type": kind.removesuffix("-one")}
                if not delay:
                    spec["reset_delay"] = False
                try:
                    make(2)(torch.zeros(1, 2))
                except TypeError:
                    continue  # RSynaptic(init_hidden=True, reset_delay=False) does not run at all
                name = f"{kind.lower()}-{reset}{'' if delay else '-at-once'}"
                yield Case(name, make, step, spec, 0.3 if kind == "Lapicque" else 1.0)


def spikingjelly_cases() -> Iterator[Case]:
    """IF, LIF and PLIF; hard and soft reset; input that decays or not."""
    from spikingjelly.activation_based import neuron

    def step(neurons: nn.Module, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return neurons(x), None

    for reset, v_reset in (("zero", 0.0), ("soft", None), ("below", -0.25)):
        kept = {"v_reset": v_reset}
        yield Case(f"if-{reset}", lambda n, v=v_reset: neuron.IFNode(v_reset=v), step,
                   {"type": "IFNode", **kept}, 0.5)  # fmt: skip
        for decay in (True, False):
            yield Case(
                f"lif-{reset}{'' if decay else '-undecayed'}",
                lambda n, v=v_reset, d=decay: neuron.LIFNode(tau=4.0, v_reset=v, decay_input=d),
                step,
                {"type": "LIFNode", "tau": 4.0, "decay_input": decay, **kept},
                3.0 if decay else 1.0,
            )
        yield Case(
            f"plif-{reset}", lambda n, v=v_reset: neuron.ParametricLIFNode(init_tau=2.0, v_reset=v),
            step, {"type": "ParametricLIFNode", **kept}, 2.0,
        )  # fmt: skip


def norse_cases() -> Iterator[Case]:
    """LIF with a synapse, alone and recurrent, and LIFBox with both resets."""
    import norse.torch as norse
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract

    def step(neurons: nn.Module, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return neurons(x, state)

    for leak, reset in ((0.0, 0.0), (0.5, 0.0), (0.0, -0.25)):
        values = {"tau_mem_inv": 250.0, "tau_syn_inv": 500.0, "v_leak": leak, "v_reset": reset}
        ending = f"-leak-{leak}-reset-{reset}"
        tensors = {key: torch.tensor(value) for key, value in values.items()}
        given = norse.LIFParameters(**tensors)
        spec = {"type": "LIF", **values}
        yield Case(f"lif{ending}", lambda n, p=given: norse.LIFCell(p), step, spec, 3.0)
        box = {key: value for key, value in values.items() if key != "tau_syn_inv"}
        boxed = LIFBoxParameters(**{key: tensors[key] for key in box})
        yield Case(f"box{ending}", lambda n, p=boxed: norse.LIFBoxCell(p), step,
                   {"type": "LIFBox", **box}, 6.0)  # fmt: skip
    soft = LIFBoxParameters(tau_mem_inv=torch.tensor(250.0), reset_method=reset_subtract)
    yield Case("box-subtract", lambda n: norse.LIFBoxCell(soft), step,
               {"type": "LIFBox", "tau_mem_inv": 250.0, "reset": "subtract"}, 6.0)  # fmt: skip


def sinabs_cases() -> Iterator[Case]:
    """LIF and IAF, one and several spikes, both resets, with and without synapse and floor."""
    import sinabs.activation as act
    import sinabs.layers as sl

    def step(neurons: nn.Module, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return neurons(x.unsqueeze(1)).squeeze(1), None

    for spikes in ("MultiSpike", "SingleSpike"):
        for reset in ("MembraneSubtract", "MembraneReset"):
            fns = {"spike_fn": getattr(act, spikes), "reset_fn": getattr(act, reset)()}
            spec = {"spike_fn": spikes, "reset_fn": reset}
            ending = f"-{spikes.lower()}-{reset.removeprefix('Membrane').lower()}"
            yield Case(f"iaf{ending}", lambda n, f=fns: sl.IAF(min_v_mem=-1.0, **f), step,
                       {"type": "IAF", "min_v_mem": -1.0, **spec}, 1.0)  # fmt: skip
            for norm in (True, False):
                yield Case(
                    f"lif{ending}{'' if norm else '-plain'}",
                    lambda n, f=fns, m=norm: sl.LIF(tau_mem=5.0, norm_input=m, **f), step,
                    {"type": "LIF", "norm_input": norm, **spec}, 6.0 if norm else 1.5,
                )  # fmt: skip
            yield Case(
                f"synaptic{ending}",
                lambda n, f=fns: sl.LIF(tau_mem=5.0, tau_syn=3.0, norm_input=False, **f), step,
                {"type": "LIF", "norm_input": False, **spec},
            )  # fmt: skip


def rockpool_cases() -> Iterator[Case]:
    """LIFTorch, alone and recurrent."""
    from rockpool.nn.modules import LIFTorch

    class Neurons(nn.Module):
        """A Rockpool module whose states go on from step to step, sample by sample."""

        def __init__(self, size: int, recurrent: bool) -> None:
            super().__init__()
            bias = torch.full((size,), 0.125)
            self.lif = LIFTorch(
                (size, size), tau_mem=0.008, tau_syn=0.004, threshold=1.0, bias=bias, dt=1e-3,
                has_rec=recurrent,
            )  # fmt: skip
            self.past: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            # the whole past again: a batch's states are not kept by it
            self.past.append(x)
            out, _, _ = self.lif(torch.stack(self.past, 1))
            self.lif.reset_state()
            return out[:, -1]

        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            return {key: getattr(self.lif, key).data for key in
                    ("tau_mem", "tau_syn", "threshold", "bias", "w_rec")
                    if hasattr(self.lif, key)}  # fmt: skip

    def step(neurons: nn.Module, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return neurons(x), None

    for recurrent in (False, True):
        name = "liftorch-recurrent" if recurrent else "liftorch"
        yield Case(name, lambda n, r=recurrent: Neurons(n, r), step, {"type": "LIFTorch"}, 0.5)


CASES = {
    "snntorch": ("snnTorch", snntorch_cases), "spikingjelly": ("SpikingJelly", spikingjelly_cases),
    "norse": ("Norse", norse_cases), "sinabs": ("sinabs", sinabs_cases),
    "rockpool": ("Rockpool", rockpool_cases),
}  # fmt: skip


def main(framework: str, folder: Path) -> None:
    """Write all traces of a framework as one file, the cases side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    name, cases = CASES[framework]
    arrays: dict[str, np.ndarray] = {}
    said: dict[str, Any] = {}
    for case in cases():
        for seed in range(40):  # the first with which every population spikes, and not always
            try:
                traced, said[case.name] = run(case, seed)
            except AssertionError:
                continue
            arrays |= {f"{case.name}/{key}": value for key, value in traced.items()}
            break
        else:
            raise SystemExit(f"{case.name}: no seed makes it spike")
    made = version(framework)
    provenance = {
        "framework": name, "version": made, "torch": torch.__version__.split("+")[0],
        "seed": "of each case in it", "script": SCRIPT,
    }  # fmt: skip
    arrays["provenance"], arrays["cases"] = (np.array(json.dumps(x)) for x in (provenance, said))
    np.savez_compressed(folder / f"{framework}-{made}-modules.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
