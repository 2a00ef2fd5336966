"""State_dicts and their descriptions, against what the frameworks themselves compute.

The traces are made by `golden/modules.py` in environments of the frameworks; none is needed here.
"""

from __future__ import annotations

import importlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import write_torch

from edgesnn import blob, runtime
from edgesnn.converters import snntorch, spikingjelly, srnn
from edgesnn.errors import EdgesnnError
from edgesnn.network import Network, State
from edgesnn.quantize import quantize
from edgesnn.sources import Options, Source

FOLDER = Path(__file__).with_name("golden")
FILES = sorted(FOLDER.glob("*-modules.npz"))


@dataclass(frozen=True)
class Trace:
    """One network of a framework, and what it put out."""

    source: str
    version: str
    description: dict[str, Any]
    state: OrderedDict[str, np.ndarray]
    signal: np.ndarray
    spikes: dict[str, np.ndarray]

    def network(self, folder: Path) -> Network:
        source: Source = importlib.import_module(f"edgesnn.converters.{self.source}").SOURCE
        path = write_torch(folder / "model.pt", self.state)
        network = source.read(path, Options(description=self.description))
        assert isinstance(network, Network)
        return network


@cache
def traces() -> dict[str, Trace]:
    found = {}
    for file in FILES:
        with np.load(file) as arrays:
            made = json.loads(str(arrays["provenance"]))
            for case, said in json.loads(str(arrays["cases"])).items():
                values, state = arrays[f"{case}/state"], OrderedDict()
                for key, shape in said["state"].items():
                    count = int(np.prod(shape))
                    state[key], values = values[:count].reshape(shape), values[count:]
                signal = np.unpackbits(arrays[f"{case}/input"], axis=1, count=said["steps"])
                spikes = {name: arrays[f"{case}/{name}"] for name in ("n1", "n2")}
                described = {**said["description"], "version": made["version"]}
                found[f"{file.stem.removesuffix('-modules')}/{case}"] = Trace(
                    file.stem.split("-")[0], made["version"], described, state, signal, spikes
                )
    return found


NAMES = list(traces())


def differences(network: Network, trace: Trace) -> dict[str, int]:
    """Neuron-steps in which the float network emits something else."""
    state = State(network, len(trace.signal))
    different = dict.fromkeys(trace.spikes, 0)
    for t in range(trace.signal.shape[1]):
        state.step(trace.signal[:, t].astype(np.float32))
        for name, spikes in trace.spikes.items():
            different[name] += int(np.count_nonzero(state.emitted[name] != spikes[:, t]))
    return different


@pytest.mark.parametrize("name", NAMES)
def test_the_float_network_emits_what_the_framework_does(name: str, tmp_path: Path) -> None:
    trace = traces()[name]
    assert differences(trace.network(tmp_path), trace) == {"n1": 0, "n2": 0}


@pytest.mark.parametrize("name", NAMES)
def test_the_integers_report_their_own_agreement(name: str, tmp_path: Path) -> None:
    trace = traces()[name]
    report = quantize(trace.network(tmp_path), trace.signal).report
    assert report.profile == f"{trace.network(tmp_path).profile.framework} {trace.version}"
    assert min(report.spike_agreement.values()) > 0.8
    assert {layer.verdict.value for layer in report.layers} <= {"exact", "approximated"}


# ---- layers between neurons ----


def described(tmp_path: Path, state: dict[str, np.ndarray], **description: Any) -> Network:
    path = write_torch(tmp_path / "model.pt", OrderedDict(state))
    network = spikingjelly.SOURCE.read(path, Options(description=description))
    assert isinstance(network, Network)
    return network


def test_convolution_batch_norm_and_pooling_are_pytorchs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    state = {
        "conv.weight": rng.normal(0, 1, (4, 2, 3, 2)), "conv.bias": rng.normal(0, 0.1, 4),
        "bn.weight": rng.uniform(-1, 2, 4), "bn.bias": rng.normal(0, 0.3, 4),
        "bn.running_mean": rng.normal(0, 0.3, 4), "bn.running_var": rng.uniform(0.5, 2, 4),
        "bn.num_batches_tracked": np.int64(3), "fc.weight": rng.normal(0, 1, (3, 4 * 2 * 2)),
    }  # fmt: skip
    layers = [
        {"type": "Conv2d", "key": "conv", "stride": [1, 2], "padding": [1, 0], "groups": 1},
        {"type": "BatchNorm2d", "key": "bn"}, {"type": "IFNode", "v_threshold": 0.5},
        {"type": "AvgPool2d", "kernel_size": 2}, {"type": "Flatten"},
        {"type": "Linear", "key": "fc", "bits": 8}, {"type": "IFNode", "v_threshold": 0.75},
    ]  # fmt: skip
    kinds = {k: v.astype(np.float32) if v.dtype == float else v for k, v in state.items()}
    network = described(tmp_path, kinds, input=[2, 5, 8], layers=layers, input_kind="spikes")
    frames = rng.random((2, 6, 5, 8, 2)) < 0.5
    maps = np.pad(frames.transpose(0, 1, 4, 2, 3), [(0, 0)] * 3 + [(1, 1), (0, 0)])
    v1, v2 = np.zeros((2, 4, 5, 4)), np.zeros((2, 3))
    run = State(network, 2)
    names = [p.name for p in network.populations]
    for t in range(6):
        x = np.zeros((2, 4, 5, 4))
        for y in range(5):
            for k in range(4):
                seen = maps[:, t, :, y : y + 3, 2 * k : 2 * k + 2].reshape(2, -1)
                x[:, :, y, k] = seen @ state["conv.weight"].reshape(4, -1).T + state["conv.bias"]
        gain = state["bn.weight"] / np.sqrt(state["bn.running_var"] + 1e-5)
        x = (x - state["bn.running_mean"][:, None, None]) * gain[:, None, None]
        v1 += x + state["bn.bias"][:, None, None]
        s1 = v1 >= 0.5
        v1[s1] = 0
        pooled = s1[:, :, :4].reshape(2, 4, 2, 2, 2, 2).mean(axis=(3, 5)).reshape(2, -1)
        v2 += pooled @ state["fc.weight"].T
        s2 = v2 >= 0.75
        v2[s2] = 0
        run.step(frames[:, t].reshape(2, -1).astype(np.float32))
        np.testing.assert_array_equal(
            run.emitted[names[0]].reshape(2, 5, 4, 4), s1.transpose(0, 2, 3, 1)
        )
        np.testing.assert_array_equal(run.emitted[names[-1]], s2)
    report = quantize(network, frames.reshape(2, 6, -1)).report
    assert min(report.spike_agreement.values()) > 0.95


def test_means_may_have_a_batch_norm_behind_them(tmp_path: Path) -> None:
    """Pooling, then a gain a channel, one of which turns the sign."""
    rng = np.random.default_rng(0)
    norm = {
        "weight": np.float32([0.5, -1.5, 2]), "bias": np.float32([0.25, 1, -0.5]),
        "running_mean": np.float32([0.1, 0, -0.2]), "running_var": np.float32([1, 0.5, 2]),
    }  # fmt: skip
    layers = [
        {"type": "AvgPool2d", "kernel_size": 2}, {"type": "BatchNorm", "key": "bn"},
        {"type": "IFNode", "v_threshold": 1.0},
    ]  # fmt: skip
    state = {f"bn.{k}": v for k, v in norm.items()}
    network = described(tmp_path, state, input=[3, 4, 6], layers=layers, readout="count")
    signal = rng.normal(0, 1, (2, 20, 4, 6, 3)).astype(np.float32)
    pooled = signal.reshape(2, 20, 2, 2, 3, 2, 3).mean(axis=(3, 5))
    gain = norm["weight"] / np.sqrt(norm["running_var"] + 1e-5)
    current = (pooled - norm["running_mean"]) * gain + norm["bias"]
    v, expected = np.zeros((2, 2, 3, 3)), []
    for t in range(20):
        v = v + current[:, t]
        expected.append(v >= 1)
        v = np.where(v >= 1, 0, v)
    name = network.populations[-1].name
    found = network.run(signal.reshape(2, 20, -1), keep=(name,)).spikes[name]
    np.testing.assert_array_equal(found, np.stack(expected, axis=1).reshape(2, 20, -1))
    assert quantize(network, signal.reshape(2, 20, -1)).report.label_agreement is not None


def test_the_largest_of_spikes_is_whether_any_is_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.random((3, 5, 6, 4, 2)) < 0.2
    layers: list[dict[str, Any]] = [{"type": "MaxPool2d", "kernel_size": [3, 2], "stride": 2}]
    state = {"fc.weight": rng.normal(0, 1, (3, 2 * 2 * 2)).astype(np.float32)}
    layers += [{"type": "Flatten"}, {"type": "Linear", "key": "fc"}, {"type": "IFNode"}]
    network = described(tmp_path, state, input=[2, 6, 4], layers=layers, input_kind="spikes")
    pooled = network.populations[0].name
    run = network.run(frames.reshape(3, 5, -1), keep=(pooled,)).spikes[pooled]
    expected = [
        [frames[:, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 2].any(axis=(2, 3)) for x in range(2)]
        for y in range(2)
    ]
    ours = run.reshape(3, 5, 2, 2, 2)
    np.testing.assert_array_equal(ours, np.array(expected).transpose(2, 3, 0, 1, 4))
    report = quantize(network, frames.reshape(3, 5, -1)).report
    assert report.spike_agreement[pooled] == 1.0


def test_the_largest_of_currents_is_refused(tmp_path: Path) -> None:
    layers = [
        {"type": "Conv2d", "key": "c"}, {"type": "MaxPool2d", "kernel_size": 2}, {"type": "IFNode"},
    ]  # fmt: skip
    state = {"c.weight": np.ones((1, 1, 1, 1), np.float32)}
    with pytest.raises(EdgesnnError, match=r"'MaxPool2d'.*put it behind neurons"):
        described(tmp_path, state, input=[1, 4, 4], layers=layers)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "describe its layers"),
        ([{"type": "Linear", "key": "fc"}], "has 'extra' and 0 more keys"),
        ([{"type": "Linear", "key": "fc"}, {"type": "LSTM"}], "layer 'LSTM'.*not supported"),
        ([{"type": "Linear", "key": "no"}, {"type": "IFNode"}], "lacks the key 'no.weight'"),
        ([{"type": "Linear", "key": "fc"}, {"type": "IFNode", "tau": 2}], "'tau', which IFNode"),
        ([{"type": "Linear", "key": "fc"}, {"type": "LIFNode", "tau": "x"}], "not a number"),
        ([{"type": "Linear", "key": "fc"}, {"type": "LIFNode", "tau": 0.5}], "tau is below 1"),
        ([{"type": "IFNode"}, {"type": "BatchNorm1d", "key": "fc"}], "could be folded"),
        ([{"kind": "Linear"}], "has no type"),
    ],
)
def test_what_does_not_go_with_its_description_is_refused(
    tmp_path: Path, layers: list[dict[str, Any]], message: str
) -> None:
    state = {"fc.weight": np.ones((2, 3), np.float32), "extra": np.ones(2, np.float32)}
    with pytest.raises(EdgesnnError, match=message) as caught:
        described(tmp_path, state, input=3, layers=layers)
    assert "\n" not in str(caught.value)


def test_a_membrane_that_turns_its_sign_is_refused(tmp_path: Path) -> None:
    """Lapicque's beta only sets C: below exp(-1) what is kept, 1 - 1 / (R C), is negative."""
    state = {"fc.weight": np.ones((2, 3), np.float32)}
    path = write_torch(tmp_path / "model.pt", OrderedDict(state))
    for beta, known in ((0.35, False), (0.4, True)):
        made = {"type": "Lapicque", "C": float(1 / np.log(1 / beta))}
        said = {"input": 3, "layers": [{"type": "Linear", "key": "fc"}, made]}
        if known:
            (neurons,) = snntorch.SOURCE.read(path, Options(description=said)).populations  # type: ignore[union-attr]
            np.testing.assert_allclose(neurons.beta, 1 + np.log(0.4), rtol=1e-6)  # type: ignore[union-attr]
        else:
            with pytest.raises(EdgesnnError, match="turns the sign of its membrane"):
                snntorch.SOURCE.read(path, Options(description=said))


def test_keys_that_no_layer_names_are_refused(tmp_path: Path) -> None:
    state = {"fc.weight": np.ones((2, 3), np.float32), "extra": np.ones(2, np.float32)}
    layers = [{"type": "Linear", "key": "fc"}, {"type": "IFNode"}]
    with pytest.raises(EdgesnnError, match="has 'extra' and 0 more keys"):
        described(tmp_path, state, input=3, layers=layers)


# ---- Yin, Corradi and Bohte's ECG network ----

ECG = {
    "input": 4, "readout": "last", "version": "bfd47cf",
    "layers": [
        {"type": "Linear", "key": "i2h"},
        {"type": "LIF", "tau_m": "tau_m_h", "tau_adp": "tau_adp_h", "recurrent": "h2h"},
        {"type": "Linear", "key": "h2o"},
        {"type": "ALIF", "tau_m": "tau_m_o", "tau_adp": "tau_adp_o"},
    ],
}  # fmt: skip


def test_the_waves_of_heart_beats(
    shared_model: Callable[[str], Path], shared_data: Callable[[str], Path]
) -> None:
    """Measured: 86.78 % of steps from the 100th on in floats, 86.71 % in integers."""
    io = pytest.importorskip("scipy.io")
    path = next(shared_model("ecg_srnn").glob("*.pth"))
    test, train = (io.loadmat(shared_data(f"ecg_qtdb/QTDB_{x}.mat")) for x in ("test", "train"))
    network = srnn.read_srnn(path, Options(description=ECG))
    signal, label = test["x"].astype(np.float32), test["y"].argmax(axis=2)
    floats = np.mean(network.run(signal).step_labels[:, 100:] == label[:, 100:])
    assert floats == pytest.approx(0.8678, abs=2e-3)
    graph = quantize(network, train["x"][:60].astype(np.float32)).graph
    outputs = runtime.run(blob.pack_image(graph), graph.input.quantize(signal), digests=False)
    assert abs(np.mean(outputs.step_labels[:, 100:] == label[:, 100:]) - floats) < 0.003


def test_the_table_of_conversions_is_the_tests_own() -> None:
    from conversions import PAGE, page

    assert PAGE.read_text() == page(), "python tests/conversions.py"


# ---- weights that Brevitas rounded ----


@cache
def brevitas() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "brevitas-0.13.4.npz") as arrays:
        return dict(arrays)


QUANTISED = sorted({key.split("/")[0] for key in brevitas() if "/" in key})


def brevitas_network(case: str, folder: Path) -> Network:
    at = f"{case}/state/"
    state = {f"fc.{k.removeprefix(at)}": v for k, v in brevitas().items() if k.startswith(at)}
    layer = {**json.loads(str(brevitas()[f"{case}/described"])), "key": "fc"}
    shape: Any = {"linear": 6, "conv1d": [2, 5]}.get(case.split("-")[0], [2, 4, 4])
    layers = [layer, {"type": "IFNode", "v_threshold": 0.3}]
    return described(folder, state, input=shape, layers=layers, input_kind="spikes")


@pytest.mark.parametrize("case", QUANTISED)
def test_weights_that_brevitas_rounded_are_kept_exactly(case: str, tmp_path: Path) -> None:
    network = brevitas_network(case, tmp_path)
    (projection,) = network.projections
    weight = projection.weight  # type: ignore[union-attr]
    back = weight.transpose(3, 2, 0, 1).squeeze() if weight.ndim == 4 else weight
    np.testing.assert_array_equal(back, brevitas()[f"{case}/rounded"].squeeze())
    report = quantize(network).report
    assert report.layers[0].verdict.value == "exact"


def test_integers_with_a_scale_of_the_file_are_kept_exactly(tmp_path: Path) -> None:
    whole = np.array([[3, -90, 7], [5, 6, -7]])
    state = {"fc.weight": whole.astype(np.int8), "fc.s": np.float32([0.25, 0.01])}
    layers: list[dict[str, Any]] = [
        {"type": "QuantLinear", "key": "fc", "scale": "s"},
        {"type": "IFNode", "v_threshold": 0.3},
    ]
    network = described(tmp_path, state, input=3, layers=layers, input_kind="spikes")
    np.testing.assert_array_equal(quantize(network).graph.projections[0].weights, whole)  # type: ignore[union-attr]
    del layers[0]["scale"]
    with pytest.raises(EdgesnnError, match="has integers: say what one is worth as its 'scale'"):
        described(tmp_path, {"fc.weight": state["fc.weight"]}, input=3, layers=layers)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"scale": -1}, "its scale is not one number above 0, or 2"),
        ({"scale": [1, 2, 3]}, "its scale is not one number above 0, or 2"),
        ({"weight_bit_width": 17}, "weight_bit_width is 17, not 2 to 16"),
        ({"bits": 4}, "has 'bits', which Linear does not take"),
    ],
)
def test_what_is_no_scale_is_refused(tmp_path: Path, said: dict[str, Any], message: str) -> None:
    layers = [{"type": "QuantLinear", "key": "fc", **said}, {"type": "IFNode"}]
    with pytest.raises(EdgesnnError, match=message):
        described(tmp_path, {"fc.weight": np.ones((2, 3), np.float32)}, input=3, layers=layers)
