"""L2MU: a Legendre memory unit made of spiking populations, from a PyTorch or Lightning checkpoint.

Leto, Urgese, Macii, Fra, "A LIF-based LMU as neuromorphic State Space Model benchmarked on a
second-long spatio-temporal task", NICE 2025, in the key layout of the authors' code
(neuromorphic-polito/L2MU-Braille at 72344f6, snnTorch 0.9.1). In each step, `-` the step before:

    x = encoder(frame)            any number of Linear + Leaky/Synaptic layers, or the frame itself
    u = LIF(e_x x + e_h h- + e_m m-)
    m[k] = LIF(A m-[k] + B u[k])  for each memory k of `order` neurons; A, B shared
    h = LIF(W_x x + W_h h- + W_m m)
    o = LIF(output_transformation h)          answer: the class that spikes most

A and B are taken from the checkpoint as they stand, never made from order and theta: the authors'
code stores the transpose of the LMU's A, and a network trained with it needs it.

Keys, after an optional `model.`: `encoder.<n>.linear.{weight,bias}`, `encoder.<n>.spk.*`,
`l2mu_cell.{e_x,e_h,e_m,A,B,W_x,W_h,W_m,output_transformation}.weight`,
`l2mu_cell.output_transformation.bias`, `l2mu_cell.spk_{u,m,h,output}.*`, where `*` is what a
snnTorch neuron saves: `beta`, `threshold`, `graded_spikes_factor`, `reset_mechanism_val`, and
`alpha` in the CuBa variant (snnTorch `Synaptic`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.converters.torchfile import read_torch
from edgesnn.errors import EdgesnnError, FormatError, ModelError
from edgesnn.graph import Reset
from edgesnn.network import (
    FloatArray,
    InputKind,
    Network,
    Population,
    Profile,
    Projection,
    ReadoutRule,
)
from edgesnn.sources import Source

CELL = "l2mu_cell."
AUTHORS_VERSION = "0.9.1"
Arrays = dict[str, npt.NDArray[Any]]


def read_l2mu(path: Path) -> Network:
    """The network in an L2MU checkpoint.

    Raises:
        MissingError: the file cannot be read.
        FormatError: it is damaged, or has not the keys of an L2MU.
        ModelError: a part of it cannot be kept; the message names the key.
    """
    loaded = read_torch(path)
    state = _state_dict(loaded, path)
    hyper = loaded.get("hyper_parameters", {}) if isinstance(loaded, dict) else {}
    hyper = hyper if isinstance(hyper, dict) else {}
    return _Builder(state, hyper, path).network()


def _state_dict(loaded: object, path: Path) -> Arrays:
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict):
        raise FormatError(f"{path} holds no state_dict: save the model's state_dict")
    arrays = {
        str(key).removeprefix("model."): value
        for key, value in state.items()
        if isinstance(value, np.ndarray)
    }
    if CELL + "A.weight" not in arrays:
        raise FormatError(
            f"{path} has no key '{CELL}A.weight': it is no L2MU in the authors' layout "
            "(see the docs of edgesnn.converters.l2mu)"
        )
    return arrays


class _Builder:
    def __init__(self, state: Arrays, hyper: dict[str, Any], path: Path) -> None:
        self.state, self.hyper, self.path = state, hyper, path
        self.used: set[str] = set()
        self.gain: dict[str, float] = {}
        self.populations: list[Population] = []
        self.projections: list[Projection] = []
        self.remarks: list[str] = []

    def network(self) -> Network:
        x = self._encoder()
        channels = self._weight("encoder.0.linear." if x != "input" else CELL + "e_x.").shape[1]
        a, b = self._weight(CELL + "A."), self._weight(CELL + "B.")
        memories = self._weight(CELL + "e_x.").shape[0]
        self._population("u", CELL + "spk_u.", memories)
        self._population("m", CELL + "spk_m.", memories * len(a))
        self._population("h", CELL + "spk_h.", len(self._weight(CELL + "W_x.")))
        output = CELL + "output_transformation."
        self._population("o", CELL + "spk_output.", len(self._weight(output)), output + "bias")
        for target, source, layer in (
            ("u", x, "e_x"), ("u", "h", "e_h"), ("u", "m", "e_m"),
            ("m", "m", "A"), ("m", "u", "B"),
            ("h", x, "W_x"), ("h", "h", "W_h"), ("h", "m", "W_m"),
            ("o", "h", "output_transformation"),
        ):  # fmt: skip
            blocks = memories if layer in ("A", "B") else 1
            self._project(source, target, CELL + layer + ".", blocks)
        if b.shape != (len(a), 1) or a.shape != (len(a), len(a)):
            raise ModelError(
                f"{self.path}: '{CELL}A.weight' {a.shape} and '{CELL}B.weight' {b.shape} are not "
                "(order, order) and (order, 1)"
            )
        self._refuse_unknown()
        rate = self.hyper.get("rate_hz", 0) or 0
        return Network(
            input_size=channels,
            input_kind=InputKind.ANALOG if x != "input" else None,
            populations=tuple(self.populations),
            projections=tuple(self.projections),
            readout=ReadoutRule("o"),
            profile=Profile("snnTorch", self._version()),
            source=self.path.name,
            step_us=round(1e6 / float(rate)) if rate else 0,
            classes=self._names("classes", self.populations[-1].size),
            units=self._names("units", channels),
            remarks=tuple(self.remarks),
        )

    def _encoder(self) -> str:
        """Build the encoder's layers; returns the name of what carries x."""
        source = "input"
        for n in range(
            sum(bool(re.fullmatch(r"encoder\.\d+\.linear\.weight", k)) for k in self.state)
        ):
            prefix, name = f"encoder.{n}.", f"encoder{n}"
            weight = self._weight(prefix + "linear.")
            bias = prefix + "linear.bias"
            self._population(
                name, prefix + "spk.", len(weight), bias if bias in self.state else None
            )
            self._project(source, name, prefix + "linear.")
            source = name
        return source

    def _version(self) -> str:
        if "snntorch_version" in self.hyper:
            return str(self.hyper["snntorch_version"])
        self.remarks.append(
            f"the checkpoint names no snnTorch version: taken as {AUTHORS_VERSION}, the authors'"
        )
        return AUTHORS_VERSION

    def _names(self, key: str, count: int) -> tuple[str, ...]:
        names = self.hyper.get(key, ())
        return (
            tuple(map(str, names))
            if isinstance(names, (list, tuple)) and len(names) == count
            else ()
        )

    def _array(self, key: str) -> FloatArray:
        if key not in self.state:
            raise FormatError(
                f"{self.path} lacks the key '{key}': save the whole model's state_dict"
            )
        self.used.add(key)
        return self.state[key].astype(np.float32)

    def _weight(self, prefix: str) -> FloatArray:
        weight = self._array(prefix + "weight")
        if weight.ndim != 2:
            raise ModelError(
                f"{self.path}: '{prefix}weight' has shape {weight.shape}, not two axes"
            )
        return weight

    def _population(self, name: str, prefix: str, size: int, bias: str | None = None) -> None:
        cuba = prefix + "alpha" in self.state
        reset_value = int(self._scalar(prefix + "reset_mechanism_val", 0))
        if reset_value not in (0, 1, 2):
            raise ModelError(
                f"{self.path}: '{prefix}reset_mechanism_val' is {reset_value}, snnTorch knows "
                "0 (subtract), 1 (zero) and 2 (none)"
            )
        zero = Reset.ZERO_DISCARD if cuba else Reset.ZERO
        self.gain[name] = self._scalar(prefix + "graded_spikes_factor", 1)
        self.populations.append(
            Population(
                name=name,
                size=size,
                # snnTorch clips both at run time
                beta=np.clip(self._array(prefix + "beta"), 0, 1),
                alpha=np.clip(self._array(prefix + "alpha"), 0, 1) if cuba else None,
                threshold=self._array(prefix + "threshold"),
                bias=self._array(bias) if bias else np.zeros(size, np.float32),
                reset=(Reset.SUBTRACT, zero, Reset.NONE)[reset_value],
                layer=prefix.rstrip("."),
            )
        )

    def _scalar(self, key: str, default: float) -> float:
        if key not in self.state:
            return default
        value = self._array(key)
        if value.size != 1:
            raise ModelError(f"{self.path}: '{key}' has {value.size} values, one is supported")
        return float(value.reshape(()))

    def _project(self, source: str, target: str, prefix: str, blocks: int = 1) -> None:
        # a graded spike is an ordinary one whose weights carry the factor
        weight = self._weight(prefix) * np.float32(self.gain.get(source, 1))
        self.projections.append(Projection(source, target, weight, blocks, prefix.rstrip(".")))

    def _refuse_unknown(self) -> None:
        unknown = sorted(set(self.state) - self.used)
        if unknown:
            raise ModelError(
                f"{self.path} has '{unknown[0]}' and {len(unknown) - 1} more keys that no L2MU "
                "has: it would be wrong to leave them out"
            )


def _recognises(path: Path) -> bool:
    try:
        _state_dict(read_torch(path), path)
    except EdgesnnError:
        return False
    return True


SOURCE = Source(
    name="l2mu",
    describes="L2MU, LIF and CuBa, PyTorch or Lightning checkpoint (authors' key layout)",
    recognises=_recognises,
    read=read_l2mu,
)
