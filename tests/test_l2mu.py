"""The L2MU converter: what it reads of a checkpoint, what it refuses, the authors' own network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import Raw, Tensor, l2mu_state, name, write_torch

from edgesnn import blob, reference, runtime
from edgesnn.converters.l2mu import SOURCE, read_l2mu
from edgesnn.errors import EdgesnnError, FormatError, MissingError, ModelError
from edgesnn.graph import Reset
from edgesnn.network import InputKind, Network, Population, Projection
from edgesnn.quantize import quantize
from edgesnn.sources import read_network, sources
from edgesnn.zoo.basicmotions import CHECKPOINT

State = OrderedDict[str, Any]
CELL = "l2mu_cell."


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "l2mu.pt"


def read(file: Path, state: State, **notes: object) -> Network:
    return read_l2mu(write_torch(file, {"state_dict": state, **notes}))


def refusal(file: Path, state: State, error: type[EdgesnnError] = ModelError) -> str:
    """The one sentence with which a state_dict is refused, which names the file."""
    with pytest.raises(error) as caught:
        read(file, state)
    text = str(caught.value)
    assert str(file) in text
    assert "\n" not in text
    return text


def population(network: Network, name: str) -> Population:
    return next(p for p in network.populations if p.name == name)


def projection(network: Network, layer: str) -> Projection:
    return next(p for p in network.projections if p.layer == layer)


def same(a: object, b: object) -> bool:
    """Whether two parts, or tuples of them, hold the same values."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (Population, Projection)):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def spikes(network: Network, seed: int = 0) -> dict[str, np.ndarray]:
    signal = np.random.default_rng(seed).normal(0, 1, (4, 40, network.input_size))
    keep = tuple(p.name for p in network.populations)
    recorded = network.run(signal.astype(np.float32), keep=keep).spikes
    assert all(0 < recorded[name].mean() < 1 for name in keep)
    return recorded


def alike(a: Network, b: Network) -> bool:
    """Whether two networks spike alike."""
    of_a, of_b = spikes(a), spikes(b)
    return all(np.array_equal(of_a[name], of_b[name]) for name in of_a)


# what it reads


@pytest.mark.parametrize("cuba", [False, True], ids=["lif", "cuba"])
@pytest.mark.parametrize("encoder", [(), (5,), (5, 4)], ids=["alone", "one layer", "two layers"])
def test_the_network_has_the_populations_and_projections_of_the_equations(
    file: Path, cuba: bool, encoder: tuple[int, ...]
) -> None:
    network = read(file, l2mu_state(encoder=encoder, cuba=cuba))
    chain = [f"encoder{n}" for n in range(len(encoder))]
    sizes = dict(zip(chain, encoder, strict=True)) | {"u": 3, "m": 12, "h": 6, "o": 4}
    assert {p.name: p.size for p in network.populations} == sizes
    assert list(sizes) == [p.name for p in network.populations]
    assert all((p.alpha is not None) == cuba for p in network.populations)
    x = chain[-1] if chain else "input"
    cell = [(x, "u"), ("h", "u"), ("m", "u"), ("m", "m"), ("u", "m"),
            (x, "h"), ("h", "h"), ("m", "h"), ("h", "o")]  # fmt: skip
    assert [(p.source, p.target) for p in network.projections] == [
        *zip(["input", *chain], chain, strict=False),
        *cell,
    ]
    assert {p.layer: p.blocks for p in network.projections if p.blocks > 1} == {
        CELL + "A": 3,
        CELL + "B": 3,
    }
    assert network.readout.population == "o"
    assert network.input_size == 3
    assert network.input_kind is (InputKind.ANALOG if encoder else None)


@pytest.mark.parametrize("cuba", [False, True], ids=["lif", "cuba"])
def test_keys_may_start_with_model(file: Path, cuba: bool) -> None:
    state = l2mu_state(encoder=(5,), cuba=cuba)
    plain = read(file, state)
    prefixed = read(file, OrderedDict((f"model.{key}", value) for key, value in state.items()))
    assert same(plain.populations, prefixed.populations)
    assert same(plain.projections, prefixed.projections)


def test_a_state_dict_alone_is_enough(file: Path) -> None:
    state = l2mu_state()
    plain, alone = read(file, state), read_l2mu(write_torch(file, state))
    assert same(plain.populations, alone.populations)
    assert same(plain.projections, alone.projections)


def test_weights_are_taken_as_they_stand(file: Path) -> None:
    state = l2mu_state(encoder=(5,))
    network = read(file, state)
    for part in network.projections:
        np.testing.assert_array_equal(part.weight, state[part.layer + ".weight"])
    np.testing.assert_array_equal(
        population(network, "o").bias, state[CELL + "output_transformation.bias"]
    )
    np.testing.assert_array_equal(
        population(network, "encoder0").bias, state["encoder.0.linear.bias"]
    )


def test_an_encoder_may_do_without_bias(file: Path) -> None:
    state = l2mu_state(encoder=(5,))
    del state["encoder.0.linear.bias"]
    assert not population(read(file, state), "encoder0").bias.any()


def test_a_transposed_memory_matrix_is_another_network(file: Path) -> None:
    """The authors' code stores the transpose of the LMU's A, and their networks need it."""
    state = l2mu_state()
    turned = OrderedDict(state)
    turned[CELL + "A.weight"] = Tensor(state[CELL + "A.weight"], size=(4, 4), stride=(1, 4))
    network, other = read(file, state), read(file, turned)
    np.testing.assert_array_equal(
        projection(network, CELL + "A").weight, projection(other, CELL + "A").weight.T
    )
    assert not alike(network, other)


def test_every_neuron_may_have_parameters_of_its_own(file: Path) -> None:
    state = l2mu_state(cuba=True)
    learned = {
        "beta": np.linspace(0.3, 0.9, 6),
        "alpha": np.linspace(0.1, 0.7, 6),
        "threshold": np.linspace(0.2, 0.8, 6),
    }
    for key, values in learned.items():
        state[f"{CELL}spk_h.{key}"] = values.astype(np.float32)
    h = population(read(file, state), "h")
    for key, values in learned.items():
        np.testing.assert_array_equal(getattr(h, key), values.astype(np.float32))


def test_decays_are_clipped_as_snntorch_clips_them(file: Path) -> None:
    state = l2mu_state(cuba=True)
    state[CELL + "spk_u.beta"] = np.float32(1.25)
    state[CELL + "spk_u.alpha"] = np.float32(-0.5)
    u = population(read(file, state), "u")
    assert u.beta == 1
    assert u.alpha == 0


@pytest.mark.parametrize(
    ("cuba", "value", "reset"),
    [
        (False, 0, Reset.SUBTRACT),
        (False, 1, Reset.ZERO),
        (False, 2, Reset.NONE),
        (True, 0, Reset.SUBTRACT),
        (True, 1, Reset.ZERO_DISCARD),
        (True, 2, Reset.NONE),
    ],
)
def test_the_reset_is_that_of_the_rule_and_its_number(
    file: Path, cuba: bool, value: int, reset: Reset
) -> None:
    state = l2mu_state(cuba=cuba)
    state[CELL + "spk_m.reset_mechanism_val"] = np.int64(value)
    network = read(file, state)
    assert population(network, "m").reset is reset
    assert population(network, "h").reset is Reset.SUBTRACT


@pytest.mark.parametrize(
    ("graded", "layers"),
    [
        ("encoder.0.spk", ("l2mu_cell.e_x", "l2mu_cell.W_x")),
        ("l2mu_cell.spk_u", ("l2mu_cell.B",)),
        ("l2mu_cell.spk_m", ("l2mu_cell.A", "l2mu_cell.e_m", "l2mu_cell.W_m")),
        ("l2mu_cell.spk_h", ("l2mu_cell.e_h", "l2mu_cell.W_h", "l2mu_cell.output_transformation")),
    ],
)
def test_a_graded_spike_is_a_spike_whose_weights_carry_the_factor(
    file: Path, graded: str, layers: tuple[str, ...]
) -> None:
    state = l2mu_state(encoder=(5,))
    plain = read(file, state)
    factor = OrderedDict(state)
    factor[graded + ".graded_spikes_factor"] = np.float32(0.5)
    scaled = OrderedDict(state)
    for layer in layers:
        scaled[layer + ".weight"] = state[layer + ".weight"] * np.float32(0.5)
    network, expected = read(file, factor), read(file, scaled)
    assert same(network.projections, expected.projections)
    assert alike(network, expected)
    assert not alike(network, plain)


def test_other_types_of_number_are_read_as_float32(file: Path) -> None:
    state = l2mu_state()
    state[CELL + "A.weight"] = state[CELL + "A.weight"].astype(np.float64)
    state[CELL + "W_m.weight"] = state[CELL + "W_m.weight"].astype(np.float16)
    network = read(file, state)
    assert {p.weight.dtype for p in network.projections} == {np.dtype(np.float32)}


# what stands beside the weights

NOTES = {
    "classes": ["rest", "walk", "run", "jump"],
    "units": ["g", "g", "g"],
    "rate_hz": 50.0,
    "snntorch_version": "1.0.0",
}


@pytest.mark.parametrize("notes", [NOTES, {"hyper_parameters": NOTES}], ids=["beside", "lightning"])
def test_classes_units_rate_and_version_are_read(file: Path, notes: dict[str, Any]) -> None:
    network = read(file, l2mu_state(), **notes)
    assert network.classes == ("rest", "walk", "run", "jump")
    assert network.units == ("g", "g", "g")
    assert network.step_us == 20_000
    assert str(network.profile) == "snnTorch 1.0.0"
    assert network.source == "l2mu.pt"
    assert network.remarks == ()


def test_without_a_version_the_authors_is_assumed_and_said(file: Path) -> None:
    network = read(file, l2mu_state())
    assert str(network.profile) == "snnTorch 0.9.1"
    assert "names no snnTorch version" in network.remarks[0]


@pytest.mark.parametrize(
    ("version", "remarked"), [("0.8.1", True), ("0.9.1", True), ("0.9.4", False), ("1.0.0", False)]
)
def test_a_version_whose_synaptic_depends_on_how_it_is_called_is_remarked_on(
    file: Path, version: str, remarked: bool
) -> None:
    """What that version then does: `test_golden.py`."""
    cuba = read(file, l2mu_state(cuba=True), snntorch_version=version)
    assert any("lif(x, syn, mem)" in remark for remark in cuba.remarks) is remarked
    assert read(file, l2mu_state(), snntorch_version=version).remarks == ()


@pytest.mark.parametrize(
    "notes",
    [
        {"classes": ["too", "few"], "units": "m/s", "rate_hz": "fast", "snntorch_version": 1.0},
        {"classes": [1, 2, 3, 4], "units": [None] * 3, "rate_hz": float("nan")},
        {"rate_hz": 10**400, "hyper_parameters": [1]},
        {"rate_hz": -10.0, "hyper_parameters": None},
        {"rate_hz": 1e-300},
    ],
)
def test_notes_that_make_no_sense_are_left_out(file: Path, notes: dict[str, Any]) -> None:
    network = read(file, l2mu_state(), **notes)
    assert (network.classes, network.units, network.step_us) == ((), (), 0)
    assert str(network.profile) == "snnTorch 0.9.1"


# what it refuses

REQUIRED = [
    key
    for key in l2mu_state(encoder=(5,))
    if not key.endswith(("graded_spikes_factor", "reset_mechanism_val", "encoder.0.linear.bias"))
]


@pytest.mark.parametrize("key", [key for key in REQUIRED if key != "encoder.0.linear.weight"])
def test_a_missing_key_is_named(file: Path, key: str) -> None:
    state = l2mu_state(encoder=(5,))
    del state[key]
    assert f"'{key}'" in refusal(file, state, FormatError)


@pytest.mark.parametrize(
    "key", ["l2mu_cell.W_o.weight", "l2mu_cell.e_x.bias", "encoder.1.spk.beta", "loss.weight"]
)
def test_a_key_that_no_l2mu_has_is_named(file: Path, key: str) -> None:
    state = l2mu_state(encoder=(5,))
    state[key] = np.float32(1)
    assert f"'{key}'" in refusal(file, state)


def test_an_encoder_without_its_weight_is_refused(file: Path) -> None:
    state = l2mu_state(encoder=(5,))
    del state["encoder.0.linear.weight"]
    assert "'encoder.0.linear.bias'" in refusal(file, state)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("A.weight", (4, 3)),
        ("A.weight", (3, 4)),
        ("A.weight", (3, 3)),
        ("B.weight", (3, 1)),
        ("B.weight", (4, 2)),
        ("B.weight", (1, 4)),
    ],
)
def test_memory_matrices_of_other_shapes_are_named(
    file: Path, key: str, shape: tuple[int, int]
) -> None:
    state = l2mu_state()
    state[CELL + key] = np.zeros(shape, np.float32)
    text = refusal(file, state)
    assert f"'{CELL}{key}' {shape}" in text
    assert "(order, order) and (order, 1)" in text


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("W_h", (6, 5)),
        ("W_h", (5, 5)),
        ("e_h", (3, 7)),
        ("e_m", (3, 11)),
        ("W_m", (6, 3)),
        ("W_m", (5, 12)),
        ("W_x", (6, 2)),
        ("output_transformation", (4, 12)),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_the_layer(
    file: Path, layer: str, shape: tuple[int, int]
) -> None:
    state = l2mu_state()
    state[f"{CELL}{layer}.weight"] = np.zeros(shape, np.float32)
    text = refusal(file, state)
    assert f"{CELL}{layer}" in text
    assert str(shape) in text


@pytest.mark.parametrize("shape", [(4,), (), (4, 4, 1), (0, 0), (0, 4)])
def test_a_weight_that_is_no_matrix_is_refused(file: Path, shape: tuple[int, ...]) -> None:
    state = l2mu_state()
    state[CELL + "A.weight"] = np.zeros(shape, np.float32)
    assert f"'{CELL}A.weight' has shape {shape}" in refusal(file, state)


@pytest.mark.parametrize("parameter", ["beta", "alpha", "threshold"])
def test_parameters_of_the_wrong_number_are_refused(file: Path, parameter: str) -> None:
    state = l2mu_state(cuba=True)
    state[f"{CELL}spk_h.{parameter}"] = np.full(5, 0.5, np.float32)
    text = refusal(file, state)
    assert f"{CELL}spk_h" in text
    assert f"{parameter} has shape (5,)" in text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize(
    ("key", "layer"),
    [
        ("W_m.weight", "l2mu_cell.W_m"),
        ("output_transformation.bias", "l2mu_cell.spk_output"),
        ("spk_u.threshold", "l2mu_cell.spk_u"),
    ],
)
def test_a_value_that_is_not_finite_is_refused_with_the_layer(
    file: Path, key: str, layer: str, value: float
) -> None:
    state = l2mu_state()
    state[CELL + key] = np.array(state[CELL + key], np.float64)
    state[CELL + key][(0,) * state[CELL + key].ndim] = value
    text = refusal(file, state)
    assert layer in text
    assert "not finite" in text


@pytest.mark.parametrize("value", [3.0, -1.0, 0.5, np.nan, np.inf])
def test_a_reset_that_snntorch_does_not_know_is_refused(file: Path, value: float) -> None:
    state = l2mu_state()
    state[CELL + "spk_h.reset_mechanism_val"] = np.float32(value)
    assert f"'{CELL}spk_h.reset_mechanism_val'" in refusal(file, state)


def test_a_graded_factor_for_each_neuron_is_refused(file: Path) -> None:
    state = l2mu_state()
    state[CELL + "spk_h.graded_spikes_factor"] = np.ones(6, np.float32)
    assert f"'{CELL}spk_h.graded_spikes_factor' has 6 values" in refusal(file, state)


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan])
def test_an_output_whose_spikes_count_backwards_is_refused(file: Path, factor: float) -> None:
    state = l2mu_state()
    state[CELL + "spk_output.graded_spikes_factor"] = np.float32(factor)
    assert "'l2mu_cell.spk_output.graded_spikes_factor'" in refusal(file, state)


def test_a_value_that_is_no_tensor_is_refused(file: Path) -> None:
    """It would otherwise be left out: here a reset to zero become one by subtraction."""
    state = l2mu_state()
    state[CELL + "spk_h.reset_mechanism_val"] = 1
    assert f"'{CELL}spk_h.reset_mechanism_val' is no tensor" in refusal(file, state, FormatError)


def test_two_models_in_one_state_dict_are_refused(file: Path) -> None:
    state = l2mu_state()
    state["model." + CELL + "A.weight"] = state[CELL + "A.weight"].T
    assert "'model.'" in refusal(file, state, FormatError)


@pytest.mark.parametrize("obj", [[1, 2], {"state_dict": [1]}, np.zeros(3), "text", {}])
def test_a_checkpoint_of_something_else_is_refused(file: Path, obj: object) -> None:
    with pytest.raises(FormatError, match=r"state_dict|l2mu_cell"):
        read_l2mu(write_torch(file, obj))


# finding it


def test_it_is_a_source_that_recognises_its_checkpoints(file: Path) -> None:
    assert sources()["l2mu"] is SOURCE
    assert SOURCE.recognises(CHECKPOINT)
    assert SOURCE.recognises(write_torch(file, l2mu_state()))
    assert read_network(file).profile.framework == "snnTorch"


def test_it_recognises_no_other_file_and_never_fails(tmp_path: Path) -> None:
    contents: dict[str, bytes] = {
        "empty": b"",
        "text": b"import edgesnn\n" * 100,
        "zip": b"PK\x03\x04" + bytes(100),
        "cut": CHECKPOINT.read_bytes()[:5000],
        "image": b"\x89PNG\r\n\x1a\n" + bytes(1000),
        "zeros": bytes(10_000),
    }
    files = [tmp_path / kind for kind in contents]
    for file, content in zip(files, contents.values(), strict=True):
        file.write_bytes(content)
    others: dict[str, object] = {
        "number": np.zeros(3),
        "other": {"state_dict": {"fc.weight": np.zeros((2, 2))}},
        "odd": {"state_dict": {1: 2}, 3: None},
        "code": {"l2mu_cell.A.weight": Raw(name("os", "getcwd") + b")R")},
    }
    files += [write_torch(tmp_path / kind, obj) for kind, obj in others.items()]
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    files += [tmp_path / "arrays.npz", tmp_path, tmp_path / "missing", Path("\0")]
    assert not any(map(SOURCE.recognises, files))


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"nothing\.ckpt"):
        read_l2mu(tmp_path / "nothing.ckpt")


# the authors' network


def test_the_authors_network_keeps_its_answers_in_integers(
    shared_model: Callable[[str], Path], shared_data: Callable[[str], Path]
) -> None:
    """L2MU-Braille, 7 classes, on the 1,158 samples of its authors: lmu.md, 1.4 and 4.5."""
    network = read_l2mu(shared_model("l2mu_braille7/l2mu_braille7_best.ckpt"))
    with np.load(shared_data("braille7/braille7_spikes.npz")) as data:
        signal = np.unpackbits(data["spikes_packed"], axis=-1)[..., :12]
        label = data["label"]
    assert signal.shape == (1158, 256, 12)

    recorded = network.run(signal)
    # another machine may sum floats in another order: one label more or less
    assert np.mean(recorded.labels == label) == pytest.approx(0.9853, abs=1e-3)
    published = {"u": 0.188, "m": 0.024, "h": 0.024, "o": 0.157}
    assert recorded.rates == pytest.approx(published, abs=1e-3)

    # nothing of a network of spikes alone is calibrated, so a few recordings do
    graph = quantize(network, signal[:4]).graph
    assert sum(p.weights.size for p in graph.projections) <= 125_000
    image = blob.pack_image(graph)
    frames = graph.input.quantize(signal)
    outputs = runtime.run(image, frames, digests=False)
    assert np.mean(outputs.labels == recorded.labels) >= 0.99
    assert np.mean(outputs.labels == label) >= 0.98
    assert outputs.synops.mean() <= 0.95e6

    counts = dict.fromkeys(published, 0)
    for first in range(0, len(frames), 193):
        chunk = frames[first : first + 193]
        raster = runtime.raster(image, chunk)
        for t, state in enumerate(reference.steps(graph, chunk)):
            emitted = [state.emitted[p.name] for p in graph.populations]
            assert np.array_equal(raster[:, t], np.concatenate(emitted, axis=1))
            for part, fired in zip(graph.populations, emitted, strict=True):
                counts[part.name] += int(fired.sum())
        np.testing.assert_array_equal(state.scores, outputs.scores[first : first + 193])
        np.testing.assert_array_equal(state.synops, outputs.synops[first : first + 193])
    for part in graph.populations:
        rate = counts[part.name] / (len(frames) * frames.shape[1] * part.size)
        assert rate == pytest.approx(recorded.rates[part.name], rel=0.01)
