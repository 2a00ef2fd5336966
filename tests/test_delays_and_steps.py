"""Networks with learned delays (DCLS) and of one time step, against their papers' equations."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import write_torch

from edgesnn import blob, reference, runtime
from edgesnn.converters.dcls import read_dcls
from edgesnn.converters.onestep import read_onestep
from edgesnn.errors import EdgesnnError
from edgesnn.graph import DelayedSynapses, SoftmaxSum
from edgesnn.network import Network, Score, State
from edgesnn.quantize import quantize
from edgesnn.sources import Options

# ---- DCLS ----

D, TAU, IN, HIDDEN, OUT = 9, 1.5, 6, 8, 4


def dcls_state(taps: int = 1, seed: int = 0) -> OrderedDict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    state: OrderedDict[str, Any] = OrderedDict()
    for place, n_out, n_in in ((0, HIDDEN, IN), (4, HIDDEN, HIDDEN), (8, OUT, HIDDEN)):
        key = f"model.{place}"
        state[key + ".weight"] = rng.normal(0, 1 / np.sqrt(taps), (n_out, n_in, taps))
        # halves, and positions beyond what is allowed, among them
        position = np.rint(2 * rng.uniform(-6, 6, (1, n_out, n_in, taps))) / 2
        state[key + ".P"] = position
        state[key + ".SIG"] = np.full((1, n_out, n_in, taps), 0.23)
        if place < 8:
            norm = f"model.{place + 1}"
            state[norm + ".weight"] = rng.uniform(0.5, 1.5, n_out)
            state[norm + ".bias"] = rng.normal(0, 0.2, n_out)
            state[norm + ".running_mean"] = rng.normal(0, 0.2, n_out)
            state[norm + ".running_var"] = rng.uniform(0.5, 2, n_out)
            state[norm + ".num_batches_tracked"] = np.array([7])
    return OrderedDict(
        (k, np.asarray(v).astype(np.float32) if k[-7:] != "tracked" else v)
        for k, v in state.items()
    )


def dcls(tmp_path: Path, state: OrderedDict[str, np.ndarray], **more: Any) -> Network:
    path = write_torch(tmp_path / "delays.pt", state)
    described = {"tau": TAU, "max_delay": D, "input_kind": "spikes", **more}
    return read_dcls(path, Options(description=described))


def dcls_by_hand(state: OrderedDict[str, np.ndarray], signal: np.ndarray) -> list[np.ndarray]:
    """Spikes of the hidden layers and potentials of the last, as dense convolutions over time."""
    emitted = signal.astype(np.float64)
    found = []
    steps = signal.shape[1]
    for place in (0, 4, 8):
        w = state[f"model.{place}.weight"].astype(np.float64)
        p = state[f"model.{place}.P"][0].astype(np.float64)
        k = np.clip(np.round(p), -(D // 2), D // 2).astype(int) + D // 2
        kernel = np.zeros((*w.shape[:2], D))
        for tap in range(w.shape[2]):
            np.add.at(kernel, (*np.indices(w.shape[:2]), k[:, :, tap]), w[:, :, tap] / (1 + 1e-7))
        padded = np.pad(emitted, ((0, 0), (D - 1, 0), (0, 0)))
        y = np.stack(
            [np.einsum("sic,oci->so", padded[:, t : t + D], kernel) for t in range(steps)], 1
        )
        if place < 8:
            norm = {n: state[f"model.{place + 1}.{n}"].astype(np.float64)
                    for n in ("weight", "bias", "running_mean", "running_var")}  # fmt: skip
            gain = norm["weight"] / np.sqrt(norm["running_var"] + 1e-5)
            y = (y - norm["running_mean"]) * gain + norm["bias"]
        v, out = np.zeros((len(signal), y.shape[2])), []
        for t in range(steps):
            v = v - v / TAU + y[:, t]
            s = v >= 1
            out.append(s if place < 8 else v)
            v = np.where(s, 0, v) if place < 8 else v
        emitted = np.stack(out, 1).astype(np.float64)
        found.append(emitted)
    return found


@pytest.mark.parametrize("taps", [1, 2])
def test_delays_are_those_of_evaluation(tmp_path: Path, taps: int) -> None:
    state = dcls_state(taps)
    signal = (np.random.default_rng(1).random((4, 40, IN)) < 0.3).astype(np.float64)
    network = dcls(tmp_path, state)
    hidden, deeper, potentials = dcls_by_hand(state, signal)
    run = State(network, 4)
    names = [p.name for p in network.populations]
    for t in range(40):
        run.step(signal[:, t].astype(np.float32))
        np.testing.assert_array_equal(run.emitted[names[0]], hidden[:, t])
        np.testing.assert_array_equal(run.emitted[names[1]], deeper[:, t])
        np.testing.assert_allclose(run.v[names[2]], potentials[:, t], atol=1e-4)
    probability = np.exp(potentials - potentials.max(axis=2, keepdims=True))
    probability /= probability.sum(axis=2, keepdims=True)
    np.testing.assert_array_equal(
        network.run(signal).labels, probability.sum(axis=1).argmax(axis=1)
    )
    assert "append 12 silent frames" in network.remarks[-1]


@pytest.mark.parametrize("taps", [1, 2])
def test_integers_keep_delays_exactly(tmp_path: Path, taps: int) -> None:
    signal = (np.random.default_rng(1).random((40, 40, IN)) < 0.3).astype(np.int16)
    network = dcls(tmp_path, dcls_state(taps))
    conversion = quantize(network, signal)
    graph = conversion.graph
    assert all(isinstance(p, DelayedSynapses) for p in graph.projections)
    assert isinstance(graph.readout, SoftmaxSum)
    assert network.readout.mode is Score.SOFTMAX_SUM
    assert conversion.report.label_agreement is not None
    assert conversion.report.label_agreement > 0.9
    assert min(conversion.report.spike_agreement.values()) > 0.95
    outputs = runtime.run(blob.pack_image(graph), signal, digests=False)
    np.testing.assert_array_equal(outputs.labels, reference.run(graph, signal).labels)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"tau": 1.5}, "does not hold 'max_delay'"),
        ({"max_delay": 9}, "does not hold 'tau'"),
        ({"tau": 1.5, "max_delay": 8}, "max_delay is 8, DCLS's is odd"),
        ({"tau": 1.5, "max_delay": 9, "dropout": 1}, "'dropout', which is not known"),
        ({"tau": 1.5, "max_delay": 9, "readout": "vote"}, "no read-out 'vote'"),
    ],
)
def test_delays_that_are_not_described_are_refused(
    tmp_path: Path, described: dict[str, Any], message: str
) -> None:
    path = write_torch(tmp_path / "delays.pt", dcls_state())
    with pytest.raises(EdgesnnError, match=message):
        read_dcls(path, Options(description=described))


# ---- one time step ----


def onestep(tmp_path: Path, steps: int) -> tuple[Network, OrderedDict[str, np.ndarray]]:
    rng = np.random.default_rng(2)
    state: OrderedDict[str, Any] = OrderedDict({
        "features.0.weight": rng.normal(0, 0.5, (6, 2, 3, 3)), "features.0.bias": np.zeros(6),
        "features.3.weight": rng.normal(0, 0.4, (5, 6, 3, 3)),
        "classifier.0.weight": rng.normal(0, 0.5, (8, 5 * 4 * 4)),
        "classifier.3.weight": rng.normal(0, 0.5, (3, 8)),
        "threshold.t0": np.array(0.8), "threshold.t3": np.array(0.6),
        "threshold.t7": np.array(0.7), "leak.l0": np.array(0.9), "leak.l3": np.array(0.8),
        "leak.l7": np.array(1.1),
    })  # fmt: skip
    state["features.0.bias"] = rng.normal(0, 0.2, 6)
    layers: list[dict[str, Any]] = [
        {"type": "Conv2d", "key": "features.0", "padding": 1},
        {"type": "LIF", "threshold": "threshold.t0", "leak": "leak.l0"},
        {"type": "AvgPool2d", "kernel_size": 2},
        {"type": "Conv2d", "key": "features.3", "padding": 1},
        {"type": "LIF", "threshold": "threshold.t3", "leak": "leak.l3"},
        {"type": "Flatten"}, {"type": "Linear", "key": "classifier.0"},
        {"type": "LIF", "threshold": "threshold.t7", "leak": "leak.l7"},
        {"type": "Linear", "key": "classifier.3"}, {"type": "Output"},
    ]  # fmt: skip
    state = OrderedDict((k, np.asarray(v, np.float32)) for k, v in state.items())
    wrapped = OrderedDict((f"module.{k}", v) for k, v in state.items())
    path = write_torch(tmp_path / "vgg.pth", {"state_dict": wrapped, "epoch": 3})
    described = {"input": [2, 8, 8], "layers": layers, "steps": steps, "input_kind": "analog"}
    return read_onestep(path, Options(description=described)), state


def convolved(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("scyxhw,ochw->soyx", windows, w)


@pytest.mark.parametrize("steps", [1, 3])
def test_each_step_is_the_papers(tmp_path: Path, steps: int) -> None:
    network, w = onestep(tmp_path, steps)
    images = np.random.default_rng(3).normal(0, 1, (5, 2, 8, 8))
    v: list[Any] = [0.0, 0.0, 0.0, 0.0]
    leak = [min(float(w[f"leak.l{k}"]), 1) if steps > 1 else 0.0 for k in (0, 3, 7)]
    threshold = [float(w[f"threshold.t{k}"]) for k in (0, 3, 7)]

    def fire(k: int, x: np.ndarray) -> np.ndarray:
        v[k] = leak[k] * v[k] + x
        s = v[k] > threshold[k]
        v[k] = v[k] - threshold[k] * s
        return s.astype(np.float64)

    run = State(network, 5)
    names = [p.name for p in network.populations]
    frames = images.transpose(0, 2, 3, 1).reshape(5, -1).astype(np.float32)
    for _ in range(steps):
        x = convolved(images, w["features.0.weight"])
        s0 = fire(0, x + w["features.0.bias"][:, None, None])
        pooled = s0.reshape(5, 6, 4, 2, 4, 2).mean(axis=(3, 5))
        s1 = fire(1, convolved(pooled, w["features.3.weight"]))
        s2 = fire(2, s1.reshape(5, -1) @ w["classifier.0.weight"].T)
        v[3] = v[3] + s2 @ w["classifier.3.weight"].T
        run.step(frames)
        np.testing.assert_array_equal(
            run.emitted[names[0]].reshape(5, 8, 8, 6).transpose(0, 3, 1, 2), s0
        )
        np.testing.assert_array_equal(run.emitted[names[3]], s2)
    np.testing.assert_array_equal(run.scores.argmax(axis=1), v[3].argmax(axis=1))


def test_with_one_step_only_the_weights_are_rounded(tmp_path: Path) -> None:
    network, _ = onestep(tmp_path, 1)
    signal = np.random.default_rng(4).normal(0, 1, (60, 1, 128))
    conversion = quantize(network, signal)
    graph, report = conversion.graph, conversion.report
    for what in ("neurons", "sums"):
        layers = [layer for layer in report.layers if what in layer.what]
        assert {layer.verdict.value for layer in layers} == {"exact"}
    # measured: 0.998, 0.992 and 0.944, the last of a random layer behind two others
    assert min(report.spike_agreement.values()) > 0.9
    frames = graph.input.quantize(signal)
    outputs = runtime.run(blob.pack_image(graph), frames, digests=False)
    np.testing.assert_array_equal(outputs.labels, reference.run(graph, frames).labels)
