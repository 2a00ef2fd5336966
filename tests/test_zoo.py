"""The trained networks that the project ships, and the table that judges them."""

from __future__ import annotations

import gzip
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgesnn import blob, reference
from edgesnn.cli import main as edgesnn
from edgesnn.devices import Board, Stream, open_board
from edgesnn.devices.qemu import BOARDS
from edgesnn.errors import FormatError, MissingError
from edgesnn.quantize import quantize
from edgesnn.sources import Options, read_network
from edgesnn.zoo import data, digits, table, wrist
from edgesnn.zoo.entries import ENTRIES, Entry

NETWORKS = {entry.checkpoint: entry for entry in ENTRIES}
KINDS = ("basicmotions", "wrist-0", "mnist-t1", "digits-delays")
LARGEST = {"wrist": 20, "mnist": 255, "digits": 20_000, "basicmotions": 20}


def made_up(entry: Entry, samples: int = 4, steps: int = 30) -> np.ndarray:
    """Recordings of the range that an entry's have."""
    network = read_network(entry.checkpoint, entry.source, Options(None, entry.description))
    largest = LARGEST[entry.name.split("-")[0]]
    rng = np.random.default_rng(0)
    if entry.name.startswith("mnist"):
        return rng.integers(0, 256, (samples, 1, network.input_size)).astype(np.float64)
    # slow and fast: what changes little spikes little
    walk = rng.normal(0, largest / 8, (samples, steps, network.input_size)).cumsum(1)
    return np.asarray(np.clip(walk, -largest, largest))


def converted(entry: Entry) -> tuple[blob.Model, Any]:
    """Its model, calibrated on made-up recordings, and those as frames."""
    network = read_network(entry.checkpoint, entry.source, Options(None, entry.description))
    signal = made_up(entry)
    model = blob.unpack(blob.pack(quantize(network, signal).graph))
    return model, model.graph.input.quantize(signal)


@pytest.mark.parametrize("entry", NETWORKS.values(), ids=lambda entry: entry.checkpoint.stem)
def test_every_committed_network_converts(entry: Entry, tmp_path: Path) -> None:
    recordings, description, model = (tmp_path / n for n in ("x.npy", "d.json", "m.esnn"))
    np.save(recordings, made_up(entry))
    arguments = ["convert", str(entry.checkpoint), "-o", str(model), "--source", entry.source]
    arguments += ["--calibrate", str(recordings)]
    if entry.description:
        description.write_text(json.dumps(entry.description))
        arguments += ["--describe", str(description)]
    result = CliRunner().invoke(edgesnn, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert blob.load(model).graph.selftest is not None


def test_every_committed_network_is_small() -> None:
    for entry in NETWORKS.values():
        limit = {"wrist": (64, 8), "mnist": (100, 96), "digits": (128, 96)}
        flash, ram = limit.get(entry.name.split("-")[0], (64, 8))
        model, _ = converted(entry)
        assert len(model.image) <= flash * 1024
        assert model.arena_bytes <= ram * 1024


@pytest.fixture(scope="module", params=sorted(BOARDS, key=lambda name: name != "mps2-an386"))
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    with open_board(request.param) as board:
        yield board


@pytest.mark.board
@pytest.mark.parametrize("name", KINDS)
def test_one_of_each_kind_gives_the_same_bits_on_every_core(board: Board, name: str) -> None:
    model, frames = converted(next(entry for entry in ENTRIES if entry.name == name))
    if len(model.image) > board.info.model_bytes or model.arena_bytes > board.info.arena_bytes:
        pytest.skip(f"{len(model.image)} and {model.arena_bytes} bytes do not fit this board")
    board.put_model(model)
    session = Stream(board, frames[:2]).run()
    expected = reference.run(model.graph, frames[:2])
    assert session.lost == []
    for field in vars(expected):
        np.testing.assert_array_equal(
            getattr(session.outputs, field), getattr(expected, field), err_msg=field
        )


# the table


def test_without_recordings_the_table_has_what_it_can_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESNN_DATA", str(tmp_path))
    monkeypatch.setattr(table, "BUILD", tmp_path)
    for module in (wrist, digits):
        module.recordings.cache_clear()
    try:
        result = CliRunner().invoke(table.main, ["--no-count"], catch_exceptions=False)
    finally:
        for module in (wrist, digits):
            module.recordings.cache_clear()
    assert result.exit_code == 0, result.output
    (row,) = json.loads((tmp_path / "zoo.json").read_text())
    assert row["name"] == "basicmotions"
    assert blob.load(row["model"]).graph.selftest is not None
    assert result.output.count("left out: ") == 3
    for place in ("10.24432/C5HK59", "exdb/mnist", "free-spoken-digit-dataset"):
        assert place in result.output


def test_a_figure_that_moved_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = json.loads(table.FIGURES.read_text())
    figures["rows"]["basicmotions"]["correct"] -= 1
    (tmp_path / "figures.json").write_text(json.dumps(figures))
    monkeypatch.setattr(table, "FIGURES", tmp_path / "figures.json")
    monkeypatch.setattr(table, "BUILD", tmp_path)
    result = CliRunner().invoke(table.main, ["basicmotions", "--no-count"])
    assert result.exit_code == 1
    assert "basicmotions: " in result.output


def test_folds_are_averaged_by_their_recordings() -> None:
    common = {"task": "t", "protocol": "p", "float_accuracy": 0.5, "agreement": 1, "synops": 2}
    (row,) = table.merged([
        {**common, "accuracy": 1.0, "samples": 30, "early": {"accuracy": 1.0, "steps": 0.4}},
        {**common, "accuracy": 0.6, "samples": 10, "early": {"accuracy": 0.2, "steps": 0.8}},
    ])  # fmt: skip
    assert row["accuracy"] == pytest.approx(0.9)
    assert row["early"] == pytest.approx({"accuracy": 0.8, "steps": 0.5})
    assert row["samples"] == 40


# recordings in the layout of their makers


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGESNN_DATA", str(tmp_path))
    return tmp_path


def test_raw_files_of_a_watch(elsewhere: Path) -> None:
    rows = "".join(
        f"1600,{code},{k * 50_000_000},{k},{k / 2},-1.5;\n" for code in "FA" for k in range(60)
    )
    for sensor in ("accel", "gyro"):
        folder = elsewhere / "wisdm-dataset" / "raw" / "watch" / sensor
        folder.mkdir(parents=True)
        (folder / f"data_1600_{sensor}_watch.txt").write_text(rows)
    found = data.wrist()
    assert [data.WRIST_CLASSES[k] for k in found.label] == ["typing"]
    assert found.subject.tolist() == [1600]
    assert found.signals[0].shape == (60, 6)
    assert found.signals[0][3].tolist() == [3, 1.5, -1.5] * 2


def test_pictures(elsewhere: Path) -> None:
    (elsewhere / "mnist").mkdir()
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8)
    head = bytes([0, 0, 8, 3]) + np.array([2, 4, 3], ">u4").tobytes()
    path = elsewhere / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(head + pixels.tobytes()))
    labels = elsewhere / "mnist" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 1]))
    found = data.mnist("test")
    assert found.label.tolist() == [7, 1]
    np.testing.assert_array_equal(found.pixels, pixels.reshape(2, 4, 3))
    labels.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 1]))
    with pytest.raises(FormatError, match="holds 2 bytes"):
        data.mnist("test")


def test_spoken_digits(elsewhere: Path) -> None:
    folder = elsewhere / "free-spoken-digit-dataset" / "recordings"
    folder.mkdir(parents=True)
    for name in ("3_theo_0", "5_jackson_41"):
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(np.arange(5, dtype="<i2").tobytes())
    found = data.fsdd()
    assert (found.label.tolist(), found.index.tolist()) == ([3, 5], [0, 41])
    assert found.speaker.tolist() == [1, 0]
    assert found.pcm[0].tolist() == [0, 1, 2, 3, 4]


def test_what_is_missing_is_said(elsewhere: Path) -> None:
    for load in (data.wrist, data.fsdd, lambda: data.mnist("train")):
        with pytest.raises(MissingError, match="EDGESNN_DATA"):
            load()


def test_a_training_that_was_continued_gives_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs PyTorch: pip install torch")
    from edgesnn.zoo.training import Budget, Tensor, fit, nn, torch

    def trained(iterations: int, state_path: Path | None) -> tuple[nn.Module, int]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 2))
        budget = Budget(20, torch.device("cpu"))

        def loss(done: int, rng: np.random.Generator) -> Tensor:
            if done + 1 == iterations:
                budget.deadline = 0
            x = torch.from_numpy(rng.normal(size=(16, 4)).astype(np.float32))
            return nn.functional.cross_entropy(network(x), (x[:, 0] > 0).long())

        return fit(network, loss, budget, 0, {"sizes": (4, 8)}, state_path=state_path)

    whole, _ = trained(20, None)
    assert trained(7, tmp_path / "state")[1] == 7
    again, done = trained(20, tmp_path / "state")
    assert done == 20
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
