"""NIR (Neuromorphic Intermediate Representation): `.nir` files, read and written.

A NIR graph (Pedersen et al., "Neuromorphic intermediate representation", Nature Communications
2024; package nir 1.0.8 and files of earlier ones) holds weights and time constants. It does not say
the time step, what a spike does to the membrane beyond a hard reset, the fire test, or the order
within a step, and every framework that reads one decides anew. `PROFILES` are these decisions, read
in the sources of the frameworks' own importers; one is to be chosen, and the report says which was.

With d = dt / tau, or 1 - exp(-dt / tau) where the profile says so, of each node

    IF       v += r * I                             LI, LIF  v += d * (v_leak - v + r * I)
    I        v += r * I                             CubaLI, CubaLIF
                                                     i += d_syn * (w_in * I - i)
                                                     v += d_mem * (v_leak - v + r * i)

spikes where v passes v_threshold. Several edges into a node add up; edges that close a circle carry
what their source emitted in the step before.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.converters import maps
from edgesnn.converters.hdf5 import Tree, is_hdf5, read_hdf5
from edgesnn.errors import EdgesnnError, FormatError, ModelError
from edgesnn.graph import MAX_DELAY, Conduction, Fire, PotentialMode, Reset
from edgesnn.network import (
    AnyPopulation,
    AnyProjection,
    Conv,
    DelayLine,
    FloatArray,
    Integrator,
    Network,
    Pool,
    Population,
    Profile,
    Projection,
    ReadoutRule,
    Score,
)
from edgesnn.sources import Options, Source

Float64Array = npt.NDArray[np.float64]
Shape = tuple[int, ...]
MOST_SPIKES = 127
OUT_OF_REACH = 1e30
THROUGH = ("Flatten", "Input", "Output")
LINEAR = ("Affine", "Linear", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d")
READOUTS = {
    "count": None, "last": PotentialMode.LAST, "max": PotentialMode.MAX, "sum": PotentialMode.SUM,
    "softmax": Score.SOFTMAX_SUM, "first": Score.FIRST_SPIKE,
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """What a NIR file leaves open.

    Args:
        framework: whose importer decides so, with its version.
        dt: seconds a step, where the user does not say.
        exact: decays are exp(-dt / tau), and inputs are taken as they are (r, w_in and d are not
            applied); else Euler's.
        reset: what a spike does.
        fire: the fire test.
        max_spikes: most spikes a step.
        conduction: which synaptic current the membrane takes.
        floor: lowest membrane of IF neurons, in thresholds, or None.
        tau_in_steps: whether time constants are in steps, whatever dt.
        lif_r: whether the r of LIF counts.
        recurrent_reset: of CubaLIF neurons that feed back to themselves, where it differs.
        from_leak: whether membranes start at v_leak, not at 0.
    """

    framework: tuple[str, str]
    dt: float = 1e-4
    exact: bool = False
    reset: Reset = Reset.ZERO_AT_ONCE
    fire: Fire = Fire.ABOVE
    max_spikes: int = 1
    conduction: Conduction = Conduction.JUMPED
    floor: float | None = None
    tau_in_steps: bool = False
    lif_r: bool = True
    recurrent_reset: Reset | None = None
    from_leak: bool = False


SNNTORCH = Rule(("snnTorch", "1.0.0, with the reset it means"))
PROFILES = {
    "snntorch": SNNTORCH,
    "snntorch-subtract": replace(SNNTORCH, reset=Reset.SUBTRACT_AT_ONCE),
    # RSynaptic of 0.8.1 to 1.0.0 resets a variable of its own, so that only the next step's reset
    # takes effect: jeshraghian/snntorch, _neurons/rsynaptic.py
    "snntorch-1.0.0": replace(
        SNNTORCH, framework=("snnTorch", "1.0.0"), recurrent_reset=Reset.ZERO_DISCARD
    ),
    "norse": Rule(("Norse", "1.1.0"), dt=1e-3, lif_r=False, from_leak=True),
    "sinabs": Rule(
        ("sinabs", "3.1.3"), exact=True, reset=Reset.SUBTRACT_AT_ONCE, fire=Fire.REACHES,
        max_spikes=MOST_SPIKES, conduction=Conduction.DECAYED, floor=-1.0, tau_in_steps=True,
    ),
    "rockpool": Rule(
        ("Rockpool", "3.1.0"), exact=True, reset=Reset.SUBTRACT_AT_ONCE, fire=Fire.REACHES,
        max_spikes=MOST_SPIKES, conduction=Conduction.DECAYED,
    ),
    "spikingjelly": Rule(("SpikingJelly", "2.0.0"), fire=Fire.REACHES),
    "nir": Rule(
        ("NIR", "1.0.8, its NumPy reference"), reset=Reset.SUBTRACT_AT_ONCE,
        conduction=Conduction.LAGGED,
    ),
}  # fmt: skip
DEFAULT = "snntorch"
METADATA = "edgesnn"


def read_nir(path: Path, options: Options) -> Network:
    """The network in a `.nir` file.

    The description may say `dt` (seconds), `readout` (count, last, max, sum, softmax, first),
    `input_shape`, `step_us` and `classes`.

    Raises:
        MissingError: h5py is not installed, or the file cannot be read.
        FormatError: it is damaged, or no such file.
        ModelError: it has a node that cannot be kept; the message names it.
    """
    tree = read_hdf5(path)
    node = tree.get("node")
    if not isinstance(node, dict) or node.get("type") != "NIRGraph":
        raise FormatError(f"{path} has no NIRGraph in 'node': it is no .nir file")
    try:
        flat = _Flat(path)
        flat.add(node, "")
        return _Builder(path, flat, node, options).network()
    except ModelError as error:
        text = str(error)
        raise ModelError(text if str(path) in text else f"{path}: {error}") from None


# ---- the graph, nested graphs taken apart ----


class _Flat:
    """Nodes by name and edges between them, the Inputs and Outputs of nested graphs bridged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nodes: dict[str, Tree] = {}
        self.edges: list[tuple[str, str]] = []

    def add(self, graph: Tree, prefix: str, depth: int = 0) -> tuple[list[str], list[str]]:
        """Take in a graph; the names of its Inputs and of its Outputs."""
        nodes, edges = graph.get("nodes"), graph.get("edges", [])
        if not isinstance(nodes, dict) or depth > 16:
            raise FormatError(f"{self.path}: graph '{prefix}' has no nodes, or is nested too deep")
        ends: dict[str, tuple[list[str], list[str]]] = {}
        inputs, outputs = [], []
        for name, node in nodes.items():
            if name == "@":
                continue
            if not isinstance(node, dict) or not isinstance(node.get("type"), str):
                raise FormatError(f"{self.path}: node '{prefix}{name}' has no type")
            called = prefix + name
            if node["type"] == "NIRGraph":
                ends[name] = self.add(node, called + ".", depth + 1)
                continue
            if called in self.nodes:
                raise FormatError(f"{self.path}: two nodes are called '{called}'")
            self.nodes[called] = node
            ends[name] = ([called], [called])
            if node["type"] == "Input":
                inputs.append(called)
            if node["type"] == "Output":
                outputs.append(called)
        for edge in edges if isinstance(edges, list) else np.asarray(edges).tolist():
            if not isinstance(edge, (list, tuple)) or len(edge) != 2:
                raise FormatError(f"{self.path}: an edge of '{prefix}' has not two ends")
            source, target = (self._ends(ends, str(end), prefix) for end in edge)
            self.edges += [(a, b) for a in source[1] for b in target[0]]
        return inputs, outputs

    def _ends(
        self, ends: dict[str, tuple[list[str], list[str]]], name: str, prefix: str
    ) -> tuple[list[str], list[str]]:
        # files of before nir 1.0 name the nodes of a nested graph by its own name and theirs
        for known in (name, name.removeprefix(prefix), name.rsplit(".", 1)[0]):
            if known in ends:
                return ends[known]
        raise FormatError(f"{self.path}: an edge names the node '{name}', which is not there")


# ---- the network ----


@dataclass
class _Tap:
    """What reaches a node: a part's output, each value times `gain` (NIR's order), or None."""

    part: str
    gain: Float64Array | None


class _Builder:
    def __init__(self, path: Path, flat: _Flat, root: Tree, options: Options) -> None:
        self.path, self.nodes, self.described = path, flat.nodes, options.description
        known = {"dt", "readout", "input_shape", "step_us", "classes"}
        unknown = sorted(set(self.described) - known)
        if unknown:
            raise FormatError(
                f"the description of {path} has '{unknown[0]}': there is {', '.join(sorted(known))}"
            )
        self.remarks: list[str] = []
        self.own = _metadata(path, root)
        name = options.profile
        if name is None and self.own is None:
            name = DEFAULT
            self.remarks.append(
                f"A NIR FILE DOES NOT SAY ITS RESET, TIMING OR TIME STEP: taken as profile "
                f"'{name}'; --profile chooses among {', '.join(PROFILES)}"
            )
        self.rule = PROFILES[name or DEFAULT]
        self.dt = self._number("dt", self.rule.dt if self.own is None else self.own["dt"])
        self.before: dict[str, list[str]] = {name: [] for name in self.nodes}
        self.after: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in dict.fromkeys(flat.edges):
            self.before[target].append(source)
            self.after[source].append(target)
        self.shape: dict[str, Shape] = {}
        self.parts: dict[str, AnyPopulation] = {}
        self.projections: list[AnyProjection] = []
        self.gains: dict[str, Float64Array] = {}
        self.input = self._one("Input")
        self.output = self._one("Output")

    def _number(self, key: str, default: float) -> float:
        value = self.described.get(key, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1e6:
            raise FormatError(f"the description's '{key}' is {value!r}, not a number above 0")
        return float(value)

    def _one(self, kind: str) -> str:
        # those of nested graphs have edges on both sides
        side = self.before if kind == "Input" else self.after
        found = [n for n, node in self.nodes.items() if node["type"] == kind and not side[n]]
        if len(found) != 1:
            raise ModelError(
                f"the graph has {len(found)} nodes of type {kind} at its edge, not one"
            )
        return found[0]

    def network(self) -> Network:
        order = self._order()
        self._shapes(order)
        for name in order:
            self._part(name)
        for name in list(self.parts):
            self._enter(name)
        answer = self._taps(self.output)
        if len(answer) != 1 or answer[0].gain is not None:
            raise ModelError(f"node '{self.output}' is fed by {len(answer)} nodes, or by a Scale")
        readout = self._readout(answer[0].part)
        populations = [self.parts[name] for name in self.parts]
        order_of = {p.name: k for k, p in enumerate(populations)}
        projections = sorted(self.projections, key=lambda p: order_of[p.target])
        if any(isinstance(p, (Conv, Pool)) for p in projections):
            self.remarks.append("frames of maps lie (height, width, channel), channel fastest")
        rule = self.rule if self.own is None else None
        framework = self.own["profile"] if rule is None and self.own else self.rule.framework
        classes = self.described.get("classes", ())
        return Network(
            input_size=maps.size_of(self.shape[self.input]),
            input_kind=None,
            populations=tuple(populations),
            projections=tuple(projections),
            readout=readout,
            profile=Profile(*framework),
            source=self.path.name,
            step_us=round(self._number("step_us", 1)) if "step_us" in self.described else 0,
            classes=tuple(map(str, classes)) if len(classes) == populations[-1].size else (),
            remarks=tuple(self.remarks),
            input_name="input",
        )

    def _order(self) -> list[str]:
        """Nodes from the input on, each behind those that feed it, but for what closes a circle."""
        order: list[str] = []
        seen = {self.input}
        stack = [(self.input, iter(self.after[self.input]))]
        while stack:
            name, rest = stack[-1]
            following = next((n for n in rest if n not in seen), None)
            if following is None:
                order.append(name)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(self.after[following])))
        lost = sorted(set(self.nodes) - seen)
        if lost:
            raise ModelError(f"node '{lost[0]}' is not reached from the input: take it out")
        return order[::-1]

    # ---- shapes ----

    def _shapes(self, order: list[str]) -> None:
        given = self.described.get("input_shape")
        for name in order:
            node, kind = self.nodes[name], self.nodes[name]["type"]
            known = [self.shape[n] for n in self.before[name] if n in self.shape]
            if kind in ("Input", "Output") or not known:
                stated = given if name == self.input and given else node.get("shape")
                shape = _shape(stated) or (known[0] if known else None)
                if shape is None:
                    raise ModelError(f"node '{name}' does not say its shape")
                if name == self.input or not known:
                    self.shape[name] = shape
                    continue
                self.shape[name] = known[0]
                continue
            self.shape[name] = self._after(name, node, known[0])

    def _after(self, name: str, node: Tree, source: Shape) -> Shape:
        kind = node["type"]
        if kind in ("Affine", "Linear"):
            weight = self._array(name, "weight")
            if weight.ndim != 2:
                raise ModelError(f"node '{name}' has a weight of {weight.ndim} axes: not supported")
            return (len(weight),)
        if kind == "Flatten":
            return self._flattened(name, node, source)
        if kind in ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d"):
            return self._slides(name, node, source)[1]
        return source

    def _flattened(self, name: str, node: Tree, source: Shape) -> Shape:
        start, end = int(node.get("start_dim", 0)), int(node.get("end_dim", -1))
        axes = len(source)
        # exporters count the batch axis in or not: a start behind the map is one that did
        start, end = start % axes if start < axes else axes - 1, end % axes if end < axes else axes
        end = min(end, axes - 1)
        if start == 1 and axes == 3 and end == axes - 1:
            start = 0
        flat = maps.size_of(source[start : end + 1])
        shape = (*source[:start], flat, *source[end + 1 :])
        if len(shape) > 1:
            raise ModelError(f"node '{name}' flattens {source} to {shape}, not to one axis")
        return shape

    def _slides(self, name: str, node: Tree, source: Shape) -> tuple[Any, Shape]:
        kind = node["type"]
        if kind.startswith("Conv"):
            weight = self._array(name, "weight")
            axes = 3 if kind == "Conv1d" else 4
            if weight.ndim != axes:
                raise ModelError(f"node '{name}' has a weight of shape {weight.shape}")
            if len(source) != axes - 1:
                source = self._map_shape(name, node, weight, source)
            channels, size = len(weight), weight.shape[2:]
            dilation = self._pair(name, node, "dilation", 1, len(source))
        else:
            size = self._pair(name, node, "kernel_size", None, len(source))
            channels, dilation = source[0], (1, 1)
        tall = (1, *size) if len(size) == 1 else tuple(size)
        extent = tuple((k - 1) * d + 1 for k, d in zip(tall, dilation, strict=True))
        stride = self._pair(name, node, "stride", 1, len(source))
        padding = node.get("padding")
        if not isinstance(padding, str):
            padding = self._pair(name, node, "padding", 0, len(source))
        what = f"node '{name}'"
        window, made = maps.sliding(what, source, channels, (extent[0], extent[1]), stride, padding)
        return (window, dilation), made

    def _map_shape(self, name: str, node: Tree, weight: Float64Array, source: Shape) -> Shape:
        """Of a map that arrives flat, as the convolution says it."""
        stated = _shape(node.get("input_shape"))
        groups = int(node.get("groups", 1))
        shape = (weight.shape[1] * groups, *(stated or ()))
        if maps.size_of(shape) != maps.size_of(source):
            raise ModelError(f"node '{name}' takes maps of {shape}, and gets {source}")
        if shape[0] > 1 and maps.size_of(shape[1:]) > 1:
            raise ModelError(
                f"node '{name}' takes maps of {shape} from neurons in a row of {source}: say the "
                "shape of the input (description 'input_shape'), or keep the map through the layers"
            )
        return shape

    def _pair(
        self, name: str, node: Tree, key: str, default: int | None, axes: int
    ) -> tuple[int, int]:
        value = node.get(key, default)
        pair = maps.pair(f"'{key}' of node '{name}'", value)
        if axes == 2:  # of one dimension: nothing happens along the height
            return (0 if key == "padding" else 1), pair[1]
        return pair

    # ---- populations ----

    def _part(self, name: str) -> None:
        node, kind = self.nodes[name], self.nodes[name]["type"]
        if kind in (*THROUGH, "Scale"):
            return
        if kind in LINEAR:
            if self._relays(name):
                size = maps.size_of(self.shape[name])
                bias = self._bias(name)
                zeros = np.zeros(size, np.float32)
                self.parts[name] = Integrator(
                    name, size, np.float32(0), zeros if bias is None else bias, layer=name
                )
            return
        if kind == "Delay":
            return  # made when its source is known
        makers: dict[str, Callable[[str, Tree], AnyPopulation]]
        makers = {"IF": self._if, "LIF": self._lif, "CubaLIF": self._cuba, "CubaLI": self._cuba,
                  "LI": self._li, "I": self._li, "Threshold": self._threshold}  # fmt: skip
        if kind not in makers:
            raise ModelError(f"node '{name}' is of type {kind}, which is not supported")
        self.parts[name] = makers[kind](name, node)

    def _relays(self, name: str) -> bool:
        """Whether a linear node has a place of its own; one that feeds neurons alone needs none."""
        return any(self._passes_on(n) for n in self.after[name])

    def _passes_on(self, name: str) -> bool:
        """Whether a node takes a sum further, so that what feeds it emits values."""
        kind = self.nodes[name]["type"]
        if kind in (*THROUGH, "Scale") and name != self.output:
            return any(self._passes_on(n) for n in self.after[name])
        return kind in (*LINEAR, "Output", "Delay")

    def _array(self, name: str, key: str, default: float | None = None) -> Float64Array:
        value = self.nodes[name].get(key, default)
        if value is None or isinstance(value, (dict, str, list)):
            raise FormatError(f"{self.path}: node '{name}' lacks '{key}', or it is no array")
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise FormatError(f"{self.path}: '{key}' of node '{name}' are no numbers")
        if not np.all(np.isfinite(array)):
            raise ModelError(f"'{key}' of node '{name}' is not finite: train it again")
        return array.astype(np.float64)

    def _values(self, name: str, key: str, default: float | None = None) -> Float64Array:
        """A parameter as () where all neurons share it, else (size,) in the graph's order."""
        array, shape = self._array(name, key, default), self.shape[name]
        if array.size and np.all(array == array.flat[0]):
            return np.asarray(array.flat[0])
        if array.size == maps.size_of(shape):
            return maps.reordered(array.reshape(-1), shape)
        if array.size == maps.graph_map(shape)[2]:
            return maps.spread(array.reshape(-1), shape)
        raise ModelError(f"'{key}' of node '{name}' has shape {array.shape} for neurons {shape}")

    def _lost(self, name: str, key: str) -> Float64Array:
        """d of a time constant: what a state loses in a step."""
        tau = self._values(name, key)
        if np.any(tau <= 0):
            raise ModelError(f"'{key}' of node '{name}' is not above 0")
        steps = tau if self._exact and self.rule.tau_in_steps else tau / self.dt
        lost = -np.expm1(-1 / steps) if self._exact else 1 / steps
        if np.any(lost > 1 + 1e-6):
            raise ModelError(
                f"'{key}' of node '{name}' is {float(tau.min()):g} s and dt {self.dt:g} s: give "
                "the dt that it was trained with (description 'dt')"
            )
        return np.minimum(lost, 1.0)

    @property
    def _exact(self) -> bool:
        return self.rule.exact and self.own is None

    def _common(self, name: str) -> dict[str, Any]:
        """What all neurons have, by the profile."""
        size = maps.size_of(self.shape[name])
        # where membranes start at v_leak, v - v_leak is kept
        start = self._start(name)
        threshold = self._values(name, "v_threshold") - start
        reset_to = self._values(name, "v_reset", 0.0) - start
        rule, own = self.rule, None if self.own is None else self.own["nodes"].get(name)
        common: dict[str, Any] = {
            "name": name, "size": size, "layer": name, "threshold": _float32(threshold),
            "reset": rule.reset, "fire": rule.fire, "max_spikes": rule.max_spikes,
        }  # fmt: skip
        if own is not None:
            common |= {
                "reset": Reset[own["reset"]], "fire": Fire[own["fire"]],
                "max_spikes": int(own["max_spikes"]),
            }  # fmt: skip
            if own.get("floor") is not None:
                common["floor"] = np.asarray(own["floor"], np.float32)
        if np.any(reset_to):
            if common["reset"] is not Reset.ZERO_AT_ONCE:
                raise ModelError(
                    f"node '{name}' resets to other than 0, which the profile does not"
                )
            common["reset_to"] = _float32(reset_to)
        return common

    def _start(self, name: str) -> Float64Array:
        """Where a membrane starts, and what its leak then needs no current for."""
        if self.rule.from_leak and self.own is None:
            return self._values(name, "v_leak", 0.0)
        return np.zeros(())

    def _leak(self, name: str, lost: Float64Array) -> Float64Array:
        """The constant current of a leak to other than 0."""
        return np.asarray(lost * (self._values(name, "v_leak") - self._start(name)))

    def _if(self, name: str, node: Tree) -> Population:
        common = self._common(name)
        bias = self._entered(name, self._values(name, "r"), 0.0)
        floor = self.rule.floor
        if floor is not None and self.own is None:
            common["floor"] = np.float32(floor) * common["threshold"]
        return Population(beta=np.float32(1), bias=bias, **common)

    def _lif(self, name: str, node: Tree) -> Population:
        lost, r = self._lost(name, "tau"), self._values(name, "r")
        gain = np.asarray(1.0) if self._exact else lost * (r if self.rule.lif_r else 1.0)
        if self.rule.framework[0] == "SpikingJelly" and np.all(r != 1):
            gain = np.asarray(1.0)  # decay_input=False
        bias = self._entered(name, gain, self._leak(name, lost))
        return Population(beta=_float32(1 - lost), bias=bias, **self._common(name))

    def _cuba(self, name: str, node: Tree) -> Population:
        of_synapse, lost = self._lost(name, "tau_syn"), self._lost(name, "tau_mem")
        r, w_in = self._values(name, "r"), self._values(name, "w_in", 1.0)
        # the membrane's gain is taken into the synapse, which is linear
        gain = np.asarray(1.0) if self._exact else of_synapse * w_in * lost * r
        leak = self._leak(name, lost)
        bias = self._entered(name, gain, 0.0)
        conduction = self.rule.conduction
        if node["type"] == "CubaLI":
            # no membrane that fits reaches it, and none is reset
            common: dict[str, Any] = {
                "name": name, "size": len(bias), "layer": name, "reset": Reset.NONE,
                "threshold": np.float32(OUT_OF_REACH),
            }  # fmt: skip
            if any(self.nodes[n]["type"] != "Output" for n in self.after[name]):
                raise ModelError(
                    f"node '{name}' (CubaLI) feeds more than the output: not supported"
                )
        else:
            common = self._common(name)
            if self.own is not None:
                conduction = Conduction[self.own["nodes"][name]["conduction"]]
            elif self.rule.recurrent_reset is not None and self._recurrent(name):
                common["reset"] = self.rule.recurrent_reset
        return Population(
            beta=_float32(1 - lost),
            alpha=_float32(1 - of_synapse),
            bias=bias,
            membrane_bias=_float32(leak) if np.any(leak) else None,
            conduction=conduction,
            **common,
        )

    def _li(self, name: str, node: Tree) -> Integrator:
        r, size = self._values(name, "r"), maps.size_of(self.shape[name])
        if node["type"] == "I":
            return Integrator(name, size, np.float32(1), self._entered(name, r, 0.0), layer=name)
        lost = self._lost(name, "tau")
        gain = np.asarray(1.0) if self._exact else lost * r
        bias = self._entered(name, gain, lost * self._values(name, "v_leak"))
        return Integrator(name, size, _float32(1 - lost), bias, layer=name)

    def _threshold(self, name: str, node: Tree) -> Population:
        bias = self._entered(name, np.asarray(1.0), 0.0)
        return Population(
            name, len(bias), np.float32(0), _float32(self._values(name, "threshold")), bias,
            reset=Reset.NONE, layer=name,
        )  # fmt: skip

    def _recurrent(self, name: str) -> bool:
        """Whether a node feeds itself through one linear node (snnTorch's importer, RSynaptic)."""
        return any(name in self.after[n] for n in self.after[name])

    # ---- what enters ----

    def _entered(self, name: str, gain: Float64Array, constant: Any) -> FloatArray:
        """Keep the gain of a node's current for its projections; the bias of the node."""
        size = maps.size_of(self.shape[name])
        self.gains[name] = np.broadcast_to(gain, (size,))
        bias = np.zeros(size) + constant
        for before, scale in self._linear_before(name):
            own = self._bias(before)
            if own is not None and not self._relays(before):
                bias = bias + own * self.gains[name] * scale
        return _float32(bias)

    def _linear_before(self, name: str) -> list[tuple[str, Float64Array]]:
        """Linear nodes whose sums a node takes, and the Scale between, in the graph's order."""
        found = []
        for before in self.before[name]:
            kind = self.nodes[before]["type"]
            if kind in THROUGH:
                found += self._linear_before(before)
            elif kind == "Scale":
                scale = self._scale(before)
                found += [(n, s * scale) for n, s in self._linear_before(before)]
            elif kind in LINEAR:
                found.append((before, np.ones(maps.size_of(self.shape[before]))))
        return found

    def _scale(self, name: str) -> Float64Array:
        size = maps.size_of(self.shape[name])
        return np.broadcast_to(self._values(name, "scale"), (size,))

    def _bias(self, name: str) -> FloatArray | None:
        """(size,) float32 of a linear node, in the graph's order, or None."""
        node = self.nodes[name]
        if node.get("bias") is None:
            return None
        bias, shape = self._array(name, "bias"), self.shape[name]
        if bias.size not in (1, maps.graph_map(shape)[2]):
            raise ModelError(f"'bias' of node '{name}' has shape {bias.shape} for {shape}")
        return maps.spread(bias.reshape(-1), shape).astype(np.float32)

    def _taps(self, name: str) -> list[_Tap]:
        """The parts that a node hears, through Flatten, Scale and Delay; sums have one each."""
        found: list[_Tap] = []
        for before in self.before[name]:
            kind = self.nodes[before]["type"]
            if before == self.input:
                found.append(_Tap("input", None))
            elif kind in THROUGH:
                found += self._taps(before)
            elif kind == "Scale":
                # Scale is the same for all edges into it
                scale = self._scale(before)
                found += [
                    _Tap(t.part, scale if t.gain is None else t.gain * scale)
                    for t in self._taps(before)
                ]
            elif kind == "Delay":
                found += [_Tap(self._delayed(before, t), t.gain) for t in self._taps(before)]
            elif before in self.parts:
                found.append(_Tap(before, None))
            else:
                found.append(_Tap(f"sum:{before}", None))
        return found

    def _delayed(self, name: str, tap: _Tap) -> str:
        source = self.parts.get(tap.part)
        if isinstance(source, (Integrator,)) or tap.part.startswith("sum:"):
            raise ModelError(f"node '{name}' delays values, not spikes: not supported")
        called = name if name not in self.parts else f"{name}:{tap.part}"
        size = maps.size_of(self.shape[name])
        steps = np.broadcast_to(self._values(name, "delay") / self.dt, (size,))
        whole = np.rint(steps)
        if np.any((whole < 0) | (whole > MAX_DELAY)):
            raise ModelError(
                f"node '{name}' delays by more than {MAX_DELAY} steps of {self.dt:g} s"
            )
        if np.abs(steps - whole).max() > 1e-3:
            self.remarks.append(f"delays of '{name}' are rounded to whole steps of {self.dt:g} s")
        # it stands behind its source, whose most recent output it sees
        parts = list(self.parts.items())
        place = 1 + next((k for k, (n, _) in enumerate(parts) if n == tap.part), -1)
        line = DelayLine(called, tap.part, whole.astype(np.uint8), layer=name)
        self.parts = dict([*parts[:place], (called, line), *parts[place:]])
        return called

    def _enter(self, name: str) -> None:
        """Make the projections into a part."""
        part = self.parts[name]
        if isinstance(part, DelayLine):
            return
        if self.nodes[name]["type"] in LINEAR:
            for tap in self._taps(name):
                self._project(tap, name, name, np.ones(part.size))
            return
        gain = self.gains[name]
        for linear, scale in self._linear_before(name):
            if not self._relays(linear):
                for tap in self._taps(linear):
                    self._project(tap, name, linear, gain * scale)
        for tap in self._taps(name):
            if not tap.part.startswith("sum:"):
                self._straight(tap, name, gain)

    def _straight(self, tap: _Tap, target: str, gain: Float64Array) -> None:
        """What a part emits, one to one."""
        total = gain if tap.gain is None else gain * tap.gain
        shape = maps.graph_map(self.shape[target])
        window, _ = maps.sliding(
            f"node '{target}'", (shape[2], *shape[:2]), shape[2], (1, 1), (1, 1), (0, 0)
        )
        if np.all(total == total[0]) and total[0] > 0:
            pool = Pool(tap.part, target, window, float(total[0]), layer=target)
            self.projections.append(pool)
            return
        channels = total.reshape(-1, shape[2])
        if np.all(channels == channels[0]):
            weight = channels[0].reshape(1, 1, 1, -1).astype(np.float32)
            self.projections.append(Conv(tap.part, target, weight, window, shape[2], target))
            return
        self.projections.append(
            Projection(tap.part, target, np.diag(total).astype(np.float32), layer=target)
        )

    def _project(self, tap: _Tap, target: str, linear: str, gain: Float64Array) -> None:
        """A linear node's weights, times what its sources and its target multiply by."""
        if tap.part.startswith("sum:"):
            raise ModelError(f"node '{linear}' follows '{tap.part[4:]}' in a way not supported")
        node, kind = self.nodes[linear], self.nodes[linear]["type"]
        before = [self.shape[n] for n in self.before[linear]]
        source = before[0]
        if any(maps.size_of(s) != maps.size_of(source) for s in before):
            raise ModelError(f"node '{linear}' is fed by maps of other sizes: {before}")
        made: AnyProjection
        if kind in ("Affine", "Linear"):
            weight = self._array(linear, "weight")
            if weight.shape[1] != maps.size_of(source):
                raise ModelError(
                    f"node '{linear}' takes {weight.shape[1]} values, the nodes before it give "
                    f"{source}"
                )
            weight = maps.reordered(weight, self._map_of(linear))
            weight = weight * gain[:, np.newaxis]
            if tap.gain is not None:
                weight = weight * tap.gain
            made = Projection(tap.part, target, weight.astype(np.float32), layer=linear)
        else:
            (window, dilation), _ = self._slides(linear, node, source)
            channels = gain.reshape(-1, window.output_shape[2])
            if tap.gain is not None or np.any(channels != channels[0]):
                raise ModelError(
                    f"node '{linear}' slides over values that are scaled one by one: not supported"
                )
            if kind.startswith("Conv"):
                weight = self._array(linear, "weight")
                weight = weight[:, :, np.newaxis] if weight.ndim == 3 else weight
                placed = maps.kernel(weight, dilation) * channels[0]
                groups = int(node.get("groups", 1))
                made = Conv(tap.part, target, placed.astype(np.float32), window, groups, linear)
            else:
                factor = 1.0 if kind == "SumPool2d" else 1 / np.prod(window.kernel)
                if np.any(channels[0] != channels[0][0]) or channels[0][0] <= 0:
                    raise ModelError(f"node '{linear}' pools into neurons of different gains")
                value = float(factor * channels[0][0])
                made = Pool(tap.part, target, window, value, layer=linear)
        self.projections.append(made)

    def _map_of(self, name: str) -> Shape:
        """The shape in which what a node gets was last a map."""
        before = self.before[name][0]
        while self.nodes[before]["type"] in (*THROUGH, "Scale", "Delay") and self.before[before]:
            before = self.before[before][0]
        return self.shape[before]

    def _felt(self, line: DelayLine) -> tuple[str, Population]:
        """Neurons that pass on what a delay line emits: nothing can be read off the line itself."""
        name, size = f"{line.name}.out", line.size
        self.parts[name] = neurons = Population(
            name, size, np.float32(0), np.full(size, 0.5, np.float32), np.zeros(size, np.float32),
            reset=Reset.NONE, layer=line.layer,
        )  # fmt: skip
        weight = np.eye(size, dtype=np.float32)
        self.projections.append(Projection(line.name, name, weight, layer=line.layer))
        return name, neurons

    def _readout(self, part: str) -> ReadoutRule:
        if part == "input" or part not in self.parts:
            raise ModelError(f"node '{self.output}' is not fed by neurons")
        population = self.parts[part]
        if isinstance(population, DelayLine):
            part, population = self._felt(population)
        spikes = isinstance(population, Population) and bool(
            np.any(population.threshold < OUT_OF_REACH)
        )
        name = self.described.get("readout", None if self.own is None else self.own["readout"])
        if name is None:
            name = "count" if spikes else "last"
            self.remarks.append(
                f"the file does not say how the answer is made: '{name}' of '{part}' (description "
                f"'readout': {', '.join(READOUTS)})"
            )
        if name not in READOUTS:
            raise FormatError(f"there is no read-out '{name}': choose {', '.join(READOUTS)}")
        return ReadoutRule(part, READOUTS[name])


def _float32(values: Float64Array) -> FloatArray:
    return np.asarray(values, np.float32)


def _shape(value: object) -> Shape | None:
    """A shape as a file states it; None where it does not."""
    if value is None or isinstance(value, (str, dict)):
        return None
    array = np.asarray(value).reshape(-1)
    if array.dtype.kind not in "iuf" or not array.size:
        return None
    shape = tuple(int(n) for n in array)
    if not 1 <= len(shape) <= 3 or min(shape) < 1 or maps.size_of(shape) > 0xFFFF:
        raise ModelError(f"the shape {shape} is too large, or no map of 1 to 3 axes")
    return shape


def _metadata(path: Path, root: Tree) -> dict[str, Any] | None:
    """What our own exporter writes beside a graph, or None."""
    metadata = root.get("metadata")
    text = metadata.get(METADATA) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        return None
    try:
        loaded = json.loads(text)
        kept = {key: loaded[key] for key in ("dt", "readout", "profile", "nodes")}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FormatError(
            f"{path}: its metadata '{METADATA}' are damaged: export it again"
        ) from None
    if not isinstance(kept["nodes"], dict) or not isinstance(kept["profile"], list):
        raise FormatError(f"{path}: its metadata '{METADATA}' are damaged: export it again")
    return kept


def _recognises(path: Path) -> bool:
    if not is_hdf5(path):
        return False
    try:
        node = read_hdf5(path).get("node")
    except EdgesnnError:
        return False
    return isinstance(node, dict) and node.get("type") == "NIRGraph"


SOURCE = Source(
    name="nir",
    describes="NIR (.nir, HDF5): LIF, CubaLIF, IF, LI, convolutions, pooling, delays, recurrence",
    recognises=_recognises,
    read=read_nir,
    profiles=tuple(PROFILES),
    described=True,
)
