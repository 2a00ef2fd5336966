"""Float networks as NIR files, with what NIR does not say in the metadata.

Weights, thresholds and time constants are NIR's own, so that other tools read the file; the time
step, the resets, the fire tests and the read-out stand as JSON in the graph's metadata under
`edgesnn`, and `edgesnn.converters.nir` reads them back. What NIR cannot hold at all (adaptation,
LMU memories, axonal delays of values, ...) is refused by name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from edgesnn.converters import maps
from edgesnn.converters.nir import METADATA, READOUTS, read_nir
from edgesnn.errors import MissingError, ModelError
from edgesnn.graph import Activation, Port, Window
from edgesnn.network import (
    AnyPopulation,
    AnyProjection,
    Conv,
    Delayed,
    DelayLine,
    Integrator,
    LinearState,
    Network,
    Pool,
    Projection,
)
from edgesnn.sources import Options, read_network

DT = 1e-4
VERSION = "1.0"
Node = dict[str, Any]
Float64Array = npt.NDArray[np.float64]


def write_nir(network: Network, path: Path) -> None:
    """Write a network as NIR; a step is 0.1 ms, as most importers take it.

    Raises:
        MissingError: h5py is not installed, or the file cannot be written.
        ModelError: NIR cannot hold a part of the network; the message names it.
    """
    try:
        import h5py
    except ImportError:
        raise MissingError(
            "h5py, which writes HDF5 files, is not installed: pip install 'edgesnn[hdf5]'"
        ) from None
    writer = _Writer(network)
    nodes, edges = writer.graph()
    text = h5py.string_dtype()
    try:
        with h5py.File(path, "w") as file:
            file["version"] = VERSION
            root = file.create_group("node")
            root["type"] = "NIRGraph"
            for name, node in nodes.items():
                group = root.create_group(f"nodes/{name}")
                for key, value in node.items():
                    group[key] = value
                group.create_group("metadata")
            root.create_dataset("edges", data=np.array(edges, dtype=object), dtype=text)
            root.create_group("metadata")[METADATA] = json.dumps(writer.metadata())
    except OSError as error:
        raise MissingError(f"cannot write {path}: {error}") from None
    back = read_nir(path, Options())
    if _lags(back) != _lags(network):
        path.unlink()
        raise ModelError(
            f"{network.source}: a layer hears another with a lag that is no recurrence, which NIR "
            "cannot hold"
        )


def _lags(network: Network) -> set[tuple[str, str]]:
    """Pairs of parts of which one hears the step before of the other."""
    order = {p.name: k for k, p in enumerate(network.populations)}
    kept = {p.name for p in network.populations if not _is_relay(network, p)}
    return {
        (p.source, p.target)
        for p in network.projections
        if p.source in kept and p.target in kept and order[p.source] >= order[p.target]
    }


def _is_relay(network: Network, part: AnyPopulation) -> bool:
    """Whether a part only adds up what linear layers give and hands it to further ones."""
    return (
        isinstance(part, Integrator)
        and part.activation is Activation.IDENTITY
        and not np.any(part.beta)
        and part.name != network.readout.population
    )


class _Writer:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.nodes: dict[str, Node] = {}
        self.edges: list[tuple[str, str]] = []
        self.shapes = self._shapes()
        self.gives: dict[str, list[str]] = {network.input_name: ["input"]}
        self.parts: dict[str, Node] = {}

    def _shapes(self) -> dict[str, maps.Shape]:
        """NIR's shape of every part: a map where a layer takes it for one."""
        network = self.network
        sizes = {network.input_name: network.input_size}
        sizes |= {p.name: p.size for p in network.populations}
        shapes: dict[str, maps.Shape] = {name: (size,) for name, size in sizes.items()}
        for p in network.projections:
            if isinstance(p, (Conv, Pool)):
                for end, (height, width, channels) in (
                    (p.source, p.window.input_shape), (p.target, p.window.output_shape),
                ):  # fmt: skip
                    shape = (channels, height, width)
                    if len(shapes[end]) == 3 and shapes[end] != shape:
                        raise ModelError(f"'{end}' is a map of {shape} and of {shapes[end]}")
                    shapes[end] = shape
        return shapes

    def graph(self) -> tuple[dict[str, Node], list[tuple[str, str]]]:
        """All nodes and edges."""
        network = self.network
        self.nodes["input"] = {"type": "Input", "shape": self._shape(network.input_name)}
        for part in network.populations:
            if isinstance(part, DelayLine):
                delay = part.delays * DT
                self._add(part, {"type": "Delay", "delay": self._array(part, delay)})
            elif not _is_relay(network, part):
                self._add(part, self._node(part))
            else:
                self.gives[part.name] = [
                    self._named(p) for p in network.into(part.name)
                ]  # fmt: skip
        for part in network.populations:
            if isinstance(part, DelayLine):
                self.edges += [(n, part.name) for n in self.gives[part.source]]
                continue
            for k, p in enumerate(network.into(part.name)):
                self._project(p, part, first=k == 0)
        answer = network.readout.population
        self.nodes["output"] = {"type": "Output", "shape": self._shape(answer)}
        self.edges.append((answer, "output"))
        return self.nodes, self.edges

    def metadata(self) -> dict[str, Any]:
        """What NIR does not say."""
        readout = next(k for k, v in READOUTS.items() if v is self.network.readout.mode)
        profile = [self.network.profile.framework, self.network.profile.version]
        return {"dt": DT, "readout": readout, "profile": profile, "nodes": self.parts}

    def _shape(self, name: str) -> npt.NDArray[np.int64]:
        return np.array(self.shapes[name])

    def _add(self, part: AnyPopulation, node: Node) -> None:
        if "/" in part.name or part.name in ("input", "output"):
            raise ModelError(f"'{part.name}' is no name for a node of NIR: rename it")
        self.nodes[part.name] = node
        self.gives[part.name] = [part.name]

    def _array(self, part: AnyPopulation, values: Any) -> Float64Array:
        """A parameter of each neuron, in NIR's order and shape."""
        spread = np.broadcast_to(np.asarray(values, np.float64), (part.size,))
        shape = self.shapes[part.name]
        return maps.restored(spread, shape).reshape(shape)

    def _node(self, part: AnyPopulation) -> Node:
        what = f"population '{part.name}' ({part.layer})"
        if isinstance(part, Integrator):
            if part.activation is not Activation.IDENTITY:
                raise ModelError(f"{what} has an activation, which NIR cannot hold")
            if np.all(part.beta == 1):
                return {"type": "I", "r": self._array(part, 1.0)}
            return {"type": "LI", **self._leak(part, part.beta, "tau")}
        if isinstance(part, (LinearState, DelayLine)):
            raise ModelError(f"{what} is a linear memory, which NIR cannot hold")
        if part.adaptation is not None or part.inhibitory is not None:
            raise ModelError(f"{what} has adaptation or an Alpha current, which NIR cannot hold")
        self.parts[part.name] = {
            "reset": part.reset.name, "fire": part.fire.name, "max_spikes": part.max_spikes,
            "conduction": part.conduction.name,
            "floor": None if part.floor is None else np.asarray(part.floor).tolist(),
        }  # fmt: skip
        fires = {
            "v_threshold": self._array(part, part.threshold),
            "v_reset": self._array(part, 0.0 if part.reset_to is None else part.reset_to),
        }
        if part.alpha is not None:
            node = self._leak(part, part.beta, "tau_mem")
            synapse = self._leak(part, part.alpha, "tau_syn")
            w_in = synapse["r"]
            if part.membrane_bias is not None:
                lost = 1 - np.asarray(part.beta, np.float64)
                node["v_leak"] = self._array(part, part.membrane_bias / lost)
            return {
                "type": "CubaLIF", **node, "tau_syn": synapse["tau_syn"], "w_in": w_in, **fires,
            }  # fmt: skip
        if np.all(part.beta == 1):
            return {"type": "IF", "r": self._array(part, 1.0), **fires}
        return {"type": "LIF", **self._leak(part, part.beta, "tau"), **fires}

    def _leak(self, part: AnyPopulation, kept: Any, key: str) -> Node:
        """A time constant with the resistance that makes the gain of the current 1."""
        lost = 1 - np.asarray(kept, np.float64)
        if np.any(lost <= 0):
            raise ModelError(
                f"population '{part.name}' ({part.layer}) has neurons that lose nothing beside "
                "others, or a synapse that does, which NIR cannot hold"
            )
        tau = DT / lost
        return {
            key: self._array(part, tau), "r": self._array(part, 1 / lost),
            "v_leak": self._array(part, 0.0),
        }  # fmt: skip

    def _named(self, projection: AnyProjection) -> str:
        return f"{projection.source}-{projection.target}-{self._place(projection)}"

    def _place(self, projection: AnyProjection) -> int:
        return self.network.into(projection.target).index(projection)

    def _project(self, p: AnyProjection, part: AnyPopulation, first: bool) -> None:
        what = f"projection '{p.source}' -> '{p.target}' ({p.layer})"
        if p.source not in self.gives:
            raise ModelError(f"{what} comes from a part that NIR cannot hold")
        bias = getattr(part, "bias", np.zeros(part.size, np.float32)) if first else None
        name, relay = self._named(p), _is_relay(self.network, part)
        before = self.gives[p.source]
        if isinstance(p, Delayed) or (isinstance(p, Projection) and p.port is Port.THRESHOLD):
            raise ModelError(f"{what} has delays of its own or a threshold, which NIR cannot hold")
        if isinstance(p, Projection):
            weight = np.kron(np.eye(p.blocks, dtype=np.float32), p.weight)
            source, target = self.shapes[p.source], self.shapes[p.target]
            if len(target) == 3 and target[0] > 1 and target[1:] != (1, 1):
                raise ModelError(f"{what} gives a flat vector to a map, which NIR cannot hold")
            weight = maps.restored(weight, source)
            if len(source) == 3:
                flat = f"{name}-flat"
                self.nodes[flat] = {
                    "type": "Flatten", "start_dim": 0, "end_dim": -1, "input_type": source,
                }  # fmt: skip
                self.edges += [(n, flat) for n in before]
                before = [flat]
            node: Node = {"type": "Affine", "weight": weight, "bias": np.zeros(len(weight))}
            if bias is not None:
                node["bias"] = np.asarray(bias)
        else:
            self._symmetric(what, p.window)
            stride, padding = p.window.stride, p.window.padding
            node = {"stride": np.array(stride), "padding": np.array(padding)}
            if isinstance(p, Pool):
                average = p.gain == 1 / np.prod(p.window.kernel)
                node |= {
                    "type": "AvgPool2d" if average else "SumPool2d",
                    "kernel_size": np.array(p.window.kernel),
                }
                if not average and p.gain != 1:
                    if relay:
                        raise ModelError(f"{what} pools by a gain of {p.gain}: NIR cannot hold it")
                    scaled = f"{name}-scale"
                    shape = self.shapes[p.target]
                    self.nodes[scaled] = {"type": "Scale", "scale": np.full(shape, p.gain)}
                    self.edges += [(name, scaled), (scaled, part.name)]
                    relay = True  # the edge to the target is made
                if bias is not None and np.any(bias):
                    raise ModelError(f"{what} is a pooling into neurons with a bias of their own")
            else:
                channels = p.window.output_shape[2]
                of_channel = np.zeros(channels) if bias is None else bias[:channels]
                if bias is not None and np.any(bias.reshape(-1, channels) != of_channel):
                    raise ModelError(f"{what} goes into neurons with a bias each: NIR has one each "
                                     "channel")  # fmt: skip
                node |= {
                    "type": "Conv2d", "weight": p.weight.transpose(3, 2, 0, 1), "bias": of_channel,
                    "dilation": np.array((1, 1)), "groups": p.groups,
                    "input_shape": np.array(p.window.input_shape[:2]),
                }  # fmt: skip
        self.nodes[name] = node
        self.edges += [(n, name) for n in before]
        if not relay:
            self.edges.append((name, part.name))

    @staticmethod
    def _symmetric(what: str, window: Window) -> None:
        height, width, channels = window.input_shape
        shape = (channels, height, width)
        made, _ = maps.sliding(
            what, shape, window.output_shape[2], window.kernel, window.stride, window.padding
        )
        if made != window:
            raise ModelError(f"{what} pads one side more than the other, which NIR cannot hold")


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The .nir file.")
@click.option("--source", help="Kind of checkpoint; default: recognised from the file.")
@click.option("--profile", help="Whose semantics it has, where its format leaves them open.")
@click.option(
    "--describe", type=click.Path(path_type=Path), help="JSON file of what it leaves out."
)
def export_nir(
    checkpoint: Path, output: Path | None, source: str | None, profile: str | None,
    describe: Path | None,
) -> None:  # fmt: skip
    """Write the float network of a checkpoint as NIR, with its semantics in the metadata."""
    from edgesnn.sources import read_description

    description = {} if describe is None else read_description(describe)
    network = read_network(checkpoint, source, Options(profile, description))
    output = output or checkpoint.with_suffix(".nir")
    write_nir(network, output)
    click.echo(f"wrote {output}, as in {network.profile}")
