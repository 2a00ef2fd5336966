"""The command line, as its users type it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_torch
from click.testing import CliRunner, Result

from edgesnn import blob, runtime
from edgesnn.cli import main
from edgesnn.converters.torchfile import read_torch
from edgesnn.zoo.basicmotions import CHECKPOINT


def edgesnn(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings, labels, and the zoo's network converted: x.npy, y.npy, m.esnn."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.normal(0, 5, (6, 30, 6)))
    np.save(folder / "y.npy", np.array([0, 1, 2, 3, 0, 1]))
    done = edgesnn("convert", CHECKPOINT, "-o", folder / "m.esnn", "--calibrate", folder / "x.npy")
    assert done.exit_code == 0, done.output
    return folder


def test_help_lists_every_command() -> None:
    output = edgesnn("--help").output
    commands = "convert inspect operations run stream verify record replay plot devices live demo"
    for command in commands.split():
        assert f"\n  {command} " in output


def test_convert_prints_what_was_kept_and_keeps_it_in_the_file(folder: Path) -> None:
    done = edgesnn(
        "convert", CHECKPOINT, "-o", folder / "again.esnn",
        "--calibrate", folder / "x.npy", "--labels", folder / "y.npy",
    )  # fmt: skip
    assert done.exit_code == 0
    for word in ("l2mu_cell.A", "approximated", "snnTorch 1.0.0", "same label", "accuracy"):
        assert word in done.output
    report = blob.load(folder / "again.esnn").notes["report"]
    assert report["calibration_samples"] == 6
    assert {layer["verdict"] for layer in report["layers"]} <= {"exact", "approximated"}


def test_convert_gives_its_report_as_json(folder: Path) -> None:
    done = edgesnn(
        "convert", CHECKPOINT, "-o", folder / "j.esnn", "--calibrate", folder / "x.npy", "--json"
    )
    assert json.loads(done.stdout)["label_agreement"] >= 0.5


def test_convert_needs_no_recordings_where_spikes_enter(folder: Path) -> None:
    """The cell of the zoo's network alone does not say what enters it."""
    loaded = read_torch(CHECKPOINT)
    state = {k: v for k, v in loaded["state_dict"].items() if not k.startswith("encoder")}
    write_torch(folder / "cell.pt", state)
    asked = edgesnn("convert", folder / "cell.pt", "-o", folder / "cell.esnn")
    assert "or say that it takes spikes" in asked.stderr
    done = edgesnn(
        "convert", folder / "cell.pt", "-o", folder / "cell.esnn", "--input-kind", "spikes"
    )
    assert done.exit_code == 0, done.output
    assert "nothing was measured: give recordings with --calibrate" in done.output
    assert blob.load(folder / "cell.esnn").graph.selftest is not None


def test_inspect_shows_flash_ram_and_the_worst_step(folder: Path) -> None:
    model = blob.load(folder / "m.esnn")
    shown = json.loads(edgesnn("inspect", folder / "m.esnn", "--json").stdout)
    assert shown["flash_bytes"] == len(model.image)
    assert shown["ram_bytes"] == model.arena_bytes
    assert shown["worst_step"] == {"synops": 8480, "macs": 192, "neuron_updates": 180}
    assert [p["name"] for p in shown["populations"]] == ["encoder0", "u", "m", "h", "o"]
    output = edgesnn("inspect", folder / "m.esnn").output
    assert "synaptic additions" in output
    # what the loader picks
    kernels = {p["name"]: p["kernel"] for p in shown["populations"]}
    assert set(kernels.values()) == {"fused LIF, wrap-free", "fused LIF, block by block"}
    assert "fused LIF, wrap-free" in kernels.values()
    picked = {(p["source"], p["target"]): p["kernel"] for p in shown["projections"]}
    assert picked["input", "encoder0"] == "values times int8"
    assert picked["m", "m"] == "blocks of int8"
    assert picked["m", "h"].startswith("tiles of int8, spikes of ")
    assert f"kernels on this computer: {runtime.kernels()}" in output


@pytest.mark.parametrize("backend", ["reference", "core", "virtual"])
def test_run_gives_the_same_on_every_backend(folder: Path, backend: str) -> None:
    done = edgesnn(
        "run", folder / "m.esnn", "--input", folder / "x.npy", "--labels", folder / "y.npy",
        "--backend", backend, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    core = json.loads(
        edgesnn("run", folder / "m.esnn", "--input", folder / "x.npy", "--json").stdout
    )
    for key in ("predictions", "synops_per_sample", "macs_per_sample", "spikes_per_sample"):
        assert shown[key] == core[key]
    assert shown["accuracy"] == np.mean(np.array(shown["predictions"]) == [0, 1, 2, 3, 0, 1])


def test_run_prints_lines_for_people(folder: Path) -> None:
    output = edgesnn("run", folder / "m.esnn", "--input", folder / "x.npy").output
    assert "6 samples on core" in output
    assert "synaptic additions" in output


def test_stream_prints_what_each_recording_is(folder: Path) -> None:
    done = edgesnn("stream", folder / "m.esnn", "--input", folder / "x.npy")
    assert done.exit_code == 0, done.output
    assert done.output.count("recording ") == 6
    assert "frames answered            180" in done.output


def test_stream_in_real_time_takes_the_time_of_the_recording(folder: Path) -> None:
    np.save(folder / "short.npy", np.zeros((1, 6, 6)))
    done = edgesnn(
        "stream", folder / "m.esnn", "--input", folder / "short.npy", "--realtime", "--rate", "20",
        "--json",
    )  # fmt: skip
    shown = json.loads(done.stdout.splitlines()[-1])
    assert shown["frames_answered"] == 6
    assert shown["round_trip_us_p50"] < 50_000  # each frame was alone on the link


def test_verify_proves_that_a_board_agrees(folder: Path) -> None:
    done = edgesnn("verify", folder / "m.esnn", "--input", folder / "x.npy", "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout.splitlines()[-1])
    assert shown["agreement_with_reference"] == 1.0


def test_verify_exits_with_1_where_a_board_disagrees(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgesnn import reference

    real = reference.digest
    monkeypatch.setattr(reference, "digest", lambda *given: real(*given) ^ 1)
    done = edgesnn("verify", folder / "m.esnn", "--input", folder / "x.npy")
    assert done.exit_code == 1
    assert "disagrees with the reference: other spikes or scores from step 0" in done.output


def test_mistakes_are_one_sentence_and_exit_code_2(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "flat.npy", np.zeros(3))
    np.save(tmp_path / "wide.npy", np.zeros((2, 3, 7)))
    np.save(tmp_path / "nan.npy", np.full((1, 2, 6), np.nan))
    write_torch(tmp_path / "other.ckpt", {"fc.weight": np.zeros((2, 2), np.float32)})
    model, x = folder / "m.esnn", folder / "x.npy"
    cases = [
        (("run", tmp_path / "no.esnn", "--input", x), "cannot read"),
        (("run", x, "--input", x), "is not an .esnn file"),
        (("run", model, "--input", tmp_path / "no.npy"), "there is no file"),
        (("run", model, "--input", tmp_path / "text.npy"), "is not a .npy file"),
        (("run", model, "--input", tmp_path / "flat.npy"), "(samples, steps, channels)"),
        (("run", model, "--input", tmp_path / "wide.npy"), "has 7 channels"),
        (("run", model, "--input", tmp_path / "nan.npy"), "not finite at [0, 0, 0]"),
        (("run", model, "--input", x, "--labels", x), "one whole number for each of the 6"),
        (("run", model, "--input", x, "--backend", "fpga"), "no board is called 'fpga'"),
        (("stream", model, "--input", x, "--port", "/dev/nothing"), "there is no port"),
        (("stream", model, "--input", x, "--port", "warp://9"), "no transport is called 'warp'"),
        (("convert", tmp_path / "no.ckpt"), "there is no checkpoint"),
        (("convert", x), "is no checkpoint of a known kind ("),
        (("convert", tmp_path / "other.ckpt", "--source", "l2mu"), "has no key"),
        (("convert", CHECKPOINT, "--source", "abacus"), "no source is called 'abacus'"),
        (("convert", CHECKPOINT, "-o", tmp_path / "m.esnn"), "give recordings to calibrate on"),
        (
            ("convert", CHECKPOINT, "-o", tmp_path / "no" / "m.esnn", "--calibrate", x),
            "cannot write",
        ),
    ]
    for arguments, sentence in cases:
        done = edgesnn(*arguments)
        assert done.exit_code == 2, (arguments, done.output)
        (line,) = done.stderr.splitlines()
        assert line.startswith("edgesnn: "), line
        assert sentence in line, line
    assert not (tmp_path / "m.esnn").exists()


def test_the_installed_command_works_from_any_folder(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("edgesnn")
    done = subprocess.run([command, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert "edgesnn" in done.stdout
