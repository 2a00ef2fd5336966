"""lava-dl's `.net` files, integer already: taken over without a difference."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edgesnn import blob, reference, runtime
from edgesnn.converters.lava import SOURCE, read_lava
from edgesnn.errors import EdgesnnError
from edgesnn.graph import LIF, Graph
from edgesnn.network import Verdict
from edgesnn.sources import Options, read_source

CUBA = {
    "type": "CUBA", "iDecay": 1024, "vDecay": 128, "vThMant": 10, "refDelay": 1,
    "gradedSpike": False,
}  # fmt: skip
ALIF = {
    "type": "ALIF", "iDecay": 4096, "vDecay": 2048, "thDecay": 1024, "refDecay": 2048,
    "vThMant": 10, "vThStep": 3, "refDelay": 1, "gradedSpike": False,
}  # fmt: skip


def write(path: Path, *layers: dict[str, Any]) -> Path:
    """A `.net` file as lava-dl's export_hdf5 lays it out."""
    with h5py.File(path, "w") as file:
        for number, layer in enumerate(layers):
            group = file.create_group(f"layer/{number}")
            for key, value in layer.items():
                if key == "type":
                    group.create_dataset("type", (1,), "S10", [value.encode()])
                elif key == "neuron":
                    for name, parameter in value.items():
                        group.create_dataset(f"neuron/{name}", data=parameter)
                else:
                    group.create_dataset(key, data=value)
    return path


def dense(weight: Any, neuron: dict[str, Any] = CUBA, **more: Any) -> dict[str, Any]:
    weight = np.array(weight, np.float32)
    shape = np.array([len(weight)])
    return {"type": "dense", "shape": shape, "weight": weight, "neuron": neuron, **more}


def graph(path: Path, *layers: dict[str, Any], profile: str | None = None) -> Graph:
    conversion = read_lava(write(path, *layers), Options(profile))
    assert all(layer.verdict is Verdict.EXACT for layer in conversion.report.layers)
    return conversion.graph


def rasters(graph: Graph, frames: np.ndarray) -> dict[str, np.ndarray]:
    """What every population of the C core emits, (steps, size), of frames (steps, channels)."""
    raster = runtime.raster(blob.pack_image(graph), frames[np.newaxis].astype(np.int16))[0]
    edges = np.cumsum([p.size for p in graph.populations])[:-1]
    names = [p.name for p in graph.populations]
    return dict(zip(names, np.split(raster, edges, axis=1), strict=True))


def states(graph: Graph, frames: list[list[int]]) -> dict[str, list[int]]:
    """Of the first neuron of layer0, step by step: u, v and s."""
    found: dict[str, list[int]] = {"u": [], "v": [], "s": []}
    for state in reference.steps(graph, np.array([frames], np.int16)):
        for key, values in (("u", state.synapse), ("v", state.membrane), ("s", state.emitted)):
            found[key].append(int(values["layer0"][0, 0]))
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "network.net"


# ---- by hand ----


def test_one_neuron_step_by_step(file: Path) -> None:
    """u keeps 3072/4096, v 3968/4096, both toward zero; a spike adds 384; it fires above 640."""
    made = graph(file, dense([[6]]))
    found = states(made, [[1], [0], [1], [0], [0]])
    # 384; 288; 216 + 384; 450; 337 (337.5)
    assert found["u"] == [384, 288, 600, 450, 337]
    # 384; 372 + 288 = 660 fires; 0 + 600; 581 (581.25) + 450 fires; 0 + 337
    assert found["v"] == [384, 0, 600, 0, 337]
    assert found["s"] == [0, 1, 0, 1, 0]


def test_a_membrane_at_its_threshold(file: Path) -> None:
    layer = dense([[10]], {**CUBA, "iDecay": 4096})
    for profile, spikes in (("lava-dl", 0), ("lava-dl-early", 1), (None, 0)):
        made = graph(file, layer, profile=profile)
        assert rasters(made, np.ones((1, 1)))["layer0"].sum() == spikes


def test_decay_is_toward_zero_for_negative_states_too(file: Path) -> None:
    made = graph(file, dense([[-6]]))
    assert states(made, [[1], [0], [0], [0], [0]])["u"] == [-384, -288, -216, -162, -121]


def test_bias_enters_the_membrane_of_cuba(file: Path) -> None:
    made = graph(file, dense([[2, 2]], bias=np.array([4.0])))
    state = next(iter(reference.steps(made, np.array([[[1, 0]]], np.int16))))
    assert int(state.synapse["layer0"][0, 0]) == 128
    assert int(state.membrane["layer0"][0, 0]) == 128 + 256


def test_an_adaptive_neuron_step_by_step(file: Path) -> None:
    """T = 640 + a; v is never reset, q takes 2 T off instead; a loses 1/4, q 1/2 a step."""
    made = graph(file, dense([[12]], ALIF))
    found = states(made, [[1]] * 4)
    # q before the test: 0; 640; 320; 908 (half of 320 + 2 * 748)
    assert found["v"] == [768, 1152, 1344, 1440]
    # T: 640; 640 + 144; 640 + 108; 640 + 3/4 of 108 + 192
    assert found["s"] == [1, 0, 1, 0]


def test_layers_lag_by_one_step_and_delays_come_on_top(file: Path) -> None:
    fast = {**CUBA, "iDecay": 4096, "vDecay": 4096, "vThMant": 1}
    first = dense([[4], [4], [4]], fast, delay=np.array([0.0, 2.9, 5.0]))
    second = dense(4 * np.eye(3), fast)
    found = rasters(graph(file, first, second), np.eye(10, 1))
    assert np.argwhere(found["layer0"]).tolist() == [[0, 0], [0, 1], [0, 2]]
    assert np.argwhere(found["layer1"]).tolist() == [[1, 0], [3, 1], [6, 2]]


def test_delays_of_the_last_layer_delay_its_answer(file: Path) -> None:
    fast = {**CUBA, "iDecay": 4096, "vDecay": 4096, "vThMant": 1}
    made = graph(
        file, dense([[4], [4]], fast), dense(4 * np.eye(2), fast, delay=np.array([3.0, 0]))
    )
    assert made.readout.population == "output"
    found = rasters(made, np.eye(8, 1))
    assert np.argwhere(found["output"]).tolist() == [[1, 1], [4, 0]]


def test_recurrent_spikes_are_those_of_the_step_before(file: Path) -> None:
    fast = {**CUBA, "iDecay": 4096, "vDecay": 4096, "vThMant": 1}
    layer = {**dense([[4], [0]], fast), "type": "dense_rec"}
    layer["weight_rec"] = np.array([[0, 0], [4, 0]], np.float32)
    found = rasters(graph(file, layer), np.eye(4, 1))
    assert np.argwhere(found["layer0"]).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("weights", [[[-256, 254]], [[-128, 127]], [[255, -3]], [[0, 0]]])
def test_every_weight_is_kept(file: Path, weights: list[list[int]]) -> None:
    made = graph(file, dense(weights, {**CUBA, "iDecay": 4096}))
    assert all(64 * w for w in weights)
    for channel, weight in enumerate(weights[0]):
        frame = np.eye(2)[np.newaxis, channel : channel + 1].astype(np.int16)
        state = next(iter(reference.steps(made, frame)))
        assert int(state.synapse["layer0"][0, 0]) == 64 * weight


# ---- sigma-delta ----


class Changes:
    """Lava's `SigmaDelta` of fixed point as it stands there, with a residue."""

    def __init__(self, size: int, threshold: int, bias: Any = 0) -> None:
        self.sigma, self.act, self.residue = (np.zeros(size, np.int64) for _ in range(3))
        self.threshold, self.bias = threshold << 12, np.asarray(bias, np.int64) << 12

    def step(self, current: np.ndarray, alone: bool = False) -> np.ndarray:
        """The messages; `alone`: of Lava's `Delta`, which only takes differences."""
        self.sigma = self.sigma + current
        act = current if alone else np.maximum(self.sigma + self.bias, 0)
        delta = act - self.act + self.residue
        sent = np.where(np.abs(delta) >= self.threshold, delta, 0)
        self.residue, self.act = delta - sent, act
        return np.asarray(sent >> 6)


def sdnn(threshold: int, **more: Any) -> dict[str, Any]:
    return {"type": "SDNN", "activation": "relu", "vThMant": threshold, **more}


SIGMA_DELTA = (
    {"type": "input", "shape": np.array([1]), "neuron": sdnn(1)},
    dense([[2]], sdnn(1), bias=np.ones(1)),
    dense([[2]], sdnn(1, sigma_output=True)),
)


@pytest.mark.parametrize("profile", ["lava-dl", "netx"])
def test_sigma_delta_networks_are_lavas(profile: str, file: Path) -> None:
    """Every answer of 40 steps; thresholds of 0 and above, odd and even weights, biases, a map."""
    rng = np.random.default_rng(0)
    conv = rng.integers(-30, 31, (3, 2, 2, 2)) * 2
    one, last = rng.integers(-100, 101, (5, 18)), rng.integers(-126, 127, (4, 5)) * 2
    biases = rng.integers(-20, 20, 3), rng.integers(-40, 40, 5)
    made = graph(
        file,
        {"type": "input", "shape": np.array([2, 4, 3]), "neuron": sdnn(1)},
        {
            "type": "conv", "shape": np.array([3, 3, 2]), "weight": conv.astype(np.float32),
            "stride": 1, "bias": biases[0].astype(np.float32), "neuron": sdnn(0),
        },
        {"type": "flatten"},
        dense(one, sdnn(9), bias=biases[1].astype(np.float32)),
        dense(last, sdnn(9, sigma_output=True)),
        profile=profile,
    )  # fmt: skip
    frames = np.clip(np.cumsum(rng.integers(-25, 26, (40, 4, 3, 2)), axis=0), -256, 255)
    layers = Changes(24, 1), Changes(18, 0, np.repeat(biases[0], 6)), Changes(5, 9, biases[1])
    sent = [np.zeros(size, np.int64) for size in (24, 18, 5)]
    answer, expected = np.zeros(4, np.int64), []
    for frame in frames:
        # of the step before, or of this one
        seen = list(sent) if profile == "netx" else sent
        sent[0] = layers[0].step(frame.transpose(2, 0, 1).ravel() << 12, alone=True)
        windows = np.lib.stride_tricks.sliding_window_view(
            seen[0].reshape(2, 4, 3), (2, 2), axis=(1, 2)
        )
        sent[1] = layers[1].step(np.einsum("cyxij,ocij->oyx", windows, conv).ravel())
        sent[2] = layers[2].step(one @ seen[1])
        answer = answer + last @ seen[2]
        expected.append(answer)
    signal = frames.reshape(1, 40, -1).astype(np.int16)
    outputs = [state.scores[0] for state in reference.steps(made, signal)]
    np.testing.assert_array_equal(outputs, expected)
    assert len(np.unique(np.array(expected)[:, 0])) > 10
    by_core = runtime.run(blob.pack_image(made), signal)
    np.testing.assert_array_equal(by_core.scores[0], expected[-1])
    assert blob.unpack(blob.pack(made)).graph == made


def test_messages_are_narrowed_until_their_sums_are_proved_to_fit(file: Path) -> None:
    """200 weights a sum and messages of 16 bits pass 30 bits; of 15 they do not."""
    weight = np.ones((2, 50, 2, 2), np.float32)
    layers = (
        {"type": "input", "shape": np.array([50, 2, 2]), "neuron": sdnn(1)},
        {"type": "conv", "shape": np.array([2, 1, 1]), "weight": weight, "neuron": sdnn(1)},
        dense([[1, 1]], sdnn(1, sigma_output=True)),
    )
    conversion = read_lava(write(file, *layers), Options())
    assert [p.bits for p in conversion.graph.populations] == [15, 16, 16]  # type: ignore[union-attr]
    first, *others = conversion.report.layers
    assert first.verdict is Verdict.APPROXIMATED
    assert "a change by more than 256 at once is cut to it" in first.reason
    assert {layer.verdict for layer in others} == {Verdict.EXACT}


def test_what_of_sigma_delta_cannot_be_kept_is_refused(file: Path) -> None:
    first = {"type": "input", "shape": np.array([2]), "neuron": sdnn(1)}
    last = dense([[2]], sdnn(1, sigma_output=True))
    cases: list[tuple[tuple[dict[str, Any], ...], str]] = [
        ((first, dense([[2, 4]], sdnn(1))), "its last layer sends changes"),
        ((dense([[2, 4]], sdnn(1)), last), "SDNN needs an input layer of its own"),
        ((first, dense([[2, 4]]), last), "beside others are not supported"),
        ((first, dense([[2, 4]], {**sdnn(1), "activation": "tanh"}), last), "'tanh', not 'relu'"),
        ((first, dense([[2, 4]], sdnn(1), delay=np.ones(1)), last), "delays messages"),
        ((first, dense([[2, 4]], sdnn(1, cumError=1)), last), "'layer/1/neuron/cumError' is not"),
    ]
    for layers, message in cases:
        with pytest.raises(EdgesnnError, match=message) as caught:
            read_lava(write(file, *layers), Options())
        assert "\n" not in str(caught.value)
    with pytest.raises(EdgesnnError, match="have no profile 'lava-dl-early'"):
        read_lava(write(file, *SIGMA_DELTA), Options("lava-dl-early"))


# ---- maps, against the same sums in lava-dl's own order ----


def channels_first(window: np.ndarray) -> np.ndarray:
    return window.transpose(2, 0, 1)


def test_convolution_pooling_and_dense_are_those_of_channels_first_maps(file: Path) -> None:
    rng = np.random.default_rng(0)
    silent = {**CUBA, "iDecay": 4096, "vDecay": 4096, "vThMant": 0}
    conv = {
        "type": "conv", "shape": np.array([4, 3, 3]), "stride": np.array([2, 2]),
        "padding": np.array([1, 1]), "dilation": np.array([1, 1]), "groups": 2,
        "weight": 2.0 * rng.integers(-9, 9, (4, 1, 3, 3)), "neuron": silent,
    }  # fmt: skip
    pool = {
        "type": "pool", "shape": np.array([4, 1, 1]), "stride": np.array([3, 3]),
        "padding": np.array([0, 0]), "dilation": np.array([1, 1]),
        "weight": np.full((1, 1, 3, 3), 2.0), "neuron": silent,
    }  # fmt: skip
    weight = 2.0 * rng.integers(-9, 9, (5, 36))
    shape = {"type": "input", "shape": np.array([2, 6, 5])}
    frame = rng.random((6, 5, 2)) < 0.4
    image = np.pad(channels_first(frame), ((0, 0), (1, 1), (1, 1)))

    summed = np.zeros((4, 3, 3))
    for out in range(4):
        for y in range(3):
            for x in range(3):
                seen = image[out // 2, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
                summed[out, y, x] = (conv["weight"][out, 0] * seen).sum()  # type: ignore[index]
    fired = summed > 0
    frames = np.stack([frame.reshape(-1), np.zeros(60)])

    found = rasters(graph(file, shape, conv, pool), frames)
    np.testing.assert_array_equal(found["layer1"][0].reshape(3, 3, 4), fired.transpose(1, 2, 0))
    np.testing.assert_array_equal(found["layer2"][1], fired.any(axis=(1, 2)))

    flat = {"type": "flatten", "shape": np.array([36])}
    found = rasters(graph(file, shape, conv, flat, dense(weight, silent)), frames)
    np.testing.assert_array_equal(found["layer3"][1], weight @ fired.reshape(-1) > 0)


def test_decays_of_channels_are_those_of_their_neurons(file: Path) -> None:
    conv = {
        "type": "conv", "shape": np.array([2, 2, 2]), "stride": np.array([1, 1]),
        "padding": np.array([0, 0]), "dilation": np.array([1, 1]), "groups": 1,
        "weight": np.full((2, 1, 1, 1), 2.0),
        "neuron": {**CUBA, "vDecay": np.array([0, 4096])},
    }  # fmt: skip
    made = graph(file, {"type": "input", "shape": np.array([1, 2, 2])}, conv)
    population = made.populations[0]
    assert isinstance(population, LIF)
    assert population.decay.tolist() == [4096, 0] * 4


def test_values_enter_in_eight_bits(file: Path) -> None:
    entry = {
        "type": "input", "shape": np.array([2]), "weight": 64.0, "bias": 2.0,
        "neuron": {**CUBA, "iDecay": 4096},
    }  # fmt: skip
    made = graph(file, entry, dense([[2, 2]]))
    frame = made.input.quantize(np.array([[[1.0, -9.0]]]))
    assert frame.tolist() == [[[32, -128]]]
    state = next(iter(reference.steps(made, frame)))
    # 64 * (64 * x + 2) with x = 1 and -4
    assert state.synapse["layer0"][0].tolist() == [64 * 66, 64 * (-256 + 2)]


# ---- what is refused ----


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"type": "concat"}, "layer/0.*type 'concat'"),
        (dense([[0.5]]), "layer/0/weight.*whole numbers"),
        (dense([[301]]), "layer/0.*weights up to 301"),
        (dense([[np.nan]]), "layer/0/weight.*no numbers"),
        (dense([[2]], {**CUBA, "type": "S4D"}), "neuron/type.*'S4D': state space models"),
        (dense([[2]], {**CUBA, "type": "ADRF_IZ"}), "neuron/type.*'ADRF_IZ': resonators rotate"),
        (dense([[2]], {**CUBA, "gradedSpike": True}), "neuron/gradedSpike"),
        (dense([[2]], {**CUBA, "refDelay": 2}), "neuron/refDelay"),
        (dense([[2]], {**CUBA, "vDecay": 5000}), r"neuron/vDecay.*0\.\.4096"),
        (dense([[2]], {**CUBA, "vThMant": 1 << 28}), "neuron.*threshold"),
        (dense([[2]], delay=np.array([256.0])), "layer/0/delay"),
        (dense([[2]], {"type": "CUBA"}), "lacks 'layer/0/neuron/vThMant'"),
        ({"type": "dense", "weight": np.ones((1, 1))}, "lacks 'layer/0/neuron'"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(
    file: Path, layer: dict[str, Any], message: str
) -> None:
    with pytest.raises(EdgesnnError, match=message) as caught:
        read_lava(write(file, layer), Options())
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_links_and_claims_of_a_hostile_file_are_refused(file: Path, tmp_path: Path) -> None:
    write(file, dense([[2]]))
    with h5py.File(file, "a") as opened:
        opened["layer/1"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
    with pytest.raises(EdgesnnError, match="layer/1' is a link"):
        read_lava(file, Options())
    with h5py.File(file, "w") as opened:
        opened.create_dataset("layer/0/weight", (1 << 20, 1 << 16), "f4", chunks=(1024, 1024))
    with pytest.raises(EdgesnnError, match="claims more than the file can hold"):
        read_lava(file, Options())
    with h5py.File(file, "w") as opened:
        opened.create_group("layer/0")
        opened["layer/0/again"] = opened["layer"]
    with pytest.raises(EdgesnnError, match=r"circle|damaged"):
        read_lava(file, Options())


def test_any_cut_or_flipped_file_is_read_or_refused(file: Path) -> None:
    whole = write(file, dense([[2, 4], [6, -8]])).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole[: rng.integers(8, len(whole))] if rng.random() < 0.3 else whole)
        for place in rng.integers(8, len(damaged), rng.integers(0, 6)):
            damaged[place] = rng.integers(256)
        file.write_bytes(damaged)
        SOURCE.recognises(file)
        with contextlib.suppress(EdgesnnError):
            read_lava(file, Options())


def test_a_profile_that_is_not_there_is_refused(file: Path) -> None:
    write(file, dense([[2]]))
    with pytest.raises(EdgesnnError, match="has no profile 'torch': choose lava-dl"):
        read_source(file, None, Options("torch"))


# ---- lava-dl's Oxford example ----


def oxford(folder: Path, profile: str) -> Graph:
    return read_lava(folder / "network.net", Options(profile)).graph


def test_oxford_every_spike_of_the_first_layer_is_lavas(
    shared_model: Callable[[str], Path],
) -> None:
    folder = shared_model("lava_oxford")
    with np.load(folder / "gts_layer0_packed.npz") as packed:
        entering, expected = (
            np.unpackbits(packed[f"{what}_packed"], axis=-1, count=packed[f"{what}_shape"][1]).T
            for what in ("input", "out")
        )
    found = rasters(oxford(folder, "lava-dl"), entering)["layer0"]
    # Lava shows a layer's spikes one step later
    assert np.count_nonzero(found[:-1] != expected[1:]) == 0
    assert expected[1:].size + expected[0].size == 512_000
    assert not expected[0].any()


def test_oxford_every_spike_of_the_answer_is_slayers(shared_model: Callable[[str], Path]) -> None:
    folder = shared_model("lava_oxford")
    events, answer = np.load(folder / "input.npy"), np.load(folder / "ground_truth.npy")
    frames, expected = np.zeros((2000, 200)), np.zeros((2000, 200), bool)
    frames[np.rint(events[:, 2]).astype(int), events[:, 0].astype(int)] = 1
    expected[answer[:, 2].astype(int), answer[:, 0].astype(int)] = True
    found = rasters(oxford(folder, "lava-dl-early"), frames)["layer1"]
    assert np.count_nonzero(found[:-1] != expected[1:]) == 0
    assert not expected[0].any()
    assert expected.sum() == 10_178
