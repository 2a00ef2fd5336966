"""Golden traces of what is no spiking framework: `python tests/golden/others.py PACKAGE FOLDER`.

Needs NumPy, the package (brevitas) with torch, and nothing of edgesnn; `make golden` runs it.

* `brevitas`: layers whose weights are integers times a scale, by every way in which the scale is
  found: state_dict, description, and the weights that Brevitas itself multiplies by.
* `ai-edge-litert`: int8 `.tflite` files of ../tflite_files.py and what TensorFlow Lite's reference
  kernels make of random frames; needs the package tflite too.
* `keras`: LMUs whose hidden cells are Keras's, saved by Keras, and their scores of every step in
  units of 1e-5; the memory around the cells is written here, from the paper.
* `nir`: files that the package writes, one for each primitive.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

SCRIPT = "tests/golden/others.py"
Arrays = dict[str, np.ndarray]


def brevitas() -> tuple[str, Arrays]:
    import torch
    from brevitas import nn
    from brevitas.inject.enum import ScalingImplType
    from brevitas.quant import Int8WeightPerChannelFloat, Int8WeightPerTensorFloat

    class Learned(Int8WeightPerTensorFloat):
        scaling_impl_type = ScalingImplType.PARAMETER_FROM_STATS

    torch.manual_seed(0)
    each = {"weight_quant": Int8WeightPerChannelFloat}
    layers: dict[str, tuple[Any, dict[str, Any]]] = {
        "linear": (nn.QuantLinear(6, 4, bias=True), {}),
        "linear-4": (nn.QuantLinear(6, 4, bias=False, weight_bit_width=4), {"weight_bit_width": 4}),
        "linear-2": (nn.QuantLinear(6, 4, bias=False, weight_bit_width=2), {"weight_bit_width": 2}),
        "linear-12": (
            nn.QuantLinear(6, 4, bias=False, weight_bit_width=12), {"weight_bit_width": 12}
        ),
        "linear-each": (
            nn.QuantLinear(6, 4, bias=False, **each), {"scaling_per_output_channel": True}
        ),
        "linear-learned": (nn.QuantLinear(6, 4, bias=False, weight_quant=Learned), {}),
        "conv-3-each": (
            nn.QuantConv2d(2, 3, 2, bias=True, weight_bit_width=3, **each),
            {"scaling_per_output_channel": True, "weight_bit_width": 3},
        ),
        "conv1d": (nn.QuantConv1d(2, 3, 3, bias=False), {}),
    }  # fmt: skip
    arrays: Arrays = {}
    for name, (layer, described) in layers.items():
        layer.train()
        layer.quant_weight()  # a learned scale starts from what it sees first
        layer.eval()
        with torch.no_grad():
            arrays[f"{name}/rounded"] = layer.quant_weight().value.numpy()
        kind = {"type": type(layer).__name__, **described}
        arrays[f"{name}/described"] = np.array(json.dumps(kind))
        for key, value in layer.state_dict().items():
            arrays[f"{name}/state/{key}"] = value.numpy()
    return "Brevitas", arrays


def litert() -> tuple[str, Arrays]:
    from ai_edge_litert import interpreter as lite

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import tflite_files

    files = {
        "relu": (tflite_files.convolutional(0), None),
        "relu6": (tflite_files.convolutional(1, relu="RELU6"), None),
        "none": (tflite_files.convolutional(2, relu="NONE"), None),
        "head": (tflite_files.head(3), 5),  # before its softmax
    }
    arrays: Arrays = {}
    for name, (content, seen) in files.items():
        made = lite.Interpreter(
            model_content=content,
            experimental_op_resolver_type=lite.OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
        )
        made.allocate_tensors()
        into, out = made.get_input_details()[0], made.get_output_details()[0]
        shape = (100, *into["shape"][1:])
        frames = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
        given = []
        for frame in frames:
            made.set_tensor(into["index"], frame[np.newaxis])
            made.invoke()
            given.append(made.get_tensor(out["index"] if seen is None else seen)[0].copy())
        arrays[f"{name}/file"] = np.frombuffer(content, np.uint8)
        arrays[f"{name}/input"] = frames.reshape(100, -1)
        arrays[f"{name}/output"] = np.stack(given)
    return "LiteRT", arrays


def keras() -> tuple[str, Arrays]:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    import torch

    order, theta, memory_d, units, channels, classes = 4, 9.0, 2, 7, 2, 3
    row, column = np.indices((order, order))
    sign = np.where(row < column, -1.0, (-1.0) ** (row - column + 1))
    matrix = np.eye(order) + sign * (2 * row + 1) / theta
    into = ((-1.0) ** row * (2 * row + 1) / theta)[:, :1]

    @keras.saving.register_keras_serializable("keras-lmu")
    class LMUCell(keras.layers.Layer):
        """Voelker, Kajic, Eliasmith 2019, discretised by Euler; the hidden cell is Keras's."""

        def __init__(self, hidden_cell: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.hidden_cell = hidden_cell
            self.recurrent = isinstance(hidden_cell, keras.layers.SimpleRNNCell)
            size = memory_d * order
            self.output_size = units if hidden_cell else size + channels
            self.state_size = [units] * self.recurrent + [size]

        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(
                shape=(channels + units * self.recurrent, memory_d), name="kernel"
            )
            self.recurrent_kernel = self.add_weight(
                shape=(memory_d * order, memory_d), name="recurrent_kernel"
            )
            self.bias = self.add_weight(shape=(memory_d,), name="bias", initializer="zeros")
            if self.hidden_cell is not None:
                self.hidden_cell.build((None, memory_d * order + channels))
            self.built = True

        def call(self, x: Any, states: Any) -> Any:
            *hidden, m = states
            u = keras.ops.concatenate([x, *hidden], axis=1) @ self.kernel
            u = u + m @ self.recurrent_kernel + self.bias
            m = keras.ops.reshape(m, (-1, memory_d, order)) @ matrix.T.astype(np.float32)
            m = m + u[:, :, None] * into[:, 0].astype(np.float32)
            m = keras.ops.reshape(m, (-1, memory_d * order))
            out = keras.ops.concatenate([m, x], axis=1)
            if self.recurrent:
                out, hidden = self.hidden_cell(out, hidden)
            elif self.hidden_cell is not None:
                out = self.hidden_cell(out)
            return out, [*hidden, m]

    @keras.saving.register_keras_serializable("keras-lmu")
    class LMU(keras.layers.Layer):
        def __init__(self, hidden_cell: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.cell = LMUCell(hidden_cell)
            self.layer = keras.layers.RNN(self.cell, return_sequences=True)

        def build(self, shape: Any) -> None:
            self.layer.build(shape)
            self.built = True

        def call(self, x: Any) -> Any:
            return self.layer(x)

        def get_config(self) -> dict[str, Any]:
            cell = self.cell.hidden_cell
            return {
                **super().get_config(), "memory_d": memory_d, "order": order, "theta": theta,
                "hidden_cell": cell and keras.saving.serialize_keras_object(cell),
                "hidden_to_memory": self.cell.recurrent, "memory_to_memory": True,
                "input_to_hidden": True, "discretizer": "euler", "use_bias": True,
            }  # fmt: skip

    cells = {
        "simple-rnn-tanh": lambda: keras.layers.SimpleRNNCell(units),
        "simple-rnn-relu": lambda: keras.layers.SimpleRNNCell(units, activation="relu"),
        "dense-tanh": lambda: keras.layers.Dense(units, activation="tanh"),
        "dense-relu": lambda: keras.layers.Dense(units, activation="relu"),
        "none": lambda: None,
    }
    signal = np.cumsum(np.random.default_rng(0).normal(0, 0.3, (4, 30, channels)), axis=1)
    arrays: Arrays = {"input": signal.clip(-2, 2).astype(np.float32)}
    for name, cell in cells.items():
        keras.utils.set_random_seed(0)
        last = keras.layers.Dense(classes)
        model = keras.Sequential([keras.Input((None, channels)), LMU(cell(), name="lmu"), last])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            model.save(path)
            with zipfile.ZipFile(path) as archive:
                # the third part of the archive says when it was saved
                for part in ("config.json", "model.weights.h5"):
                    # Keras names shared objects by their address
                    content = re.sub(rb'("shared_object_id": )\d+', rb"\g<1>1", archive.read(part))
                    arrays[f"{name}/{part}"] = np.frombuffer(content, np.uint8)
        with torch.no_grad():
            scores = model(arrays["input"]).cpu().numpy()
        arrays[f"{name}/scores"] = np.rint(scores * 1e5).astype(np.int32)
    return "Keras", arrays


def nir() -> tuple[str, Arrays]:
    import nir

    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return rng.uniform(0.5, 1, shape).astype(np.float32)

    def flat(number: int) -> np.ndarray:
        return np.array([number])

    def pair(number: int) -> np.ndarray:
        return np.array([number, number])

    time = np.full(5, 2e-4, np.float32)
    zero, one = np.zeros(5, np.float32), np.ones(5, np.float32)
    lif = {"tau": time, "r": one, "v_leak": zero, "v_threshold": one}
    cuba = {"tau_syn": time, "tau_mem": time, **{k: v for k, v in lif.items() if k != "tau"}}
    neurons = {
        "IF": nir.IF(r=one, v_threshold=one), "LIF": nir.LIF(**lif),
        "CubaLIF": nir.CubaLIF(**cuba, w_in=one),
        "LI": nir.LI(tau=time, r=one, v_leak=zero), "I": nir.I(r=one),
        "Threshold": nir.Threshold(threshold=one),
    }  # fmt: skip
    graphs: dict[str, Any] = {}

    def chain(*nodes: Any) -> Any:
        return nir.NIRGraph.from_list(*nodes)

    for name, node in neurons.items():
        graphs[name] = chain(nir.Affine(weight=some(5, 4), bias=zero), node)
    graphs["Linear"] = chain(nir.Linear(weight=some(5, 4)), nir.LIF(**lif))
    graphs["Scale"] = chain(nir.Affine(some(5, 4), zero), nir.Scale(scale=one), nir.LIF(**lif))
    graphs["Delay"] = chain(nir.Affine(some(5, 4), zero), nir.LIF(**lif), nir.Delay(delay=zero))
    nodes = {
        "input": nir.Input(input_type=flat(4)), "fc": nir.Affine(some(5, 4), zero),
        "lif": nir.LIF(**lif), "rec": nir.Linear(weight=some(5, 5)),
        "output": nir.Output(output_type=flat(5)),
    }  # fmt: skip
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "output")]
    graphs["recurrent"] = nir.NIRGraph(nodes, edges)
    if not version("nir").startswith("0."):  # whose convolutions had other arguments
        image = nir.Conv2d(
            input_shape=(4, 4), weight=some(3, 1, 2, 2), stride=1, padding=0, dilation=1, groups=1,
            bias=np.zeros(3, np.float32),
        )  # fmt: skip
        maps = {
            "input": nir.Input(input_type=np.array([1, 4, 4])), "conv": image,
            "if": nir.IF(r=np.ones((3, 3, 3)), v_threshold=np.ones((3, 3, 3))),
            "pool": nir.SumPool2d(kernel_size=pair(3), stride=pair(3), padding=pair(0)),
            "flat": nir.Flatten(input_type={"input": np.array([3, 1, 1])}, start_dim=0, end_dim=-1),
            "fc": nir.Affine(some(5, 3), zero), "lif": nir.LIF(**lif),
            "output": nir.Output(output_type=flat(5)),
        }  # fmt: skip
        graphs["maps"] = nir.NIRGraph(maps, list(itertools.pairwise(maps)))
    arrays: Arrays = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, graph in graphs.items():
            path = Path(folder) / "graph.nir"
            nir.write(path, graph)
            arrays[name] = np.frombuffer(path.read_bytes(), np.uint8)
    return "nir", arrays


MADE = {"brevitas": brevitas, "ai-edge-litert": litert, "keras": keras, "nir": nir}


def main(package: str, folder: Path) -> None:
    """Write what a package makes as one file."""
    folder.mkdir(parents=True, exist_ok=True)
    framework, arrays = MADE[package]()
    try:
        torch = version("torch").split("+")[0]
    except PackageNotFoundError:
        torch = "none"
    made = version(package)
    provenance = {
        "framework": framework, "version": made, "torch": torch, "seed": 0, "script": SCRIPT,
    }  # fmt: skip
    arrays["provenance"] = np.array(json.dumps(provenance))
    np.savez_compressed(folder / f"{package}-{made}.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
