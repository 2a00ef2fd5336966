"""Damaged and hostile images: the core refuses them, or runs them within its bounds."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from inventory import PARTS, used
from native import SANITIZERS, build, call

from edgesnn import blob, reference
from edgesnn.blob import pack_image
from edgesnn.graph import (
    CURRENT_BOUND,
    DECAY_ONE,
    LIF,
    NEVER,
    THRESHOLD_BOUND,
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
    SoftmaxSum,
    SpikeCount,
    SpikeInput,
    SumPool,
    Window,
)


def ints(dtype: type, *values: int) -> np.ndarray:
    return np.array(values, dtype)


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).integers(-128, 128, shape).astype(np.int8)


def with_selftest(model: Graph) -> Graph:
    frames = np.random.default_rng(8).integers(0, 2, (3, model.input.size)).astype(np.int16)
    return reference.with_selftest(model, frames)


def analog_to_leaky() -> Graph:
    return with_selftest(
        Graph(
            input=AnalogInput("input", ints(np.int8, 0, 5, -3)),
            populations=(
                LIF(
                    "out",
                    decay=ints(np.uint16, 31000, 0),
                    threshold=ints(np.int32, 500, 0),
                    bias=ints(np.int32, 9, -100),
                    reset=Reset.SUBTRACT,
                ),
            ),
            projections=(Dense("input", "out", weights(2, 3)),),
            readout=SpikeCount("out"),
            step_us=1000,
        )
    )


def spikes_to_recurrent_synaptic() -> Graph:
    return with_selftest(
        Graph(
            input=SpikeInput("input", 3),
            populations=(
                LIF(
                    "out",
                    decay=ints(np.uint16, 30000),
                    synaptic_decay=ints(np.uint16, 20000, DECAY_ONE),
                    threshold=ints(np.int32, 90, 1000),
                    bias=ints(np.int32, 0, 0),
                    reset=Reset.ZERO,
                ),
            ),
            projections=(
                Dense("input", "out", weights(2, 3), shift=5),
                Dense("out", "out", weights(2, 2), shift=2),
            ),
            readout=Potential("out", PotentialMode.MAX),
        )
    )


def shared_blocks_with_feedback() -> Graph:
    return Graph(
        input=SpikeInput("input", 4),
        populations=(
            LIF(
                "memory",
                decay=ints(np.uint16, DECAY_ONE),
                threshold=ints(np.int32, 40, 50, 60, 70, 80, 90),
                bias=ints(np.int32, 0, 0, 0, 0, 0, 7),
                reset=Reset.ZERO_DISCARD,
            ),
            LIF(
                "out",
                decay=ints(np.uint16, 16384, 1),
                synaptic_decay=ints(np.uint16, 100),
                threshold=ints(np.int32, 2000, NEVER),
                bias=ints(np.int32, 0, 0),
                reset=Reset.NONE,
            ),
        ),
        projections=(
            Dense("input", "memory", weights(3, 2), shift=1, blocks=2),
            Dense("out", "memory", weights(3, 1), blocks=2),
            Dense("memory", "out", weights(1, 3), shift=6, blocks=2),
        ),
        readout=Potential("out", PotentialMode.LAST),
    )


def more_than_a_tile_of_neurons() -> Graph:
    return Graph(
        input=AnalogInput("input", ints(np.int8, 0, 0)),
        populations=(
            LIF(
                "hidden",
                decay=ints(np.uint16, 30000),
                threshold=np.arange(17, dtype=np.int32) * 10000,
                bias=np.zeros(17, np.int32),
                reset=Reset.SUBTRACT,
            ),
            LIF("out", ints(np.uint16, 9000), ints(np.int32, 50), ints(np.int32, 0), Reset.ZERO),
        ),
        projections=(
            Dense("input", "hidden", weights(17, 2)),
            Dense("out", "hidden", weights(17, 1), shift=3),
            Dense("hidden", "out", weights(1, 17)),
        ),
        readout=SpikeCount("out"),
    )


def everything_at_its_bound() -> Graph:
    largest = THRESHOLD_BOUND - 1
    bias = CURRENT_BOUND - 1 - (2 * 128 * 32768 << 5)
    return Graph(
        input=AnalogInput("input", ints(np.int8, -15, 30)),
        populations=(
            LIF(
                "first",
                decay=ints(np.uint16, DECAY_ONE),
                threshold=ints(np.int32, 0, largest),
                bias=ints(np.int32, bias, -bias),
                reset=Reset.SUBTRACT,
            ),
            LIF(
                "out",
                decay=ints(np.uint16, DECAY_ONE),
                synaptic_decay=ints(np.uint16, DECAY_ONE),
                threshold=ints(np.int32, 0, NEVER),
                bias=ints(np.int32, bias, -bias),
                reset=Reset.NONE,
            ),
        ),
        projections=(
            Dense("input", "first", np.array([[-128, -128], [127, 127]], np.int8), shift=5),
            Dense("input", "out", np.array([[-128, -128], [127, 127]], np.int8), shift=5),
        ),
        readout=Potential("out", PotentialMode.SUM),
    )


def one_neuron() -> Graph:
    return Graph(
        input=AnalogInput("input", ints(np.int8, 0)),
        populations=(
            LIF("out", ints(np.uint16, 1), ints(np.int32, 5), ints(np.int32, 6), Reset.ZERO),
        ),
        projections=(),
        readout=SpikeCount("out"),
    )


def crowd() -> Graph:
    """As many synapses as the bound of a current lets into a neuron, all of them extreme."""
    extremes = np.array([[-128] * 600, [127] * 600] * 9, np.int8)
    return Graph(
        input=SpikeInput("input", 600),
        populations=(
            LIF(
                "out",
                decay=ints(np.uint16, DECAY_ONE - 1),
                threshold=np.full(18, THRESHOLD_BOUND - 1, np.int32),
                bias=np.zeros(18, np.int32),
                reset=Reset.SUBTRACT,
            ),
        ),
        projections=(Dense("input", "out", extremes, shift=12),),
        readout=Potential("out", PotentialMode.SUM),
    )


def bits_shifted_and_counted() -> Graph:
    """Current-based neurons by the rules of Xylo and Loihi, and of snnTorch's odd reset."""
    return Graph(
        input=SpikeInput("input", 2),
        populations=(
            LIF(
                "xylo",
                decay=ints(np.uint16, 3),
                threshold=ints(np.int32, 5, 300),
                bias=ints(np.int32, 0, 0),
                synaptic_decay=ints(np.uint16, 1, 2),
                rule=DecayRule.BIT_SHIFT,
                fire=Fire.REACHES,
                conduction=Conduction.DECAYED,
                reset=Reset.SUBTRACT_AT_ONCE,
                max_spikes=31,
                state_bits=16,
                floor=ints(np.int32, -7, -40),
            ),
            LIF(
                "loihi",
                decay=ints(np.uint16, 3000, 4096),
                threshold=ints(np.int32, 640, 64),
                bias=ints(np.int32, 0, 0),
                synaptic_decay=ints(np.uint16, 1000),
                rule=DecayRule.TOWARD_ZERO,
                conduction=Conduction.LAGGED,
                membrane_bias=ints(np.int32, 3, -5),
                reset=Reset.ZERO_AT_ONCE,
                reset_to=ints(np.int32, -3, 9),
                floor=ints(np.int32, -100),
            ),
            LIF(
                "residue",
                decay=ints(np.uint16, 30000),
                threshold=ints(np.int32, 20, 30),
                bias=ints(np.int32, 1, 2),
                reset=Reset.SUBTRACT_RESIDUE,
            ),
        ),
        projections=(
            Dense("input", "xylo", weights(2, 2), shift=3),
            Dense("xylo", "loihi", weights(2, 2), shift=2),
            Dense("input", "residue", weights(2, 2)),
            Dense("loihi", "residue", weights(2, 2)),
        ),
        readout=SpikeCount("xylo"),
    )


def thresholds_that_adapt() -> Graph:
    return Graph(
        input=SpikeInput("input", 2),
        populations=(
            LIF(
                "own",
                decay=ints(np.uint16, 30000),
                threshold=ints(np.int32, 20, 30),
                bias=ints(np.int32, 0, 0),
                reset=Reset.SUBTRACT,
                adaptation=Adaptation(ints(np.uint16, 9000, 8000), ints(np.int32, 5, -6), old=True),
            ),
            LIF(
                "refractory",
                decay=ints(np.uint16, 30000),
                threshold=ints(np.int32, 20, 30),
                bias=ints(np.int32, 0, 0),
                reset=Reset.NONE,
                adaptation=Adaptation(
                    ints(np.uint16, 9000), ints(np.int32, 5), refractory=ints(np.uint16, 20000, 1)
                ),
            ),
            LIF(
                "alpha",
                decay=ints(np.uint16, 1),
                threshold=ints(np.int32, 20, 30),
                bias=ints(np.int32, 0, 0),
                synaptic_decay=ints(np.uint16, 30000),
                inhibitory_decay=ints(np.uint16, 20000, 10000),
                reset=Reset.ZERO_DISCARD,
            ),
        ),
        projections=(
            Dense("input", "own", weights(2, 2)),
            Dense("input", "own", weights(2, 2), shift=1, port=Port.THRESHOLD),
            Dense("own", "refractory", weights(2, 2)),
            Dense("refractory", "alpha", weights(2, 2), shift=1),
        ),
        readout=FirstSpike("alpha"),
    )


def values_through_tables() -> Graph:
    """An encoder, a linear memory and a table, read out as a softmax; one current saturates."""
    table = np.linspace(-30000, 30000, 257).astype(np.int16)
    return Graph(
        input=AnalogInput("input", ints(np.int8, 3, -2), bits=8),
        populations=(
            Integrator(
                "encoder",
                ints(np.uint16, 0),
                ints(np.int32, 0),
                shift=2,
                delta=Delta(ints(np.int32, 1), ints(np.int32, 2)),
            ),
            LinearState(
                "memory",
                matrix=weights(2, 2).astype(np.int16) * 256,
                matrix_shift=ints(np.uint8, 14, 15),
                shift=ints(np.uint8, 1, 0),
            ),
            Integrator(
                "out",
                ints(np.uint16, 100, 30000),
                ints(np.int32, 4, -4),
                activation=Activation.TABLE,
                table=table,
            ),
        ),
        projections=(
            Dense("input", "encoder", weights(1, 2), shift=1),
            Dense("encoder", "memory", weights(2, 1)),
            Dense("memory", "out", weights(2, 2), shift=12),
            Dense("out", "out", weights(2, 2) // 16, bits=4),
        ),
        readout=SoftmaxSum("out", np.arange(256, 0, -1).astype(np.uint16), 4),
    )


def maps_of_values_and_spikes() -> Graph:
    return Graph(
        input=AnalogInput("input", np.zeros(12, np.int8), bits=4),
        populations=(
            Integrator(
                "map", ints(np.uint16, 0), np.zeros(8, np.int32), bits=8, activation=Activation.RELU
            ),
            LIF(
                "pooled",
                decay=ints(np.uint16, 20000),
                threshold=np.full(4, 30, np.int32),
                bias=np.zeros(4, np.int32),
                reset=Reset.ZERO_AT_ONCE,
                fire=Fire.REACHES,
            ),
        ),
        projections=(
            Conv(
                "input", "map", weights(2, 2, 1, 4),
                Window((2, 3, 2), (1, 2, 4), (2, 2), (2, 1), (1, 0)), shift=1, groups=2,
            ),
            SumPool("map", "pooled", Window((1, 2, 4), (1, 1, 4), (1, 2))),
            Conv("pooled", "pooled", weights(1, 1, 4, 4), Window((1, 1, 4), (1, 1, 4), (1, 1))),
        ),
        readout=SpikeCount("pooled"),
    )  # fmt: skip


def delays_of_channels_and_synapses() -> Graph:
    late = np.random.default_rng(9).integers(0, 4, (2, 2, 3)).astype(np.uint8)
    late[1] = (late[0] + 1) % 5
    return Graph(
        input=SpikeInput("input", 3),
        populations=(
            DelayLine("line", "input", ints(np.uint8, 0, 2, 5)),
            Integrator("trace", ints(np.uint16, 30000), ints(np.int32, 0, 0, 0), bits=6),
            LIF(
                "out",
                decay=ints(np.uint16, 29000),
                threshold=ints(np.int32, 40, 90),
                bias=ints(np.int32, 0, 0),
                reset=Reset.SUBTRACT_AT_ONCE,
            ),
        ),
        projections=(
            Dense("line", "trace", weights(3, 3)),
            DelayedSynapses.from_dense("line", "out", weights(2, 2, 3), late, 2),
            DelayedSynapses.from_dense("trace", "out", weights(2, 3), late[0]),
        ),
        readout=Potential("out", PotentialMode.MAX),
    )


def narrow_weights_of_many_sources() -> Graph:
    return with_selftest(
        Graph(
            input=SpikeInput("input", 3),
            populations=(
                LIF(
                    "hidden",
                    decay=ints(np.uint16, 29000),
                    threshold=ints(np.int32, 4, 9, 3),
                    bias=ints(np.int32, 0, 0, 0),
                    reset=Reset.SUBTRACT,
                ),
                LIF(
                    "out",
                    decay=ints(np.uint16, 29000),
                    threshold=ints(np.int32, 4, 9),
                    bias=ints(np.int32, 0, 0),
                    reset=Reset.NONE,
                ),
            ),
            projections=(
                Dense("input", "hidden", weights(3, 3) // 16, bits=4),
                Dense("out", "hidden", weights(3, 2) // 16, bits=4),
                Dense("hidden", "hidden", weights(3, 3), shift=1),
                Dense("input", "out", weights(2, 3) // 64, bits=2),
                Dense("hidden", "out", weights(2, 3) // 64, bits=2),
            ),
            readout=Potential("out", PotentialMode.SUM),
        )
    )


def one_parameter_for_all() -> Graph:
    """Neurons that share what those of the other models have one by one."""
    common = {"threshold": ints(np.int32, 20, 30), "bias": ints(np.int32, 0, 0)}
    share = ints(np.uint16, 20000)
    return Graph(
        input=SpikeInput("input", 2),
        populations=(
            LIF(
                "new", share, **common, reset=Reset.ZERO,
                adaptation=Adaptation(share, ints(np.int32, 7)),
            ),
            LIF(
                "refractory", share, **common, reset=Reset.NONE,
                adaptation=Adaptation(share, ints(np.int32, 5), refractory=share),
            ),
            LIF(
                "alpha", share, **common, reset=Reset.SUBTRACT, reset_to=ints(np.int32, 5),
                synaptic_decay=share, inhibitory_decay=ints(np.uint16, 9000),
            ),
            LIF(
                "at once", share, **common, reset=Reset.ZERO_AT_ONCE,
                reset_to=ints(np.int32, -9), synaptic_decay=share,
            ),
        ),
        projections=(
            Dense("input", "new", weights(2, 2)),
            Dense("alpha", "new", weights(2, 2), port=Port.THRESHOLD),
            Dense("new", "refractory", weights(2, 2)),
            Dense("refractory", "alpha", weights(2, 2), shift=1),
            Dense("alpha", "at once", weights(2, 2)),
        ),
        readout=Potential("at once", PotentialMode.SUM),
    )  # fmt: skip


def maps_into_memories() -> Graph:
    """Spikes of a map, pooled and convolved in groups, into two memories that share a matrix."""
    return Graph(
        input=SpikeInput("input", 16),
        populations=(
            Integrator(
                "pooled",
                ints(np.uint16, 0),
                np.zeros(4, np.int32),
                bits=4,
                requantization=Requantization(
                    ints(np.int32, 2**30, 2**31 - 1), ints(np.uint16, 1, 0), -7, 7
                ),
            ),
            LinearState(
                "memories",
                matrix=weights(2, 2).astype(np.int16) * 256,
                matrix_shift=ints(np.uint8, 15, 14),
                shift=ints(np.uint8, 0, 3),
                blocks=2,
                bits=12,
            ),
            LIF(
                "out",
                decay=ints(np.uint16, 20000, 30000),
                threshold=ints(np.int32, 3, 50),
                bias=ints(np.int32, 0, 1),
                reset=Reset.ZERO_AT_ONCE,
                fire=Fire.REACHES,
                max_spikes=3,
            ),
        ),
        projections=(
            SumPool("input", "pooled", Window((2, 2, 4), (1, 1, 4), (2, 2), (2, 2), (1, 1)), 2),
            Dense("pooled", "memories", weights(2, 2) // 64, shift=2, blocks=2, bits=2),
            Conv(
                "input", "out", weights(2, 2, 2, 2),
                Window((2, 2, 4), (1, 1, 2), (2, 2)), groups=2,
            ),
            Dense("memories", "out", weights(1, 2), blocks=2),
        ),
        readout=FirstSpike("out"),
    )  # fmt: skip


def wide_and_late() -> Graph:
    """More neurons than a byte and a word can tell apart; a line before what it delays."""
    return Graph(
        input=SpikeInput("input", 33),
        populations=(
            DelayLine("line", "out", ints(np.uint8, 2)),
            Integrator(
                "wide",
                ints(np.uint16, 20000),
                np.zeros(257, np.int32),
                bits=8,
                requantization=Requantization(
                    ints(np.int32, 2**31 - 1, 2**30, 2**31 - 3), ints(np.uint16, 0, 1, 2),
                    -128, 127, once=True,
                ),
            ),
            LIF("out", ints(np.uint16, 29000), ints(np.int32, 9), ints(np.int32, 4), Reset.ZERO),
        ),
        projections=(
            DelayedSynapses(
                "input", "wide", pre=ints(np.uint16, 0, 32, 32), post=ints(np.uint16, 256, 0, 255),
                delay=ints(np.uint8, 1, 0, 1), weight=ints(np.int8, 90, -7, 127),
            ),
            DelayedSynapses.from_dense("line", "out", weights(1, 1), np.zeros((1, 1), np.uint8)),
        ),
        readout=SpikeCount("out"),
    )  # fmt: skip


def neurons_in_blocks() -> Graph:
    """Two small memories that only their own projections lead into."""
    return with_selftest(
        Graph(
            input=SpikeInput("input", 2),
            populations=(
                LIF(
                    "memory",
                    decay=ints(np.uint16, 30000),
                    threshold=ints(np.int32, 40, 50, 300, 4),
                    bias=ints(np.int32, 0, 0, 0, 0),
                    reset=Reset.SUBTRACT,
                ),
            ),
            projections=(
                Dense("input", "memory", weights(2, 1), shift=2, blocks=2),
                Dense("memory", "memory", weights(2, 2), blocks=2),
            ),
            readout=SpikeCount("memory"),
        )
    )


GOLDEN = {
    model.__name__: model()
    for model in (
        analog_to_leaky,
        spikes_to_recurrent_synaptic,
        shared_blocks_with_feedback,
        more_than_a_tile_of_neurons,
        everything_at_its_bound,
        one_neuron,
        bits_shifted_and_counted,
        thresholds_that_adapt,
        values_through_tables,
        maps_of_values_and_spikes,
        delays_of_channels_and_synapses,
        narrow_weights_of_many_sources,
        one_parameter_for_all,
        maps_into_memories,
        wide_and_late,
        neurons_in_blocks,
    )
}
each_golden = pytest.mark.parametrize("model", GOLDEN)


@dataclass(frozen=True)
class Hostile:
    """hostile.c, built: each call shows the core an image, or many made of it."""

    program: Path

    def says(self, mode: str, image: bytes, *number: int) -> dict[str, str]:
        file = self.program.with_name("image")
        file.write_bytes(image)
        # leaks: the core allocates nothing, and the leak checker cannot run in every container
        said = call(
            [self.program, mode, file, *map(str, number)], ASAN_OPTIONS="detect_leaks=0"
        ).decode()
        return dict(line.rsplit(": ", 1) for line in said.splitlines())

    def verdicts(self, mode: str, image: bytes, *number: int) -> dict[str, int]:
        """How many images met each verdict; "ran" are those that the core took and ran."""
        return {name: int(count) for name, count in self.says(mode, image, *number).items()}


@pytest.fixture(scope="module", params=[(), ("-m32",)], ids=["64bit", "32bit"])
def hostile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    folder = tmp_path_factory.mktemp("hostile")
    flags = (*SANITIZERS, *request.param)
    return Hostile(build(folder, "hostile.c", "gcc", *flags, optional=bool(request.param)))


def with_crc(image: bytes) -> bytes:
    """The image with the length and CRC that it should have."""
    crc = zlib.crc32(image[blob.CRC_START :])
    return image[:8] + struct.pack("<II", len(image), crc) + image[blob.CRC_START :]


def patched(image: bytes, at: int, layout: str, value: int) -> bytes:
    """The image with another value in one field, and a CRC that says that it is sound."""
    changed = bytearray(image)
    struct.pack_into(layout, changed, at, value)
    return with_crc(bytes(changed))


def test_the_golden_models_use_every_operation() -> None:
    """Every class, switch and array; what tests/graphs.py makes shows how they meet."""
    assert PARTS - set().union(*map(used, GOLDEN.values())) == set()
    assert {model.selftest is None for model in GOLDEN.values()} == {False, True}


@each_golden
def test_a_sound_image_runs(hostile: Hostile, model: str) -> None:
    assert hostile.verdicts("run", pack_image(GOLDEN[model])) == {"ran": 1}


def test_hundreds_of_spikes_at_once_stay_in_bounds(hostile: Hostile) -> None:
    assert hostile.verdicts("run", pack_image(crowd())) == {"ran": 1}


def test_the_vectors_of_computers_stay_in_bounds(tmp_path: Path) -> None:
    hostile = Hostile(build(tmp_path, "hostile.c", "gcc", *SANITIZERS, "-DESNN_HOST"))
    assert hostile.verdicts("run", pack_image(crowd())) == {"ran": 1}
    for model in (more_than_a_tile_of_neurons, shared_blocks_with_feedback, crowd):
        verdicts = hostile.verdicts("scramble", pack_image(model()), 30_000)
        assert verdicts["ran"] > 500


@each_golden
def test_every_truncation_is_refused(hostile: Hostile, model: str) -> None:
    image = pack_image(GOLDEN[model])
    longer_by_one = 1
    assert hostile.verdicts("truncate", image) == {"length": len(image) + longer_by_one}


@each_golden
def test_every_changed_byte_is_refused(hostile: Hostile, model: str) -> None:
    image = pack_image(GOLDEN[model])
    assert hostile.verdicts("change", image) == {
        "magic": 4 * 255,
        "version": 4 * 255,
        "length": 4 * 255,
        "crc": (len(image) - 12) * 255,
    }


@each_golden
def test_a_truncation_with_a_sound_crc_stays_in_bounds(hostile: Hostile, model: str) -> None:
    image = pack_image(GOLDEN[model])
    verdicts = hostile.verdicts("shorten", image)
    padding_of_the_last_array = 3
    assert set(verdicts) <= {"ran", "format"}
    assert sum(verdicts.values()) == len(image) - blob.HEADER.size
    assert verdicts.get("ran", 0) <= padding_of_the_last_array


@each_golden
def test_a_changed_byte_with_a_sound_crc_stays_in_bounds(hostile: Hostile, model: str) -> None:
    image = pack_image(GOLDEN[model])
    verdicts = hostile.verdicts("repair", image)
    assert {"ran", "magic", "version", "format"} <= set(verdicts)
    assert set(verdicts) <= {"ran", "magic", "version", "format", "bound", "arena"}
    assert sum(verdicts.values()) >= (len(image) - 8) * 255
    assert verdicts["ran"] > 20 * 255
    assert verdicts["format"] > 50 * 255


@each_golden
def test_many_changes_with_a_sound_crc_stay_in_bounds(hostile: Hostile, model: str) -> None:
    verdicts = hostile.verdicts("scramble", pack_image(GOLDEN[model]), 300_000)
    assert sum(verdicts.values()) == 300_000
    assert verdicts["ran"] > 5_000
    assert verdicts["bound"] > 100


def test_garbage_with_a_sound_crc_stays_in_bounds(hostile: Hostile) -> None:
    verdicts = hostile.verdicts("garbage", b"", 300_000)
    assert sum(verdicts.values()) == 300_000
    assert verdicts["ran"] > 5_000
    assert verdicts["bound"] > 5_000


INPUT, MEMORY, OUT, TO_MEMORY, FEEDBACK = 64, 128, 192, 256, 304  # records of the model below


@pytest.mark.parametrize(
    ("at", "layout", "value"),
    [
        pytest.param(16, "<I", 0, id="arena of no bytes"),
        pytest.param(24, "<H", 1, id="input alone"),
        pytest.param(24, "<H", 65535, id="65535 populations"),
        pytest.param(26, "<H", 65535, id="65535 projections"),
        pytest.param(26, "<H", 2, id="projection that belongs to no population"),
        pytest.param(28, "<I", 0, id="populations over the header"),
        pytest.param(28, "<I", 66, id="populations at an odd place"),
        pytest.param(28, "<I", 2**32 - 4, id="populations whose end wraps"),
        pytest.param(32, "<I", 2**32 - 48, id="projections whose end wraps"),
        pytest.param(36, "<H", 0, id="read-out of the input"),
        pytest.param(36, "<H", 3, id="read-out of no population"),
        pytest.param(38, "<B", 4, id="unknown read-out"),
        pytest.param(39, "<B", 3, id="unknown read-out mode"),
        pytest.param(40, "<I", 2**32 - 4, id="self-test past the end"),
        pytest.param(48, "<H", 65535, id="self-test of 65535 steps"),
        pytest.param(60, "<I", 1, id="reserved field in use"),
        pytest.param(INPUT, "<B", 2, id="neurons as input"),
        pytest.param(INPUT + 4, "<H", 0, id="input of no channels"),
        pytest.param(INPUT + 12, "<I", 256, id="fraction bits of spikes"),
        pytest.param(INPUT + 10, "<H", 1, id="projection into the input"),
        pytest.param(MEMORY, "<B", 0, id="second input"),
        pytest.param(MEMORY, "<B", 7, id="unknown neurons"),
        pytest.param(MEMORY + 56, "<B", 7, id="unknown reset"),
        pytest.param(MEMORY + 2, "<B", 2, id="synaptic decays of LIF"),
        pytest.param(MEMORY + 4, "<H", 0, id="population of no neurons"),
        pytest.param(MEMORY + 4, "<H", 65535, id="population of 65535 neurons"),
        pytest.param(MEMORY + 12, "<I", 2**32 - 4, id="decay past the end"),
        pytest.param(MEMORY + 24, "<I", 2**32 - 16, id="synaptic decay past the end of all"),
        pytest.param(MEMORY + 16, "<I", 2**32 - 16, id="threshold whose end wraps"),
        pytest.param(MEMORY + 20, "<I", 2**31, id="bias past the end"),
        pytest.param(MEMORY + 20, "<I", 257, id="bias at an odd place"),
        pytest.param(MEMORY + 8, "<H", 1, id="first projection left out"),
        pytest.param(MEMORY + 10, "<H", 65535, id="65535 projections into one population"),
        pytest.param(OUT + 24, "<I", 2**32 - 4, id="synaptic decay past the end"),
        pytest.param(TO_MEMORY, "<B", 7, id="unknown projection"),
        pytest.param(TO_MEMORY + 1, "<B", 21, id="shift of 21"),
        pytest.param(TO_MEMORY + 1, "<B", 32, id="shift of 32"),
        pytest.param(TO_MEMORY + 1, "<B", 255, id="shift of 255"),
        pytest.param(FEEDBACK + 4, "<H", 2, id="target out of turn"),
        pytest.param(TO_MEMORY + 2, "<H", 3, id="source that is not there"),
        pytest.param(TO_MEMORY + 4, "<H", 65535, id="target that is not there"),
        pytest.param(TO_MEMORY + 12, "<H", 0, id="no blocks"),
        pytest.param(TO_MEMORY + 12, "<H", 32770, id="blocks whose product passes 16 bits"),
        pytest.param(TO_MEMORY + 14, "<H", 4, id="more inputs than the source has"),
        pytest.param(TO_MEMORY + 16, "<H", 6, id="more outputs than the target has"),
        pytest.param(TO_MEMORY + 8, "<I", 2**32 - 8, id="weights past the end"),
        pytest.param(TO_MEMORY + 8, "<I", 259, id="weights at an odd place"),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused(
    hostile: Hostile, at: int, layout: str, value: int
) -> None:
    image = patched(pack_image(shared_blocks_with_feedback()), at, layout, value)
    assert hostile.verdicts("run", image) == {"format": 1}


@pytest.mark.parametrize(
    ("at", "name"), [*((at, "magic") for at in range(4)), *((at, "version") for at in range(4, 8))]
)
def test_what_is_no_image_of_this_version_is_refused_by_name(
    hostile: Hostile, at: int, name: str
) -> None:
    assert hostile.verdicts("run", patched(pack_image(one_neuron()), at, "<B", 1)) == {name: 1}


def test_fraction_bits_past_the_end_are_refused(hostile: Hostile) -> None:
    image = patched(pack_image(analog_to_leaky()), INPUT + 12, "<I", 2**32 - 4)
    assert hostile.verdicts("run", image) == {"format": 1}


@pytest.mark.parametrize(
    ("model", "array", "layout", "value"),
    [
        pytest.param(shared_blocks_with_feedback, MEMORY + 12, "<H", 32769, id="decay"),
        pytest.param(shared_blocks_with_feedback, OUT + 24, "<H", 65535, id="synaptic decay"),
        pytest.param(shared_blocks_with_feedback, OUT + 16, "<i", NEVER + 1, id="threshold"),
        pytest.param(shared_blocks_with_feedback, OUT + 16, "<i", -(2**31), id="lowest threshold"),
        pytest.param(shared_blocks_with_feedback, OUT + 16, "<i", -1, id="threshold below 0"),
        pytest.param(shared_blocks_with_feedback, MEMORY + 20, "<i", 2**31 - 1, id="bias"),
        pytest.param(shared_blocks_with_feedback, MEMORY + 20, "<i", -(2**31), id="lowest bias"),
        pytest.param(
            everything_at_its_bound, MEMORY + 16, "<i", 1 << 29, id="threshold to subtract"
        ),
        pytest.param(
            shared_blocks_with_feedback,
            MEMORY + 20,
            "<i",
            CURRENT_BOUND - 1,
            id="current, by its bias",
        ),
        pytest.param(one_neuron, MEMORY + 20, "<i", CURRENT_BOUND, id="bias alone"),
        pytest.param(analog_to_leaky, INPUT + 12, "<b", 31, id="fraction bits"),
        pytest.param(analog_to_leaky, INPUT + 12, "<b", -16, id="fraction bits below 0"),
    ],
)
def test_a_value_out_of_its_range_is_refused(
    hostile: Hostile, model: Callable[[], Graph], array: int, layout: str, value: int
) -> None:
    image = pack_image(model())
    (at,) = struct.unpack_from("<I", image, array)
    assert hostile.verdicts("run", patched(image, at, layout, value)) == {"bound": 1}


def test_a_shift_that_lifts_the_current_past_its_bound_is_refused(hostile: Hostile) -> None:
    image = pack_image(crowd())
    shift = 64 + 2 * 64 + 1
    assert hostile.verdicts("run", patched(image, shift, "<B", 12)) == {"ran": 1}
    assert hostile.verdicts("run", patched(image, shift, "<B", 13)) == {"bound": 1}
    assert hostile.verdicts("run", patched(image, shift, "<B", 20)) == {"bound": 1}


def test_values_may_lift_a_current_past_its_bound_and_saturate(hostile: Hostile) -> None:
    image = pack_image(everything_at_its_bound())
    assert hostile.verdicts("run", patched(image, TO_MEMORY + 1, "<B", 20)) == {"ran": 1}


@each_golden
def test_an_arena_that_is_too_small_is_refused_untouched(hostile: Hostile, model: str) -> None:
    image, needed = pack_image(GOLDEN[model]), blob.arena_bytes(GOLDEN[model])
    for there in (0, 4, needed // 2, needed - 1):
        assert hostile.says("arena", image, there) == {"needs": str(needed), "arena": "1"}
    assert hostile.says("arena", image, needed) == {"needs": str(needed), "ran": "1"}


def overlapping(populations: int, size: int) -> bytes:
    """Many large populations in a small image: all of them share one array of zeros."""
    tables_end = blob.HEADER.size + (1 + populations) * blob.POPULATION_SIZE
    decay, above, synaptic_decay = 3 * (tables_end,)
    neurons = blob.NEURONS.pack(decay, above, 0, synaptic_decay, *7 * (0,), 0, 0, 1, 0, 31)
    population = blob.POPULATION.pack(blob.NEURON, 0, 0, size, 0, 0, 0) + neurons
    records = blob.POPULATION.pack(blob.SPIKE_INPUT, 0, 0, 1, 0, 0, 0).ljust(64, b"\0")
    records += populations * population.ljust(blob.POPULATION_SIZE, b"\0")
    slots, input_events, currents, scores = 24 * (1 + populations), 4, 4 * size, 4 * size
    state = populations * (8 * size + blob.align(2 * size))
    arena = slots + input_events + currents + state + scores
    header = blob.HEADER.pack(
        blob.MAGIC, blob.VERSION, blob.HEADER.size, 0, 0, arena % 2**32, 0, 1 + populations, 0,
        blob.HEADER.size, tables_end, 1, blob.SPIKE_COUNT, 0, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip
    return with_crc(header + records + bytes(4 * size))


def test_arrays_may_overlap(hostile: Hostile) -> None:
    assert hostile.verdicts("run", overlapping(5, 100)) == {"ran": 1}


def test_an_image_may_be_small_and_its_arena_large(hostile: Hostile) -> None:
    image = overlapping(100, 5000)
    assert len(image) < 32 * 1024
    assert hostile.says("arena", image, 64 * 1024) == {"needs": "5042428", "arena": "1"}


def test_an_arena_past_32_bits_does_not_wrap_to_a_small_one(hostile: Hostile) -> None:
    assert hostile.verdicts("run", overlapping(6554, 65535)) == {"format": 1}


@pytest.mark.parametrize("model", ["analog_to_leaky", "spikes_to_recurrent_synaptic"])
def test_wrong_calls_are_refused_and_run_nothing(hostile: Hostile, model: str) -> None:
    assert hostile.says("refusals", pack_image(GOLDEN[model])) == {
        "kernels": "portable C",
        "self-test": "ran",
        "check no image": "argument",
        "check an odd address": "align",
        "load no image": "argument",
        "load at an odd address": "align",
        "load into no model": "argument",
        "load into no arena": "argument",
        "load into an odd arena": "align",
        "self-test no model": "argument",
        "step no model": "argument",
        "step no frame": "argument",
        "step no result": "argument",
        "events no model": "argument",
        "events no list": "argument",
        "events no result": "argument",
        "events too many": "input",
        "events far too many": "input",
        "events out of range": "input",
        "events not ascending": "input",
        "events twice the same": "input",
        "events the largest number": "input",
    }
