"""What the hand-worked examples share: small graphs, and every step of a run of one.

The numbers in the examples are the reference's; the C core must give the same bits, or the example
fails.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import blob, reference, runtime
from edgesnn.graph import (
    LIF,
    AnalogInput,
    Dense,
    Graph,
    Input,
    Integrator,
    Population,
    Potential,
    Projection,
    Readout,
    SpikeInput,
)

ONE = 1 << 15
HALF = 1 << 14
QUARTER = 1 << 13


def u16(*values: int) -> npt.NDArray[np.uint16]:
    return np.array(values, np.uint16)


def i32(*values: int) -> npt.NDArray[np.int32]:
    return np.array(values, np.int32)


def u8(*values: int) -> npt.NDArray[np.uint8]:
    return np.array(values, np.uint8)


def i8(values: Any) -> npt.NDArray[np.int8]:
    return np.array(values, np.int8)


def lif(name: str = "out", size: int = 1, **changes: Any) -> LIF:
    """Neurons that lose half of their membrane a step and spike above 10."""
    values: dict[str, Any] = {
        "decay": u16(HALF),
        "threshold": np.full(size, 10, np.int32),
        "bias": np.zeros(size, np.int32),
    }
    return LIF(name, **{**values, **changes})


def relay(name: str = "out", size: int = 1, **changes: Any) -> Integrator:
    """What passes on the sum of what enters it."""
    values: dict[str, Any] = {"decay": u16(0), "bias": np.zeros(size, np.int32)}
    return Integrator(name, **{**values, **changes})


def analog(size: int = 1, **changes: Any) -> AnalogInput:
    return AnalogInput("input", np.zeros(size, np.int8), **changes)


def one_neuron(population: Population, readout: Readout | None = None) -> Graph:
    """An input of one value that enters one neuron, by default read out by its membrane."""
    projections = (Dense("input", "out", i8([[1]])),)
    return Graph(analog(), (population,), projections, readout or Potential("out"))


def through(projection: Projection, entry: Input, target: Population | None = None) -> Graph:
    """A projection from the input into "out", by default into relays of what it sums."""
    if target is None:
        size = projection.weights.shape[0] if isinstance(projection, Dense) else entry.size
        target = relay(size=size)
    return Graph(entry, (target,), (projection,), Potential("out"))


def spikes(size: int) -> SpikeInput:
    return SpikeInput("input", size)


class Run:
    """Every step of a run of one recording, by the reference, which the core agrees with."""

    def __init__(self, graph: Graph, frames: list[Any]) -> None:
        self.graph = graph
        recording = np.array(frames, np.int16).reshape(1, len(frames), graph.input.size)
        self.outputs = reference.run(graph, recording)
        by_core = runtime.run(blob.pack_image(graph), recording)
        for name, expected in vars(self.outputs).items():
            np.testing.assert_array_equal(getattr(by_core, name), expected, err_msg=name)
        self.steps = [
            {
                "emitted": {name: v[0].tolist() for name, v in state.emitted.items()},
                "membrane": {name: v[0].tolist() for name, v in state.membrane.items()},
                "threshold": {name: v[0].tolist() for name, v in state.threshold.items()},
                "scores": state.scores[0].tolist(),
            }
            for state in reference.steps(graph, recording)
        ]

    def emitted(self, name: str = "out") -> list[Any]:
        """What a population emits, step by step; of one neuron not as a list."""
        return self._of("emitted", name)

    def membrane(self, name: str = "out") -> list[Any]:
        return self._of("membrane", name)

    def threshold(self, name: str = "out") -> list[Any]:
        return self._of("threshold", name)

    def scores(self) -> list[Any]:
        return [_bare(step["scores"]) for step in self.steps]

    def _of(self, what: str, name: str) -> list[Any]:
        return [_bare(step[what][name]) for step in self.steps]


def _bare(values: list[int]) -> Any:
    return values[0] if len(values) == 1 else values


def trace(population: Population, values: list[int]) -> tuple[list[int], list[int]]:
    """Membrane of one neuron and what it emits, step by step, for what enters it."""
    run = Run(one_neuron(population), values)
    return run.membrane(), run.emitted()
