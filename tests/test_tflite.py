"""int8 `.tflite` files against TensorFlow Lite's own kernels, and ReLU networks that spike.

`golden/` holds files of `tflite_files.py` and what LiteRT's reference kernels, XNNPACK and
TensorFlow Lite Micro make of random frames, and files of TensorFlow's own converter
(`golden/others.py`).
"""

from __future__ import annotations

import contextlib
import json
from collections import OrderedDict
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite_files
from checkpoints import write_torch
from click.testing import CliRunner
from tflite_files import Op, Tensor, built

from edgesnn import blob, runtime
from edgesnn.balance import measured, spiking
from edgesnn.cli import main
from edgesnn.converters import tflite
from edgesnn.converters.relu import read_relu
from edgesnn.converters.tflite_file import read_tflite_file
from edgesnn.errors import EdgesnnError, ModelError
from edgesnn.graph import Integrator
from edgesnn.network import Conversion, Network, Verdict
from edgesnn.quantize import quantize
from edgesnn.sources import Options

GOLDEN = Path(__file__).with_name("golden")
PACKAGES = ("ai-edge-litert-2.3.0", "tflite-micro-0.dev20261023182759", "tensorflow-cpu-2.21.0")
NAMES = ("relu", "relu6", "none", "head", "odd", "ties", "layers-of-ties")
CONVERTED = ("dense", "maps", "pooled", "signal")


@cache
def golden() -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for package in PACKAGES:
        with np.load(GOLDEN / f"{package}.npz") as these:
            arrays |= these
    return arrays


def read(folder: Path, content: bytes, profile: str | None = None) -> Conversion | Network:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return tflite.read_tflite(path, Options(profile))


def integers(folder: Path, content: bytes, profile: str | None = None) -> Conversion:
    made = read(folder, content, profile)
    assert isinstance(made, Conversion)
    return made


def outputs(conversion: Conversion, frames: np.ndarray) -> np.ndarray:
    """What the last layer is above its zero point, (samples, classes)."""
    graph = conversion.graph
    signal = graph.input.quantize(frames.reshape(len(frames), 1, -1).astype(np.float64))
    return runtime.run(blob.pack_image(graph), signal).scores


def golden_file(name: str) -> bytes:
    return golden()[f"{name}/file"].tobytes()


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        *((name, "litert") for name in (*NAMES, *CONVERTED)),
        # what Micro and XNNPACK compute of a softmax, and what of these is refused, is left out
        *((name, "tflm") for name in ("relu", "relu6", "none", "odd", "layers-of-ties")),
        *((name, "xnnpack") for name in ("relu", "relu6", "none", "layers-of-ties")),
    ],
)
def test_int8_outputs_are_the_kernels_to_the_bit(name: str, profile: str, tmp_path: Path) -> None:
    conversion = integers(tmp_path, golden_file(name), profile)
    ours = outputs(conversion, golden()[f"{name}/input"])
    operations = read_tflite_file(tmp_path / "model.tflite")[1]
    last = next(x for x in reversed(operations) if x.kind not in tflite.LAST)
    theirs = golden()[f"{name}/{profile}"].reshape(ours.shape).astype(int)
    assert len(np.unique(theirs)) > 20
    np.testing.assert_array_equal(ours + int(last.output.zero[0]), theirs)
    if profile != "xnnpack":
        assert {layer.verdict for layer in conversion.report.layers} == {Verdict.EXACT}


@pytest.mark.parametrize(
    ("name", "profile", "message"),
    [
        (
            "odd",
            "xnnpack",
            r"operation 5 \(MEAN\) .* is not known as XNNPACK does it: use 'litert'",
        ),
        ("ties", "tflm", r"operation 2 \(RELU6\) .* changes the scale, which .* Micro ignores"),
    ],
)
def test_what_other_kernels_do_otherwise_is_refused(
    name: str, profile: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        integers(tmp_path, golden_file(name), profile)


def test_the_verdict_is_which_share_of_sums_rounds_otherwise(tmp_path: Path) -> None:
    """XNNPACK's floats of 24 bits make a tie of some sums, which lie so near to one."""
    report = integers(tmp_path, golden_file("relu"), "xnnpack").report
    errors = {layer.what: layer.error for layer in report.layers}
    assert 0 < errors.pop("CONV_2D") + errors.pop("DEPTHWISE_CONV_2D") < 1e-4
    assert set(errors.values()) == {0}


@pytest.mark.parametrize("profile", ["litert", "tflm", "xnnpack"])
@pytest.mark.parametrize("relu", [True, False])
def test_a_layer_gives_the_int8_of_every_sum_that_its_inputs_make(
    relu: bool, profile: str, tmp_path: Path
) -> None:
    """Every one of 256 inputs, zero points, both clamps; of eighths, so that there are halves."""
    x = Tensor((1, 1), np.int8, 0.5, 3)
    weight = Tensor((3, 1), np.int8, 0.25, 0, 0, np.array([[127], [-50], [1]]))
    y = Tensor((1, 3), np.int8, 1, -9)
    fused = {"FusedActivationFunction": int(relu)}
    content = built([x, weight, y], [Op("FULLY_CONNECTED", [0, 1], 2, fused)])
    every, low = np.arange(-128, 128), -9 if relu else -128
    acc = (every[:, np.newaxis] - 3) * np.array([127, -50, 1])
    rounded = {
        "litert": np.sign(acc) * ((np.abs(acc) + 4) >> 3),
        "tflm": tflite.scaled(acc, *np.int64([1 << 30, -2])),
        "xnnpack": np.rint(acc / 8).astype(int),
    }
    assert all(
        np.any(rounded[profile] != other) for name, other in rounded.items() if name != profile
    )
    conversion = integers(tmp_path, content, profile)
    np.testing.assert_array_equal(
        outputs(conversion, every) - 9, np.clip(rounded[profile] - 9, low, 127)
    )
    assert conversion.report.layers[0].verdict is Verdict.EXACT


def test_rounding_is_done_twice() -> None:
    """`MultiplyByQuantizedMultiplier`: 2**30 halves, and the shift rounds ties away from 0."""
    acc = np.array([1, 2, 3, -1, -2, -3, 5, -5, 6])
    quarter = tflite.scaled(acc, np.int64(1 << 30), np.int64(-1))
    assert quarter.tolist() == [1, 1, 1, 0, -1, -1, 2, -1, 2]
    assert tflite.multiplier(0.25) == (1 << 30, -1)
    assert tflite.multiplier(1.0 - 2.0**-40) == (1 << 30, 1)


@pytest.mark.parametrize(("kind", "low"), [("RELU", -20), ("QUANTIZE", -128)])
def test_pointwise_operations(kind: str, low: int, tmp_path: Path) -> None:
    x, y = Tensor((1, 2, 2, 64), np.int8, 0.05, 3), Tensor((1, 2, 2, 64), np.int8, 0.07, -20)
    conversion = integers(tmp_path, built([x, y], [Op(kind, [0], 1)]))
    frames = np.arange(-128, 128)[np.newaxis]
    whole, shift = tflite.multiplier(float(np.float32(0.05)) / float(np.float32(0.07)))
    expected = tflite.scaled(frames - 3, np.int64(whole), np.int64(shift)) - 20
    ours = outputs(conversion, frames) - 20
    assert conversion.report.layers[0].verdict is Verdict.EXACT
    np.testing.assert_array_equal(ours, np.clip(expected, low, 127))


def test_shapes_that_are_computed_on_the_way_are_left_out(tmp_path: Path) -> None:
    """As Keras exports Flatten: the batch is cut out of the shape and packed into a new one."""
    x, flat = Tensor((1, 2, 2, 1), np.int8, 0.1, 0), Tensor((1, 4), np.int8, 0.1, 0)
    weight = Tensor((3, 4), np.int8, 0.1, 0, 0, np.arange(12).reshape(3, 4))
    y, sizes = Tensor((1, 3), np.int8, 0.1, 0), [Tensor((n,), np.int32) for n in (4, 1, 2)]
    tensors = [x, flat, weight, y, *sizes]
    shapes = [Op("SHAPE", [0], 4), Op("STRIDED_SLICE", [4], 5), Op("PACK", [5], 6)]
    ops = [*shapes, Op("RESHAPE", [0, 6], 1), Op("FULLY_CONNECTED", [1, 2], 3)]
    conversion = integers(tmp_path, built(tensors, ops))
    np.testing.assert_array_equal(conversion.graph.projections[0].weights, weight.data)  # type: ignore[union-attr]


def test_every_layer_is_integrators_without_memory(tmp_path: Path) -> None:
    graph = integers(tmp_path, golden_file("relu")).graph
    for population in graph.populations:
        assert isinstance(population, Integrator)
        assert population.requantization is not None
        assert not population.decay.any()
    image = blob.pack(graph)
    assert blob.unpack(image).graph == graph


def test_sums_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    x, y = Tensor((1, 60000), np.int8, 0.1, 0), Tensor((1, 1), np.int8, 1, 0)
    weight = Tensor((1, 60000), np.int8, 0.1, 0, 0, np.full((1, 60000), 127))
    content = built([x, weight, y], [Op("FULLY_CONNECTED", [0, 1], 2)])
    with pytest.raises(ModelError, match="has sums beyond the graph's 30 bits: split its inputs"):
        read(tmp_path, content)


def test_the_original_runs_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "model.tflite").write_bytes(tflite_files.head(3))
    frames = golden()["head/input"].reshape(80, 1, -1)
    np.save(tmp_path / "x.npy", frames)
    words = ["convert", str(tmp_path / "model.tflite"), "--calibrate", str(tmp_path / "x.npy")]
    done = CliRunner().invoke(main, [*words, "--json"], catch_exceptions=False)
    assert json.loads(done.output)["label_agreement"] > 0.98


def chain(kind: str, **options: int) -> bytes:
    x, y = Tensor((1, 4, 4, 2), np.int8, 0.1, 0), Tensor((1, 2, 2, 2), np.int8, 0.1, 0)
    return built([x, y], [Op(kind, [0], 1, options)])


def padded(sides: list[list[int]], *then: str) -> bytes:
    x, y = Tensor((1, 4, 4, 2), np.int8, 0.1, 0), Tensor((1, 6, 6, 2), np.int8, 0.1, 0)
    ops = [Op("PAD", [0, 1], 2), *(Op(kind, [2], 3) for kind in then)]
    return built([x, Tensor((4, 2), np.int32, data=np.array(sides)), y, y], ops)


def meant(axes: list[int]) -> bytes:
    x, y = Tensor((1, 4, 4, 2), np.int8, 0.1, 0), Tensor((1, 4, 2), np.int8, 0.1, 0)
    over = Tensor((len(axes),), np.int32, data=np.array(axes))
    return built([x, over, y], [Op("MEAN", [0, 1], 2)])


X, Y = Tensor((1, 2), np.int8, 0.1, 0), Tensor((1, 2), np.int8, 0.1, 0)
W = Tensor((2, 2), np.int8, 0.1, 0, 0, np.ones((2, 2)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (chain("MAX_POOL_2D"), r"operation 0 \(MAX_POOL_2D\) of .* is not supported: there is FUL"),
        (built([X, W, Y], [Op("FULLY_CONNECTED", [0, 1], 2), Op("ADD", [0, 2], 2)]), "branch"),
        (padded([[0, 0], [1, 1], [1, 1], [0, 0]], "AVERAGE_POOL_2D"), "follows a PAD, which only"),
        (padded([[0, 0], [1, 1], [1, 1], [0, 1]], "CONV_2D"), "pads more than height and width"),
        (padded([[0, 0], [1, 1], [1, 2], [0, 0]], "CONV_2D"), r"makes \(6, 6, 2\) of \(4, 4, 2\)"),
        (padded([[0, 0], [1, 1], [1, 1], [0, 0]]), "no layer of weights, pooling or ReLU at its"),
        (meant([1]), "is no mean over height and width of a map"),
        (built([Tensor((1, 2), np.int8), W, Y], [Op("FULLY_CONNECTED", [0, 1], 2)]), "one scale"),
        (built([X, Tensor((2, 2), np.int8, 0.1, 4, 0, np.ones((2, 2))), Y],
               [Op("FULLY_CONNECTED", [0, 1], 2)]), "no symmetric int8"),
        (built([X, Tensor((2, 3), np.int8, 0.1, 0, 0, np.ones((2, 3))), Y],
               [Op("FULLY_CONNECTED", [0, 1], 2)]), "joins 3 values"),
        (built([Tensor((2, 2), np.int8, 0.1, 0), W, Y], [Op("FULLY_CONNECTED", [0, 1], 2)]),
         "the batch is not 1"),
        (built([Tensor((1, 1), np.int8, 0.1, 0),
                Tensor((5000, 1), np.int8, 0.1, 0, 0, np.ones((5000, 1))),
                Tensor((1, 5000), np.int8, 0.1, 0)], [Op("FULLY_CONNECTED", [0, 1], 2)]),
         "has 5000 channels, at most 4096 fit"),
        (built([Tensor((1, 255, 255, 1), np.int8, 0.1, 0)] * 2, [Op("AVERAGE_POOL_2D", [0], 1, {
            "StrideW": 1, "StrideH": 1, "FilterWidth": 200, "FilterHeight": 200})]), "too large"),
        (b"\0\0\0\0TFL3" + bytes(40), "damaged|subgraphs"),
        (b"no flatbuffer", "has not its mark, TFL3"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_by_name(
    content: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(EdgesnnError, match=message) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_cut_and_flipped_files_are_read_or_refused(tmp_path: Path) -> None:
    content = tflite_files.head(0, 5, 4, 3)
    rng = np.random.default_rng(0)
    for k in range(300):
        harmed = bytearray(content[: rng.integers(8, len(content))] if k % 3 == 0 else content)
        for _ in range(int(rng.integers(1, 6))):
            harmed[rng.integers(len(harmed))] = rng.integers(256)
        with contextlib.suppress(EdgesnnError):
            read(tmp_path, bytes(harmed))


# ---- ReLU networks that spike ----


def relu_network(folder: Path) -> Network:
    rng = np.random.default_rng(0)
    shapes = {"a": (24, 8), "b": (24, 24), "c": (5, 24)}
    state = OrderedDict(
        (f"{k}.weight", rng.normal(0, 1.4 / np.sqrt(shape[1]), shape).astype(np.float32))
        for k, shape in shapes.items()
    )
    state |= {f"{k}.bias": rng.normal(0, 0.1, s[0]).astype(np.float32) for k, s in shapes.items()}
    layers: list[dict[str, Any]] = []
    for key in shapes:
        layers += [{"type": "Linear", "key": key}, {"type": "ReLU"}]
    path = write_torch(folder / "relu.pt", state)
    return read_relu(path, Options(description={"input": 8, "layers": layers[:-1]}))


def test_spiking_agrees_the_more_steps_it_has(tmp_path: Path) -> None:
    """Measured: 85, 97 and 98 % of the labels in 8, 32 and 128 steps."""
    network, agreed = relu_network(tmp_path), {}
    frames = np.random.default_rng(1).uniform(0, 1, (300, 1, 8))
    for steps in (8, 128):
        balanced = spiking(network, frames, steps)
        conversion = measured(quantize(balanced.network, balanced.signal), balanced)
        agreed[steps] = conversion.report.label_agreement
        said = [x for x in conversion.report.layers if "neurons" in x.what]
        assert {x.verdict for x in said} == {Verdict.APPROXIMATED}
        assert {x.reason.split(",")[0] for x in said} == {"ReLU as a rate"}
    assert agreed[128] > 0.95  # type: ignore[operator]
    assert agreed[128] > agreed[8]  # type: ignore[operator]


def test_rates_are_activations_over_the_threshold(tmp_path: Path) -> None:
    network = relu_network(tmp_path)
    frames = np.random.default_rng(1).uniform(0, 1, (20, 1, 8)).astype(np.float32)
    steps = 1000
    balanced = spiking(network, frames, steps)
    first = balanced.network.populations[0]
    spikes = balanced.network.run(balanced.signal, keep=(first.name,)).spikes[first.name]
    weight = network.projections[0].weight  # type: ignore[union-attr]
    activation = np.maximum(frames[:, 0] @ weight.T + network.populations[0].bias, 0)  # type: ignore[union-attr]
    expected = np.minimum(activation / first.threshold, 1)  # type: ignore[union-attr]
    np.testing.assert_allclose(spikes.mean(axis=1), expected, atol=2 / steps)


def test_a_float_model_becomes_the_same_network(tmp_path: Path) -> None:
    network = read(tmp_path, tflite_files.floating(0))
    assert isinstance(network, Network)
    frames = np.random.default_rng(2).normal(0, 1, (50, 1, 8))
    report = quantize(network, frames).report
    assert report.label_agreement is not None
    assert report.label_agreement > 0.95
    balanced = spiking(network, frames, 64)
    again = measured(quantize(balanced.network, balanced.signal), balanced)
    assert again.report.label_agreement is not None
    assert again.report.label_agreement > 0.9


def test_what_is_no_relu_network_does_not_become_spikes(tmp_path: Path) -> None:
    network = relu_network(tmp_path)
    with pytest.raises(ModelError, match="frames one by one: cut recordings with --steps 1"):
        spiking(network, np.ones((3, 2, 8)), 8)
    first = network.populations[0]
    low = replace(first, bias=np.full(24, -1e6, np.float32))
    silent = replace(network, populations=(low, *network.populations[1:]))
    with pytest.raises(ModelError, match=f"no neuron of '{first.name}' .* is above 0"):
        spiking(silent, np.ones((3, 1, 8)), 8)
    spikes = spiking(network, np.ones((3, 1, 8)), 8).network
    with pytest.raises(ModelError, match=r"relu.pt is no ReLU network: leave --spikes out"):
        spiking(spikes, np.ones((3, 1, 8)), 8)
