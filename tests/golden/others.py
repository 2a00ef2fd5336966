"""Golden traces of what is no spiking framework: `python tests/golden/others.py PACKAGE FOLDER`.

Needs NumPy, the package (brevitas) with torch, and nothing of edgesnn; `make golden` runs it.

* `brevitas`: layers whose weights are integers times a scale, by every way in which the scale is
  found: state_dict, description, and the weights that Brevitas itself multiplies by.
* `ai-edge-litert`, `tflite-micro`: int8 `.tflite` files of ../tflite_files.py and what reference
  kernels and XNNPACK, or TensorFlow Lite Micro's, make of random frames; need package tflite too.
* `tensorflow-cpu`: Keras models that TensorFlow's converter has quantised to int8, and what its
  reference kernels make of frames.
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


def _files() -> dict[str, bytes]:
    """`.tflite` files of ../tflite_files.py."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import tflite_files

    return {
        "relu": tflite_files.convolutional(0),
        "relu6": tflite_files.convolutional(1, relu="RELU6"),
        "none": tflite_files.convolutional(2, relu="NONE"),
        "head": tflite_files.head(3),
        "odd": tflite_files.odd(4, ties=False),
        "ties": tflite_files.odd(5, ties=True),
        "layers-of-ties": tflite_files.ties(6),
    }


def _frames(shape: Any) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, (80, *shape[1:])).astype(np.int8)


def litert() -> tuple[str, Arrays]:
    from ai_edge_litert import interpreter as lite

    kinds = lite.OpResolverType
    arrays: Arrays = {}
    for name, content in _files().items():
        for kernels, resolver in (("litert", kinds.BUILTIN_REF), ("xnnpack", kinds.AUTO)):
            reference = kernels == "litert"
            if name == "head" and not reference:
                continue  # XNNPACK computes its softmax with the rest
            made = lite.Interpreter(
                model_content=content,
                experimental_op_resolver_type=resolver,
                experimental_preserve_all_tensors=reference,
            )
            made.allocate_tensors()
            into, out = made.get_input_details()[0], made.get_output_details()[0]
            seen = 5 if name == "head" else out["index"]  # before its softmax
            frames, given = _frames(into["shape"]), []
            for frame in frames:
                made.set_tensor(into["index"], frame[np.newaxis])
                made.invoke()
                given.append(made.get_tensor(seen)[0].copy())
            arrays[f"{name}/{kernels}"] = np.stack(given)
            arrays[f"{name}/input"] = frames.reshape(len(frames), -1)
        arrays[f"{name}/file"] = np.frombuffer(content, np.uint8)
    return "LiteRT", arrays


def micro() -> tuple[str, Arrays]:
    from tflite_micro.python.tflite_micro import runtime

    arrays: Arrays = {}
    for name, content in _files().items():
        if name in ("head", "ties"):
            continue  # a softmax, and a RELU6 that changes the scale, which it leaves out
        made = runtime.Interpreter.from_bytes(content)
        frames, given = _frames(made.get_input_details(0)["shape"]), []
        for frame in frames:
            made.set_input(frame[np.newaxis], 0)
            made.invoke()
            given.append(made.get_output(0)[0].copy())
        arrays[f"{name}/tflm"] = np.stack(given)  # of the files and frames of ai-edge-litert
    return "TensorFlow Lite Micro", arrays


def tensorflow() -> tuple[str, Arrays]:
    """Small Keras models as TensorFlow's own converter quantises them to int8."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    from keras import Input, Sequential, layers, utils

    def small(kind: Any, *args: Any, **options: Any) -> Any:
        """A layer of convolution, batch norm and ReLU6, of 5 channels."""
        return [kind(*args, use_bias=False, **options), layers.BatchNormalization(), layers.ReLU(6)]

    utils.set_random_seed(0)  # a layer draws its own seed when it is made
    models = {
        "maps": [
            Input((8, 7, 2)), layers.ZeroPadding2D(((0, 1), (0, 1))),
            *small(layers.Conv2D, 5, 3, strides=2),
            *small(layers.DepthwiseConv2D, 3, padding="same"), *small(layers.Conv2D, 6, 1),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, activation="softmax"),
        ],
        "pooled": [
            Input((9, 9, 1)), layers.Conv2D(4, (3, 2), activation="relu", padding="same"),
            layers.AveragePooling2D(2), layers.DepthwiseConv2D(3, depth_multiplier=2),
            layers.ReLU(), layers.Flatten(), layers.Dense(12, activation="relu"), layers.Dense(3),
        ],
        "signal": [
            Input((20, 3)), layers.Conv1D(6, 5, strides=2, activation="relu"),
            layers.Conv1D(4, 3, padding="causal"), layers.Flatten(),
            layers.Dropout(0.5), layers.Dense(5, activation="sigmoid"),
        ],
        "dense": [Input((17,)), layers.Dense(9, activation="relu"), layers.Dense(6)],
    }  # fmt: skip
    arrays: Arrays = {}
    for name, parts in models.items():
        model, rng = Sequential(parts), np.random.default_rng(0)
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization):
                beside = rng.uniform(0.5, 1.5, (4, layer.gamma.shape[0]))
                layer.set_weights(list(beside))
        frames = rng.normal(0, 1, (200, *model.input_shape[1:])).astype(np.float32)
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda frames=frames: ([x[None]] for x in frames)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        content = converter.convert()
        kind = tf.lite.experimental.OpResolverType.BUILTIN_REF
        made = tf.lite.Interpreter(
            model_content=content, experimental_op_resolver_type=kind,
            experimental_preserve_all_tensors=True,
        )  # fmt: skip
        made.allocate_tensors()
        into = made.get_input_details()[0]
        # what the last layer of weights gives, before a softmax or sigmoid
        seen = [x for x in made._get_ops_details() if x["op_name"] == "FULLY_CONNECTED"][-1]
        scale, zero = into["quantization"]
        whole = np.clip(np.rint(frames[:60] / scale + zero), -128, 127).astype(np.int8)
        given = []
        for frame in whole:
            made.set_tensor(into["index"], frame[np.newaxis])
            made.invoke()
            given.append(made.get_tensor(seen["outputs"][0])[0].copy())
        arrays[f"{name}/file"] = np.frombuffer(content, np.uint8)
        arrays[f"{name}/input"] = whole.reshape(len(whole), -1)
        arrays[f"{name}/litert"] = np.stack(given)
    return "TensorFlow", arrays


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


MADE = {
    "brevitas": brevitas, "ai-edge-litert": litert, "tflite-micro": micro,
    "tensorflow-cpu": tensorflow, "keras": keras, "nir": nir,
}  # fmt: skip


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
