"""What random graphs seldom meet: the edges of what the core has code of its own for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import equality
import numpy as np
import numpy.typing as npt
import pytest
from equality import ROOM
from native import build

from edgesnn import blob, reference
from edgesnn.graph import (
    LIF,
    Adaptation,
    AnalogInput,
    Conduction,
    Conv,
    DelayedSynapses,
    Dense,
    Graph,
    Int16Array,
    Integrator,
    LinearState,
    Port,
    Potential,
    PotentialMode,
    Reset,
    SpikeCount,
    SpikeInput,
    Window,
)

Case = tuple[Graph, Int16Array]
STEPS = 24


def ints(values: npt.ArrayLike, dtype: type = np.int32) -> npt.NDArray[np.generic]:
    return np.asarray(values, dtype)


def signs(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.int8]:
    return rng.choice([-128, 127], shape).astype(np.int8)


def spikes(rng: np.random.Generator, size: int, share: float) -> Int16Array:
    return (rng.random((1, STEPS, size)) < share).astype(np.int16)


def raised_by_projections_alone(step: int, seed: int, synaptic: bool) -> Case:
    """Delayed subtraction, decays by neuron, thresholds that only others raise where step is 0."""
    rng, size = np.random.default_rng(seed), 5
    decays = ints(rng.choice([32768, 32767, 30000, 100], (2, size)), np.uint16)
    shift = (6, 14, 19)[seed % 3]
    neurons = LIF(
        "out",
        decay=decays[0],
        threshold=ints(rng.choice([0, 100, 1 << 20, (1 << 29) - 2], size)),
        bias=np.zeros(size, np.int32),
        reset=Reset.SUBTRACT,
        synaptic_decay=decays[1] if synaptic else None,
        adaptation=Adaptation(ints([20000], np.uint16), ints([step]), old=True),
    )
    graph = Graph(
        SpikeInput("input", 4),
        (neurons,),
        (
            Dense("input", "out", signs(rng, size, 4), shift=shift),
            Dense("input", "out", signs(rng, size, 4), shift=shift, port=Port.THRESHOLD),
            Dense("out", "out", signs(rng, size, size), shift=6, port=Port.THRESHOLD),
        ),
        Potential("out", PotentialMode.SUM),
    )
    return graph, spikes(rng, 4, 0.6)


def almost_served(**other: object) -> Case:
    """Delayed subtraction and decays by neuron, and one switch that is not served with them."""
    rng, size = np.random.default_rng(1), 5
    decays = ints(rng.choice([32768, 30000, 100], (2, size)), np.uint16)
    given = {"synaptic_decay": decays[1], "reset": Reset.SUBTRACT, **other}
    neurons = LIF(
        "out", decays[0], ints([9, 100, 200, 1 << 20, 5000]), np.zeros(size, np.int32),
        **given,  # type: ignore[arg-type]
    )  # fmt: skip
    entering = Dense("input", "out", signs(rng, size, 4), shift=9)
    graph = Graph(SpikeInput("input", 4), (neurons,), (entering,), Potential("out"))
    return graph, spikes(rng, 4, 0.6)


def memory_at_its_limits(sign: int, off: int) -> Case:
    """A linear state that grows until it saturates, and reaches the limit but for `off`."""
    state = LinearState(
        "memory", ints([[32767]], np.int16), ints([14], np.uint8), ints([16], np.uint8), bits=16
    )
    graph = Graph(
        AnalogInput("input", np.zeros(1, np.int8)),
        (state,),
        (Dense("input", "memory", ints([[1]], np.int8), shift=14),),
        Potential("memory"),
    )
    return graph, ints([[[sign * 16384], [sign * 8192], [off], *[[sign]] * 20]], np.int16)


def late_synapses(targets: int, longest: int) -> Case:
    """Targets that a byte just tells apart, and the first that it does not."""
    synapses = sorted(
        {(0, 0, targets - 1): 90, (1, longest, 0): -7, (1, longest // 2, targets - 1): 127}.items()
    )
    pre, delay, post = zip(*(key for key, _ in synapses), strict=True)
    late = DelayedSynapses(
        "input", "wide", ints(pre, np.uint16), ints(post, np.uint16), ints(delay, np.uint8),
        ints([weight for _, weight in synapses], np.int8),
    )  # fmt: skip
    wide = Integrator("wide", ints([20000], np.uint16), np.zeros(targets, np.int32), bits=8)
    graph = Graph(SpikeInput("input", 2), (wide,), (late,), Potential("wide"))
    return graph, spikes(np.random.default_rng(targets), 2, 0.3)


def merged_sources(sizes: tuple[int, ...], share: float) -> Case:
    """So many events of several sources that the list of them is full once, or more than once."""
    rng = np.random.default_rng(sum(sizes))

    def layer(name: str, size: int, threshold: int) -> LIF:
        return LIF(
            name, ints([32000], np.uint16), np.full(size, threshold, np.int32),
            np.zeros(size, np.int32), Reset.ZERO,
        )  # fmt: skip

    names = [f"p{k}" for k in range(len(sizes))]
    populations = [layer(name, n, 50) for name, n in zip(names, sizes, strict=True)]
    entering = [Dense("input", n.name, signs(rng, n.size, 40), shift=2) for n in populations]
    out = [Dense(name, "out", signs(rng, 20, n)) for name, n in zip(names, sizes, strict=True)]
    graph = Graph(
        SpikeInput("input", 40), (*populations, layer("out", 20, 900)), (*entering, *out),
        SpikeCount("out"),
    )  # fmt: skip
    return graph, spikes(rng, 40, share)


def windows(side: int, kernel: int, stride: int, padding: int) -> Case:
    """One pixel a step, so that each place of a map is a test of its own."""
    rng = np.random.default_rng(side)
    out = (side + 2 * padding - kernel) // stride + 1
    slides = Window(
        (side, side, 1), (out, out, 3), (kernel, kernel), (stride, stride), (padding, padding)
    )
    conv = Conv(
        "input", "map", rng.integers(-128, 128, (kernel, kernel, 1, 3)).astype(np.int8), slides
    )
    made = Integrator("map", ints([0], np.uint16), np.zeros(out * out * 3, np.int32), bits=16)
    frames = np.eye(side * side, dtype=np.int16)[None]
    return Graph(SpikeInput("input", side * side), (made,), (conv,), Potential("map")), frames


def cases() -> Iterator[Case]:
    for step in (0, 1, -1):
        for seed in range(6):
            yield raised_by_projections_alone(step, seed, synaptic=seed < 3)
    yield almost_served()
    for conduction in Conduction:
        yield almost_served(conduction=conduction)
    for reset in Reset:
        yield almost_served(reset=reset)
    yield almost_served(state_bits=17)
    yield almost_served(membrane_bias=ints([9, -9, 100, -100, 5000]))
    yield almost_served(floor=ints([-3]), reset=Reset.SUBTRACT_AT_ONCE)
    for sign in (1, -1):
        for off in (-1, 0, 1):
            yield memory_at_its_limits(sign, off)
    for targets in (255, 256, 257):
        for longest in (0, 1, 255):
            yield late_synapses(targets, longest)
    for sizes in ((255, 1), (256, 1), (128, 128), (200, 100), (300, 300, 3)):
        yield merged_sources(sizes, 0.3)
        yield merged_sources(sizes, 1.0)
    for side, kernel, stride, padding in ((4, 3, 1, 1), (5, 2, 2, 1), (5, 4, 3, 3), (3, 3, 1, 2)):
        yield windows(side, kernel, stride, padding)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("seldom"), "compilers.c", "gcc", "-O2", *ROOM)


def test_the_core_gives_the_references_bits(program: Path, tmp_path: Path) -> None:
    every = list(cases())
    file = tmp_path / "cases"
    file.write_bytes(b"".join(equality.as_bytes(blob.pack_image(g), f[0]) for g, f in every))
    found = equality.run([program], file, tmp_path)
    expected = [equality.result_of(reference.run(*case)) for case in every]
    assert equality.differing(found, np.array(expected, np.uint32)) == []


@pytest.mark.parametrize("bits", [2, 7, 8, 15, 16])
def test_values_wider_than_an_input_takes_are_refused(
    program: Path, tmp_path: Path, bits: int
) -> None:
    entry = AnalogInput("input", np.zeros(2, np.int8), bits=bits)
    neurons = LIF("out", ints([1], np.uint16), ints([5]), ints([6]), Reset.ZERO)
    image = blob.pack_image(
        Graph(
            entry, (neurons,), (Dense("input", "out", ints([[1, 1]], np.int8)),), SpikeCount("out")
        )
    )
    half = 1 << (bits - 1)
    values = [-half, half - 1] + ([-half - 1, half] if bits < 16 else [])
    file = tmp_path / "cases"
    file.write_bytes(
        b"".join(equality.as_bytes(image, ints([[0, value]], np.int16)) for value in values)
    )
    found = equality.run([program], file, tmp_path)
    assert found[:, 0].tolist() == [0, 0, *[2**32 - 10] * (len(values) - 2)]
