"""The spiking LMUFormer, streamed, against its parallel `forward` over all frames at once."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import write_torch

from edgesnn import blob, reference, runtime
from edgesnn.converters.lmu import memory
from edgesnn.converters.lmuformer import AHEAD, SOURCE, read_lmuformer
from edgesnn.errors import EdgesnnError
from edgesnn.network import Network, State
from edgesnn.quantize import quantize
from edgesnn.sources import Options

BINS, DIM, ORDER, HIDDEN, CLASSES, FRAMES = 5, 8, 6, 16, 4, 12
Arrays = OrderedDict[str, np.ndarray]


def former(seed: int = 0, blocks: int = 1) -> Arrays:
    """A state_dict as the authors' training saves it, `module.` in front."""
    rng = np.random.default_rng(seed)
    state: dict[str, Any] = {}

    def norm(key: str, channels: int) -> None:
        state[f"{key}.weight"] = rng.uniform(0.8, 1.6, channels) * rng.choice([1, 1, -1], channels)
        state[f"{key}.bias"] = rng.normal(0.5, 0.5, channels)
        if channels == 1:  # the one neuron that writes into the memory
            state[f"{key}.weight"], state[f"{key}.bias"] = np.full(1, 1.5), np.full(1, 1.6)
        state[f"{key}.running_mean"] = rng.normal(0, 0.2, channels)
        state[f"{key}.running_var"] = rng.uniform(0.1, 0.5, channels)
        state[f"{key}.num_batches_tracked"] = np.array(7)

    def linear(key: str, shape: tuple[int, ...]) -> None:
        state[f"{key}.weight"] = rng.normal(0, 1.5 / np.sqrt(np.prod(shape[1:])), shape)
        state[f"{key}.bias"] = rng.normal(0, 0.2, shape[0])

    for k in range(4):
        shape = DIM, BINS if k == 0 else DIM, 3
        state[f"patch_embed.proj_conv{k or ''}.weight"] = rng.normal(0, 0.5, shape)
        norm(f"patch_embed.proj_bn{k or ''}", DIM)
    state["patch_embed.rpe_conv.weight"] = rng.normal(0, 0.4, (DIM, DIM, 3))
    for k in range(blocks):
        at = f"block.{k}"
        norm(f"{at}.attn.prev_bn", DIM)
        lmu = f"{at}.attn.lmu"
        state[f"{lmu}.A"], state[f"{lmu}.B"] = memory(ORDER, FRAMES, "zoh")
        state[f"{lmu}.H"] = np.zeros((ORDER, FRAMES))
        state[f"{lmu}.fft_H"] = np.zeros((ORDER, FRAMES + 1), np.complex64)
        linear(f"{lmu}.W_u", (1, DIM))
        linear(f"{lmu}.W_h", (DIM, ORDER + DIM))
        for name, size in (("bn_u", 1), ("bn_m", ORDER), ("bn_h", DIM)):
            norm(f"{lmu}.{name}", size)
        linear(f"{at}.attn.proj_conv", (DIM, DIM, 1))
        norm(f"{at}.attn.proj_bn", DIM)
        linear(f"{at}.mlp.fc1_conv", (HIDDEN, DIM, 1))
        linear(f"{at}.mlp.fc2_conv", (DIM, HIDDEN, 1))
        norm(f"{at}.mlp.fc1_bn", DIM)
        norm(f"{at}.mlp.fc2_bn", HIDDEN)
    norm("head_bn", DIM)
    linear("head", (CLASSES, DIM))
    kinds = {"c": np.complex64, "i": np.int64}
    return OrderedDict(
        (f"module.{key}", np.asarray(v).astype(kinds.get(np.asarray(v).dtype.kind, np.float32)))
        for key, v in state.items()
    )


def batch(state: Arrays, x: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Spikes of every layer (samples, frames, size) and the summed scores, by `forward`."""
    w = {key.removeprefix("module."): value for key, value in state.items()}
    found: dict[str, np.ndarray] = {}

    def norm(x: np.ndarray, key: str) -> np.ndarray:
        scale = w[f"{key}.weight"] / np.sqrt(w[f"{key}.running_var"] + np.float32(1e-5))
        return (x - w[f"{key}.running_mean"]) * scale + w[f"{key}.bias"]

    def lif(name: str, x: np.ndarray, threshold: float = 1.0) -> np.ndarray:
        v, spikes = np.zeros_like(x[:, 0]), np.zeros_like(x)
        for t in range(x.shape[1]):
            v = v + (x[:, t] - v) / 2
            spikes[:, t] = v >= threshold
            v = v * (1 - spikes[:, t])
        found[name] = spikes
        return spikes

    def conv(x: np.ndarray, key: str) -> np.ndarray:
        padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
        return sum(padded[:, k : k + x.shape[1]] @ w[key][:, :, k].T for k in range(3))

    def linear(x: np.ndarray, key: str) -> np.ndarray:
        return x @ w[f"{key}.weight"].reshape(len(w[f"{key}.bias"]), -1).T + w[f"{key}.bias"]

    y = x
    for k in range(3):
        at = f"patch_embed.proj_conv{k or ''}.weight"
        y = lif(f"conv{k}", norm(conv(y, at), f"patch_embed.proj_bn{k or ''}"))
    y = conv(y, "patch_embed.proj_conv3.weight")
    y = y + conv(lif("conv3", norm(y, "patch_embed.proj_bn3")), "patch_embed.rpe_conv.weight")
    for k in range(sum(key.endswith("attn.lmu.A") for key in w)):
        at, name = f"block.{k}", f"block{k}"
        z = lif(f"{name}.z", norm(y, f"{at}.attn.prev_bn"), 0.5)
        u = lif(f"{name}.u", norm(linear(z, f"{at}.attn.lmu.W_u"), f"{at}.attn.lmu.bn_u"))
        m = np.zeros((*x.shape[:2], ORDER), np.float32)
        for t in range(x.shape[1]):
            before = m[:, t - 1] @ w[f"{at}.attn.lmu.A"].T if t else 0
            m[:, t] = before + u[:, t] @ w[f"{at}.attn.lmu.B"].T
        ms = lif(f"{name}.ms", norm(m, f"{at}.attn.lmu.bn_m"))
        both = np.concatenate([ms, z], axis=2)
        h = lif(f"{name}.h", norm(linear(both, f"{at}.attn.lmu.W_h"), f"{at}.attn.lmu.bn_h"))
        y = y + norm(linear(h, f"{at}.attn.proj_conv"), f"{at}.attn.proj_bn")
        a = lif(f"{name}.a", norm(y, f"{at}.mlp.fc1_bn"))
        b = lif(f"{name}.b", norm(linear(a, f"{at}.mlp.fc1_conv"), f"{at}.mlp.fc2_bn"))
        y = y + linear(b, f"{at}.mlp.fc2_conv")
    spikes = lif("head", norm(y, "head_bn"))
    return found, linear(spikes, "head").sum(axis=1)


def streamed(x: np.ndarray) -> np.ndarray:
    """Recordings as they are streamed: five frames of zeros behind."""
    return np.pad(x, ((0, 0), (0, AHEAD), (0, 0)))


def network(folder: Path, state: Arrays) -> Network:
    return read_lmuformer(write_torch(folder / "former.pth", state), Options())


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(9).normal(0, 1, (30, FRAMES, BINS)).astype(np.float32)


@pytest.mark.parametrize(("seed", "blocks"), [(0, 1), (1, 1), (1, 2)])
def test_the_stream_gives_every_spike_of_the_batch(
    tmp_path: Path, frames: np.ndarray, seed: int, blocks: int
) -> None:
    state = former(seed, blocks)
    expected, scores = batch(state, frames)
    starts = {"conv0": 1, "conv1": 2, "conv2": 3, "conv3": 4}
    net = network(tmp_path, state)
    kept = tuple(f"{name}.open" for name in expected)
    run = net.run(streamed(frames), keep=kept)
    for name, spikes in expected.items():
        ours, at = run.spikes[f"{name}.open"], starts.get(name, AHEAD)
        assert 0.02 < spikes.mean() < 0.98, name
        np.testing.assert_array_equal(ours[:, at : at + FRAMES], spikes, err_msg=name)
        assert not ours[:, :at].any(), name
        assert not ours[:, at + FRAMES :].any(), name
    np.testing.assert_array_equal(run.labels, scores.argmax(axis=1))
    final = State(net, len(frames))
    for frame in streamed(frames).swapaxes(0, 1):
        final.step(frame)
    np.testing.assert_allclose(final.scores, scores, rtol=1e-4, atol=1e-3)


def test_integers_stay_close_and_run_on_the_core(tmp_path: Path, frames: np.ndarray) -> None:
    state = former(0)
    conversion = quantize(network(tmp_path, state), streamed(frames))
    graph = conversion.graph
    inputs = graph.input.quantize(streamed(frames))
    outputs = runtime.run(blob.pack_image(graph), inputs)
    np.testing.assert_array_equal(outputs.digests, reference.run(graph, inputs).digests)
    assert blob.unpack(blob.pack(graph)).graph == graph
    _, scores = batch(state, frames)
    assert np.mean(outputs.labels == scores.argmax(axis=1)) > 0.85
    agreement = conversion.report.spike_agreement
    assert {agreement["clock"], agreement["warm"], agreement["open"]} == {1.0}
    assert min(agreement.values()) > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"module.patch_embed.conv_layers.0.0.weight": np.ones(2)},
            "is the LMUFormer without spik",
        ),
        ({"module.block.0.attn.q_conv.weight": np.ones(2)}, "is a transformer"),
        ({"module.block.0.attn.more": np.ones(2)}, "the key 'block.0.attn.more' and 0 more"),
        ({"module.block.0.attn.lmu.A": np.ones((2, 3))}, "'block.0.attn.lmu.A' and B have shapes"),
        ({"module.head_bn.running_var": -np.ones(DIM)}, "'head_bn' is no batch norm"),
        (
            {"module.patch_embed.proj_conv1.weight": np.ones((DIM, DIM, 5))},
            "proj_conv1.weight' has",
        ),
        ({"module.head.weight": np.ones(3)}, "'head' has a weight"),
        (
            dict.fromkeys(
                [
                    f"module.patch_embed.proj_bn.{x}"
                    for x in ("weight", "bias", "running_mean", "running_var")
                ],
                np.ones(5000),
            )
            | {"module.patch_embed.proj_conv.weight": np.ones((5000, 1, 3))},
            "has 5000 channels, at most 4096 fit",
        ),
        ({"module.head_bn.weight": None}, "lacks the key 'head_bn.weight'"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    state = {**former(), **change}
    kept = OrderedDict((k, np.asarray(v)) for k, v in state.items() if v is not None)
    with pytest.raises(EdgesnnError, match=message) as caught:
        network(tmp_path, kept)
    assert "\n" not in str(caught.value)


def test_it_recognises_its_checkpoints(tmp_path: Path) -> None:
    assert SOURCE.recognises(write_torch(tmp_path / "former.pth", former()))
    assert not SOURCE.recognises(tmp_path / "none.pth")
