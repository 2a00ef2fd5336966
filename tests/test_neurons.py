"""The spiking neuron and each of its switches, by hand-worked example."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worked import HALF, ONE, QUARTER, Run, analog, i8, i32, lif, one_neuron, relay, trace, u16

from edgesnn import reference
from edgesnn.graph import (
    LIF,
    NEVER,
    Adaptation,
    Conduction,
    DecayRule,
    Dense,
    Fire,
    Graph,
    Port,
    Potential,
    Reset,
    SpikeCount,
)

IF: dict[str, Any] = {"decay": u16(ONE)}  # integrate-and-fire: nothing is lost


def silent(**changes: Any) -> LIF:
    """A neuron that never spikes, to watch its membrane."""
    return lif(threshold=i32(NEVER), reset=Reset.NONE, **changes)


# ---- when it spikes, and what that does to the membrane ----


@pytest.mark.parametrize(
    ("reset", "membrane", "spikes"),
    [
        # 12 spikes; then 6 + 4, 5 + 4, 4.5 rounded up + 12, ...
        (Reset.NONE, [12, 10, 9, 17, 9], [1, 0, 0, 1, 0]),
        # ... the threshold is taken off one step later, after the leak: 6 + 4 - 10
        (Reset.SUBTRACT, [12, 0, 4, 14, -3], [1, 0, 0, 1, 0]),
        # ... the old membrane is dropped, the new input kept: 0 + 4
        (Reset.ZERO, [12, 4, 6, 15, 0], [1, 0, 0, 1, 0]),
        # ... and here the new input is dropped too
        (Reset.ZERO_DISCARD, [12, 0, 4, 14, 0], [1, 0, 0, 1, 0]),
    ],
)
def test_a_spike_resets_the_membrane_one_step_later(
    reset: Reset, membrane: list[int], spikes: list[int]
) -> None:
    assert trace(lif(reset=reset), [12, 4, 4, 12, 0]) == (membrane, spikes)


@pytest.mark.parametrize(
    ("changes", "membrane"),
    [
        # 12 spikes and leaves 2; then 1 + 4, 2.5 rounded up + 4, 3.5 rounded up + 12 - 10, 3
        ({"reset": Reset.SUBTRACT_AT_ONCE}, [2, 5, 7, 6, 3]),
        # ... leaves 0; then 4, 2 + 4, and 3 + 12 leaves 0
        ({"reset": Reset.ZERO_AT_ONCE}, [0, 4, 6, 0, 0]),
        # ... leaves -2; then -1 + 4, 1.5 rounded up + 4, and 3 + 12 leaves -2
        ({"reset": Reset.ZERO_AT_ONCE, "reset_to": i32(-2)}, [-2, 3, 6, -2, -1]),
    ],
)
def test_or_it_resets_the_membrane_at_once(changes: dict[str, Any], membrane: list[int]) -> None:
    assert trace(lif(**changes), [12, 4, 4, 12, 0]) == (membrane, [1, 0, 0, 1, 0])


def test_a_reset_of_the_residue_shows_the_fire_test_one_more_subtraction() -> None:
    """35 leaves 25, which is still above 10: the next step tests 15, and the one after it 5.

    That one does not spike, so that what was subtracted before the test comes back: 15 again.
    """
    population = lif(reset=Reset.SUBTRACT_RESIDUE, **IF)
    assert trace(population, [35, 0, 0, 0]) == ([25, 15, 15, 15], [1, 1, 0, 0])
    plainly = lif(reset=Reset.SUBTRACT_AT_ONCE, **IF)
    assert trace(plainly, [35, 0, 0, 0]) == ([25, 15, 5, 5], [1, 1, 1, 0])


def test_without_a_reset_a_neuron_spikes_for_as_long_as_it_is_above() -> None:
    assert trace(lif(reset=Reset.NONE), [45, 0, 0, 0]) == ([45, 23, 12, 6], [1, 1, 1, 0])


def test_a_membrane_at_the_threshold_spikes_only_if_it_need_not_pass_it() -> None:
    for fire, at_threshold in ((Fire.ABOVE, 0), (Fire.REACHES, 1)):
        assert trace(lif(fire=fire), [10])[1] == [at_threshold]
        assert trace(lif(fire=fire), [11])[1] == [1]
        assert trace(lif(fire=fire), [9])[1] == [0]


def test_what_is_subtracted_is_the_threshold_whichever_test_it_passes() -> None:
    for fire in Fire:
        assert trace(lif(fire=fire, **IF), [11, 0])[0] == [11, 1]
        assert trace(lif(fire=fire, reset=Reset.SUBTRACT_AT_ONCE, **IF), [11])[0] == [1]


def test_a_threshold_that_no_membrane_reaches_is_never_passed() -> None:
    above_all = lif(threshold=i32(NEVER), reset=Reset.ZERO, **IF)
    graph = Graph(
        analog(), (above_all,), (Dense("input", "out", i8([[127]]), 6),), SpikeCount("out")
    )
    run = Run(graph, [32767] * 9)
    assert run.membrane()[-1] == NEVER
    assert run.scores()[-1] == 0


def test_one_step_may_give_several_spikes() -> None:
    """sinabs and Rockpool: as many as thresholds fit into the membrane, up to a most."""
    population = lif(max_spikes=3, fire=Fire.REACHES, reset=Reset.SUBTRACT_AT_ONCE, **IF)
    # 25 gives 2; 5 + 100 would give 10; what is left goes on spiking
    assert trace(population, [25, 100, 0, 0]) == ([5, 75, 45, 15], [2, 3, 3, 3])
    to_zero = lif(max_spikes=3, fire=Fire.REACHES, reset=Reset.ZERO_AT_ONCE, **IF)
    assert trace(to_zero, [25, 9, 1]) == ([0, 9, 0], [2, 0, 1])


def test_several_spikes_weigh_and_count_as_many() -> None:
    several = lif("several", max_spikes=3, fire=Fire.REACHES, reset=Reset.ZERO_AT_ONCE)
    graph = Graph(
        analog(),
        (several, relay()),
        (Dense("input", "several", i8([[1]])), Dense("several", "out", i8([[7]]))),
        SpikeCount("several"),
    )
    run = Run(graph, [25, 9, 31])
    assert run.emitted("out") == [14, 0, 21]
    assert run.scores() == [2, 2, 5]


# ---- what enters and what is lost ----


def test_a_bias_enters_in_every_step() -> None:
    assert trace(lif(bias=i32(3)), [0, 0, 0])[0] == [3, 5, 6]  # 1.5 and 2.5 round up


def test_every_neuron_may_have_a_decay_of_its_own() -> None:
    population = lif(size=3, decay=u16(0, HALF, ONE))
    graph = Graph(
        analog(), (population,), (Dense("input", "out", i8([[1], [1], [1]])),), Potential("out")
    )
    assert Run(graph, [8, 0, 0]).membrane() == [[8, 8, 8], [0, 4, 8], [0, 2, 8]]


@pytest.mark.parametrize(
    ("rule", "share", "start", "membrane"),
    [
        # rounds half up, so that 1 stays 1 where half of it is kept
        (DecayRule.Q15, HALF, 5, [5, 3, 2, 1, 1]),
        (DecayRule.Q15, HALF, -5, [-5, -2, -1, 0, 0]),
        # 2048 of 4096 is half; whatever is left over goes
        (DecayRule.TOWARD_ZERO, 2048, 5, [5, 2, 1, 0, 0]),
        (DecayRule.TOWARD_ZERO, 2048, -5, [-5, -2, -1, 0, 0]),
        # a quarter goes in each step: 25, 18, 14 (both rounded down), 10
        (DecayRule.BIT_SHIFT, 2, 100, [100, 75, 57, 43, 33]),
        # where a quarter is less than 1, 1 goes
        (DecayRule.BIT_SHIFT, 2, 3, [3, 2, 1, 0, 0]),
        (DecayRule.BIT_SHIFT, 2, -3, [-3, -2, -1, 0, 0]),
        # a shift of 0 takes all
        (DecayRule.BIT_SHIFT, 0, 9, [9, 0, 0, 0, 0]),
    ],
)
def test_states_decay_by_one_of_three_rules(
    rule: DecayRule, share: int, start: int, membrane: list[int]
) -> None:
    assert trace(silent(decay=u16(share), rule=rule), [start, 0, 0, 0, 0])[0] == membrane


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, ONE))
def test_leak_rounds_half_up_and_splits_without_a_wide_product(x: int, b: int) -> None:
    expected = (x * b + (1 << 14)) // (1 << 15)
    narrow = (x >> 15) * b + (((x & 0x7FFF) * b + (1 << 14)) >> 15)
    assert expected == narrow
    assert reference.leak(np.array([x]), np.array([b], np.uint16))[0] == expected


@pytest.mark.parametrize(
    ("changes", "membrane"),
    [
        # i = 8, 4, 2, 1; v = 8, 4 + 4, 4 + 2, 3 + 1
        ({}, [8, 8, 6, 4]),
        # what is felt is i after one more decay, 4, 2, 1, 0.5 rounded up: 4, 2 + 2, 2 + 1, ...
        ({"conduction": Conduction.DECAYED}, [4, 4, 3, 3]),
        # what is felt is i of the step before, 0, 8, 4, 2: 0, 8, 4 + 4, 4 + 2
        ({"conduction": Conduction.LAGGED}, [0, 8, 8, 6]),
        # the membrane takes 1 more in every step, which no synaptic current holds: 9, 4.5 + 5, ...
        ({"membrane_bias": i32(1)}, [9, 10, 8, 6]),
        # a bias of the input is held: i = 9, 5.5, 4, 3 (rounded up); v = 9, 4.5 + 6, ...
        ({"bias": i32(1)}, [9, 11, 10, 8]),
    ],
)
def test_a_synaptic_current_decays_and_drives_the_membrane(
    changes: dict[str, Any], membrane: list[int]
) -> None:
    population = silent(synaptic_decay=u16(HALF), **changes)
    assert trace(population, [8, 0, 0, 0])[0] == membrane


def test_a_synaptic_current_is_never_reset() -> None:
    """It goes on driving: 20 is a spike and leaves 0, then it is 10, then 5 more."""
    population = lif(synaptic_decay=u16(HALF), reset=Reset.ZERO_AT_ONCE, **IF)
    assert trace(population, [20, 0, 0]) == ([0, 10, 0], [1, 0, 1])


@pytest.mark.parametrize(
    ("changes", "membrane", "spikes"),
    [
        # i = 16, 8, 4, 2 rises at once, h = -16, -4, -1, 0 falls sooner: their sum is a hump
        ({"reset": Reset.NONE}, [0, 4, 3, 2], [0, 1, 0, 0]),
        # half of the h before, -2, comes on top of 4 - 1; 3 is taken off i, of 1 a half stays, 1
        ({"reset": Reset.SUBTRACT, "reset_to": i32(3)}, [0, 4, 1, 1], [0, 1, 0, 0]),
        # both currents are dropped with the membrane
        ({"reset": Reset.ZERO_DISCARD}, [0, 4, 0, 0], [0, 1, 0, 0]),
    ],
)
def test_alpha_neurons_add_a_rising_and_a_falling_current(
    changes: dict[str, Any], membrane: list[int], spikes: list[int]
) -> None:
    population = lif(
        threshold=i32(3), synaptic_decay=u16(HALF), inhibitory_decay=u16(QUARTER), **changes
    )
    assert trace(population, [16, 0, 0, 0]) == (membrane, spikes)


# ---- bounds of the states ----


def test_no_membrane_stays_below_its_floor() -> None:
    # -12 is lifted to -5; then half of that, -2.5, rounded up
    assert trace(lif(floor=i32(-5)), [-12, 0, -9])[0] == [-5, -2, -5]


def test_states_saturate_to_31_bits_and_synaptic_currents_to_30() -> None:
    for changes, largest in (({}, 2**30 - 1), ({"synaptic_decay": u16(ONE)}, 2**29 - 1)):
        population = LIF(
            "out", u16(0 if changes else ONE), i32(NEVER), i32(0), Reset.NONE, **changes
        )
        weights = np.full((1, 64), 127, np.int8)
        graph = Graph(
            analog(64), (population,), (Dense("input", "out", weights),), Potential("out")
        )
        assert Run(graph, [[32767] * 64] * 9).membrane()[-1] == largest
        assert Run(graph, [[-32767] * 64] * 9).membrane()[-1] == -largest - 1


def test_states_may_be_narrower() -> None:
    narrow = silent(state_bits=16, **IF)
    assert trace(narrow, [32767, 5, -9])[0] == [32767, 32767, 32758]
    # the synaptic current stops at 32767 too: what drives the membrane in step 2 is no 40000
    current = silent(state_bits=16, synaptic_decay=u16(ONE), decay=u16(0))
    assert trace(current, [30000, 10000, -1])[0] == [30000, 32767, 32766]


# ---- thresholds that adapt ----


@pytest.mark.parametrize(
    ("old", "membrane", "spikes", "thresholds"),
    [
        # the spike raises the threshold from 10 to 18, which is what the reset takes off:
        # 11 + 20 - 18
        (False, [11, 13, 13], [1, 0, 0], [10, 18, 14]),
        # it takes off the 10 that was passed: 11 + 20 - 10 spikes again, and then 18
        (True, [11, 21, 3], [1, 1, 0], [10, 18, 22]),
    ],
)
def test_a_spike_may_raise_the_threshold_for_a_while(
    old: bool, membrane: list[int], spikes: list[int], thresholds: list[int]
) -> None:
    """By 8, of which half is left in the next step."""
    adaptation = Adaptation(decay=u16(HALF), step=i32(8), old=old)
    run = Run(one_neuron(lif(adaptation=adaptation, **IF)), [11, 20, 0])
    assert (run.membrane(), run.emitted(), run.threshold()) == (membrane, spikes, thresholds)


def test_a_negative_step_lowers_the_threshold() -> None:
    adaptation = Adaptation(decay=u16(HALF), step=i32(-6))
    run = Run(one_neuron(lif(adaptation=adaptation, decay=u16(0), reset=Reset.NONE)), [11, 5, 5])
    assert run.threshold() == [10, 4, 1]  # 10 - 6, then 10 - 3 - 6
    assert run.emitted() == [1, 1, 1]


def test_a_refractory_state_stands_in_for_a_reset() -> None:
    """The ALIF of lava-dl: the fire test sees the membrane less q, which a spike lifts by 2 T.

    The membrane stays 15 throughout. The spike lifts q to 20 and the adaptation to 8; both halve,
    until 15 - q passes the threshold again: 15 - 10 > 14, 15 - 5 > 12, 15 - 3 > 11.
    """
    adaptation = Adaptation(u16(HALF), i32(8), refractory=u16(HALF))
    population = lif(adaptation=adaptation, reset=Reset.NONE, **IF)
    run = Run(one_neuron(population), [15, 0, 0, 0, 0])
    assert run.membrane() == [15] * 5
    assert run.threshold() == [10, 14, 12, 11, 15]  # after the spike half of 1 + 8, rounded up
    assert run.emitted() == [1, 0, 0, 1, 0]


def test_synapses_may_raise_a_threshold_for_one_step() -> None:
    """Channel 0 drives the neuron, channel 1 its threshold, which starts at 10."""
    population = lif(
        decay=u16(0), reset=Reset.NONE, adaptation=Adaptation(decay=u16(0), step=i32(0))
    )
    projections = (
        Dense("input", "out", i8([[1, 0]])),
        Dense("input", "out", i8([[0, 1]]), shift=1, port=Port.THRESHOLD),
    )
    run = Run(
        Graph(analog(2), (population,), projections, Potential("out")),
        [[12, 0], [12, 3], [12, 0], [5, -3]],
    )
    assert run.threshold() == [10, 16, 10, 4]
    assert run.emitted() == [1, 0, 1, 1]
