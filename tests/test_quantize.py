"""Floats become integers, and the report says what that cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn import reference
from edgesnn.errors import ModelError
from edgesnn.graph import (
    NEVER,
    AnalogInput,
    Conduction,
    Dense,
    Fire,
    PotentialMode,
    Reset,
    SpikeInput,
    SumPool,
    Window,
)
from edgesnn.network import (
    Adaptation,
    Conv,
    InputKind,
    Network,
    Pool,
    Population,
    Profile,
    Projection,
    ReadoutRule,
    Verdict,
)
from edgesnn.quantize import quantize

SNNTORCH = Profile("snnTorch", "1.0.0")


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def network(
    weight: Any,
    *,
    kind: InputKind | None = InputKind.SPIKES,
    mode: PotentialMode | None = None,
    recurrent: Any = None,
    **changes: Any,
) -> Network:
    """Input, a weight, and one population 'out'."""
    weight = np.asarray(weight, np.float32)
    n_out, n_in = weight.shape
    values: dict[str, Any] = {
        "beta": scalar(0.5),
        "threshold": scalar(1),
        "bias": np.zeros(n_out, np.float32),
        **changes,
    }
    projections = [Projection("input", "out", weight, layer="fc")]
    if recurrent is not None:
        projections.append(Projection("out", "out", np.asarray(recurrent, np.float32), layer="rec"))
    return Network(
        n_in,
        kind,
        (Population("out", n_out, layer="lif", **values),),
        tuple(projections),
        ReadoutRule("out", mode),
        SNNTORCH,
        source="test",
    )


def test_weights_use_all_of_their_bits_for_each_neuron() -> None:
    graph = quantize(network([[0.5, -0.26], [100.0, 51.0]])).graph
    assert graph.projections[0].weights.tolist() == [[127, -66], [127, 65]]


def test_the_threshold_is_the_same_multiple_of_the_weights() -> None:
    graph = quantize(network([[0.5], [100.0]])).graph
    projection, population = graph.projections[0], graph.populations[0]
    weight = projection.weights[:, 0].astype(int) << projection.shift
    # the scale leaves 8 places below the weights: half a unit of them is the largest error
    np.testing.assert_allclose(population.threshold, weight / [0.5, 100], atol=0.5)


def test_weights_on_the_grid_are_exact_and_others_are_reported() -> None:
    on_grid = quantize(network([[127.0, 64.0, -3.0]])).report.layers[0]
    assert (on_grid.verdict, on_grid.error) == (Verdict.EXACT, 0.0)
    off_grid = quantize(network([[127.0, 64.4, -3.0]])).report.layers[0]
    assert off_grid.verdict is Verdict.APPROXIMATED
    assert off_grid.error == pytest.approx(0.4 / 127, rel=1e-3)
    assert "8 bits" in off_grid.reason


def test_a_network_on_the_grid_gives_the_float_networks_spikes() -> None:
    rng = np.random.default_rng(1)
    # 127 in each row pins the scale; beta and threshold are exact in Q15 and in the scale
    weight = rng.integers(-60, 60, (12, 9)).astype(np.float32)
    weight[:, 0] = 127
    net = network(weight, threshold=scalar(100), bias=rng.integers(-9, 9, 12).astype(np.float32))
    spikes = (rng.random((20, 30, 9)) < 0.2).astype(np.float64)
    report = quantize(net, spikes).report
    assert report.label_agreement == 1.0
    assert report.spike_agreement == {"out": 1.0}
    assert report.calibration_samples == 20


def test_decay_is_rounded_to_15_bits() -> None:
    population = quantize(network([[1.0]], beta=scalar(0.9))).graph.populations[0]
    assert population.decay.tolist() == [29491]


def test_an_alpha_makes_current_based_neurons() -> None:
    graph = quantize(network([[1.0]], alpha=scalar(0.25))).graph
    assert graph.populations[0].synaptic_decay is not None
    assert graph.populations[0].synaptic_decay.tolist() == [8192]  # type: ignore[union-attr]


def test_neurons_whose_potentials_are_compared_share_a_scale() -> None:
    graph = quantize(network([[0.5], [100.0]], mode=PotentialMode.LAST)).graph
    assert graph.projections[0].weights.tolist() == [[1], [127]]


def test_an_analog_input_gets_places_from_the_recordings_with_headroom() -> None:
    signal = np.zeros((2, 3, 2))
    signal[0, 0] = [10.0, -0.1]
    graph = quantize(network([[1.0, 1.0]], kind=InputKind.ANALOG), signal).graph
    assert isinstance(graph.input, AnalogInput)
    # twice the largest value seen still fits in 16 bits: 20 * 2**10 and 0.2 * 2**17
    assert graph.input.fraction_bits.tolist() == [10, 17]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_sensor_values_and_recurrent_spikes_meet_in_one_neuron(seed: int, size: float) -> None:
    """The two differ by orders of magnitude; the spikes of the float network survive."""
    rng = np.random.default_rng(seed)
    net = network(
        rng.normal(0, 1 / size, (16, 4)),
        kind=InputKind.ANALOG,
        recurrent=rng.normal(0, 0.3, (16, 16)),
        bias=rng.normal(0, 0.1, 16).astype(np.float32),
    )
    signal = rng.normal(0, size, (8, 20, 4))
    report = quantize(net, signal).report
    assert report.spike_agreement["out"] > 0.96


def test_the_input_is_taken_for_spikes_where_the_recordings_are_binary() -> None:
    unknown = network([[1.0]], kind=None)
    assert isinstance(quantize(unknown, np.ones((1, 2, 1))).graph.input, SpikeInput)
    assert isinstance(quantize(unknown, np.full((1, 2, 1), 0.5)).graph.input, AnalogInput)
    with pytest.raises(ModelError, match="give recordings to calibrate on"):
        quantize(unknown)


def test_the_graph_carries_a_golden_run_of_the_first_recording() -> None:
    signal = np.ones((1, 40, 1))
    graph = quantize(network([[0.7]]), signal).graph
    assert graph.selftest is not None
    assert graph.selftest.frames.shape == (16, 1)
    assert graph.selftest.digest == reference.selftest_digest(graph, graph.selftest.frames)


def test_without_recordings_nothing_is_claimed() -> None:
    conversion = quantize(network([[1.0]]))
    assert conversion.report.label_agreement is None
    assert conversion.report.spike_agreement == {}
    assert conversion.graph.selftest is not None  # made of random spikes


def test_a_threshold_out_of_reach_leaves_the_weights_alone() -> None:
    graph = quantize(network([[1.0]], threshold=scalar(1e9))).graph
    assert graph.projections[0].weights.tolist() == [[127]]
    assert graph.populations[0].threshold.tolist() == [NEVER]
    assert graph.populations[0].reset is Reset.NONE


# ---- every switch: where nothing is rounded, the integers are the float network's ----

SWITCHES: dict[str, dict[str, Any]] = {
    **{reset.name: {"reset": reset} for reset in Reset},
    "reaches": {"fire": Fire.REACHES, "reset": Reset.SUBTRACT_AT_ONCE},
    "cuba": {"alpha": scalar(0), "reset": Reset.ZERO_AT_ONCE},
    "lagged": {"alpha": scalar(0), "conduction": Conduction.LAGGED},
    "membrane bias": {"alpha": scalar(0), "membrane_bias": scalar(17)},
    "several spikes": {
        "reset": Reset.SUBTRACT_AT_ONCE, "fire": Fire.REACHES, "max_spikes": 31,
    },
    "floor": {"floor": scalar(-60), "reset": Reset.SUBTRACT_AT_ONCE},
    "reset to": {"reset": Reset.ZERO_AT_ONCE, "reset_to": scalar(-25)},
    "adaptation": {"adaptation": Adaptation(scalar(1), scalar(3))},
    "old adaptation": {"adaptation": Adaptation(scalar(1), scalar(3), old=True)},
    "alpha": {"alpha": scalar(1), "inhibitory": scalar(0), "reset": Reset.ZERO_DISCARD},
}  # fmt: skip


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("beta", [0, 1])
def test_where_nothing_is_rounded_every_switch_is_exact(switch: str, beta: int) -> None:
    rng = np.random.default_rng(3)
    weight, recurrent = rng.integers(-90, 127, (6, 5)), rng.integers(-60, 40, (6, 6))
    weight[:, 0] = 127
    net = network(
        weight, recurrent=recurrent, beta=scalar(beta), threshold=scalar(150),
        bias=rng.integers(-20, 20, 6).astype(np.float32), **SWITCHES[switch],
    )  # fmt: skip
    spikes = (rng.random((8, 60, 5)) < 0.4).astype(np.float64)
    report = quantize(net, spikes).report
    assert net.run(spikes).rates["out"] > 0.02
    assert report.spike_agreement == {"out": 1.0}
    assert {layer.verdict for layer in report.layers} == {Verdict.EXACT}


@pytest.mark.parametrize("fire", list(Fire))
def test_a_test_without_memory_is_exact_at_every_real_threshold(fire: Fire) -> None:
    rng = np.random.default_rng(4)
    weight = rng.integers(-127, 128, (40, 8))
    weight[:, 0] = 127
    inputs = (np.arange(256)[:, np.newaxis] >> np.arange(8)) & 1
    sums = inputs @ weight.T
    # at sums that occur, a hair off them, and anywhere; biases shift them
    bias = rng.normal(0, 30, 40).astype(np.float32)
    threshold = np.abs(sums[rng.integers(0, 256, 40), np.arange(40)] + bias).astype(np.float32)
    threshold[::3] = np.nextafter(threshold[::3], np.float32(np.inf))
    threshold[1::5] = rng.uniform(1, 300, len(threshold[1::5]))
    net = network(
        weight, beta=scalar(0), threshold=np.maximum(threshold, 1), bias=bias, fire=fire,
        reset=Reset.NONE,
    )  # fmt: skip
    graph = quantize(net, inputs[:, np.newaxis]).graph
    real = sums + bias.astype(np.float64)
    at = np.maximum(threshold, 1).astype(np.float64)
    expected = real > at if fire is Fire.ABOVE else real >= at
    state = next(iter(reference.steps(graph, inputs[:, np.newaxis].astype(np.int16))))
    np.testing.assert_array_equal(state.emitted["out"], expected)


@pytest.mark.parametrize(("bits", "least"), [(8, 0.98), (4, 0.85), (2, 0.5)])
def test_weights_may_have_fewer_bits_by_layer(bits: int, least: float) -> None:
    rng = np.random.default_rng(5)
    net = network(rng.normal(0, 1, (20, 16)))
    net = replace(net, projections=(replace(net.projections[0], bits=bits),))
    conversion = quantize(net, (rng.random((10, 40, 16)) < 0.3).astype(float))
    dense = conversion.graph.projections[0]
    assert isinstance(dense, Dense)
    assert dense.bits == bits
    assert np.abs(dense.weights).max() == (1 << (bits - 1)) - 1
    assert f"{bits} bits" in conversion.report.layers[0].reason
    assert conversion.report.spike_agreement["out"] > least


def test_the_channels_of_a_convolution_have_a_scale_each_and_share_it() -> None:
    rng = np.random.default_rng(6)
    window = Window((4, 4, 2), (4, 4, 3), (3, 3), (1, 1), (1, 1))
    kernel = (rng.normal(0, 1, (3, 3, 2, 3)) * [0.01, 1, 100]).astype(np.float32)
    out = Population(
        "out", 48, scalar(0.5), np.tile(np.float32([0.01, 1, 100]), 16), np.zeros(48, np.float32)
    )
    net = Network(
        32, InputKind.SPIKES, (out,), (Conv("input", "out", kernel, window),), ReadoutRule("out"),
        SNNTORCH,
    )  # fmt: skip
    conversion = quantize(net, (rng.random((6, 30, 32)) < 0.3).astype(float))
    (conv,) = conversion.graph.projections
    assert np.abs(conv.weights).max(axis=(0, 1, 2)).tolist() == [127] * 3  # type: ignore[union-attr]
    assert conversion.report.spike_agreement["out"] > 0.98


def test_pooling_is_exact_and_its_divisor_is_in_the_threshold() -> None:
    window = Window((4, 4, 1), (2, 2, 1), (2, 2), (2, 2))
    out = Population("out", 4, scalar(1), scalar(0.75), np.zeros(4, np.float32))
    net = Network(
        16, InputKind.SPIKES, (out,), (Pool("input", "out", window, 0.25),), ReadoutRule("out"),
        SNNTORCH,
    )  # fmt: skip
    spikes = (np.random.default_rng(7).random((6, 30, 16)) < 0.2).astype(float)
    conversion = quantize(net, spikes)
    assert isinstance(conversion.graph.projections[0], SumPool)
    assert conversion.report.spike_agreement["out"] == 1.0
    assert {layer.verdict for layer in conversion.report.layers} == {Verdict.EXACT}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network([[np.nan]]), "fc.*a weight is not finite"),
        (lambda: network([[1.0]], beta=scalar(1.5)), r"beta leaves 0\.\.1"),
        (lambda: network([[1.0]], threshold=np.ones(3, np.float32)), "threshold has shape"),
        (lambda: network([[1.0]], recurrent=np.ones((2, 2))), "does not join 1 to 1"),
        (lambda: quantize(network([[1.0]]), np.zeros((1, 2, 5))), "have 5 channels, test takes 1"),
        (
            lambda: quantize(network([[1.0]], kind=InputKind.ANALOG)),
            "give recordings to calibrate on",
        ),
        (
            lambda: quantize(network([[1.0]], kind=InputKind.ANALOG), np.full((1, 1, 1), np.inf)),
            "not finite",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make()
