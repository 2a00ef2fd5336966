"""Spiking LMUFormer: a checkpoint of the parallel network, as a stream of frames.

Liu, Datta, Li, Beerel, "LMUFormer: Low Complexity Yet Powerful Spiking Model With Legendre Memory
Units", ICLR 2024 (zeyuliu1037/LMUFormer at 5debadd, `slmu_rnn_ms_conv1d`). Converted from its
`forward`, over all N frames at once; its `forward_recurrent` leaves out what follows the memory.
One step a frame:

    y3 = C3 L(B2 C2 L(B1 C1 L(B0 C0 x)));  y = y3 + R L(B3 y3)          convolutions of 3 frames
    z = L.5(B y);  u = L(B Wu z);  m = A m + B u;  h = L(B Wh [L(B m); z]);  y = y + B P h
    y = y + F2 L(B F1 L(B y))                                           each block
    scores = sum over frames of W L(B y) + b

with B batch norms and L SpikingJelly's LIF, tau 2, `v = v + (x - v) / 2`, a spike where v reaches 1
(0.5), then v = 0. A convolution sees one frame ahead, so that the answer is complete five steps
after the last frame; recordings are N frames, then five of zeros. Neurons that stand behind k
convolutions start k steps late with a membrane of 0: until then a current makes them spike in every
step, which clears them, and neurons behind them pass their spikes on only for their N frames, so
that everything outside is the zeros of the padding. Batch norms are folded into the synapses that
enter; where several parts add up (y, m) they stay one weight and one bias a channel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.converters.modules import state_dict
from edgesnn.errors import EdgesnnError, FormatError, ModelError
from edgesnn.graph import Fire, PotentialMode, Reset
from edgesnn.network import (
    AnyPopulation,
    AnyProjection,
    Delayed,
    DelayLine,
    FloatArray,
    InputKind,
    Integrator,
    LinearState,
    Network,
    Population,
    Profile,
    Projection,
    ReadoutRule,
)
from edgesnn.sources import Options, Source

Float64Array = npt.NDArray[np.float64]
AHEAD = 5
DECAY, GAIN, EPS = 0.5, 0.5, 1e-5
# what makes neurons spike that are not to start yet: so many spikes a step, together more than all
# else that can enter
FORCE, ENOUGH = 200, 1.5
LARGEST_INPUT = 8.0
# one weight a channel is a matrix on its way
MOST_CHANNELS = 4096
MARK = "attn.lmu.bn_u.weight"
OTHERS = {
    "patch_embed.conv_layers": "the LMUFormer without spikes",
    "patch_embed.rpe_bn": "the spiking LMUFormer without residual membranes (slmu_rnn_conv1d)",
    "block.0.attn.q_conv": "a transformer (attn_ms_conv1d)",
}


def read_lmuformer(path: Path, options: Options) -> Network:
    """The network in a checkpoint.

    Raises:
        FormatError: the file is damaged, or lacks a key.
        ModelError: it is of another kind, or has a shape or key that cannot be kept.
    """
    state = state_dict(path)
    for prefix, kind in OTHERS.items():
        if any(key.startswith(prefix) for key in state):
            raise ModelError(f"{path} is {kind}: only slmu_rnn_ms_conv1d is supported")
    try:
        return _Former(path, state, options.description).network()
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


class _Former:
    def __init__(
        self, path: Path, state: dict[str, npt.NDArray[Any]], described: dict[str, Any]
    ) -> None:
        self.path, self.state = path, state
        self.reach = described.get("largest_input", LARGEST_INPUT)
        if set(described) - {"largest_input"} or not isinstance(self.reach, (int, float)):
            raise FormatError(
                f"the description of {path} is {described}: it may hold 'largest_input', a number"
            )
        self.used: set[str] = set()
        self.parts: list[AnyPopulation] = []
        self.projections: list[AnyProjection] = []
        self.bound: dict[str, Float64Array] = {}

    def network(self) -> Network:
        first = self._array("patch_embed.proj_conv.weight", 3)
        channels = first.shape[1]
        frames = self._array("block.0.attn.lmu.H", 2).shape[1]
        self.frames = frames
        self.bound["input"] = np.full(channels, float(self.reach))
        self._clocks()
        source = "input"
        for k in range(3):
            conv = f"patch_embed.proj_conv{k or ''}.weight"
            gain, shift = self._norm(f"patch_embed.proj_bn{k or ''}")
            source = self._spikes(f"conv{k}", k + 1, conv, shift, self._ahead(source, conv, gain))
        y3 = self._sum("y3", "patch_embed.proj_conv3.weight")
        self._add(self._ahead(source, "patch_embed.proj_conv3.weight", None), y3)
        late = self._normed("conv3", 4, y3, "patch_embed.proj_bn3")
        y = self._sum("y", "patch_embed.rpe_conv.weight")
        self._add([(y3, np.ones(self._size(y3)), 1)], y)
        self._add(self._ahead(late, "patch_embed.rpe_conv.weight", None), y)
        block = 0
        while f"block.{block}.{MARK}" in self.state:
            y = self._block(f"block.{block}", y)
            block += 1
        spikes = self._normed("head", AHEAD, y, "head_bn")
        weight, bias = self._linear("head")
        out = Integrator("scores", len(weight), np.float32(1), _zeros(len(weight)), "head")
        self.parts.append(out)
        self._add([(spikes, weight, 0)], out.name)
        gate = np.zeros((len(weight), AHEAD))
        gate[:, AHEAD - 1] = bias
        self._add([("open", gate, 0)], out.name)
        left = sorted(
            key for key in set(self.state) - self.used
            if not key.endswith(("num_batches_tracked", "lmu.fft_H", "lmu.H"))
        )  # fmt: skip
        if left:
            raise ModelError(f"the key '{left[0]}' and {len(left) - 1} more are not known")
        order = {p.name: k for k, p in enumerate(self.parts)}
        return Network(
            input_size=channels,
            input_kind=InputKind.ANALOG,
            populations=tuple(self.parts),
            projections=tuple(sorted(self.projections, key=lambda p: order[p.target])),
            readout=ReadoutRule("scores", PotentialMode.LAST),
            profile=Profile("LMUFormer", "5debadd"),
            source=self.path.name,
            remarks=(
                f"a recording is {frames} frames and {AHEAD} of zeros, after which the answer is "
                "complete",
                f"the first frame's values stay within {self.reach:g}, or the description says "
                "'largest_input'",
            ),
        )

    def _block(self, at: str, y: str) -> str:
        attn, name = f"{at}.attn", at.replace(".", "")
        z = self._normed(f"{name}.z", AHEAD, y, f"{attn}.prev_bn", 0.5)
        u = self._dense(f"{name}.u", [z], f"{attn}.lmu.W_u", f"{attn}.lmu.bn_u")
        matrix, into = self._array(f"{attn}.lmu.A", 2), self._array(f"{attn}.lmu.B", 2)
        if into.shape != (len(matrix), 1) or matrix.shape[0] != matrix.shape[1]:
            raise ModelError(f"'{attn}.lmu.A' and B have shapes {matrix.shape} and {into.shape}")
        memory = LinearState(
            f"{name}.m", len(matrix), matrix.astype(np.float32), layer=f"{attn}.lmu.A"
        )
        self.parts.append(memory)
        self._add([(u, into.astype(np.float64), 0)], memory.name)
        # nothing but zeros is in the memory before it starts
        self.bound[memory.name] = np.zeros(len(matrix))
        ms = self._normed(f"{name}.ms", AHEAD, memory.name, f"{attn}.lmu.bn_m")
        h = self._dense(f"{name}.h", [ms, z], f"{attn}.lmu.W_h", f"{attn}.lmu.bn_h")
        y = self._residual(f"{name}.y1", y, h, f"{attn}.proj_conv", f"{attn}.proj_bn")
        a = self._normed(f"{name}.a", AHEAD, y, f"{at}.mlp.fc1_bn")
        b = self._dense(f"{name}.b", [a], f"{at}.mlp.fc1_conv", f"{at}.mlp.fc2_bn")
        return self._residual(f"{name}.y2", y, b, f"{at}.mlp.fc2_conv", None)

    # ---- what frames there are ----

    def _clocks(self) -> None:
        """Neurons that know the step: `warm` before a layer starts, `open` for its N frames."""
        starts = np.arange(1, AHEAD + 1)
        last = np.concatenate([starts, starts + self.frames])
        one, zero = np.ones(2 * AHEAD, np.float32), np.float32(0)
        # once it has passed its threshold it stays there
        self._neurons("clock", np.float32(1), last + 0.5, one, Reset.ZERO_AT_ONCE, stays=True)
        self._neurons(
            "warm", zero, np.ones(AHEAD), np.full(AHEAD, 1.2 * FORCE), Reset.ZERO_AT_ONCE, FORCE
        )
        self._neurons("open", zero, np.full(AHEAD, 0.5), np.zeros(AHEAD), Reset.NONE)
        each = np.eye(AHEAD)
        self._add([("clock", np.hstack([-1.2 * FORCE * each, 0 * each]), 0)], "warm")
        self._add([("clock", np.hstack([each, -each]), 0)], "open")

    def _neurons(
        self, name: str, beta: Any, threshold: Any, bias: Any, reset: Reset, most: int = 1,
        stays: bool = False,
    ) -> None:  # fmt: skip
        threshold = np.asarray(threshold, np.float32)
        self.parts.append(
            Population(
                name, len(bias), beta, threshold, np.asarray(bias, np.float32), reset=reset,
                layer=name, fire=Fire.REACHES, max_spikes=most,
                reset_to=threshold if stays else None,
            )
        )  # fmt: skip

    def _spikes(
        self,
        name: str,
        start: int,
        layer: str,
        bias: Float64Array,
        entering: list[tuple[str, Float64Array, int]],
        threshold: float = 1.0,
    ) -> str:
        """LIF neurons that start after so many steps; the neurons that pass their frames on."""
        size = len(bias)
        self.parts.append(
            Population(
                name, size, np.float32(DECAY), np.float32(threshold),
                (GAIN * bias).astype(np.float32), reset=Reset.ZERO_AT_ONCE, layer=layer,
                fire=Fire.REACHES,
            )
        )  # fmt: skip
        scaled = [(source, GAIN * weight, delay) for source, weight, delay in entering]
        self._add(scaled, name)
        most = threshold + np.abs(GAIN * bias)
        for source, weight, _ in scaled:
            bound = self.bound.get(source, np.ones(1))
            matrix = np.abs(weight)
            most = most + (matrix * bound if weight.ndim == 1 else (matrix * bound).sum(axis=1))
        force = np.zeros((size, AHEAD))
        force[:, start - 1] = ENOUGH * most / FORCE
        self._add([("warm", force, 0)], name)
        passed = f"{name}.open"
        self._neurons(passed, np.float32(0), np.full(size, 1.5), np.zeros(size), Reset.NONE)
        gate = np.zeros((size, AHEAD))
        gate[:, start - 1] = 1
        self._add([(name, np.ones(size), 0), ("open", gate, 0)], passed)
        return passed

    # ---- layers ----

    def _normed(self, name: str, start: int, y: str, norm: str, threshold: float = 1.0) -> str:
        gain, shift = self._norm(norm)
        if len(gain) != self._size(y):
            raise ModelError(f"'{norm}' has {len(gain)} channels, not {self._size(y)}")
        return self._spikes(name, start, norm, shift, [(y, gain, 0)], threshold)

    def _dense(self, name: str, sources: list[str], linear: str, norm: str) -> str:
        weight, bias = self._linear(linear)
        gain, shift = self._norm(norm)
        sizes = [self._size(source) for source in sources]
        if weight.shape != (len(gain), sum(sizes)):
            raise ModelError(f"'{linear}.weight' has shape {weight.shape}")
        parts = np.split(weight * gain[:, np.newaxis], np.cumsum(sizes)[:-1], axis=1)
        entering = [(source, part, 0) for source, part in zip(sources, parts, strict=True)]
        return self._spikes(name, AHEAD, linear, gain * bias + shift, entering)

    def _residual(self, name: str, y: str, spikes: str, linear: str, norm: str | None) -> str:
        weight, bias = self._linear(linear)
        if norm is not None:
            gain, shift = self._norm(norm)
            weight, bias = weight * gain[:, np.newaxis], gain * bias + shift
        self._sum(name, f"{linear}.weight", bias)
        self._add([(y, np.ones(len(bias)), 0), (spikes, weight, 0)], name)
        self.bound[name] = self.bound[y] + np.abs(weight).sum(axis=1) + np.abs(bias)
        return name

    def _sum(self, name: str, layer: str, bias: Float64Array | None = None) -> str:
        """What adds up several parts, of as many channels as a layer makes."""
        size = len(self._array(layer, None))
        given = _zeros(size) if bias is None else bias.astype(np.float32)
        self.parts.append(Integrator(name, size, np.float32(0), given, layer))
        self.bound[name] = np.zeros(size)
        return name

    def _ahead(
        self, source: str, layer: str, gain: Float64Array | None
    ) -> list[tuple[str, Float64Array, int]]:
        """A convolution of the frames before, at and after: the latest is this step's."""
        weight = self._array(layer, 3).astype(np.float64)
        if weight.shape[1:] != (self._size(source), 3):
            raise ModelError(f"'{layer}' has shape {weight.shape} behind {self._size(source)}")
        if gain is not None:
            weight = weight * gain[:, np.newaxis, np.newaxis]
        return [(source, weight[:, :, tap], 2 - tap) for tap in range(3)]

    def _add(self, entering: list[tuple[str, Float64Array, int]], target: str) -> None:
        """Projections of matrices, or of one weight a channel, from frames so long ago."""
        layer = next(p.layer for p in self.parts if p.name == target)
        taps: list[tuple[Float64Array, int]] = []
        for source, weight, delay in entering:
            if weight.ndim == 2 and source != "input":
                late = source if delay == 0 else self._late(source, delay)
                self.projections.append(
                    Projection(late, target, weight.astype(np.float32), layer=layer)
                )
                if target in self.bound:
                    self.bound[target] = self.bound[target] + np.abs(weight).sum(axis=1)
                continue
            if max(weight.shape) > MOST_CHANNELS:
                raise ModelError(f"'{layer}' has {max(weight.shape)} channels, at most 4096 fit")
            matrix = np.diag(weight) if weight.ndim == 1 else weight
            taps.append((matrix, delay))
            if source != "input":
                self._delayed(source, target, layer, taps)
                taps = []
                if target in self.bound and source in self.bound:
                    self.bound[target] = self.bound[target] + np.abs(weight) * self.bound[source]
        if taps:
            self._delayed("input", target, layer, taps)

    def _delayed(
        self, source: str, target: str, layer: str, taps: list[tuple[Float64Array, int]]
    ) -> None:
        weight = np.stack([matrix for matrix, _ in taps]).astype(np.float32)
        delay = np.stack([np.full(matrix.shape, late, np.uint8) for matrix, late in taps])
        self.projections.append(Delayed(source, target, weight, delay, layer))

    def _late(self, source: str, delay: int) -> str:
        """The spikes of a source so many steps ago, made once."""
        name = f"{source}.{delay}"
        if all(p.name != name for p in self.parts):
            at = 1 + next(k for k, p in enumerate(self.parts) if p.name == source)
            delays = np.full(self._size(source), delay, np.uint8)
            self.parts.insert(at, DelayLine(name, source, delays, source))
        return name

    # ---- what is in the file ----

    def _size(self, name: str) -> int:
        if name == "input":
            return len(self.bound["input"])
        return next(p.size for p in self.parts if p.name == name)

    def _array(self, key: str, axes: int | None) -> FloatArray:
        if key not in self.state:
            raise FormatError(f"{self.path} lacks the key '{key}': save the whole model")
        self.used.add(key)
        array = np.asarray(self.state[key], np.float32)
        if axes is not None and (array.ndim != axes or not array.size):
            raise ModelError(f"'{key}' has shape {array.shape}, not {axes} axes")
        return array

    def _linear(self, key: str) -> tuple[Float64Array, Float64Array]:
        """Weight (out, in), of a convolution of one frame too, and bias (out,)."""
        weight = self._array(f"{key}.weight", None).astype(np.float64)
        weight = weight[:, :, 0] if weight.ndim == 3 and weight.shape[2] == 1 else weight
        bias = self._array(f"{key}.bias", 1).astype(np.float64)
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise ModelError(f"'{key}' has a weight {weight.shape} and a bias {bias.shape}")
        return weight, bias

    def _norm(self, key: str) -> tuple[Float64Array, Float64Array]:
        """Evaluation's batch norm as a gain and a shift of each channel."""
        names = ("weight", "bias", "running_mean", "running_var")
        arrays = [self._array(f"{key}.{name}", 1).astype(np.float64) for name in names]
        weight, bias, mean, variance = arrays
        if len({len(array) for array in arrays}) != 1 or np.any(variance < 0):
            raise ModelError(f"'{key}' is no batch norm of {len(weight)} channels")
        gain = weight / np.sqrt(variance + EPS)
        return gain, bias - mean * gain


def _zeros(size: int) -> FloatArray:
    return np.zeros(size, np.float32)


def _recognises(path: Path) -> bool:
    try:
        return any(key.endswith(MARK) for key in state_dict(path))
    except EdgesnnError:
        return False


SOURCE = Source(
    name="lmuformer",
    describes="checkpoints of the spiking LMUFormer (slmu_rnn_ms_conv1d), streamed",
    recognises=_recognises,
    read=read_lmuformer,
    described=True,
)
