"""Answers that are decided before the end of a recording."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_hostile import with_crc

from edgesnn import blob, reference, runtime
from edgesnn.cli import main
from edgesnn.devices import Stream, open_board
from edgesnn.early import with_margin
from edgesnn.errors import FormatError, ModelError
from edgesnn.graph import Dense, Graph, Int16Array, Integrator, Potential, SpikeInput
from edgesnn.zoo.basicmotions import CHECKPOINT


def counting(classes: int = 2, margin: int = 0) -> Graph:
    """Each class counts the spikes of its own channel, in a membrane that forgets nothing."""
    decay, none = np.array([32768], np.uint16), np.zeros(classes, np.int32)
    return Graph(
        SpikeInput("input", classes),
        (Integrator("out", decay, none),),
        (Dense("input", "out", np.eye(classes, dtype=np.int8)),),
        Potential("out"),
        margin=margin,
    )


def frames(*recordings: str) -> Int16Array:
    """Recordings of two channels: `a` and `b` spike alone, `.` neither."""
    events = {"a": (1, 0), "b": (0, 1), ".": (0, 0)}
    return np.array([[events[step] for step in recording] for recording in recordings], np.int16)


def test_an_answer_is_decided_where_it_leads_by_the_margin() -> None:
    graph, given = counting(margin=2), frames("abb.bb", "aa.bbb", "ababab")
    for outputs in (reference.run(graph, given), runtime.run(blob.pack_image(graph), given)):
        assert outputs.labels.tolist() == [1, 1, 0]
        # b leads by 2 after 5 steps; a after 2, and what follows changes nothing; never
        assert outputs.decided.tolist() == [5, 2, 0]
        assert outputs.early_labels.tolist() == [1, 0, 0]
        assert outputs.early_steps == (5 + 2 + 6) / 18


def test_without_a_margin_nothing_is_decided() -> None:
    outputs = runtime.run(blob.pack_image(counting()), frames("aaaaaa"))
    assert outputs.decided.tolist() == [0]
    assert outputs.early_steps == 1


def test_a_lead_may_be_wider_than_a_score() -> None:
    scores = np.array([[-(1 << 31), (1 << 31) - 1]], np.int32)
    assert reference.lead(scores).tolist() == [(1 << 32) - 1]


def test_a_board_decides_at_the_same_step() -> None:
    given = frames("abb.bb", "aa.bbb", "ababab")
    model = blob.unpack(blob.pack(reference.with_selftest(counting(margin=2), given[0])))
    with open_board("virtual") as board:
        board.put_model(model)
        session = Stream(board, given).run()
    assert session.outputs.decided.tolist() == [5, 2, 0]
    assert session.outputs.early_labels.tolist() == [1, 0, 0]


def test_the_smallest_margin_that_loses_no_more_than_allowed_is_chosen() -> None:
    given = frames("aabbbb", "aaaaaa", "bbbbbb")
    labels = np.array([1, 0, 1])
    graph, early = with_margin(counting(), given, labels, 0.0)
    # a lead of 2 would answer the first recording wrongly
    assert graph.margin == early.margin == 3
    assert (early.accuracy, early.early_accuracy) == (1.0, 1.0)
    assert early.steps == (6 + 3 + 3) / 18
    graph, early = with_margin(counting(), given, labels, 0.34)
    assert graph.margin == 1
    assert early.early_accuracy == pytest.approx(2 / 3)


def test_one_score_leads_nothing() -> None:
    with pytest.raises(ModelError, match="margin is of one score"):
        counting(1, margin=1)
    with pytest.raises(ModelError, match="needs two scores or more"):
        with_margin(counting(1), np.zeros((1, 1, 1), np.int16), np.zeros(1, np.int64), 0)


def test_a_model_keeps_its_margin() -> None:
    graph = reference.with_selftest(counting(margin=12345), frames("ab")[0])
    assert blob.unpack(blob.pack(graph)).graph == graph
    assert runtime.check(blob.pack_image(graph))["n_scores"] == 2


@pytest.mark.parametrize("margin", [1 << 31, -1])
def test_a_margin_has_31_bits(margin: int) -> None:
    with pytest.raises(ModelError, match=r"the margin is not in 0..2\*\*31-1"):
        replace(counting(), margin=margin)


def test_convert_chooses_a_margin_and_run_says_what_it_saves(tmp_path: Path) -> None:
    model, signals, labels = (tmp_path / name for name in ("m.esnn", "x.npy", "y.npy"))
    arguments = ["convert", str(CHECKPOINT), "-o", str(model)]
    runner = CliRunner()
    rng = np.random.default_rng(0)
    np.save(signals, rng.normal(0, 5, (8, 20, 6)).cumsum(1))
    arguments += ["--calibrate", str(signals)]
    refused = runner.invoke(main, [*arguments, "--early", "1"])
    assert refused.exit_code == 2
    assert "give recordings with --calibrate, and their labels with --labels" in refused.output
    assert not model.exists()

    np.save(labels, np.zeros(8, np.int64))
    arguments += ["--labels", str(labels), "--early", "100"]
    converted = runner.invoke(main, arguments)
    assert converted.exit_code == 0, converted.output
    assert "answers are decided" in converted.output

    shown = runner.invoke(main, ["inspect", str(model)])
    assert "above all others" in shown.output
    said = runner.invoke(main, ["run", str(model), "--input", str(signals), "--json"])
    summary = json.loads(said.stdout)
    outputs = runtime.run(blob.load(model).image, blob.load(model).graph.input.quantize(
        np.load(signals)))  # fmt: skip
    assert summary["early_steps"] == outputs.early_steps < 1
    assert summary["early_predictions"] == outputs.early_labels.tolist()
    assert "decided early" in runner.invoke(
        main, ["run", str(model), "--input", str(signals)]
    ).output  # fmt: skip


def test_an_image_whose_margin_is_of_one_score_is_refused() -> None:
    image = bytearray(blob.pack_image(counting(1)))
    image[56] = 1
    with pytest.raises(FormatError, match="the core refuses the image"):
        runtime.check(with_crc(bytes(image)))
