"""The stream app on boards that are put together part by part (tests/app.c).

What every board has in common is tests/test_board.py's; here are those without a store, with a key
of their own, with a sensor, with flash that breaks, and packets of the wrong length.
"""

from __future__ import annotations

import struct
import subprocess
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from native import APP, CORE, FIRMWARE, SANITIZERS, STRICT, TESTS, call, tool
from powercut import image
from test_blimp import OVER, SHORT, recipe

from edgesnn import blob, reference
from edgesnn.blimp.controllers import DESIGNS, build
from edgesnn.blimp.evolution import random_genome, state_bytes
from edgesnn.devices import protocol as p
from edgesnn.devices.packet import Decoder, Packet, encode
from edgesnn.devices.signing import DEVELOPMENT, IMAGE_AT, make_update
from edgesnn.graph import LIF, AnalogInput, Graph, Potential

MODEL, ARENA, PACKET, WINDOW = 8192, 4096, 2048, 4096
SMALL = image(1)
UPDATE = make_update(SMALL, DEVELOPMENT, 1).data
STAMP = bytes(4)


@dataclass
class Said:
    """What a board answered, packet by packet, and what it told its watchdog and its starts."""

    answers: list[Packet]
    log: list[str]

    def status(self, at: int) -> tuple[int, int, int]:
        """(code, needed, there) of an answer that is a STATUS."""
        assert self.answers[at].type == p.STATUS
        found = p.Status.unpack(self.answers[at].payload)
        return found.code, found.needed, found.there

    def codes(self) -> list[int | None]:
        """The codes of all answers; None: of one that is no STATUS."""
        return [
            p.Status.unpack(a.payload).code if a.type == p.STATUS else None for a in self.answers
        ]


class App:
    """A board as tests/app.c makes it, which is new in every talk but for its flash."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.flash = program, folder / "flash"

    def talk(
        self,
        *packets: tuple[int, bytes],
        model: int = MODEL,
        arena: int = ARENA,
        packet: int = PACKET,
        window: int = WINDOW,
        parts: tuple[str, ...] = (),
    ) -> Said:
        """Greet a board and send it packets; its answers, without that to the greeting."""
        said = b"\0" + encode(Packet(p.HELLO, 0, p.hello(1)))
        for number, (kind, payload) in enumerate(packets):
            said += encode(Packet(kind, number + 1, payload))
        memory = map(str, (model, arena, packet, window))
        done = subprocess.run(
            [self.program, *memory, *parts], input=said, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr.decode()
        answers = list(Decoder().feed(done.stdout))
        assert answers[0].type == p.INFO
        self.info = p.Info.unpack(answers[0].payload)
        return Said(answers[1:], done.stderr.decode().splitlines())

    @property
    def store(self) -> tuple[str, ...]:
        """The part that keeps models."""
        return (f"flash={self.flash}",)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("app") / "app"
    include = [f"-I{FIRMWARE / part}" for part in ("core", "app")]
    call([tool("gcc"), *STRICT, *SANITIZERS, *include, TESTS / "app.c", *APP, *CORE, "-o", made])
    return made


@pytest.fixture
def app(program: Path, tmp_path: Path) -> App:
    return App(program, tmp_path)


def put(data: bytes, slot: int = 0, piece: int = 512) -> list[tuple[int, bytes]]:
    """The packets that put an image into a slot."""
    pieces = [
        (p.MODEL_DATA, struct.pack("<I", at) + data[at : at + piece])
        for at in range(0, len(data), piece)
    ]
    return [(p.MODEL_BEGIN, struct.pack("<IB", len(data), slot)), *pieces, (p.MODEL_END, b"")]


def update(data: bytes) -> list[tuple[int, bytes]]:
    """The packets that put an update into the flash."""
    pieces = [
        (p.UPDATE_DATA, struct.pack("<I", at) + data[at : at + 512])
        for at in range(0, len(data), 512)
    ]
    return [(p.UPDATE_BEGIN, data[:IMAGE_AT]), *pieces, (p.UPDATE_END, b"")]


def frame(value: int) -> tuple[int, bytes]:
    return p.FRAME, STAMP + struct.pack("<h", value)


# ---- lengths ----


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        (p.MODEL_BEGIN, 5), (p.SELECT, 1), (p.SUBSCRIBE, 4), (p.SENSE, 4), (p.EVO_BEGIN, 9),
        (p.EVO_RUN, 8), (p.EVO_READ, 8), (p.UPDATE_BEGIN, IMAGE_AT), (p.UPDATE_PREFIX, 4),
    ],
)  # fmt: skip
def test_a_packet_of_another_length_is_refused(app: App, kind: int, length: int) -> None:
    evolution = (p.EVO_BEGIN, struct.pack("<IIB", 8, 8, 0))
    sizes = (0, length - 1, length + 1)
    said = app.talk(
        *put(SMALL), *put(SMALL, 1), evolution, *((kind, bytes(size)) for size in sizes),
        parts=(*app.store, "sensor"),
    )  # fmt: skip
    assert [said.status(at) for at in (-3, -2, -1)] == [(p.ERR_PACKET, length, n) for n in sizes]


@pytest.mark.parametrize("kind", [p.MODEL_DATA, p.EVO_DATA, p.UPDATE_DATA])
def test_a_piece_without_its_place_is_refused(app: App, kind: int) -> None:
    said = app.talk((kind, b"abc"), parts=app.store)
    assert said.status(-1) == (p.ERR_PACKET, 4, 3)


# ---- boards that lack something, or have little of it ----


def test_a_board_without_a_store_says_so(app: App) -> None:
    said = app.talk((p.STORE, b""), *put(SMALL), (p.SELECT, bytes([p.STORED_SLOT])), frame(6))
    assert not app.info.has_store
    assert app.info.development
    assert said.codes() == [p.ERR_NO_STORE, 0, 0, 0, p.ERR_SLOT, None]


def test_a_board_without_a_stored_model_has_none_to_select(app: App) -> None:
    said = app.talk((p.SELECT, bytes([p.STORED_SLOT])), parts=app.store)
    assert said.codes() == [p.ERR_NO_STORE]


def test_a_board_with_a_key_takes_no_model_without_a_signature(app: App) -> None:
    said = app.talk(*put(SMALL), parts=(*app.store, "signed"))
    assert not app.info.development
    assert said.codes() == [p.ERR_SIGNATURE, p.ERR_ORDER, p.ERR_ORDER]


def test_samples_come_from_a_board_with_a_sensor_and_from_no_other(app: App) -> None:
    assert app.talk((p.SENSE, bytes(4))).codes() == [p.ERR_SENSOR]
    room = 3 + 4 + 16 + 2 * (4 + 2 * 2)  # of two samples, and a packet has a byte before it
    said = app.talk(
        (p.SENSE, struct.pack("<I", 0)), (p.SENSE, struct.pack("<I", 2)),
        (p.SENSE, struct.pack("<I", 100)), parts=("sensor",), packet=1 + room + 4,
    )  # fmt: skip
    found = [p.Samples.unpack(answer.payload) for answer in said.answers]
    assert [(one.first, len(one.samples)) for one in found] == [(0, 2), (2, 2), (9, 0)]


def test_what_a_packet_holds_follows_from_its_memory_and_from_the_window(app: App) -> None:
    app.talk(packet=1 + 3 + 100 + 4)
    assert app.info.payload_limit == 100
    app.talk(window=300)
    assert app.info.payload_limit == 300 - 1 - 2 - 3 - 4
    app.talk(packet=80_000, window=100_000)
    assert app.info.payload_limit == 65535


def test_a_board_has_four_slots_and_room_behind_the_last_one(app: App) -> None:
    four = [packet for slot in range(4) for packet in put(SMALL, slot)]
    said = app.talk(*four, (p.MODEL_BEGIN, struct.pack("<IB", 4, 4)), (p.LIST, b""))
    assert said.status(-2) == (p.ERR_SLOT, 4, 4)
    assert len(p.Models.unpack(said.answers[-1].payload).slots) == 4
    full = app.talk(*put(SMALL), (p.MODEL_BEGIN, struct.pack("<IB", 4, 1)), model=len(SMALL))
    assert full.status(-1) == (p.ERR_TOO_LARGE, 4, 0)


def test_a_subscription_must_fit_a_packet(app: App) -> None:
    ones = np.ones(9, np.int32)
    hidden = LIF("hidden", np.array([32768], np.uint16), 10 * ones, 0 * ones)
    out = LIF("out", np.array([32768], np.uint16), 10 * ones[:1], 0 * ones[:1])
    graph = Graph(AnalogInput("input", np.zeros(1, np.int8)), (hidden, out), (), Potential("out"))
    model = blob.pack_image(reference.with_selftest(graph, np.zeros((1, 1), np.int16)))
    ask = [(p.SUBSCRIBE, struct.pack("<BxH", what, 1)) for what in (p.SPIKES, p.POTENTIALS)]
    limit = 32 + 4 + 2 * 9  # nine spikes, and no nine potentials
    said = app.talk(*put(model, piece=32), *ask, packet=1 + 3 + limit + 4)
    assert said.status(-2) == (0, limit, limit)
    assert said.status(-1) == (p.ERR_TOO_LARGE, limit + 2 * 9, limit)


# ---- evolution ----

FLIER = blob.pack_image(
    reference.with_selftest(build(random_genome(DESIGNS["pd"], 3)), np.zeros((2, 1), np.int16))
)
RECIPE = recipe(generations=1, task=replace(SHORT, ticks=8, windows=(1, 1, 1))).pack(OVER.track)
STATE = state_bytes(301)
LIMIT = 1 << 16


def evolution(packed: bytes = RECIPE, slot: int = 0) -> list[tuple[int, bytes]]:
    """The packets that bring a recipe to a board."""
    pieces = [
        (p.EVO_DATA, struct.pack("<I", at) + packed[at : at + 1024])
        for at in range(0, len(packed), 1024)
    ]
    return [(p.EVO_BEGIN, struct.pack("<IIB", len(packed), STATE, slot)), *pieces]


def run_for(ticks: int, generation: int = 0) -> tuple[int, bytes]:
    return p.EVO_RUN, struct.pack("<II", ticks, generation)


def read(at: int, n: int) -> tuple[int, bytes]:
    return p.EVO_READ, struct.pack("<II", at, n)


def test_an_evolution_out_of_order_is_refused(app: App) -> None:
    data = p.EVO_DATA, bytes(8)
    before = app.talk(data, run_for(1), read(0, 4))
    assert before.codes() == [p.ERR_ORDER] * 3
    room = (len(RECIPE) + 3) // 4 * 4 + STATE
    behind = [
        (p.EVO_DATA, struct.pack("<I", at) + bytes(n)) for at, n in ((room + 1, 0), (room - 4, 5))
    ]
    said = app.talk(
        *put(FLIER), *evolution(), *behind, read(0, 4), run_for(1), data, run_for(9, 5),
        read(STATE + 4, 0), read(0, STATE + 4), read(0, PACKET), read(STATE - 4, 4), model=LIMIT,
    )  # fmt: skip
    refused = [p.ERR_ORDER, p.ERR_ORDER, p.ERR_ORDER, None, p.ERR_ORDER, None]
    assert said.codes()[-10:] == [*refused, *[p.ERR_TOO_LARGE] * 3, None]
    ticks = [struct.unpack_from("<I", a.payload)[0] for a in said.answers if a.type == p.PROGRESS]
    assert ticks == [1, 0]  # the host has missed a generation


def test_an_evolution_has_the_room_that_the_models_leave(app: App) -> None:
    for sizes in ((LIMIT + 1, 0), (0, LIMIT + 1), (LIMIT - 8, 0)):
        ask = p.EVO_BEGIN, struct.pack("<IIB", *sizes, 0)
        said = app.talk(*put(FLIER), ask, model=LIMIT)
        assert said.codes()[-1] == p.ERR_TOO_LARGE
    assert app.talk((p.EVO_BEGIN, struct.pack("<IIB", 8, 8, 0))).codes() == [p.ERR_SLOT]


def test_a_recipe_is_not_read_past_its_room(app: App) -> None:
    """Room for the first words alone, which claim all that a recipe has, at the end of memory."""
    ask = p.EVO_BEGIN, struct.pack("<IIB", LIMIT - 8, 0, 0)
    least = app.talk(*put(SMALL), ask, model=LIMIT).status(-1)[1] - (LIMIT - 8)
    for room in (0, 8, 16):
        said = app.talk(
            *put(SMALL), (p.EVO_BEGIN, struct.pack("<IIB", room, 0, 0)),
            (p.EVO_DATA, struct.pack("<I", 0) + RECIPE[:room]), run_for(1),
            model=least + room,
        )  # fmt: skip
        assert said.codes()[-3:] == [0, 0, p.ERR_RECIPE]
    more = bytearray(RECIPE)
    struct.pack_into("<I", more, 4, len(RECIPE) + 4)
    assert app.talk(*put(FLIER), *evolution(bytes(more)), run_for(1), model=LIMIT).codes()[-1] == (
        p.ERR_RECIPE
    )
    short = p.EVO_BEGIN, struct.pack("<IIB", len(RECIPE), STATE - 4, 0)
    said = app.talk(*put(FLIER), short, *evolution()[1:], run_for(1), model=LIMIT)
    assert said.codes()[-1] == p.ERR_RECIPE


def test_a_model_that_evolves_is_another_one(app: App) -> None:
    """It lost its selection, and its CRC is wrong until the end."""
    again = p.EVO_BEGIN, struct.pack("<IIB", 8, 8, 0)
    select = p.SELECT, b"\0"
    said = app.talk(*put(FLIER), *evolution(), run_for(1), frame(6), select, again, model=LIMIT)
    assert said.codes()[-4:] == [None, p.ERR_NO_MODEL, -6, -6]
    ends = [run_for(1 << 20, generation) for generation in (0, 1)]
    said = app.talk(*put(FLIER), *evolution(), *ends, select, (p.SELFTEST, b""), model=LIMIT)
    assert said.codes()[-4:] == [None, None, 0, 0]


def test_a_model_in_another_slot_runs_on(app: App) -> None:
    said = app.talk(
        *put(FLIER), *put(SMALL, 1), *evolution(), run_for(1), frame(6), (p.LIST, b""), model=LIMIT
    )
    assert p.Result.unpack(said.answers[-2].payload).step == 1
    assert p.Models.unpack(said.answers[-1].payload).selected == 1


# ---- models in flash ----

CONFIRM, RESTART, STORE = (p.CONFIRM, b""), (p.RESTART, b""), (p.STORE, b"")
SELECT_STORED = p.SELECT, bytes([p.STORED_SLOT])


def stored(said: Said, at: int = -1) -> p.Stored:
    return p.Stored.unpack(said.answers[at].payload)


@pytest.mark.parametrize("watched", [(), ("watched",)])
def test_a_trial_is_watched_until_it_is_confirmed(app: App, watched: tuple[str, ...]) -> None:
    """What follows a restart is lost with the packet that it came in; hosts wait for an answer."""
    parts = (*app.store, *watched)
    said = app.talk(*update(UPDATE), STORE, RESTART, frame(0), parts=parts)
    assert stored(said, -2).waits
    said = app.talk(STORE, CONFIRM, STORE, parts=parts)
    assert [stored(said, at).on_trial for at in (0, 2)] == [False, False]  # the one before used it
    app.flash.unlink()
    app.talk(*update(UPDATE), parts=parts)
    said = app.talk(STORE, (p.UPDATE_BEGIN, UPDATE[:IMAGE_AT]), CONFIRM, STORE, parts=parts)
    assert [stored(said, at).on_trial for at in (0, 3)] == [True, False]
    assert said.codes()[1:3] == [p.ERR_TRIAL, 0]
    assert said.log == ["start", *(["watch 60", "watch 0"] if watched else [])]
    assert app.talk(STORE, SELECT_STORED, frame(6), parts=parts).codes() == [None, 0, None]


def test_a_model_on_trial_that_does_not_load_is_given_up_at_once(app: App) -> None:
    """Its arena is larger than what this start of the board has."""
    app.talk(*update(UPDATE), parts=app.store)
    said = app.talk(STORE, parts=app.store, arena=8)
    assert said.log == ["start", "start"]
    assert stored(said).model is None


def test_a_stored_model_that_does_not_load_leaves_the_board_without_one(app: App) -> None:
    app.talk(*update(UPDATE), parts=app.store)
    app.talk(CONFIRM, parts=app.store)
    said = app.talk(SELECT_STORED, frame(6), parts=app.store, arena=8)
    assert said.codes() == [p.ERR_ARENA, p.ERR_NO_MODEL]


def test_an_update_out_of_order_is_refused(app: App) -> None:
    begin, *pieces, end = update(UPDATE)

    def piece(at: int, n: int) -> tuple[int, bytes]:
        return p.UPDATE_DATA, struct.pack("<I", at) + bytes(n)

    wrong = [piece(4, 4), piece(0, 3), piece(len(UPDATE) + 256, 0), piece(0, len(UPDATE) + 1)]
    said = app.talk(*pieces, end, begin, *wrong, end, parts=app.store)
    codes = said.codes()
    assert codes[len(pieces) + 1] == 0
    assert {*codes[: len(pieces) + 1], *codes[len(pieces) + 2 :]} == {p.ERR_ORDER}
    prefix = [(p.UPDATE_PREFIX, struct.pack("<I", n)) for n in (0, 2048, 2049)]
    assert [app.talk(ask, parts=app.store).status(0)[:2] for ask in prefix] == [
        (0, 0), (0, 2048), (0, 2049),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("at", "value", "code"),
    [
        (64, 0, -3), (68, 2, -4), (124, 1, -6), (72, 1 << 20, p.ERR_TOO_LARGE),
        (88, 0x61626364, p.ERR_TARGET), (72, 100, -6),
    ],
)  # fmt: skip
def test_an_update_whose_head_is_wrong_is_refused(app: App, at: int, value: int, code: int) -> None:
    data = bytearray(UPDATE)
    struct.pack_into("<I", data, at, value)
    if at != 124:
        struct.pack_into("<I", data, 124, zlib.crc32(data[64:124]))
    if at == 72 and value == 100:  # shorter than what its CRC is of
        data = data[: IMAGE_AT + 100]
    said = app.talk(*update(bytes(data)), parts=app.store)
    assert next(found for found in said.codes() if found) == code


@pytest.mark.parametrize(("at", "code"), [(64, -3), (72, -6)])
def test_an_update_that_does_not_begin_as_it_was_announced_is_refused(
    app: App, at: int, code: int
) -> None:
    """Its head comes twice, and the second one is what lies in the flash."""
    data = bytearray(UPDATE)
    data[at] ^= 4
    struct.pack_into("<I", data, 124, zlib.crc32(data[64:124]))
    said = app.talk(update(UPDATE)[0], *update(bytes(data))[1:], STORE, parts=app.store)
    assert said.codes()[-2] == code
    assert not stored(said).waits


def test_the_name_of_a_board_is_told_from_a_longer_and_a_shorter_one(app: App) -> None:
    codes = []
    for target in ("app", "ap", "apps", "a" * 31):
        packed = make_update(SMALL, DEVELOPMENT, 1, target=target).data
        codes.append(app.talk(update(packed)[0], parts=app.store).codes()[0])
    assert codes == [0, p.ERR_TARGET, p.ERR_TARGET, p.ERR_TARGET]


def test_flash_that_breaks_at_any_operation_never_runs_half_a_model(app: App) -> None:
    """First an update, then a start on its trial and a confirmation; afterwards it works again."""
    broke = 0
    app.talk(parts=app.store)
    for turn in (update(UPDATE), [STORE, CONFIRM]):
        before = app.flash.read_bytes()
        for n in range(1, 1000):
            app.flash.write_bytes(before)
            said = app.talk(*turn, parts=(*app.store, f"breaks={n}"))
            failed = p.ERR_FLASH in said.codes()
            broke += failed
            found = stored(app.talk(STORE, parts=app.store))
            assert found.model is None or found.model.crc == zlib.crc32(SMALL[16:])
            if said.codes()[-1] == 0 and not failed and n > 3:
                break
        app.flash.write_bytes(before)
        app.talk(*turn, parts=app.store)
    assert broke > 100
    assert stored(app.talk(STORE, parts=app.store)).version == 1
