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

Beside the `state_dict`, or in Lightning's `hyper_parameters`, a checkpoint may say `classes` and
`units` (a name each), `rate_hz` and `snntorch_version`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

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
# their Synaptic takes `mem` for `syn` where it is called as lif(x, syn, mem); mended in 0.9.4
SYNAPTIC_MIXES_STATES = ("0.8.", "0.9.0", "0.9.1")


def read_l2mu(path: Path) -> Network:
    """The network in an L2MU checkpoint.

    Raises:
        MissingError: the file cannot be read.
        FormatError: it is damaged, or has not the keys of an L2MU.
        ModelError: a part of it cannot be kept; the message names the key.
    """
    loaded = read_torch(path)
    state = _state_dict(loaded, path)
    notes = dict(loaded) if "state_dict" in loaded else {}
    hyper = notes.get("hyper_parameters")
    if isinstance(hyper, dict):
        notes.update(hyper)
    # what overflows is refused as not finite
    with np.errstate(over="ignore", invalid="ignore"):
        return _Builder(state, notes, path).network()


def _state_dict(loaded: object, path: Path) -> dict[str, object]:
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict):
        raise FormatError(f"{path} holds no state_dict: save the model's state_dict")
    found = {str(key).removeprefix("model."): value for key, value in state.items()}
    if len(found) < len(state):
        raise FormatError(f"{path} has a key both with and without 'model.': save one model alone")
    if CELL + "A.weight" not in found:
        raise FormatError(
            f"{path} has no key '{CELL}A.weight': it is no L2MU in the authors' layout "
            "(see the docs of edgesnn.converters.l2mu)"
        )
    return found


class _Builder:
    def __init__(self, state: dict[str, object], notes: dict[str, Any], path: Path) -> None:
        self.state, self.notes, self.path = state, notes, path
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
        if not self.gain["o"] > 0:
            raise ModelError(
                f"{self.path}: '{CELL}spk_output.graded_spikes_factor' is {self.gain['o']:g}: the "
                "class that spikes most would not win, so only factors above 0 are kept"
            )
        self._refuse_unknown()
        profile = Profile("snnTorch", self._version())
        cuba = any(population.alpha is not None for population in self.populations)
        if cuba and profile.version.startswith(SYNAPTIC_MIXES_STATES):
            self.remarks.append(
                f"the Synaptic of {profile} loses its current where it is called with its states, "
                "lif(x, syn, mem): taken as trained with init_hidden=True"
            )
        try:
            return Network(
                input_size=channels,
                input_kind=InputKind.ANALOG if x != "input" else None,
                populations=tuple(self.populations),
                projections=tuple(self.projections),
                readout=ReadoutRule("o"),
                profile=profile,
                source=self.path.name,
                step_us=self._step_us(),
                classes=self._names("classes", self.populations[-1].size),
                units=self._names("units", channels),
                remarks=tuple(self.remarks),
            )
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from None

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
        version = self.notes.get("snntorch_version")
        if isinstance(version, str):
            return version
        self.remarks.append(
            f"the checkpoint names no snnTorch version: taken as {AUTHORS_VERSION}, the authors'"
        )
        return AUTHORS_VERSION

    def _step_us(self) -> int:
        rate = self.notes.get("rate_hz")
        return round(1e6 / rate) if isinstance(rate, (int, float)) and 1e-3 <= rate <= 1e6 else 0

    def _names(self, key: str, count: int) -> tuple[str, ...]:
        names = self.notes.get(key)
        if not isinstance(names, (list, tuple)) or len(names) != count:
            return ()
        return tuple(names) if all(isinstance(name, str) for name in names) else ()

    def _array(self, key: str) -> FloatArray:
        if key not in self.state:
            raise FormatError(
                f"{self.path} lacks the key '{key}': save the whole model's state_dict"
            )
        self.used.add(key)
        value = self.state[key]
        if not isinstance(value, np.ndarray):
            raise FormatError(f"{self.path}: '{key}' is no tensor: save the model's state_dict")
        return value.astype(np.float32)

    def _weight(self, prefix: str) -> FloatArray:
        weight = self._array(prefix + "weight")
        if weight.ndim != 2 or 0 in weight.shape:
            raise ModelError(
                f"{self.path}: '{prefix}weight' has shape {weight.shape}, not (outputs, inputs)"
            )
        return weight

    def _population(self, name: str, prefix: str, size: int, bias: str | None = None) -> None:
        cuba = prefix + "alpha" in self.state
        reset_value = self._scalar(prefix + "reset_mechanism_val", 0)
        if reset_value not in (0, 1, 2):
            raise ModelError(
                f"{self.path}: '{prefix}reset_mechanism_val' is {reset_value:g}, snnTorch knows "
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
                reset=(Reset.SUBTRACT, zero, Reset.NONE)[int(reset_value)],
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
                f"{self.path} has {unknown[0]!r} and {len(unknown) - 1} more keys that no L2MU "
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
    read=lambda path, options: read_l2mu(path),
)
