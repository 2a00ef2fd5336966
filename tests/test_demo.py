"""The demo, as `make demo` runs it: recordings of a watch, recognised on a board."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgesnn.cli import main
from edgesnn.devices.demo import confusion

BOARDS = ["virtual", pytest.param("mps2-an386", marks=pytest.mark.board)]


@pytest.mark.parametrize("board", BOARDS)
def test_the_demo_recognises_the_test_recordings_bit_for_bit(board: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["demo", "--board", board, "--output", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["board"] == board
    assert report["accuracy"] >= 0.95
    assert report["agreement_with_reference"] == 1.0
    assert report["agreement_with_float"] >= 0.95
    assert report["frames_sent"] == report["frames_answered"] == 4000
    assert report["ram_bytes"] < 2048
    assert report["flash_bytes"] < 16384
    assert (tmp_path / "out" / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "Badminton" in done.output


def test_a_recording_without_an_answer_is_not_counted() -> None:
    counts = confusion(np.array([0, 1, 1]), np.array([0, 0, -1]), 2)
    assert counts.tolist() == [[1, 0], [1, 0]]


def test_missing_recordings_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGESNN_DATA", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = CliRunner().invoke(main, ["demo"])
    assert done.exit_code == 2
    assert "pip install --no-deps aeon" in done.stderr
