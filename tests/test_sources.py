"""Every command of docs/converters.md runs, on a small checkpoint of its kind."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
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


MAKERS: dict[str, Callable[[Path], None]] = {
    "l2mu.ckpt": l2mu,
    "network.net": lava,
    "network.nir": nir,
}


def recognised(path: Path) -> list[str]:
    return [name for name, source in sources().items() if source.recognises(path)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_runs_as_written(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)[1:]
    MAKERS[words[1]](Path(words[1]))
    np.save("recordings.npy", np.random.default_rng(0).normal(0, 2, (3, 20, 3)))
    np.save("spikes.npy", np.random.default_rng(0).integers(0, 2, (3, 20, 3)))
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    if words[0] == "convert":
        assert blob.load(Path("model.esnn")).graph.selftest is not None
    assert len(recognised(Path(words[1]))) == 1


def test_every_source_has_its_command() -> None:
    converted = [c for c in COMMANDS if c.startswith("edgesnn convert ")]
    assert {shlex.split(command)[2] for command in converted} == set(MAKERS)
    assert len(sources()) <= len(MAKERS)


def test_other_files_are_recognised_by_none(tmp_path: Path) -> None:
    for name, content in (("a.npy", b""), ("b.h5", b"\x89HDF\r\n\x1a\n" + bytes(99)), ("c", b"PK")):
        (tmp_path / name).write_bytes(content)
        assert recognised(tmp_path / name) == []
    assert recognised(tmp_path / "there is none") == []
