"""Boards held to the specification: whatever a host says, in any order, is answered as written.

`Oracle` is docs/protocol.md as a program, as far as packets and models go; what the network itself
gives is tests/test_board.py's. No evolution is begun here; tests/test_blimp.py does that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from links import Probe

from edgesnn import blob, reference
from edgesnn.devices import open_transport
from edgesnn.devices import protocol as p
from edgesnn.devices.backend import board_url
from edgesnn.devices.packet import Decoder, Packet, encode
from edgesnn.devices.transport import Transport
from edgesnn.graph import LIF, AnalogInput, Dense, Graph, SpikeCount

EMULATED = pytest.param("mps2-an386", marks=pytest.mark.board)
ROOM, ARENA, SLOTS = 1000, 191, 4
TOKENS = (0, 7)


def network(channels: int, neurons: int) -> blob.Model:
    ones = np.ones(neurons, np.int32)
    graph = Graph(
        AnalogInput("input", np.zeros(channels, np.int8)),
        (LIF("out", np.array([32768], np.uint16), 10 * ones, 0 * ones),),
        (Dense("input", "out", np.ones((neurons, channels), np.int8)),),
        SpikeCount("out"),
    )
    return blob.unpack(blob.pack(reference.with_selftest(graph, np.zeros((2, channels), np.int16))))


MODELS = (network(1, 1), network(3, 2), network(2, 12))
GOOD = {model.image: model for model in MODELS}
BROKEN = MODELS[0].image[:-1] + b"?"


@dataclass
class Oracle:
    """What a board must be: the state that its answers depend on."""

    room: int
    arena: int
    limit: int
    token: int | None = None
    last: int = 0
    slots: list[bytes] = field(default_factory=list)
    selected: int | None = None
    announced: int = 0
    slot: int = 0
    image: bytes = b""
    steps: int = 0

    def hear(self, packet: Packet) -> tuple[int, object] | None:
        """Type and content of the answer, None where there is none."""
        if packet.type >= p.STATUS:
            return None
        if packet.type == p.HELLO:
            return self.greet(packet)
        if self.token is None:
            return p.STATUS, (packet.type, p.ERR_GREETING, p.VERSION, 0)
        ahead = (packet.sequence - self.last) & 0xFFFF
        if ahead == 0 or ahead >= 0x8000:
            return None
        if ahead > 1:
            expected = (self.last + 1) & 0xFFFF
            return p.STATUS, (packet.type, p.ERR_GAP, expected, packet.sequence)
        self.last = packet.sequence
        return self.take(packet.type, packet.payload)

    def greet(self, packet: Packet) -> tuple[int, object]:
        payload = packet.payload
        resumed = False
        if len(payload) >= 8 and payload[0] == p.VERSION:
            (token,) = struct.unpack_from("<I", payload, 4)
            resumed = token == self.token
            if not resumed:
                self.token, self.last = token, packet.sequence
        return p.INFO, (self.selected is not None, resumed, self.last, self.steps)

    def take(self, kind: int, payload: bytes) -> tuple[int, object]:
        if kind == p.LIST:
            held = tuple(p.Slot(len(i), int.from_bytes(i[12:16], "little")) for i in self.slots)
            return p.MODELS, p.Models(self.selected, held)
        if kind == p.COUNT:
            return p.COUNTERS, None
        if kind == p.SENSE and len(payload) == 4:
            return p.SAMPLES, None
        if kind == p.STORE:
            return p.STORED, None
        handler = {
            p.UPDATE_BEGIN: lambda payload: (p.ERR_PACKET, 128, len(payload)),
            p.UPDATE_DATA: self.update_data,
            p.UPDATE_END: lambda payload: (p.ERR_ORDER, 0, 0),
            p.CONFIRM: lambda payload: (0, 0, 0),
            p.MODEL_BEGIN: self.begin,
            p.MODEL_DATA: self.data,
            p.MODEL_END: self.end,
            p.SELECT: self.select,
            p.SENSE: lambda payload: (p.ERR_PACKET, 4, len(payload)),
            p.EVO_BEGIN: lambda payload: (p.ERR_PACKET, 9, len(payload)),
            p.EVO_DATA: self.evolve,
            p.EVO_RUN: lambda payload: (p.ERR_ORDER, 8, len(payload)),
            p.EVO_READ: lambda payload: (
                p.ERR_ORDER if len(payload) == 8 else p.ERR_PACKET,
                8,
                len(payload),
            ),
        }.get(kind, lambda payload: self.with_model(kind, payload))
        status = handler(payload)
        return (p.RESULT, self.steps) if status is None else (p.STATUS, (kind, *status))

    def begin(self, payload: bytes) -> tuple[int, int, int]:
        if len(payload) != 5:
            return p.ERR_PACKET, 5, len(payload)
        size, slot = struct.unpack("<IB", payload)
        self.announced, self.image = 0, b""
        if slot > len(self.slots) or slot >= SLOTS:
            return p.ERR_SLOT, slot, len(self.slots)
        room = self.room - sum(-(-len(image) // 4) * 4 for image in self.slots[:slot])
        if size > room:
            return p.ERR_TOO_LARGE, size, room
        del self.slots[slot:]
        if self.selected is not None and self.selected >= slot:
            self.selected = None
        self.announced, self.slot = size, slot
        return 0, size, room

    def data(self, payload: bytes) -> tuple[int, int, int]:
        if len(payload) < 4:
            return p.ERR_PACKET, 4, len(payload)
        (offset,) = struct.unpack_from("<I", payload)
        if offset != len(self.image) or len(self.image) + len(payload) - 4 > self.announced:
            return p.ERR_ORDER, len(self.image), offset
        self.image += payload[4:]
        return 0, self.announced, len(self.image)

    def update_data(self, payload: bytes) -> tuple[int, int, int]:
        """Of an update that nobody has begun."""
        if len(payload) < 4:
            return p.ERR_PACKET, 4, len(payload)
        return p.ERR_ORDER, 0, int.from_bytes(payload[:4], "little")

    def end(self, payload: bytes) -> tuple[int, int, int]:
        if not self.announced or len(self.image) != self.announced:
            return p.ERR_ORDER, self.announced, len(self.image)
        if self.image not in GOOD:
            return -6 if self.image == BROKEN else -5, 0, 0
        status = self.load(self.image)
        if status[0] == 0:
            self.selected = self.slot
            self.slots[self.slot :] = [self.image]
        return status

    def load(self, image: bytes) -> tuple[int, int, int]:
        needed = GOOD[image].arena_bytes
        if needed > self.arena:
            return p.ERR_ARENA, needed, self.arena
        self.steps = 0
        return 0, needed, self.arena

    def select(self, payload: bytes) -> tuple[int, int, int]:
        if len(payload) != 1:
            return p.ERR_PACKET, 1, len(payload)
        if payload[0] >= len(self.slots):
            return p.ERR_SLOT, payload[0], len(self.slots)
        self.selected = payload[0]
        return self.load(self.slots[payload[0]])

    def evolve(self, payload: bytes) -> tuple[int, int, int]:
        if len(payload) < 4:
            return p.ERR_PACKET, 4, len(payload)
        return p.ERR_ORDER, 0, int.from_bytes(payload[:4], "little")

    def with_model(self, kind: int, payload: bytes) -> tuple[int, int, int] | None:
        if kind not in (p.RESET, p.FRAME, p.EVENTS, p.SELFTEST, p.SUBSCRIBE):
            return p.ERR_PACKET, 0, 0
        if self.selected is None:
            return p.ERR_NO_MODEL, 0, 0
        graph = GOOD[self.slots[self.selected]].graph
        channels, neurons = graph.input.size, graph.populations[0].size
        if kind in (p.RESET, p.SELFTEST):
            self.steps = 0
            return 0, 0, 0
        if kind == p.SUBSCRIBE:
            if len(payload) != 4:
                return p.ERR_PACKET, 4, len(payload)
            what, population = struct.unpack("<BxH", payload)
            if what > p.POTENTIALS or (what and population != 1):
                return p.ERR_POPULATION, population, 2
            return 0, p.result_bytes(neurons) + (0, 2, 4)[what] * neurons, self.limit
        frame = 4 + 2 * channels
        if kind == p.EVENTS and len(payload) >= 4 and len(payload) % 2 == 0:
            return -10, frame, len(payload)
        if kind == p.EVENTS or len(payload) != frame:
            return p.ERR_PACKET, frame, len(payload)
        self.steps += 1
        return None


def content(packet: Packet) -> object:
    """What the oracle says of an answer."""
    if packet.type == p.STATUS:
        status = p.Status.unpack(packet.payload)
        return status.request, status.code, status.needed, status.there
    if packet.type == p.INFO:
        info = p.Info.unpack(packet.payload)
        return info.model_loaded, info.resumed, info.last, info.steps
    if packet.type == p.RESULT:
        return p.Result.unpack(packet.payload).step
    if packet.type == p.MODELS:
        return p.Models.unpack(packet.payload)
    kinds = {p.SAMPLES: p.Samples, p.STORED: p.Stored}
    kinds.get(packet.type, p.Counters).unpack(packet.payload)
    return None


IMAGES = st.sampled_from([*GOOD, BROKEN, b"no image at all"])
WORDS = st.one_of(
    st.tuples(st.just(p.MODEL_BEGIN), st.builds(
        lambda size, slot: struct.pack("<IB", size, slot),
        st.sampled_from([0, 5, ROOM, ROOM + 1, *map(len, GOOD)]), st.integers(0, 5),
    )),
    st.tuples(st.just(p.MODEL_DATA), st.builds(
        lambda at, data: struct.pack("<I", at) + data, st.sampled_from([0, 0, 4, 99]), IMAGES
    )),
    st.tuples(st.just(p.SELECT), st.integers(0, 4).map(lambda slot: bytes([slot]))),
    st.tuples(st.just(p.SUBSCRIBE), st.builds(
        lambda what, which: struct.pack("<BxH", what, which), st.integers(0, 3), st.integers(0, 2)
    )),
    st.tuples(
        st.sampled_from([p.FRAME, p.FRAME, p.EVENTS]),
        st.sampled_from([6, 8, 10]).map(bytes),
    ),
    st.tuples(st.sampled_from([p.RESET, p.SELFTEST, p.LIST, p.COUNT, p.MODEL_END]), st.just(b"")),
    st.tuples(st.just(p.SENSE), st.integers(0, 2**32 - 1).map(struct.Struct("<I").pack)),
    # but what lies in flash, and starting anew, which tests/test_update.py has
    st.tuples(
        st.integers(2, 255).filter(lambda kind: kind not in (p.UPDATE_PREFIX, p.RESTART)),
        st.binary(max_size=9),
    ).filter(
        lambda word: word[0] != p.EVO_BEGIN or len(word[1]) != 9
    ),
)  # fmt: skip


def upload(image: bytes, slot: int) -> list[tuple[int, bytes]]:
    """All that it takes to put a model into a slot."""
    return [
        (p.MODEL_BEGIN, struct.pack("<IB", len(image), slot)),
        (p.MODEL_DATA, bytes(4) + image[:60]),
        (p.MODEL_DATA, struct.pack("<I", 60) + image[60:]),
        (p.MODEL_END, b""),
    ]


UPLOADS = st.builds(upload, IMAGES.filter(lambda image: len(image) > 60), st.integers(0, 4))
FILLED = st.lists(st.sampled_from([MODELS[0].image, MODELS[1].image]), max_size=5).map(
    lambda images: [
        ("say", [said for slot, image in enumerate(images) for said in upload(image, slot)])
    ]
)
NUMBERS = st.sampled_from([1] * 12 + [0, 2, 3, -1, 0x7FFF, 0x8000])
GREETINGS = st.one_of(
    st.sampled_from(TOKENS).map(p.hello), st.just(bytes([1])), st.just(p.hello(7)[:7])
)
TURNS = st.lists(
    st.one_of(
        st.lists(WORDS, min_size=1, max_size=6).map(lambda words: ("say", words)),
        UPLOADS.map(lambda words: ("say", words)),
        GREETINGS.map(lambda payload: ("greet", payload)),
        st.tuples(WORDS, NUMBERS).map(lambda said: ("number", said)),
    ),
    max_size=14,
)
TALK = st.builds(lambda first, then: first + then, FILLED, TURNS)


@contextmanager
def linked(name: str) -> Iterator[Transport]:
    link = open_transport(board_url(name))
    try:
        yield link
    finally:
        link.close()


def answers(link: Transport, decoder: Decoder, count: int) -> list[Packet]:
    got: list[Packet] = []
    while len(got) < count:
        heard = link.read(5.0)
        assert heard, "the board does not answer"
        got += decoder.feed(heard)
    return got


def converse(link: Transport, oracle: Oracle, talk: list[tuple[str, object]]) -> None:
    """Say it all, and compare every answer with the oracle's."""
    decoder = Decoder()
    packets: list[Packet] = []
    expected: list[tuple[int, int, object]] = []

    def say(packet: Packet) -> None:
        packets.append(packet)
        answer = oracle.hear(packet)
        if answer is not None:
            expected.append((packet.sequence, *answer))

    for what, said in talk:
        if what == "greet":
            assert isinstance(said, bytes)
            say(Packet(p.HELLO, len(packets) * 997 & 0xFFFF, said))
        elif what == "number":
            (kind, payload), offset = said  # type: ignore[misc]
            say(Packet(kind, (oracle.last + offset) & 0xFFFF, payload))
        else:
            for kind, payload in said:  # type: ignore[attr-defined]
                say(Packet(kind, (oracle.last + 1) & 0xFFFF, payload))
    for packet in packets:
        link.write(encode(packet))
    got = answers(link, decoder, len(expected))
    for packet, (sequence, kind, told) in zip(got, expected, strict=True):
        assert (packet.sequence, packet.type, content(packet)) == (sequence, kind, told)


@settings(max_examples=400, deadline=None)
@given(talk=TALK)
def check(link: Transport, talk: list[tuple[str, object]]) -> None:
    probe = Probe(link)
    info = p.Info.unpack(probe.hello().payload)
    # MODEL_BEGIN of nothing empties the board
    probe.ask(p.MODEL_BEGIN, struct.pack("<IB", 0, 0))
    oracle = Oracle(info.model_bytes, info.arena_bytes, info.payload_limit, probe.token)
    oracle.last = probe.sequence
    oracle.steps = p.Info.unpack(probe.hello().payload).steps
    converse(link, oracle, talk)


@pytest.mark.parametrize("name", [f"virtual://?model={ROOM}&arena={ARENA}", EMULATED])
def test_whatever_a_host_says_is_answered_as_the_specification_says(name: str) -> None:
    with linked(name) as link:
        check(link)
