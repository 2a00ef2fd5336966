"""Legendre memory units: Keras files of LMU layers, and PyTorch state_dicts, without either.

Voelker, Kajić, Eliasmith, "Legendre Memory Units", NeurIPS 2019, equations 4, 6 and 7; Chilkuri and
Eliasmith, ICML 2021, for the feed-forward form, which computes the same at inference. In each step

    u = K^T [x; h-] (+ b) (+ R^T m-)           of memory_d values; without a kernel u = x
    m[k] = A m-[k] + B u[k]                     of `order` states each
    h = cell([m; x], h-)                        SimpleRNN, Dense, or no cell: [m; x] itself

with x in [m; x] only for `input_to_hidden`, h- in u only for `hidden_to_memory`, R only for
`memory_to_memory`. A and B are not in the files; they follow from order, theta and discretizer:

    a[i][j] = (2i + 1) (-1 if i < j else (-1)^(i - j + 1)),  b[i] = (2i + 1) (-1)^i
    zoh    exp([[a, b], [0, 0]] / theta) = [[A, B], [0, 1]]
    euler  A = 1 + a / theta, B = b / theta

Keras: `.keras` (a zip of config.json and model.weights.h5) and whole models in `.h5`; layers of the
names LMU, LMUFeedforward, or RNN of LMUCell, then Dense, Dropout, Activation. PyTorch: the keys
`e_x, e_h, e_m, W_x, W_h, W_m, A, B` of one memory with tanh, A and B as they stand, then a Linear.
The answer is the last value of the last layer.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.converters.hdf5 import ATTRIBUTES, Tree, is_hdf5, read_hdf5
from edgesnn.converters.modules import state_dict
from edgesnn.errors import EdgesnnError, FormatError, MissingError, ModelError
from edgesnn.graph import Activation, PotentialMode
from edgesnn.network import (
    AnyPopulation,
    FloatArray,
    InputKind,
    Integrator,
    LinearState,
    Network,
    Profile,
    Projection,
    ReadoutRule,
)
from edgesnn.sources import Options, Source

Float64Array = npt.NDArray[np.float64]
# what zipfile answers to an archive that is not whole
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError)
LARGEST_CONFIG = 1 << 24
MAX_ORDER = 1024
PASSED = ("Dropout", "Activation", "InputLayer", "Masking", "Softmax")
LMU_LAYERS = ("LMU", "LMUFeedforward", "LMUCell")


def _sigmoid(x: Float64Array) -> Float64Array:
    return np.asarray(1 / (1 + np.exp(-x)))


BOUNDED = {"tanh": np.tanh, "sigmoid": _sigmoid}


def read_lmu(path: Path, options: Options) -> Network:
    """The network in a Keras file or PyTorch state_dict of an LMU.

    Raises:
        MissingError: h5py is not installed, or the file cannot be read.
        FormatError: it is damaged, or holds no LMU.
        ModelError: a layer cannot be kept; the message names it.
    """
    try:
        if _is_torch(path):
            return _of_torch(path)
        config, weights = _keras(path)
        return _of_keras(path, config, weights)
    except ModelError as error:
        text = str(error)
        raise ModelError(text if str(path) in text else f"{path}: {text}") from None


# ---- the memory ----


def memory(order: int, theta: float, discretizer: str) -> tuple[FloatArray, FloatArray]:
    """A (order, order) and B (order, 1) of a memory, theta in steps.

    Raises:
        ModelError: the discretizer is not known, or its result is not stable.
    """
    i = np.arange(order)[:, np.newaxis]
    j = i.T
    rate = np.where(i < j, -1.0, (-1.0) ** (i - j + 1)) * (2 * i + 1) / theta
    gain = (-1.0) ** i * (2 * i + 1) / theta
    if discretizer == "euler":
        a, b = np.eye(order) + rate, gain
    elif discretizer == "zoh":
        block = np.zeros((order + 1, order + 1))
        block[:order, :order], block[:order, order:] = rate, gain
        grown = _exponential(block)
        a, b = grown[:order, :order], grown[:order, order:]
    else:
        raise ModelError(f"the discretizer {discretizer!r} is neither 'zoh' nor 'euler'")
    radius = float(np.abs(np.linalg.eigvals(a)).max())
    if radius > 1 + 1e-9:
        raise ModelError(
            f"an LMU of order {order} and theta {theta:g} grows without bound by {discretizer}"
        )
    return a.astype(np.float32), b.astype(np.float32)


def _exponential(matrix: Float64Array) -> Float64Array:
    """exp(matrix), by scaling, its Taylor series and squaring: to 1e-12 of SciPy's here."""
    norm = float(np.abs(matrix).sum(axis=1).max())
    halvings = max(0, int(np.ceil(np.log2(norm))) + 4) if norm else 0
    scaled = matrix / 2.0**halvings
    term = result = np.eye(len(matrix))
    for n in range(1, 19):
        term = term @ scaled / n
        result = result + term
    for _ in range(halvings):
        result = result @ result
    return result


# ---- the network ----


@dataclass
class _Source:
    """A part that carries values, and which rows of a Keras kernel belong to it."""

    name: str
    size: int


@dataclass
class _Stack:
    """Layers, one behind the other; what the last of them gives is in `now`."""

    channels: int
    parts: list[AnyPopulation] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    now: list[_Source] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = [_Source("input", self.channels)]

    @property
    def width(self) -> int:
        """Values that the last layer gives."""
        return sum(source.size for source in self.now)

    def enter(self, sources: list[_Source], target: str, kernel: FloatArray, layer: str) -> None:
        """Projections of a kernel (inputs, outputs), its rows in the order of the sources."""
        start = 0
        for source in sources:
            weight = kernel[start : start + source.size].T
            self.projections.append(Projection(source.name, target, weight, layer=layer))
            start += source.size
        if start != len(kernel):
            raise ModelError(f"layer '{layer}' has a kernel for {len(kernel)} inputs, not {start}")

    def dense(
        self, name: str, kernel: FloatArray, bias: FloatArray | None, activation: str
    ) -> None:
        """A Dense layer."""
        before, units = self.now, kernel.shape[1]
        self.parts.append(_cell(name, units, bias, activation))
        self.enter(before, name, kernel, name)
        self.now = [_Source(name, units)]

    def memory(
        self,
        name: str,
        kernel: FloatArray | None,
        recurrent: FloatArray | None,
        bias: FloatArray | None,
        matrices: tuple[FloatArray, FloatArray],
        memory_d: int,
        hidden: _Source | None,
    ) -> _Source:
        """The memory of an LMU; its input `u`, and m itself."""
        a, b = matrices
        x, order = self.now, len(a)
        u, m = f"{name}_u", f"{name}_m"
        zeros = np.zeros(memory_d, np.float32)
        size = memory_d * order
        self.parts.append(
            Integrator(u, memory_d, np.float32(0), zeros if bias is None else bias, name)
        )
        self.parts.append(LinearState(m, size, a, memory_d, name))
        if kernel is None:
            if self.width != memory_d:
                raise ModelError(f"layer '{name}' has no kernel and {self.width} inputs")
            kernel = np.eye(memory_d, dtype=np.float32)
        self.enter([*x, hidden] if hidden else x, u, kernel, name)
        held = _Source(m, size)
        if recurrent is not None:
            self.enter([held], u, recurrent, name)
        self.projections.append(Projection(u, m, b, memory_d, name))
        return held

    def network(self, path: Path, profile: Profile, remarks: tuple[str, ...] = ()) -> Network:
        """The network of the layers."""
        order = {p.name: k for k, p in enumerate(self.parts)}
        if len(self.now) != 1:
            raise ModelError("it ends with an LMU without a hidden cell: end it with a Dense layer")
        return Network(
            input_size=self.channels,
            input_kind=InputKind.ANALOG,
            populations=tuple(self.parts),
            projections=tuple(sorted(self.projections, key=lambda p: order[p.target])),
            readout=ReadoutRule(self.now[0].name, PotentialMode.LAST),
            profile=profile,
            source=path.name,
            remarks=remarks,
        )


def _cell(name: str, units: int, bias: FloatArray | None, activation: str) -> Integrator:
    """Values of an activation of what enters."""
    given = np.zeros(units, np.float32) if bias is None else bias
    if activation in BOUNDED:
        function: Any = BOUNDED[activation]
        return Integrator(name, units, np.float32(0), given, name, Activation.TABLE, function)
    # softmax keeps the order of what it is given, and it can only be the last
    plain = {"linear": Activation.IDENTITY, "softmax": Activation.IDENTITY, "relu": Activation.RELU}
    if activation not in plain:
        known = ", ".join([*plain, *BOUNDED])
        raise ModelError(f"layer '{name}' has the activation {activation!r}: there is {known}")
    return Integrator(name, units, np.float32(0), given, name, plain[activation])


# ---- PyTorch ----

TORCH_KEYS = ("e_x", "e_h", "e_m", "W_x", "W_h", "W_m", "A", "B")


def _is_torch(path: Path) -> bool:
    if is_hdf5(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "config.json" not in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return True


def _of_torch(path: Path) -> Network:
    state = state_dict(path)
    prefix = next((key[: -len("e_x")] for key in state if key.endswith("e_x")), None)
    if prefix is None or any(prefix + key not in state for key in TORCH_KEYS):
        raise FormatError(f"{path} has not the keys {', '.join(TORCH_KEYS)} of an LMU")
    cell = {key: state.pop(prefix + key).astype(np.float32) for key in TORCH_KEYS}
    hidden, channels = cell["W_x"].shape
    stack = _Stack(channels)
    kernel = np.concatenate([cell["e_x"], cell["e_h"]], axis=1).T
    fed = _Source("h", hidden)
    matrices = cell["A"], cell["B"].reshape(-1, 1)
    held = stack.memory("lmu", kernel, cell["e_m"].T, None, matrices, 1, fed)
    stack.parts.append(_cell("h", hidden, None, "tanh"))
    inner = np.concatenate([cell["W_x"], cell["W_h"], cell["W_m"]], axis=1).T
    stack.enter([*stack.now, fed, held], "h", inner, "h")
    stack.now = [fed]
    weights = [key for key in state if key.endswith("weight")]
    for key in weights:
        name = key.rsplit(".", 1)[0]
        bias = state.pop(f"{name}.bias", None)
        stack.dense(
            name, state.pop(key).astype(np.float32).T,
            None if bias is None else bias.astype(np.float32), "linear",
        )  # fmt: skip
    if state:
        raise ModelError(f"'{next(iter(state))}' is no part of an LMU and a Linear behind it")
    return stack.network(path, Profile("PyTorch LMU", "e_x, e_h, e_m, W_x, W_h, W_m"))


# ---- Keras ----


def _keras(path: Path) -> tuple[dict[str, Any], Tree]:
    """The configuration of a whole Keras model, and its weights."""
    if is_hdf5(path):
        tree = read_hdf5(path)
        text = tree.get(ATTRIBUTES, {}).get("", {}).get("model_config")
        weights = tree.get("model_weights")
        if not isinstance(text, str) or not isinstance(weights, dict):
            raise FormatError(
                f"{path} holds weights without the model's configuration: save the whole model, "
                "model.save(...)"
            )
        return _json(path, text), weights
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > LARGEST_CONFIG:
                raise FormatError(f"{path} has a configuration of more than 16 MB")
            text = archive.read("config.json").decode("utf-8", "replace")
            inner = archive.getinfo("model.weights.h5")
            if inner.file_size > 2 * path.stat().st_size + LARGEST_CONFIG:
                raise FormatError(f"{path} claims to hold more than it does: save it again")
            content = archive.read(inner)
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror or error}") from None
    except (*BROKEN, KeyError, RuntimeError, NotImplementedError) as error:
        raise FormatError(f"{path} is no whole .keras file ({error}): save it again") from None
    return _json(path, text), read_hdf5(path, content)


def _json(path: Path, text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise FormatError(f"{path}: its configuration is no JSON object: save it again")
    return config


def _of_keras(path: Path, config: dict[str, Any], weights: Tree) -> Network:
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else None
    if not isinstance(layers, list):
        raise FormatError(f"{path}: its configuration lists no layers: save the whole model")
    if config.get("class_name") != "Sequential" and _branches(layers):
        raise ModelError(f"{path} is a model whose layers are no single chain: not supported")
    used: dict[str, int] = {}
    stack: _Stack | None = None
    for entry in layers:
        if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
            raise FormatError(f"{path}: a layer of its configuration is damaged: save it again")
        kind = str(entry.get("class_name")).rsplit(">", 1)[-1]
        settings: dict[str, Any] = entry["config"]
        name = str(settings.get("name", kind))
        place = _snake(kind)
        used[place] = used.get(place, -1) + 1
        place += f"_{used[place]}" if used[place] else ""
        arrays = _arrays(weights, name, place)
        if kind == "RNN":
            cell = settings.get("cell", {})
            kind = str(cell.get("class_name")).rsplit(">", 1)[-1]
            settings = cell.get("config", {})
        if kind in LMU_LAYERS:
            stack = _lmu(name, settings, arrays, stack)
        elif kind == "Dense" and stack is not None:
            kernel, *rest = _matched(
                name, arrays,
                [(stack.width, int(settings.get("units", 0)))]
                + ([(int(settings.get("units", 0)),)] if settings.get("use_bias", True) else []),
            )  # fmt: skip
            stack.dense(name, kernel, rest[0] if rest else None,
                        str(settings.get("activation", "linear")))  # fmt: skip
        elif kind not in PASSED or (kind == "Activation" and not _last_softmax(entry, layers)):
            raise ModelError(f"layer '{name}' is of type {kind}, which is not supported here")
    if stack is None:
        raise FormatError(f"{path} has no LMU layer")
    version = str(config.get("keras_version", config.get("module", "")) or "3")
    return stack.network(path, Profile("Keras LMU", version if version[0].isdigit() else "3"))


def _branches(layers: list[Any]) -> bool:
    """Whether a functional model is more than a chain: more than one node, or input, a layer."""
    for entry in layers:
        nodes = entry.get("inbound_nodes", []) if isinstance(entry, dict) else []
        if len(nodes) > 1 or json.dumps(nodes).count("keras_history") > 1:
            return True
    return False


def _last_softmax(entry: dict[str, Any], layers: list[Any]) -> bool:
    return entry is layers[-1] and entry["config"].get("activation") in ("softmax", "linear")


def _snake(name: str) -> str:
    """How Keras 3 names a layer's group: by its class."""
    split = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", split).lower()


def _arrays(weights: Tree, name: str, place: str) -> list[FloatArray]:
    """All arrays of a layer, in the order in which Keras makes them; of a hidden cell last."""
    layers = weights.get("layers", weights.get("_layer_checkpoint_dependencies", weights))
    group = layers.get(place, layers.get(name)) if isinstance(layers, dict) else None
    found: list[tuple[str, Any]] = []

    def gather(tree: Tree, at: str) -> None:
        for key, value in tree.items():
            if key == ATTRIBUTES:
                continue
            if isinstance(value, dict):
                gather(value, f"{at}/{key}")
            elif isinstance(value, (np.ndarray, np.floating)):
                found.append((f"{at}/{key}", value))

    if isinstance(group, dict):
        gather(group, "")
    inner = ("kernel", "recurrent_kernel", "bias", "theta_inv")

    def rank(item: tuple[str, Any]) -> tuple[bool, int, int]:
        at, last = item[0], item[0].rsplit("/", 1)[-1].split(":")[0]
        hidden = "hidden_cell" in at or bool(re.search(r"(simple_rnn|dense)[^/]*/", at))
        return (
            hidden, inner.index(last) if last in inner else len(inner),
            int(last) if last.isdecimal() else 0,
        )  # fmt: skip

    return [np.asarray(value, np.float32) for _, value in sorted(found, key=rank)]


def _matched(
    name: str, arrays: list[FloatArray], shapes: list[tuple[int, ...]], order: int = 0
) -> list[FloatArray]:
    """The arrays of these shapes, in order; older files hold the memory's A and B beside them."""
    left, found = list(arrays), []
    for shape in shapes:
        k = next((k for k, array in enumerate(left) if array.shape == shape), None)
        if k is None:
            raise ModelError(
                f"layer '{name}' has arrays of shapes {[a.shape for a in arrays]}, and none of "
                f"{shape} where one is expected"
            )
        found.append(left.pop(k))
    allowed = {(order, order), (1, order), (order, 1), ()}
    other = [array.shape for array in left if array.shape not in allowed]
    if other:
        raise ModelError(f"layer '{name}' has an array of shape {other[0]} too many")
    return found


def _lmu(
    name: str, settings: dict[str, Any], arrays: list[FloatArray], stack: _Stack | None
) -> _Stack:
    """An LMU layer behind the others."""
    try:
        memory_d, order = int(settings["memory_d"]), int(settings["order"])
        theta = float(settings["theta"])
        cell = settings.get("hidden_cell")
        hidden = dict(cell["config"]) if isinstance(cell, dict) else None
        units = int(hidden["units"]) if hidden is not None else 0
    except (KeyError, TypeError, ValueError, OverflowError):
        raise FormatError(
            f"layer '{name}' lacks memory_d, order, theta or the units of its hidden cell: save it "
            "again"
        ) from None
    if not (0 < order <= MAX_ORDER and 0 < memory_d * order <= 0xFFFF and theta > 0):
        raise ModelError(f"layer '{name}' has memory_d {memory_d}, order {order}, theta {theta:g}")
    kind = str(cell.get("class_name", "")).rsplit(">", 1)[-1] if isinstance(cell, dict) else None
    if kind not in (None, "SimpleRNNCell", "Dense"):
        raise ModelError(f"layer '{name}' has the hidden cell {kind}: SimpleRNNCell, Dense or none")
    to_memory = bool(settings.get("hidden_to_memory")) and units > 0
    has_kernel = settings.get("kernel_initializer", "glorot_uniform") is not None
    has_bias = bool(settings.get("use_bias"))
    again = bool(settings.get("memory_to_memory"))
    if stack is None:
        stack = _Stack(_channels(name, arrays, memory_d, units if to_memory else 0, has_kernel))
    width, size = stack.width, memory_d * order
    shapes: list[tuple[int, ...]] = []
    shapes += [(width + units * to_memory, memory_d)] if has_kernel else []
    shapes += [(size, memory_d)] if again else []
    shapes += [(memory_d,)] if has_bias else []
    shapes += [()] if settings.get("trainable_theta") else []
    x_too = bool(settings.get("input_to_hidden"))
    entering = size + width * x_too
    hidden_bias = hidden is not None and bool(hidden.get("use_bias", True))
    if hidden is not None:
        shapes += [(entering, units)]
        shapes += [(units, units)] if kind == "SimpleRNNCell" else []
        shapes += [(units,)] if hidden_bias else []
    found = _matched(name, arrays, shapes, order)
    kernel = found.pop(0) if has_kernel else None
    recurrent = found.pop(0) if again else None
    bias = found.pop(0) if has_bias else None
    if settings.get("trainable_theta"):
        theta = 1 / float(found.pop(0))
    matrices = memory(order, theta, str(settings.get("discretizer", "zoh")))
    before = stack.now
    fed = _Source(f"{name}_h", units)
    held = stack.memory(
        name, kernel, recurrent, bias, matrices, memory_d, fed if to_memory else None
    )
    stack.now = [held, *before] if x_too else [held]
    if hidden is None:
        return stack
    inner = found.pop(0)
    loop = found.pop(0) if kind == "SimpleRNNCell" else None
    default = "tanh" if kind == "SimpleRNNCell" else "linear"
    activation = str(hidden.get("activation") or default)
    stack.dense(fed.name, inner, found.pop(0) if hidden_bias else None, activation)
    if loop is not None:
        stack.enter([fed], fed.name, loop, name)
    return stack


def _channels(
    name: str, arrays: list[FloatArray], memory_d: int, units: int, has_kernel: bool
) -> int:
    """Inputs of the first layer, by the shape of its kernel."""
    if not has_kernel:
        return memory_d
    if not arrays or arrays[0].ndim != 2 or len(arrays[0]) <= units:
        raise ModelError(f"layer '{name}' has no kernel: save the whole model")
    return len(arrays[0]) - units


def _recognises(path: Path) -> bool:
    try:
        if _is_torch(path):
            keys = list(state_dict(path))
            return all(any(key.endswith(name) for key in keys) for name in TORCH_KEYS)
        return "LMU" in json.dumps(_keras(path)[0])
    except (EdgesnnError, RecursionError):
        return False


SOURCE = Source(
    name="lmu",
    describes="Legendre memory units: Keras (.keras, whole models in .h5) and PyTorch",
    recognises=_recognises,
    read=read_lmu,
)
