"""Every command of docs/converters.md runs, on a small checkpoint of its kind."""

from __future__ import annotations

import json
import re
import shlex
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import test_delays_and_steps
import test_lmu
import test_lmuformer
import tflite_files
from checkpoints import l2mu_state, write_torch
from click.testing import CliRunner

from edgesnn import blob
from edgesnn.cli import main
from edgesnn.sources import sources

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "converters.md").read_text()
COMMANDS = re.findall(r"^edgesnn .*$", PAGE, re.MULTILINE)


def l2mu(path: Path) -> None:
    write_torch(path, l2mu_state(encoder=(5,)))


def lava(path: Path) -> None:
    with h5py.File(path, "w") as file:
        layer = file.create_group("layer/0")
        layer.create_dataset("type", (1,), "S10", [b"dense"])
        layer["shape"], layer["weight"] = np.array([2]), np.array([[2.0, 4, 6], [8, -2, 4]])
        for key, value in (("type", "CUBA"), ("iDecay", 4096), ("vDecay", 128), ("vThMant", 3)):
            layer[f"neuron/{key}"] = value


def nir(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["node/type"] = "NIRGraph"
        file["node/edges"] = np.array([["input", "fc"], ["fc", "if"], ["if", "output"]], "S")
        for name, kind, size in (("input", "Input", 3), ("output", "Output", 2)):
            file[f"node/nodes/{name}/type"] = kind
            file[f"node/nodes/{name}/shape"] = np.array([size])
        file["node/nodes/fc/type"], file["node/nodes/fc/weight"] = "Linear", np.ones((2, 3))
        file["node/nodes/if/type"], file["node/nodes/if/r"] = "IF", np.ones(2)
        file["node/nodes/if/v_threshold"] = np.ones(2)


def stack(neurons: dict[str, object], **arrays: float) -> Callable[[Path], None]:
    """Two layers of neurons, with the description that the page names, whatever its name."""

    def make(path: Path) -> None:
        rng = np.random.default_rng(0)
        layers, state = [], OrderedDict()
        for n, (into, out) in enumerate(((3, 5), (5, 2)), 1):
            state[f"fc{n}.weight"] = rng.normal(0, 1, (out, into)).astype(np.float32)
            state[f"fc{n}.bias"] = np.zeros(out, np.float32)
            state |= {f"lif{n}.{key}": np.float32(value) for key, value in arrays.items()}
            layers += [{"type": "Linear", "key": f"fc{n}"}, {**neurons, "key": f"lif{n}"}]
        if neurons["type"] == "ALIF":
            state |= {"tau_m": np.full(1, 8.0), "tau_adp": np.full(1, 50.0)}
        write_torch(path, state)
        described = json.dumps({"input": 3, "layers": layers})
        for name in re.findall(rf"{path.name} .*--describe (\S+)", PAGE):
            path.with_name(name).write_text(described)

    return make


def lmu(path: Path) -> None:
    settings = {"hidden_to_memory": True, "memory_to_memory": True, "input_to_hidden": True,
                "use_bias": True}  # fmt: skip
    test_lmu.write_keras(path, test_lmu.config("rnn", **settings), test_lmu.weights(**settings))


def dcls(path: Path) -> None:
    write_torch(path, test_delays_and_steps.dcls_state())
    Path("dcls.json").write_text(json.dumps({"tau": 1.5, "max_delay": 9}))


def onestep(path: Path) -> None:
    values = {"features.0.weight": np.ones((2, 3)), "classifier.0.weight": np.eye(2)}
    values |= {"threshold.t0": np.ones(()), "leak.l0": np.ones(())}
    write_torch(path, OrderedDict((k, v.astype(np.float32)) for k, v in values.items()))
    layers = [
        {"type": "Linear", "key": "features.0"},
        {"type": "LIF", "threshold": "threshold.t0", "leak": "leak.l0"},
        {"type": "Linear", "key": "classifier.0"}, {"type": "Output"},
    ]  # fmt: skip
    Path("onestep.json").write_text(json.dumps({"input": 3, "layers": layers}))


def relu(path: Path) -> None:
    stack({"type": "ReLU"})(path)


def head(path: Path) -> None:
    path.write_bytes(tflite_files.head(0, 3, 5, 2))


def floating(path: Path) -> None:
    path.write_bytes(tflite_files.floating(0, 3, 5, 2))


def former(path: Path) -> None:
    write_torch(path, test_lmuformer.former())


MAKERS: dict[str, Callable[[Path], None]] = {
    "lmu.keras": lmu,
    "former.pth": former,
    "head.tflite": head,
    "float.tflite": floating,
    "relu.pt": relu,
    "delays.pt": dcls,
    "vgg.pth": onestep,
    "l2mu.ckpt": l2mu,
    "network.net": lava,
    "network.nir": nir,
    "snn.pt": stack({"type": "Leaky"}, beta=0.9, threshold=1.0, reset_mechanism_val=0),
    "sj.pt": stack({"type": "LIFNode", "tau": 2.0}),
    "norse.pt": stack({"type": "LIF"}),
    "sinabs.pt": stack({"type": "IAF"}),
    "rockpool.pt": stack({"type": "LIFTorch"}, tau_mem=0.01, tau_syn=0.01),
    "srnn.pth": stack({"type": "ALIF", "tau_m": "tau_m", "tau_adp": "tau_adp"}),
}
CHANNELS = {
    "former.pth": test_lmuformer.BINS,
    "lmu.keras": test_lmu.CHANNELS,
    "delays.pt": test_delays_and_steps.IN,
}
# nothing in these files says whose they are
NAMED = {"relu.pt", "sj.pt", "norse.pt", "sinabs.pt", "rockpool.pt"}


def recognised(path: Path) -> list[str]:
    return [name for name, source in sources().items() if source.recognises(path)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_runs_as_written(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)[1:]
    MAKERS[words[1]](Path(words[1]))
    rng, channels = np.random.default_rng(0), CHANNELS.get(words[1], 3)
    np.save("recordings.npy", rng.normal(0, 1, (3, 20, channels)))
    np.save("images.npy", rng.normal(0, 1, (3, 1, channels)))
    np.save("frames.npy", rng.normal(0, 1, (3, 17, channels)))
    np.save("int8.npy", rng.integers(-128, 128, (3, 1, channels)))
    np.save("spikes.npy", rng.integers(0, 2, (3, 20, channels)))
    np.save("labels.npy", np.zeros(3, np.int64))
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    if words[0] == "convert":
        assert blob.load(Path("model.esnn")).graph.selftest is not None
    assert len(recognised(Path(words[1]))) == (words[1] not in NAMED)


def test_every_source_has_its_command() -> None:
    converted = [c for c in COMMANDS if c.startswith("edgesnn convert ")]
    assert {shlex.split(command)[2] for command in converted} == set(MAKERS)
    assert len(sources()) <= len(MAKERS)


def test_other_files_are_recognised_by_none(tmp_path: Path) -> None:
    for name, content in (("a.npy", b""), ("b.h5", b"\x89HDF\r\n\x1a\n" + bytes(99)), ("c", b"PK")):
        (tmp_path / name).write_bytes(content)
        assert recognised(tmp_path / name) == []
    assert recognised(tmp_path / "there is none") == []
