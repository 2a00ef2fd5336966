"""Golden traces of what is no spiking framework: `python tests/golden/others.py PACKAGE FOLDER`.

Needs NumPy, the package (brevitas) with torch, and nothing of edgesnn; `make golden` runs it.

* `brevitas`: layers whose weights are integers times a scale, by every way in which the scale is
  found: state_dict, description, and the weights that Brevitas itself multiplies by.
* `ai-edge-litert`: int8 `.tflite` files of ../tflite_files.py and what TensorFlow Lite's reference
  kernels make of random frames; needs the package tflite too.
"""

from __future__ import annotations

import json
import sys
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


MADE = {"brevitas": brevitas, "ai-edge-litert": litert}


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
