"""Widths of the weights: 16 and 2 bits, grids that a source has already, and what widths cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import test_lava
from checkpoints import l2mu_state, write_torch
from click.testing import CliRunner

from edgesnn import blob, reference, runtime
from edgesnn.cli import main, parse_bits
from edgesnn.errors import EdgesnnError, FormatError, ModelError
from edgesnn.graph import Conv as IntegerConv
from edgesnn.graph import DelayedSynapses, Dense, Reset, Window
from edgesnn.network import (
    Conv,
    Delayed,
    FloatArray,
    InputKind,
    Network,
    Population,
    Profile,
    Projection,
    ReadoutRule,
    Verdict,
)
from edgesnn.quantize import quantize
from edgesnn.widths import chosen, with_bits

RNG = np.random.default_rng


def neurons(name: str, size: int, threshold: float = 1.0) -> Population:
    bias = np.zeros(size, np.float32)
    values = np.float32(0.75), np.float32(threshold), bias
    return Population(name, size, *values, reset=Reset.SUBTRACT_AT_ONCE)


def two_layers(rng: np.random.Generator) -> Network:
    hidden, out = rng.normal(0, 0.5, (24, 9)), rng.normal(0, 0.4, (4, 24))
    return Network(
        9,
        InputKind.SPIKES,
        (neurons("hidden", 24), neurons("out", 4)),
        (
            Projection("input", "hidden", hidden.astype(np.float32), layer="fc1"),
            Projection("hidden", "out", out.astype(np.float32), layer="fc2"),
        ),
        ReadoutRule("out"),
        Profile("test", "1"),
        source="test",
    )


def one_layer(weight: FloatArray, grid: object = None, bits: int = 8) -> Network:
    scale = None if grid is None else np.asarray(grid, np.float64)
    n_out, n_in = weight.shape
    return Network(
        n_in,
        InputKind.SPIKES,
        (neurons("out", n_out, 0.37),),
        (Projection("input", "out", weight, layer="fc", bits=bits, grid=scale),),
        ReadoutRule("out"),
        Profile("test", "1"),
        source="test",
    )


def spikes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.random(shape) < 0.3).astype(np.float32)


# ---- 16 bits ----


def test_weights_of_16_bits_are_two_projections_whose_sum_is_the_weight() -> None:
    weight = np.array([[32639, -32639, 128, -128, 127, -129, 1, 0]], np.float32)
    graph = quantize(one_layer(weight, bits=16)).graph
    high, low = graph.projections
    assert isinstance(high, Dense)
    assert isinstance(low, Dense)
    assert high.shift == low.shift + 8
    whole = 256 * high.weights.astype(int) + low.weights
    np.testing.assert_array_equal(whole, weight)


def test_a_high_part_of_nothing_is_left_out() -> None:
    weight = np.array([[100, -128, 0]], np.float32)
    graph = quantize(one_layer(weight, grid=1.0, bits=16)).graph
    assert [p.weights.tolist() for p in graph.projections] == [[[100, -128, 0]]]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["dense", "convolution", "delays"])
def test_16_bits_round_256_times_finer_than_8(kind: str) -> None:
    rng = RNG(1)
    net = one_layer(rng.normal(0, 1, (18, 32)).astype(np.float32))
    if kind == "convolution":
        window = Window((4, 4, 2), (3, 3, 2), (2, 2))
        kernel = rng.normal(0, 1, (2, 2, 2, 2)).astype(np.float32)
        net = replace(net, projections=(Conv("input", "out", kernel, window),))
    if kind == "delays":
        weight, delay = rng.normal(0, 1, (1, 18, 32)), rng.integers(0, 9, (1, 18, 32))
        late = Delayed("input", "out", weight.astype(np.float32), delay.astype(np.uint8))
        net = replace(net, projections=(late,))
    signal = spikes(rng, 5, 30, 32)
    errors = {}
    for bits in (8, 16):
        conversion = quantize(with_bits(net, {"": bits}), signal)
        errors[bits] = conversion.report.layers[0].error
        frames = conversion.graph.input.quantize(signal)
        image = blob.pack_image(conversion.graph)
        assert blob.unpack(blob.pack(conversion.graph)).graph == conversion.graph
        np.testing.assert_array_equal(
            runtime.run(image, frames).digests, reference.run(conversion.graph, frames).digests
        )
    assert errors[16] < errors[8] / 200
    types = {"dense": Dense, "convolution": IntegerConv, "delays": DelayedSynapses}
    assert [type(p) for p in conversion.graph.projections] == 2 * [types[kind]]
    assert conversion.report.spike_agreement["out"] > 0.999


def test_16_bits_of_sensor_values_use_what_fits() -> None:
    """Sums of 16-bit values times 16-bit weights would leave 30 bits; 12 bits are left here."""
    net = replace(one_layer(RNG(1).normal(0, 1, (8, 6)).astype(np.float32)), input_kind=None)
    signal = RNG(2).normal(0, 1, (5, 30, 6))
    errors = [quantize(with_bits(net, {"": b}), signal).report.layers[0].error for b in (8, 16)]
    assert errors[1] < errors[0] / 16


# ---- ternary ----


def test_ternary_weights_drop_the_small_ones_and_not_all_but_the_largest() -> None:
    weight = np.array([[1.0, -0.9, 0.6, -0.55, 0.1, -0.05, 0.02]], np.float32)
    (dense,) = quantize(one_layer(weight, bits=2)).graph.projections
    assert dense.weights.tolist() == [[1, -1, 1, -1, 0, 0, 0]]  # type: ignore[union-attr]
    assert dense.bits == 2


# ---- numbers that are integers already ----


@pytest.mark.parametrize("grid", [0.013, [0.013, 0.4, 2.7]])
def test_weights_that_are_integers_already_are_taken_as_they_are(grid: object) -> None:
    """Not one of them is as large as 127, from which a scale could be guessed."""
    whole = RNG(2).integers(-90, 91, (3, 11))
    scale = np.asarray(grid)
    weight = whole * (scale[:, np.newaxis] if scale.ndim else scale)
    conversion = quantize(one_layer(weight.astype(np.float32), grid), spikes(RNG(3), 4, 30, 11))
    np.testing.assert_array_equal(conversion.graph.projections[0].weights, whole)  # type: ignore[union-attr]
    assert conversion.report.layers[0].verdict is Verdict.EXACT


def test_integers_of_more_than_8_bits_need_16() -> None:
    whole = np.array([[3000, -77]])
    weight = (whole * 0.001).astype(np.float32)
    with pytest.raises(ModelError, match=r"its integers leave 8 bits: ask for more with --bits"):
        quantize(one_layer(weight, 0.001))
    high, low = quantize(one_layer(weight, 0.001, bits=16)).graph.projections
    np.testing.assert_array_equal(256 * high.weights.astype(int) + low.weights, whole)  # type: ignore[union-attr]


def test_a_scale_that_is_not_the_weights_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'input -> out' \(fc\): a weight is 0.500 of a unit off"):
        quantize(one_layer(np.array([[1.5, 3.0]], np.float32), 1.0))


# ---- which layer gets which ----


def test_a_layer_is_named_by_its_ends_its_target_or_its_name() -> None:
    net = two_layers(RNG(0))
    for name in ("input->hidden", "hidden", "fc1"):
        assert [p.bits for p in with_bits(net, {name: 4}).projections] == [4, 8]  # type: ignore[union-attr]
    both = with_bits(net, {"": 4, "fc2": 16})
    assert [p.bits for p in both.projections] == [4, 16]  # type: ignore[union-attr]


def test_bits_for_a_layer_that_is_not_there_name_those_that_are() -> None:
    with pytest.raises(ModelError, match="no layer 'fc3' to give 4 bits: input->hidden, hidden->o"):
        with_bits(two_layers(RNG(0)), {"fc3": 4})


def test_a_convolution_keeps_8_bits_where_all_are_to_have_4_and_refuses_them_by_name() -> None:
    window = Window((2, 2, 1), (1, 1, 4), (2, 2))
    net = two_layers(RNG(0))
    kernel = np.ones((2, 2, 1, 4), np.float32)
    conv = Conv("input", "hidden", kernel, window, layer="conv")
    net = Network(
        4, InputKind.SPIKES, (neurons("hidden", 4),), (conv,), ReadoutRule("hidden"), net.profile
    )
    assert with_bits(net, {"": 4}).projections[0].bits == 8  # type: ignore[union-attr]
    with pytest.raises(
        ModelError, match=r"\(conv\): weights of 4 bits are not there: choose 8, 16"
    ):
        with_bits(net, {"conv": 4})


@pytest.mark.parametrize("given", ["3", "fc1=", "fc1=eight", ""])
def test_what_is_no_width_is_refused(given: str) -> None:
    with pytest.raises(FormatError, match="is no width"):
        parse_bits((given,))


def test_ternary_is_a_word_for_2_bits() -> None:
    assert parse_bits(("8", "fc1=ternary", "a->b=4")) == {"": 8, "fc1": 2, "a->b": 4}


# ---- chosen by what they cost ----


def test_widths_are_the_fewest_bytes_found_that_agree_enough() -> None:
    net, signal = two_layers(RNG(4)), spikes(RNG(5), 60, 25, 9)
    found, rows = chosen(net, signal, 0.9)
    start, last = rows[0], [row for row in rows if row.chosen][-1]
    assert (start.layer, start.bits) == ("every layer", 8)
    assert last.flash_bytes < start.flash_bytes
    assert {row.bits for row in rows if row.layer == "hidden->out"} == {2, 4, 8, 16} - {8}
    conversion = quantize(found, signal)
    assert len(blob.pack_image(replace(conversion.graph, selftest=None))) == last.flash_bytes
    assert conversion.report.label_agreement == last.label_agreement
    assert last.label_agreement >= 0.9


def test_where_8_bits_do_not_reach_the_target_layers_are_widened() -> None:
    net, signal = two_layers(RNG(1)), spikes(RNG(9), 100, 25, 9)
    for p in net.projections:
        p.weight[:, 0] *= 30  # type: ignore[union-attr]
    at_8 = quantize(net, signal).report.label_agreement
    assert at_8 is not None
    assert at_8 < 1
    found, rows = chosen(net, signal, 1.0)
    assert quantize(found, signal).report.label_agreement == 1.0
    assert 16 in {p.bits for p in found.projections}  # type: ignore[union-attr]
    assert rows[0].label_agreement == at_8


def test_the_table_is_printed_and_goes_into_the_model(tmp_path: Path) -> None:
    path = write_torch(tmp_path / "l2mu.ckpt", l2mu_state(encoder=(5,)))
    np.save(tmp_path / "x.npy", RNG(0).normal(0, 1, (6, 20, 3)))
    words = ["convert", str(path), "--calibrate", str(tmp_path / "x.npy"), "--auto", "0.5"]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "what widths cost" in done.output
    tried = blob.load(tmp_path / "l2mu.esnn").notes["report"]["widths"]
    assert tried[0]["layer"] == "every layer"
    assert tried[0]["flash_bytes"] > min(row["flash_bytes"] for row in tried if row["chosen"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--auto", "0.9"], "--auto measures what widths cost: give recordings"),
        (["--bits", "7"], "--bits 7 is no width"),
        (["--spikes", "8"], "--spikes balances thresholds: give recordings"),
        (["--bits", "nothing=4"], "there is no layer 'nothing'"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path: Path, words: list[str], message: str) -> None:
    path = write_torch(tmp_path / "l2mu.ckpt", l2mu_state())
    done = CliRunner().invoke(main, ["convert", str(path), *words])
    assert done.exit_code == EdgesnnError.exit_code
    assert message in done.output


@pytest.mark.parametrize("words", [["--bits", "4"], ["--auto", "0.9"], ["--spikes", "8"]])
def test_integers_keep_their_widths(tmp_path: Path, words: list[str]) -> None:
    path = test_lava.write(tmp_path / "n.net", test_lava.dense([[2, 4]]))
    done = CliRunner().invoke(main, ["convert", str(path), *words])
    assert done.exit_code == EdgesnnError.exit_code
    assert "is integer already: leave --bits, --auto and --spikes out" in done.output
    assert not (tmp_path / "n.esnn").exists()
