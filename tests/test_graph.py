"""What flows between neurons, by hand-worked example, and what a graph refuses.

tests/test_neurons.py has the examples of the spiking neuron.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from worked import HALF, ONE, Run, analog, i8, i32, lif, one_neuron, relay, spikes, through, u8, u16

from edgesnn.errors import ModelError
from edgesnn.graph import (
    CURRENT_BOUND,
    MAX_SHIFT,
    Activation,
    Adaptation,
    AnalogInput,
    Conduction,
    Conv,
    DecayRule,
    DelayedSynapses,
    DelayLine,
    Delta,
    Dense,
    Fire,
    FirstSpike,
    Graph,
    Integrator,
    LinearState,
    Port,
    Potential,
    PotentialMode,
    Requantization,
    Reset,
    SelfTest,
    SoftmaxSum,
    SpikeCount,
    SumPool,
    Window,
)

# ---- inputs ----


def test_analog_values_are_fixed_point_numbers_rounded_half_up() -> None:
    entry = AnalogInput("input", i8([0, 4]), ("m/s^2", "rad/s"))
    signal = np.array([[1.5, 1.5], [-1.5, -0.03125], [1e9, -1e9]])
    assert entry.quantize(signal).tolist() == [[2, 24], [-1, 0], [32767, -32768]]


def test_analog_values_saturate_to_the_bits_that_the_input_has() -> None:
    assert analog(bits=4).quantize(np.array([[7.4], [9.0], [-9.0]])).tolist() == [[7], [7], [-8]]


def test_recordings_that_the_input_cannot_take_are_refused() -> None:
    entry = analog(2)
    with pytest.raises(ModelError, match="has 3 channels, input 'input' takes 2"):
        entry.quantize(np.zeros((4, 3)))
    with pytest.raises(ModelError, match=r"not finite at \[1, 0\]"):
        entry.quantize(np.array([[0, 0], [np.nan, 0]]))
    with pytest.raises(ModelError, match="takes spikes"):
        spikes(2).quantize(np.array([[0, 2]]))


# ---- order ----


def test_a_projection_carries_this_step_forward_and_the_last_step_back() -> None:
    """a -> b arrives in the same step; b -> a and a -> a in the next."""
    weight = i8([[20]])
    forward = Graph(
        spikes(1),
        (lif("a"), lif("b")),
        (Dense("input", "a", weight), Dense("a", "b", weight)),
        SpikeCount("b"),
    )
    assert Run(forward, [1, 0, 0]).emitted("b") == [1, 0, 0]
    back = replace(forward, populations=(lif("b"), lif("a")), projections=forward.projections[::-1])
    assert Run(back, [1, 0, 0]).emitted("b") == [0, 1, 0]
    to_itself = replace(forward, projections=(*forward.projections, Dense("b", "b", weight)))
    assert Run(to_itself, [1, 0, 0]).emitted("b") == [1, 1, 1]


# ---- dense synapses ----


def test_every_source_neuron_meets_every_target_neuron() -> None:
    projection = Dense("input", "out", i8([[1, 2, 3], [-4, 5, -128]]))
    assert Run(through(projection, spikes(3)), [[1, 0, 1]]).emitted() == [[4, -132]]
    assert Run(through(projection, analog(3)), [[10, 0, -1]]).emitted() == [[7, 88]]


def test_a_shift_puts_binary_places_between_weight_and_state() -> None:
    projection = Dense("input", "out", i8([[3]]), shift=4)
    assert Run(through(projection, spikes(1)), [1]).emitted() == [48]


@pytest.mark.parametrize(
    ("bits", "lowest", "highest"), [(8, -128, 127), (4, -8, 7), (2, -2, 1)], ids=["8", "4", "2"]
)
def test_weights_of_fewer_bits_have_a_smaller_range(bits: int, lowest: int, highest: int) -> None:
    ends = i8([[lowest, 0], [highest, -1]])
    for entry in (spikes(2), analog(2)):
        graph = through(Dense("input", "out", ends, bits=bits), entry)
        frames = [[1, 0], [0, 1], [1, 1]]
        expected = [[lowest, highest], [0, -1], [lowest, highest - 1]]
        assert Run(graph, frames).emitted() == expected
    if bits < 8:
        with pytest.raises(ModelError, match=f"weights is not in {lowest}..{highest}"):
            through(Dense("input", "out", ends + i8(1), bits=bits), spikes(2))


def test_blocks_share_one_weight_matrix() -> None:
    projection = Dense("input", "out", i8([[1, 2], [3, 4]]), blocks=2)
    # block 0 sees (1, 0), block 1 sees (0, 1)
    assert Run(through(projection, spikes(4), relay(size=4)), [[1, 0, 0, 1]]).emitted() == [
        [1, 3, 2, 4]
    ]


def test_what_several_projections_bring_is_added() -> None:
    graph = Graph(
        spikes(2),
        (relay("hidden", 2), relay()),
        (
            Dense("input", "hidden", i8([[1, 0], [0, 1]])),
            Dense("input", "out", i8([[1, 2]])),
            Dense("hidden", "out", i8([[10, 20]]), shift=1),
        ),
        Potential("out"),
    )
    assert Run(graph, [[1, 0], [0, 1], [1, 1]]).emitted("out") == [21, 42, 63]


def test_a_current_that_may_pass_30_bits_saturates_after_each_projection() -> None:
    """The first brings 10 * 127 * 2**20, which is cut to 2**29 - 1; the second takes 2**20 off."""
    graph = Graph(
        analog(2),
        (relay(),),
        (
            Dense("input", "out", i8([[127, 0]]), shift=MAX_SHIFT),
            Dense("input", "out", i8([[0, -1]]), shift=MAX_SHIFT),
        ),
        Potential("out"),
    )
    run = Run(graph, [[10, 0], [10, 1], [-10, 0]])
    assert run.membrane() == [2**29 - 1, 2**29 - 1 - 2**20, -(2**29)]


def test_a_spike_costs_its_synapses_and_silence_nothing() -> None:
    graph = Graph(
        spikes(4),
        (lif("hidden", 3), lif("out", 2)),
        (
            Dense("input", "hidden", np.full((3, 4), 4, np.int8)),
            Dense("hidden", "out", np.full((2, 3), 1, np.int8)),
        ),
        SpikeCount("out"),
    )
    frames = [[1, 1, 0, 0], [0] * 4, [0] * 4, [0] * 4]
    run = Run(graph, frames)
    assert run.outputs.synops.tolist() == [2 * 3]  # 8 in every hidden neuron: no spike
    assert run.membrane("hidden") == [[v] * 3 for v in (8, 4, 2, 1)]  # which yet decay


def test_values_other_than_0_cost_a_multiplication_a_synapse() -> None:
    graph = through(Dense("input", "out", np.ones((3, 4), np.int8)), analog(4))
    run = Run(graph, [[5, 0, -5, 0], [0] * 4])
    assert run.outputs.macs.tolist() == [2 * 3]
    assert run.outputs.synops.tolist() == [0]


# ---- maps ----


def conv(
    weights: Any,
    source: tuple[int, int, int],
    target: tuple[int, int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    groups: int = 1,
) -> Conv:
    """A convolution; weights (ky, kx, C_in / groups, C_out)."""
    kernel = i8(weights)
    window = Window(source, target, (kernel.shape[0], kernel.shape[1]), stride, padding)
    return Conv("input", "out", kernel, window, groups=groups)


def convolved(projection: Conv | SumPool, frame: list[int], entry: Any = analog) -> list[int]:
    """What a convolution or pooling makes of one frame."""
    sizes = (
        int(np.prod(shape))
        for shape in (projection.window.input_shape, projection.window.output_shape)
    )
    source, target = sizes
    (made,) = Run(through(projection, entry(source), relay(size=target)), [frame]).emitted()
    return made if isinstance(made, list) else [made]


ONE_TWO_FOUR = [[[[1]], [[2]], [[4]]]]  # a row of three


@pytest.mark.parametrize(
    ("width", "stride", "padding", "expected"),
    [
        # position x sees x - 1, x, x + 1 with weights 1, 2, 4: the spike at 2 is the last of 1
        (5, 1, 1, [0, 4, 2, 1, 0]),
        # without padding position x sees x, x + 1, x + 2
        (3, 1, 0, [4, 2, 1]),
        # every second position: those at 0, 2 and 4 of the first line
        (3, 2, 1, [0, 2, 0]),
        # and without padding: those at 0 and 2 of the second
        (2, 2, 0, [4, 1]),
        # fewer positions: the last ones are not there
        (2, 1, 1, [0, 4]),
    ],
)
def test_a_convolution_slides_over_a_line(
    width: int, stride: int, padding: int, expected: list[int]
) -> None:
    projection = conv(ONE_TWO_FOUR, (1, 5, 1), (1, width, 1), (1, stride), (0, padding))
    assert convolved(projection, [0, 0, 1, 0, 0], spikes) == expected


def test_a_convolution_slides_over_a_map() -> None:
    """The nine numbers 1 to 9 in a square, and 1 2 over 3 4 as the kernel."""
    kernel = [[[[1]], [[2]]], [[[3]], [[4]]]]
    inside = conv(kernel, (3, 3, 1), (2, 2, 1))
    # 1*1 + 2*2 + 3*4 + 4*5, and so on
    assert convolved(inside, list(range(1, 10))) == [37, 47, 67, 77]
    corner = conv(kernel, (3, 3, 1), (2, 2, 1), (2, 2), (1, 1))
    # over the corner only the 4 sees the 1; then 3*2 + 4*3; 2*4 + 4*7; 1*5 + 2*6 + 3*8 + 4*9
    assert convolved(corner, list(range(1, 10))) == [4, 18, 36, 77]


def test_channels_lie_side_by_side_and_every_output_channel_sees_them_all() -> None:
    projection = conv([[[[1, 10], [2, 20]]]], (1, 2, 2), (1, 2, 2))
    # at position 0 the channels 3 and 4, at position 1 the channels 5 and 6
    assert convolved(projection, [3, 4, 5, 6]) == [3 + 8, 30 + 80, 5 + 12, 50 + 120]


def test_in_groups_an_output_channel_sees_its_own_group() -> None:
    projection = conv([[[[1, 2], [3, 4]]]], (1, 1, 4), (1, 1, 2), groups=2)
    assert convolved(projection, [1, 10, 100, 1000]) == [1 + 30, 200 + 4000]


def test_depthwise_every_channel_is_convolved_by_itself() -> None:
    projection = conv([[[[1, 10]], [[2, 20]]]], (1, 2, 2), (1, 1, 2), groups=2)
    assert convolved(projection, [1, 2, 3, 4]) == [1 + 6, 20 + 80]


def test_a_sum_pool_adds_up_windows_of_every_channel() -> None:
    square = SumPool("input", "out", Window((2, 4, 1), (1, 2, 1), (2, 2), (2, 2)))
    assert convolved(square, [1, 2, 3, 4, 5, 6, 7, 8]) == [1 + 2 + 5 + 6, 3 + 4 + 7 + 8]
    channels = SumPool("input", "out", Window((1, 2, 2), (1, 1, 2), (1, 2)))
    assert convolved(channels, [1, 2, 3, 4]) == [1 + 3, 2 + 4]
    assert convolved(channels, [1, 0, 1, 1], spikes) == [2, 1]


def test_an_average_pool_is_a_sum_pool_into_a_relay_that_shifts() -> None:
    pool = SumPool("input", "out", Window((2, 4, 1), (1, 2, 1), (2, 2), (2, 2)))
    graph = through(pool, analog(8), relay(size=2, shift=2))
    assert Run(graph, [[1, 2, 3, 4, 5, 6, 7, 8]]).emitted() == [[4, 6]]  # 3.5 and 5.5


def test_a_spike_in_a_map_costs_the_weights_that_it_meets() -> None:
    """In the corner it lies in one window, in the middle in three."""
    projection = conv(ONE_TWO_FOUR, (1, 5, 1), (1, 3, 1))
    graph = through(projection, spikes(5), relay(size=3))
    assert Run(graph, [[1, 0, 0, 0, 0]]).outputs.synops.tolist() == [1]
    assert Run(graph, [[0, 0, 1, 0, 0]]).outputs.synops.tolist() == [3]


# ---- delays ----


def test_a_delay_line_delays_every_channel_by_its_own_steps() -> None:
    graph = Graph(
        spikes(3),
        (DelayLine("line", "input", u8(0, 1, 3)), relay("out", 3)),
        (Dense("line", "out", np.eye(3, dtype=np.int8)),),
        Potential("out"),
    )
    frames = [[1, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert Run(graph, frames).emitted("line") == [
        [1, 0, 0],
        [1, 1, 0],
        [0, 0, 0],
        [0, 0, 1],
        [0, 0, 0],
    ]


def test_a_delay_line_before_its_source_is_one_step_later_still() -> None:
    graph = Graph(
        spikes(1),
        (DelayLine("line", "out", u8(1)), lif(reset=Reset.ZERO)),
        (Dense("input", "out", i8([[20]])),),
        SpikeCount("out"),
    )
    run = Run(graph, [1, 0, 0, 0])
    assert run.emitted("out") == [1, 0, 0, 0]
    assert run.emitted("line") == [0, 0, 1, 0]


TWICE = DelayedSynapses.from_dense("input", "out", i8([[[5]], [[7]]]), u8(0, 2).reshape(2, 1, 1))


def test_two_neurons_may_be_joined_by_synapses_of_several_delays() -> None:
    """A spike brings 5 at once and 7 two steps later."""
    run = Run(through(TWICE, spikes(1)), [1, 0, 1, 0, 0])
    assert run.emitted() == [5, 0, 12, 0, 7]
    assert run.outputs.synops.tolist() == [4]


def test_values_arrive_late_as_they_were() -> None:
    run = Run(through(TWICE, analog(1)), [3, -1, 0, 0])
    assert run.emitted() == [15, -5, 21, -7]
    assert run.outputs.macs.tolist() == [4]


def test_synapses_with_delays_are_listed_one_by_one() -> None:
    """Neuron 0 reaches neuron 1 at once, neuron 1 reaches both, later; the rest does not exist."""
    listed = DelayedSynapses(
        "input", "out", u16(0, 1, 1), u16(1, 0, 1), u8(0, 1, 2), i8([3, 4, 5]), shift=1
    )
    run = Run(through(listed, spikes(2), relay(size=2)), [[1, 1], [0, 0], [0, 0]])
    assert run.emitted() == [[0, 6], [8, 0], [0, 10]]
    dense = DelayedSynapses.from_dense(
        "input", "out", i8([[0, 4], [3, 5]]), u8(9, 1, 0, 2).reshape(2, 2), shift=1
    )
    assert dense == listed


# ---- populations that emit values ----


def test_an_integrator_is_an_exponential_average() -> None:
    run = Run(one_neuron(relay(decay=u16(HALF))), [8, 0, 0, 4])
    assert run.emitted() == [8, 4, 2, 5]


def test_what_an_integrator_emits_is_shifted_rounded_and_saturated() -> None:
    run = Run(one_neuron(relay(shift=1, bits=4)), [5, -5, 100, -100])
    assert run.emitted() == [3, -2, 7, -8]  # 2.5 and -2.5 round up
    assert run.membrane() == [5, -5, 100, -100]


def test_an_integrator_has_a_bias_and_decays_of_its_own() -> None:
    population = relay(size=2, decay=u16(0, ONE), bias=i32(1, 2))
    graph = through(Dense("input", "out", i8([[1], [1]])), analog(), population)
    assert Run(graph, [10, 0]).emitted() == [[11, 12], [1, 14]]


def test_an_integrator_may_cut_off_what_is_below_0() -> None:
    run = Run(one_neuron(relay(activation=Activation.RELU)), [-3, 4])
    assert run.emitted() == [0, 4]
    assert run.membrane() == [-3, 4]  # read-outs see the state itself


def test_an_integrator_may_look_its_value_up_between_257_points() -> None:
    """Points 256 apart from -32768 to 32768, here 100 higher each time: y * 100 / 256."""
    table = ((np.arange(257) - 128) * 100).astype(np.int16)
    population = relay(activation=Activation.TABLE, table=table)
    run = Run(one_neuron(population), [0, 256, 64, -128, 32767, -32768])
    assert run.emitted() == [0, 100, 25, -50, 12800, -12800]


@pytest.mark.parametrize(
    ("once", "expected"),
    [
        # eighths, of which 4 and 12 are halves; rounded twice 3 and 11, and -5, become quarters of
        # 2 and 6, and of -2, that are halves as well
        (False, {-13: -2, -12: -2, -5: -1, -4: -1, -3: 0, 3: 1, 4: 1, 11: 2, 12: 2}),
        (True, {-13: -2, -12: -2, -5: -1, -4: 0, -3: 0, 3: 0, 4: 0, 5: 1, 11: 1, 12: 2}),
    ],
)
def test_sums_are_requantised_in_two_roundings_or_in_one(
    once: bool, expected: dict[int, int]
) -> None:
    scaled = Requantization(i32(1 << 30), u16(2), -128, 127, once)
    run = Run(one_neuron(relay(requantization=scaled)), list(expected))
    assert run.emitted() == run.membrane() == run.scores() == list(expected.values())


def test_requantised_sums_have_a_multiplier_a_channel_and_stay_in_bounds() -> None:
    scaled = Requantization(i32(1 << 30, (1 << 31) - 1), u16(2, 0), -7, 7)
    projection = Dense("input", "out", np.eye(4, dtype=np.int8))
    run = Run(
        through(projection, analog(4), relay(size=4, requantization=scaled)), [[40, 5, -80, -9]]
    )
    assert run.emitted() == [[5, 5, -7, -7]]


def test_changes_are_emitted_where_they_reach_a_threshold() -> None:
    """Of what is above 0 with an offset of 1, in units of 2, rounded down."""
    population = relay(
        decay=u16(ONE), shift=1, bits=4, activation=Activation.RELU, delta=Delta(i32(3), i32(1))
    )
    run = Run(one_neuron(population), [1, 1, -2, -1, 30, -31])
    assert run.membrane() == [1, 2, 0, -1, 29, -2]
    # 2 is too little; 3; 1 is too little; 0 is 3 less; 30 is more than four bits hold; 30 less
    assert run.emitted() == [0, 1, 0, -2, 7, -8]


def linear_state(blocks: int = 1) -> LinearState:
    """m0' = (2 m0 - 4 m1) / 2 and m1' = 8 m0 / 8; emits m0, and a quarter of m1, in 4 bits."""
    return LinearState(
        "out",
        matrix=np.array([[2, -4], [8, 0]], np.int16),
        matrix_shift=u8(1, 3),
        shift=u8(0, 2),
        blocks=blocks,
        bits=4,
    )


def test_a_linear_state_moves_by_its_matrix_whose_rows_have_scales_of_their_own() -> None:
    graph = through(Dense("input", "out", i8([[8], [0]])), spikes(1), linear_state())
    run = Run(graph, [1, 0, 0, 0])
    assert run.membrane() == [[8, 0], [8, 8], [-8, 8], [-24, -8]]
    assert run.emitted() == [[7, 0], [7, 2], [-8, 2], [-8, -2]]
    assert run.outputs.macs.tolist() == [4 * 4]  # the whole matrix, in every step


def test_a_linear_state_rounds_half_up() -> None:
    halves = LinearState("out", np.array([[1]], np.int16), u8(1), u8(0))
    assert Run(one_neuron(halves), [3, 0, 0, -5, 0]).membrane() == [3, 2, 1, -4, -2]


def test_memories_share_one_matrix() -> None:
    graph = through(Dense("input", "out", i8([[0], [0], [8], [0]])), spikes(1), linear_state(2))
    assert Run(graph, [1, 0]).membrane() == [[0, 0, 8, 0], [0, 0, 8, 8]]


# ---- read-outs ----


def test_spikes_are_counted() -> None:
    run = Run(one_neuron(lif(), SpikeCount("out")), [12, 4, 20, 20])
    assert run.emitted() == [1, 0, 1, 1]
    assert run.scores() == [1, 1, 2, 3]


@pytest.mark.parametrize(
    ("mode", "scores"),
    [
        (PotentialMode.LAST, [-5, -6, 17]),
        (PotentialMode.MAX, [-5, -5, 17]),
        (PotentialMode.SUM, [-5, -11, 6]),
    ],
)
def test_potentials_are_read_out_last_largest_or_summed(
    mode: PotentialMode, scores: list[int]
) -> None:
    assert Run(one_neuron(lif(), Potential("out", mode)), [-5, -4, 20]).scores() == scores


def test_a_softmax_of_the_membranes_is_summed() -> None:
    """By a table of halves: one below the largest is half as likely, two below a quarter."""
    table = (256 >> np.minimum(np.arange(256), 8)).astype(np.uint16)
    graph = Graph(
        analog(3),
        (relay(size=3),),
        (Dense("input", "out", np.eye(3, dtype=np.int8)),),
        SoftmaxSum("out", table),
    )
    run = Run(graph, [[3, 2, 2], [3, 2, 1], [0, 1000, 0]])
    # 2**15 times 1/2, 1/4, 1/4; then 4/7, 2/7, 1/7, rounded down; then of 256 + 1 + 1
    assert run.scores() == [[16384, 8192, 8192], [35108, 17554, 12873], [35235, 50067, 13000]]
    coarser = replace(graph, readout=SoftmaxSum("out", table, shift=1))
    assert Run(coarser, [[3, 2, 0]]).scores() == [[13107, 13107, 6553]]  # 0, 0 and 1 below


def test_the_first_spike_wins() -> None:
    graph = Graph(
        spikes(3),
        (lif(size=3),),
        (Dense("input", "out", 20 * np.eye(3, dtype=np.int8)),),
        FirstSpike("out"),
    )
    run = Run(graph, [[0, 0, 0], [0, 1, 0], [1, 1, 0]])
    assert run.scores()[-1] == [2**31 - 3, 2**31 - 2, 0]
    assert run.outputs.step_labels.tolist() == [[0, 1, 1]]


def test_the_lowest_index_wins_a_tie() -> None:
    graph = Graph(spikes(1), (lif(size=3),), (), SpikeCount("out"))
    assert Run(graph, [0, 0]).outputs.labels.tolist() == [0]


# ---- what is refused ----


def assert_refused(graph: Graph, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        replace(graph, **change)


GOOD = one_neuron(lif())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"populations": ()}, "no population"),
        ({"populations": (lif("input"),)}, "share a name"),
        ({"readout": SpikeCount("nowhere")}, "read-out names population 'nowhere'"),
        ({"projections": (Dense("ghost", "out", i8([[1]])),)}, "unknown source"),
        ({"projections": (Dense("input", "input", i8([[1]])),)}, "no such target"),
        ({"projections": (Dense("input", "out", i8([[1], [1]])),)}, "joins 1 to 2"),
        ({"projections": (Dense("input", "out", i8([[1]]), MAX_SHIFT + 1),)}, "not in 0..20"),
        ({"projections": (Dense("input", "out", i8([[1]]), bits=3),)}, "bits is not 8, 4 or 2"),
        ({"projections": (Dense("input", "out", i8([[1]]), blocks=0),)}, "blocks has 0 neurons"),
        (
            {"projections": (Dense("input", "out", i8([[1]]), port=Port.THRESHOLD),)},
            "enters the threshold of a population without Adaptation",
        ),
        ({"step_us": -1}, "step_us"),
        ({"input": analog(bits=17)}, "bits is not in 2..16"),
        ({"input": AnalogInput("input", i8([31]))}, "fraction_bits is not in -15..30"),
        (
            {"input": analog(bits=4), "selftest": SelfTest(np.array([[8]], np.int16), 0)},
            "self-test is not in -8..7",
        ),
        (
            {"input": spikes(1), "selftest": SelfTest(np.array([[2]], np.int16), 0)},
            "self-test is not in 0..1",
        ),
    ],
)
def test_a_graph_that_breaks_a_rule_is_refused_by_name(
    change: dict[str, Any], message: str
) -> None:
    assert_refused(GOOD, change, message)


CUBA: dict[str, Any] = {"synaptic_decay": u16(HALF)}
ALPHA: dict[str, Any] = {**CUBA, "inhibitory_decay": u16(HALF)}
ADAPTS = Adaptation(u16(HALF), i32(1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay": u16(ONE + 1)}, "decay exceeds 32768, the largest of rule Q15"),
        ({"decay": u16(4097), "rule": DecayRule.TOWARD_ZERO}, "exceeds 4096"),
        ({"decay": u16(32), "rule": DecayRule.BIT_SHIFT}, "exceeds 31"),
        ({"decay": u16(1, 2)}, "has 2 entries, not 1 or 1"),
        ({"synaptic_decay": u16(ONE + 1)}, "synaptic_decay exceeds 32768"),
        ({"threshold": i32(1 << 29)}, "at most 536870911"),
        ({"threshold": i32(-1)}, "would spike at rest"),
        ({"threshold": i32(0), "fire": Fire.REACHES}, "is 0: a neuron would spike at rest"),
        ({"bias": np.array([0], np.int64)}, "is int64, not int32"),
        ({"bias": i32(CURRENT_BOUND)}, "bias is not in -536870911..536870911"),
        ({"state_bits": 15}, "state_bits is not in 16..31"),
        ({"floor": i32(1)}, "floor is not in -1073741824..0"),
        ({"reset_to": i32(1)}, "reset_to needs ZERO_AT_ONCE"),
        ({"conduction": Conduction.LAGGED}, "conduction is for CuBa-LIF only"),
        ({**ALPHA, "conduction": Conduction.DECAYED}, "conduction is for CuBa-LIF only"),
        ({"membrane_bias": i32(1)}, "membrane_bias is for CuBa-LIF only"),
        ({"inhibitory_decay": u16(HALF)}, "Alpha needs a synaptic_decay too"),
        ({**ALPHA, "reset": Reset.SUBTRACT}, "Alpha with SUBTRACT needs reset_to"),
        ({**ALPHA, "reset": Reset.ZERO}, "Alpha goes with the resets NONE, SUBTRACT, ZERO_DISCARD"),
        ({**ALPHA, "floor": i32(0)}, "and no further switch"),
        ({"max_spikes": 0}, "max_spikes is not in 1..32767"),
        ({"max_spikes": 2, "reset": Reset.ZERO_AT_ONCE}, "above 1 needs REACHES"),
        ({"max_spikes": 2, "fire": Fire.REACHES}, "a reset at once"),
        (
            {"adaptation": ADAPTS, "reset": Reset.SUBTRACT_RESIDUE},
            "adaptation does not go with SUBTRACT_RESIDUE",
        ),
        ({"adaptation": ADAPTS, "floor": i32(0)}, "a floor do not go with a delayed reset"),
        (
            {"adaptation": replace(ADAPTS, old=True), "reset": Reset.ZERO},
            "old needs Reset.SUBTRACT",
        ),
        ({"adaptation": replace(ADAPTS, refractory=u16(1))}, "refractory needs Reset.NONE"),
        (
            {"adaptation": replace(ADAPTS, step=i32((1 << 24) + 1))},
            "step is not in -16777216..16777216",
        ),
    ],
)
def test_neurons_whose_switches_do_not_go_together_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    assert_refused(GOOD, {"populations": (lif(**changes),)}, message)


TABLE = np.zeros(257, np.int16)
STATE = LinearState("out", np.ones((1, 1), np.int16), u8(0), u8(0))


def scaled(*multiplier: int, **changes: Any) -> Requantization:
    values: dict[str, Any] = {"places": u16(*len(multiplier) * (0,)), "low": 0, "high": 7}
    return Requantization(i32(*multiplier), **{**values, **changes})


@pytest.mark.parametrize(
    ("population", "message"),
    [
        (relay(shift=31), "shift is not in 0..30"),
        (relay(bits=17), "bits is not in 2..16"),
        (relay(decay=u16(ONE + 1)), "exceeds 32768"),
        (relay(activation=Activation.TABLE), "table goes with Activation.TABLE"),
        (relay(table=TABLE), "and only with it"),
        (relay(activation=Activation.TABLE, table=TABLE[1:]), r"shape \(256,\), not \(257,\)"),
        (relay(activation=Activation.TABLE, table=TABLE, bits=8), "is not 16, which a table needs"),
        (relay(requantization=scaled()), "has 0 multipliers"),
        (relay(requantization=scaled(-1)), "multiplier is not in 0..2147483647"),
        (relay(requantization=scaled(1, places=u16(32))), "places is not in 0..31"),
        (relay(requantization=scaled(1, places=u16(1, 1))), r"shape \(2,\), not \(1,\)"),
        (relay(requantization=scaled(1, high=-1)), "high is not in 0..32767"),
        (relay(requantization=scaled(1, low=1 << 15)), "low is not in -32768..32767"),
        (relay(delta=Delta(i32(-1), i32(0))), "threshold is not in 0"),
        (relay(delta=Delta(i32(0), i32(CURRENT_BOUND))), "offset is not in"),
        (relay(delta=Delta(i32(0, 0), i32(0))), r"threshold has shape \(2,\), not \(1,\)"),
        (
            relay(delta=Delta(i32(0), i32(0)), activation=Activation.TABLE, table=TABLE),
            "delta does",
        ),
        (replace(STATE, matrix=np.ones((1, 2), np.int16)), r"matrix has shape \(1, 2\)"),
        (replace(STATE, matrix_shift=u8(32)), "matrix_shift is not in 0..31"),
        (replace(STATE, shift=u8(31)), "shift is not in 0..30"),
        (replace(STATE, bits=1), "bits is not in 2..16"),
        (DelayLine("out", "ghost", u8(0)), "delays 'ghost', there is input"),
        (DelayLine("out", "out", u8(0)), "delays 'out', there is input"),
        (DelayLine("out", "input", u8(0)), "which emits no spikes"),
    ],
)
def test_populations_that_break_a_rule_are_refused(
    population: Integrator | LinearState | DelayLine, message: str
) -> None:
    assert_refused(GOOD, {"populations": (population,)}, message)


def test_a_delay_line_has_the_channels_of_its_source_and_no_other_input() -> None:
    line = DelayLine("line", "input", u8(0))
    graph = Graph(spikes(1), (line, lif()), (), SpikeCount("out"))
    longer = replace(line, delays=u8(0, 0))
    assert_refused(graph, {"populations": (longer, lif())}, "has 2 delays for 1 channels")
    into = (Dense("input", "line", i8([[1]])),)
    assert_refused(graph, {"projections": into}, "no projection may enter it")
    assert_refused(graph, {"readout": Potential("line")}, "asks a delay line for membranes")


PAIR = DelayedSynapses("input", "out", u16(0, 0), u16(0, 1), u8(0, 0), i8([1, 1]))
KERNEL = np.ones((1, 2, 2, 2), np.int8)
SLIDES = Window((1, 2, 2), (1, 1, 2), (1, 2))


@pytest.mark.parametrize(
    ("projection", "message"),
    [
        (replace(PAIR, post=u16(1, 0)), "is not sorted by pre, delay and post"),
        (replace(PAIR, post=u16(1, 1)), "is not sorted"),
        (replace(PAIR, pre=u16(4, 4)), "pre is not in 0..3"),
        (replace(PAIR, post=u16(0, 2)), "post is not in 0..1"),
        (replace(PAIR, delay=u8(0)), r"delay has shape \(1,\), not \(2,\)"),
        (
            DelayedSynapses("input", "out", u16(), u16(), u8(), np.zeros(0, np.int8)),
            "lists no synapse: leave it out",
        ),
        (Conv("input", "out", KERNEL[:, :1], SLIDES), r"weights has shape \(1, 1, 2, 2\)"),
        (Conv("input", "out", KERNEL, SLIDES, groups=3), "is 3 and does not divide the channels"),
        (Conv("input", "out", KERNEL, SLIDES, groups=0), "is 0 and does not divide the channels"),
        (Conv("input", "out", KERNEL, replace(SLIDES, padding=(0, 2))), "padding is not in 0..1"),
        (Conv("input", "out", KERNEL, replace(SLIDES, stride=(0, 1))), "stride is not in 1.."),
        (Conv("input", "out", KERNEL, replace(SLIDES, output_shape=(1, 2, 2))), "joins 4 to 4"),
        (SumPool("input", "out", replace(SLIDES, input_shape=(1, 4, 1))), "not every channel by"),
    ],
)
def test_projections_that_break_a_rule_are_refused(
    projection: Conv | SumPool | DelayedSynapses, message: str
) -> None:
    graph = Graph(spikes(4), (relay(size=2),), (), Potential("out"))
    assert_refused(graph, {"projections": (projection,)}, message)


def test_projections_are_grouped_by_target_in_order() -> None:
    graph = Graph(spikes(1), (lif("a"), lif("b")), (), SpikeCount("b"))
    into = {name: Dense("input", name, i8([[1]])) for name in ("a", "b")}
    assert_refused(graph, {"projections": (into["b"], into["a"])}, "not grouped by target")


def test_only_dense_currents_may_saturate() -> None:
    dense = Dense("input", "out", i8([[127]]), shift=MAX_SHIFT)
    assert_refused(
        replace(GOOD, projections=(dense,)),
        {"projections": (conv([[[[1]]]], (1, 1, 1), (1, 1, 1)), dense)},
        "may have an input current of .* and the bound is 536870912",
    )
    assert_refused(
        replace(GOOD, populations=(lif(adaptation=ADAPTS),), projections=(dense,)),
        {"projections": (replace(dense, port=Port.THRESHOLD),)},
        "may have its threshold raised by",
    )


@pytest.mark.parametrize(
    ("readout", "message"),
    [
        (SpikeCount("out"), "counts spikes of neurons only"),
        (FirstSpike("out"), "counts spikes of neurons only"),
        (SoftmaxSum("out", np.zeros(256, np.uint16)), "table starts with 0"),
        (SoftmaxSum("out", np.ones(255, np.uint16)), r"shape \(255,\), not \(256,\)"),
        (SoftmaxSum("out", np.ones(256, np.uint16), shift=31), "shift is not in 0..30"),
    ],
)
def test_read_outs_that_the_population_cannot_serve_are_refused(
    readout: SpikeCount | FirstSpike | SoftmaxSum, message: str
) -> None:
    assert_refused(one_neuron(relay()), {"readout": readout}, message)
