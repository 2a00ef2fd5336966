"""The C core gives the reference's bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graphs import graphs_and_frames
from hypothesis import given, settings

from edgesnn import blob, reference, runtime
from edgesnn.errors import FormatError, ModelError
from edgesnn.graph import LIF, AnalogInput, Dense, Graph, Int16Array, SpikeCount
from edgesnn.reference import Outputs


def same(a: Outputs, b: Outputs) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


@settings(max_examples=4000, deadline=None)
@given(graphs_and_frames())
def test_any_graph_gives_the_same_bits(case: tuple[Graph, Int16Array]) -> None:
    graph, frames = case
    assert same(
        runtime.run(blob.pack_image(graph), frames, threads=1), reference.run(graph, frames)
    )


@settings(max_examples=200, deadline=None)
@given(graphs_and_frames(samples=2, steps=6))
def test_every_spike_is_the_same(case: tuple[Graph, Int16Array]) -> None:
    graph, frames = case
    raster = runtime.raster(blob.pack_image(graph), frames)
    for t, state in enumerate(reference.steps(graph, frames)):
        emitted = np.concatenate([state.emitted[p.name] != 0 for p in graph.populations], axis=1)
        np.testing.assert_array_equal(raster[:, t], emitted)


@settings(max_examples=100, deadline=None)
@given(graphs_and_frames(samples=2, steps=6))
def test_a_stepper_answers_as_a_whole_run_does(case: tuple[Graph, Int16Array]) -> None:
    graph, frames = case
    stepper = runtime.Stepper(blob.pack_image(graph))
    expected = reference.run(graph, frames).step_labels
    for recording, labels in zip(frames, expected, strict=True):
        stepper.reset()
        assert [stepper.step(frame) for frame in recording] == labels.tolist()


def integrator() -> Graph:
    """One neuron that adds up its one channel and spikes above 10."""
    return Graph(
        input=AnalogInput("input", np.zeros(1, np.int8)),
        populations=(
            LIF(
                "out",
                decay=np.array([32768], np.uint16),
                threshold=np.array([10], np.int32),
                bias=np.zeros(1, np.int32),
            ),
        ),
        projections=(Dense("input", "out", np.array([[1]], np.int8)),),
        readout=SpikeCount("out"),
    )


def test_the_core_counts_spikes_and_work() -> None:
    frames = np.array([6, 5, 0, 11], np.int16).reshape(1, 4, 1)
    outputs = runtime.run(blob.pack_image(integrator()), frames)
    # 6, then 11 spikes; the next step subtracts 10 and leaves 1; then 1 + 11 spikes again
    assert outputs.scores.tolist() == [[2]]
    assert outputs.spikes.tolist() == [2]
    assert outputs.macs.tolist() == [3]  # a 0 costs nothing
    assert outputs.synops.tolist() == [0]


@pytest.mark.parametrize("bits", [2, 7, 8, 16])
def test_values_wider_than_an_input_takes_are_refused(bits: int) -> None:
    graph = integrator()
    image = blob.pack_image(replace(graph, input=replace(graph.input, bits=bits)))
    half = 1 << (bits - 1)
    for value in (-half, half - 1):
        assert runtime.run(image, np.full((1, 1, 1), value, np.int16)).macs.tolist() == [1]
    for value in (-half - 1, half) if bits < 16 else ():
        with pytest.raises(ModelError):
            runtime.Stepper(image).step(np.full(1, value, np.int16))


def test_the_core_names_the_kernels_that_it_runs() -> None:
    assert runtime.kernels() == "vectors of this computer"


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(-20, 20, (333, 5, 1)).astype(np.int16)
    image = blob.pack_image(integrator())
    assert same(runtime.run(image, frames, threads=1), runtime.run(image, frames, threads=5))


def test_no_samples_and_no_steps_are_fine() -> None:
    image = blob.pack_image(integrator())
    assert runtime.run(image, np.zeros((0, 5, 1), np.int16)).labels.shape == (0,)
    assert runtime.run(image, np.zeros((2, 0, 1), np.int16)).labels.tolist() == [0, 0]


def test_the_core_says_what_an_image_needs() -> None:
    info = runtime.check(blob.pack_image(integrator()))
    assert info["arena_bytes"] == blob.arena_bytes(integrator())
    assert (info["input_size"], info["n_scores"], info["analog_input"]) == (1, 1, 1)


def test_a_damaged_image_is_refused() -> None:
    with pytest.raises(FormatError, match="CRC-32"):
        runtime.check(blob.pack_image(integrator())[:-1] + b"\x55")


def test_frames_of_another_width_are_refused() -> None:
    with pytest.raises(ModelError, match="the model takes"):
        runtime.run(blob.pack_image(integrator()), np.zeros((1, 5, 2), np.int16))
