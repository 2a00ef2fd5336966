"""Legendre memory units, from files as Keras and PyTorch write them, against the equations."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from checkpoints import write_torch

from edgesnn import blob, runtime
from edgesnn.converters.lmu import SOURCE, memory, read_lmu
from edgesnn.errors import EdgesnnError
from edgesnn.network import Network, State
from edgesnn.quantize import quantize
from edgesnn.sources import Options

CHANNELS, UNITS, CLASSES, MEMORY_D, ORDER, THETA = 2, 7, 3, 2, 4, 9.0


def weights(seed: int = 0, *, cell: str | None = "rnn", **settings: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    to_memory, x_too = settings["hidden_to_memory"], settings["input_to_hidden"]
    size = MEMORY_D * ORDER
    entering = size + CHANNELS * x_too
    made = {
        "kernel": rng.normal(0, 0.4, (CHANNELS + UNITS * to_memory, MEMORY_D)),
        "recurrent_kernel": rng.normal(0, 0.05, (size, MEMORY_D)),
        "bias": rng.normal(0, 0.1, MEMORY_D),
        "cell_kernel": rng.normal(0, 0.5, (entering, UNITS)),
        "cell_recurrent": rng.normal(0, 0.2, (UNITS, UNITS)),
        "cell_bias": rng.normal(0, 0.1, UNITS),
        "out_kernel": rng.normal(0, 1, (UNITS if cell else entering, CLASSES)),
        "out_bias": rng.normal(0, 0.1, CLASSES),
    }
    kept = {
        "recurrent_kernel": settings["memory_to_memory"], "bias": settings["use_bias"],
        "cell_kernel": cell, "cell_recurrent": cell == "rnn", "cell_bias": cell,
    }  # fmt: skip
    return {k: v.astype(np.float32) for k, v in made.items() if kept.get(k, True)}


def config(cell: str | None, kind: str = "LMU", **settings: Any) -> dict[str, Any]:
    hidden = {
        "rnn": {"class_name": "SimpleRNNCell", "config": {"units": UNITS, "activation": "tanh"}},
        "dense": {"class_name": "Dense", "config": {"units": UNITS, "activation": "relu"}},
        None: None,
    }[cell]
    lmu = {
        "name": "lmu", "memory_d": MEMORY_D, "order": ORDER, "theta": THETA, "hidden_cell": hidden,
        "kernel_initializer": "glorot_uniform", **settings,
    }  # fmt: skip
    layers = [
        {"class_name": "InputLayer", "config": {"batch_shape": [None, None, CHANNELS]}},
        {"class_name": kind, "registered_name": f"keras-lmu>{kind}", "config": lmu},
        {"class_name": "Dense",
         "config": {"name": "dense", "units": CLASSES, "activation": "softmax"}},
    ]  # fmt: skip
    return {"class_name": "Sequential", "config": {"layers": layers}, "keras_version": "3.5.0"}


def write_keras(path: Path, config: dict[str, Any], w: dict[str, np.ndarray]) -> Path:
    """A `.keras` file as Keras 3 lays it out."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        own = [w[key] for key in ("kernel", "recurrent_kernel", "bias") if key in w]
        inner = [w[key] for key in ("cell_kernel", "cell_recurrent", "cell_bias") if key in w]
        for at, arrays in (("layers/lmu/layer/cell", own),
                           ("layers/lmu/layer/cell/hidden_cell", inner),
                           ("layers/dense", [w["out_kernel"], w["out_bias"]])):  # fmt: skip
            for k, array in enumerate(arrays):
                file[f"{at}/vars/{k}"] = array
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", buffer.getvalue())
    return path


def write_h5(path: Path, config: dict[str, Any], w: dict[str, np.ndarray]) -> Path:
    """A whole model in HDF5, as Keras 2 lays it out."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        for key, name in (("kernel", "kernel"), ("recurrent_kernel", "recurrent_kernel"),
                          ("bias", "bias")):  # fmt: skip
            if key in w:
                file[f"model_weights/lmu/lmu/{name}:0"] = w[key]
        for key, name in (("cell_kernel", "kernel"), ("cell_recurrent", "recurrent_kernel"),
                          ("cell_bias", "bias")):  # fmt: skip
            if key in w:
                file[f"model_weights/lmu/lmu/simple_rnn_cell/{name}:0"] = w[key]
        file["model_weights/dense/dense/kernel:0"] = w["out_kernel"]
        file["model_weights/dense/dense/bias:0"] = w["out_bias"]
    return path


def by_hand(
    signal: np.ndarray,
    w: dict[str, np.ndarray],
    cell: str | None,
    discretizer: str,
    **settings: Any,
) -> np.ndarray:
    """Scores after every step (samples, steps, classes), by the equations, in float64."""
    from scipy.linalg import expm

    i, j = np.indices((ORDER, ORDER))
    a = np.where(i < j, -1.0, (-1.0) ** (i - j + 1)) * (2 * i + 1) / THETA
    b = ((-1.0) ** i * (2 * i + 1) / THETA)[:, :1]
    if discretizer == "euler":
        a, b = np.eye(ORDER) + a, b
    else:
        whole = expm(np.block([[a, b], [np.zeros((1, ORDER + 1))]]))
        a, b = whole[:ORDER, :ORDER], whole[:ORDER, ORDER:]
    n = len(signal)
    m, h = np.zeros((n, MEMORY_D, ORDER)), np.zeros((n, UNITS))
    scores = []
    for t in range(signal.shape[1]):
        x = signal[:, t]
        u = np.concatenate([x, h], 1) if settings["hidden_to_memory"] else x
        u = u @ w["kernel"] + w.get("bias", 0)
        if settings["memory_to_memory"]:
            u = u + m.reshape(n, -1) @ w["recurrent_kernel"]
        m = m @ a.T + u[:, :, np.newaxis] * b[:, 0]
        out = m.reshape(n, -1)
        out = np.concatenate([out, x], 1) if settings["input_to_hidden"] else out
        if cell == "rnn":
            out = h = np.tanh(out @ w["cell_kernel"] + h @ w["cell_recurrent"] + w["cell_bias"])
        elif cell == "dense":
            out = h = np.maximum(out @ w["cell_kernel"] + w["cell_bias"], 0)
        scores.append(out @ w["out_kernel"] + w["out_bias"])
    return np.stack(scores, 1)


FORMS = [
    ("rnn", {"hidden_to_memory": True, "memory_to_memory": True, "input_to_hidden": True}),
    ("rnn", {"hidden_to_memory": False, "memory_to_memory": False, "input_to_hidden": True}),
    ("dense", {"hidden_to_memory": False, "memory_to_memory": True, "input_to_hidden": False}),
    (None, {"hidden_to_memory": False, "memory_to_memory": False, "input_to_hidden": True}),
    (None, {"hidden_to_memory": False, "memory_to_memory": False, "input_to_hidden": False}),
]


@pytest.fixture
def signal() -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.cumsum(rng.normal(0, 0.3, (12, 50, CHANNELS)), axis=1).clip(-2, 2)


@pytest.mark.parametrize("order", [1, 4, 12, 64])
@pytest.mark.parametrize("theta", [9.0, 100.0, 784.0])
def test_the_memory_is_scipys_to_1e_6(order: int, theta: float) -> None:
    from scipy.linalg import expm

    i, j = np.indices((order, order))
    a = np.where(i < j, -1.0, (-1.0) ** (i - j + 1)) * (2 * i + 1) / theta
    b = ((-1.0) ** i * (2 * i + 1) / theta)[:, :1]
    whole = expm(np.block([[a, b], [np.zeros((1, order + 1))]]))
    made = memory(order, theta, "zoh")
    np.testing.assert_allclose(made[0], whole[:order, :order], atol=1e-6)
    np.testing.assert_allclose(made[1], whole[:order, order:], atol=1e-6)


@pytest.mark.parametrize("write", [write_keras, write_h5])
@pytest.mark.parametrize("discretizer", ["zoh", "euler"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("cell", "form"), FORMS)
def test_keras_networks_compute_the_equations(
    tmp_path: Path, signal: np.ndarray, write: Any, cell: str | None, form: dict[str, Any],
    discretizer: str, bias: bool,
) -> None:  # fmt: skip
    settings = {**form, "use_bias": bias, "discretizer": discretizer}
    if discretizer == "euler":
        settings["theta"] = 40.0
    w = weights(cell=cell, **settings)
    path = write(tmp_path / "model.keras", config(cell, **settings), w)
    network = read_lmu(path, Options())
    theta = globals()["THETA"]
    globals()["THETA"] = settings.get("theta", theta)
    try:
        scores = by_hand(signal, w, cell, **settings)
    finally:
        globals()["THETA"] = theta
    floats = network.run(signal)
    assert np.mean(floats.step_labels == scores.argmax(axis=2)) > 0.999


@pytest.mark.parametrize(("cell", "form"), FORMS)
def test_integers_stay_close(
    tmp_path: Path, signal: np.ndarray, cell: str | None, form: dict[str, Any]
) -> None:
    settings = {**form, "use_bias": True}
    w = weights(cell=cell, **settings)
    network = read_lmu(write_keras(tmp_path / "m.keras", config(cell, **settings), w), Options())
    conversion = quantize(network, signal)
    graph = conversion.graph
    outputs = runtime.run(blob.pack_image(graph), graph.input.quantize(signal), digests=False)
    floats = network.run(signal)
    assert np.mean(outputs.step_labels == floats.step_labels) > 0.95
    assert max(conversion.report.value_error.values()) < 0.05


def test_a_pytorch_cell_is_taken_as_it_stands(tmp_path: Path, signal: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    a, b = memory(6, 12.0, "zoh")
    state = OrderedDict(
        (f"rnn.{key}", rng.normal(0, 0.3, shape).astype(np.float32))
        for key, shape in {
            "e_x": (1, CHANNELS), "e_h": (1, UNITS), "e_m": (1, 6), "W_x": (UNITS, CHANNELS),
            "W_h": (UNITS, UNITS), "W_m": (UNITS, 6),
        }.items()
    )  # fmt: skip
    state |= {"rnn.A": a, "rnn.B": b}
    state |= {"fc.weight": rng.normal(0, 1, (3, UNITS)).astype(np.float32),
              "fc.bias": np.zeros(3, np.float32)}  # fmt: skip
    network = read_lmu(write_torch(tmp_path / "lmu.pt", state), Options())
    m, h = np.zeros((12, 6)), np.zeros((12, UNITS))
    w = {key.split(".")[1]: value for key, value in state.items() if key.startswith("rnn.")}
    labels = []
    for t in range(50):
        x = signal[:, t]
        u = x @ w["e_x"].T + h @ w["e_h"].T + m @ w["e_m"].T
        m = m @ a.T + u @ b.T
        h = np.tanh(x @ w["W_x"].T + h @ w["W_h"].T + m @ w["W_m"].T)
        labels.append((h @ state["fc.weight"].T).argmax(axis=1))
    assert np.mean(network.run(signal).step_labels == np.stack(labels, 1)) > 0.999
    report = quantize(network, signal).report
    assert report.label_agreement is not None
    assert report.label_agreement > 0.9


def refused(path: Path) -> str:
    with pytest.raises(EdgesnnError) as caught:
        read_lmu(path, Options())
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_kept_is_refused_by_name(tmp_path: Path) -> None:
    form = {**FORMS[0][1], "use_bias": False}
    w, path = weights(**form), tmp_path / "m.keras"
    good = config("rnn", **form)
    bad = json.loads(json.dumps(good))
    bad["config"]["layers"][1]["config"]["hidden_cell"]["class_name"] = "LSTMCell"
    assert "layer 'lmu' has the hidden cell LSTMCell" in refused(write_keras(path, bad, w))
    bad = json.loads(json.dumps(good))
    bad["config"]["layers"][2]["class_name"] = "Lambda"
    assert "layer 'dense' is of type Lambda" in refused(write_keras(path, bad, w))
    bad = json.loads(json.dumps(good))
    bad["config"]["layers"][1]["config"]["discretizer"] = "euler"
    bad["config"]["layers"][1]["config"]["theta"] = 2.0
    assert "grows without bound" in refused(write_keras(path, bad, w))
    assert "none of (9, 7)" in refused(write_keras(path, good, {**w, "kernel": w["kernel"][:8]}))
    nan = {**w, "out_bias": np.full(CLASSES, np.nan, np.float32)}
    assert "not finite" in refused(write_keras(path, good, nan))
    with h5py.File(path, "w") as file:
        file["lmu/kernel:0"] = w["kernel"]
    assert "save the whole model" in refused(path)


def test_an_archive_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    form = {**FORMS[0][1], "use_bias": True}
    path = write_keras(tmp_path / "m.keras", config("rnn", **form), weights(**form))
    content = bytearray(path.read_bytes())
    record = content.rindex(b"PK\1\2")  # of the weights, in the directory at the end
    content[record + 20 : record + 28] = 2 * len(content).to_bytes(4, "little")
    path.write_bytes(content)
    assert "is no whole .keras file" in refused(path)


def test_cut_and_flipped_files_are_read_or_refused(tmp_path: Path) -> None:
    form = {**FORMS[0][1], "use_bias": True}
    path = tmp_path / "m.keras"
    whole = write_keras(path, config("rnn", **form), weights(**form)).read_bytes()
    rng = np.random.default_rng(0)
    for k in range(80):
        damaged = bytearray(whole[: rng.integers(1, len(whole))] if k % 4 == 0 else whole)
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        SOURCE.recognises(path)
        with contextlib.suppress(EdgesnnError):
            assert isinstance(read_lmu(path, Options()), Network)


# ---- files of Keras itself ----

KERAS = Path(__file__).with_name("golden") / "keras-3.15.1.npz"


def keras(path: Path, cell: str) -> tuple[Path, np.ndarray, np.ndarray]:
    """A file that Keras saved, its input, and its scores of every step."""
    with np.load(KERAS) as arrays, zipfile.ZipFile(path, "w") as archive:
        for part in ("config.json", "model.weights.h5"):
            archive.writestr(part, arrays[f"{cell}/{part}"].tobytes())
        archive.writestr("metadata.json", "{}")
        return path, arrays["input"], arrays[f"{cell}/scores"] / 1e5


@pytest.mark.parametrize(
    "cell", ["simple-rnn-tanh", "simple-rnn-relu", "dense-tanh", "dense-relu", "none"]
)
def test_hidden_cells_compute_what_keras_does(tmp_path: Path, cell: str) -> None:
    """Measured: scores up to 100 and more, 1e-4 apart at most."""
    path, signal, expected = keras(tmp_path / "lmu.keras", cell)
    state = State(read_lmu(path, Options()), len(signal))
    for t in range(signal.shape[1]):
        state.step(signal[:, t])
        np.testing.assert_allclose(state.scores, expected[:, t], atol=1e-4, rtol=1e-5)
