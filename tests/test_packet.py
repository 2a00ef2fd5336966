"""The Python codec and the board's, one against the other, on packets and on anything else."""

from __future__ import annotations

import random
import re
import struct
import subprocess
import textwrap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cffi import FFI
from hypothesis import given, settings
from hypothesis import strategies as st
from links import WatchedLink
from native import CORE, FIRMWARE, SANITIZERS, STRICT, TESTS, call, tool

from edgesnn import blob, reference, runtime
from edgesnn.devices import Board, Frame, open_transport, protocol
from edgesnn.devices.packet import Decoder, Packet, encode, packet_bytes, stuff, unstuff
from edgesnn.graph import LIF, AnalogInput, Dense, Graph, SpikeCount

SPECIFICATION = FIRMWARE.parent / "docs" / "protocol.md"
APP = FIRMWARE / "app"
CODEC = (APP / "packet.c", *CORE)
INCLUDE = ("-I", FIRMWARE / "core", "-I", APP)
CAPACITY = 4111
CAPACITIES = (0, 6, 7, 8, 60, 261, 300, CAPACITY)
EDGES = (0, 7, 253, 254, 255, 261, 508, 509, 515, CAPACITY)


class BoardCodec:
    """`firmware/app/packet.c`, with the interface of `edgesnn.devices.packet`."""

    def __init__(self, library: Path) -> None:
        self.ffi: Any = FFI()
        header = (APP / "packet.h").read_text()
        self.ffi.cdef(re.sub(r"(?m)^#.*$", "", header))
        self.ffi.cdef("uint32_t esnn_crc32(uint32_t crc, const void *data, size_t size);")
        self.lib: Any = self.ffi.dlopen(str(library))
        self._out = bytearray()
        self._sink = self.ffi.callback(
            "esnn_sink", lambda _, data, size: self._out.extend(self.ffi.buffer(data, size))
        )

    def encode(self, packet: Packet) -> bytes:
        body = bytes([packet.type, packet.sequence & 255, packet.sequence >> 8]) + packet.payload
        data = self.ffi.new("uint8_t[]", len(body) + 4)
        self.ffi.memmove(data, body, len(body))
        self._out.clear()
        size = self.lib.esnn_seal(data, len(body))
        self.lib.esnn_encode(data, size, self._sink, self.ffi.NULL)
        return bytes(self._out)

    def decode(self, stream: bytes, capacity: int = CAPACITY) -> tuple[list[Packet], int]:
        data = self.ffi.new("uint8_t[]", capacity)
        decoder = self.ffi.new("esnn_decoder *")
        self.lib.esnn_decoder_init(decoder, data, capacity)
        packets = []
        for byte in stream:
            if self.lib.esnn_decode(decoder, byte):
                body = bytes(self.ffi.buffer(data, decoder.length))
                packets.append(Packet(body[0], body[1] | body[2] << 8, body[3:]))
        return packets, decoder.bad


@pytest.fixture(scope="module")
def board_codec(tmp_path_factory: pytest.TempPathFactory) -> BoardCodec:
    library = tmp_path_factory.mktemp("codec") / "codec.so"
    call([tool("cc"), *STRICT, "-O2", "-shared", "-fPIC", *INCLUDE, *CODEC, "-o", library])
    return BoardCodec(library)


def decode(stream: bytes, capacity: int = CAPACITY) -> tuple[list[Packet], int]:
    decoder = Decoder(capacity)
    return decoder.feed(stream), decoder.bad


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()):
        return draw(st.binary(max_size=40))
    size = max(0, draw(st.sampled_from(EDGES)) + draw(st.integers(-9, 2)))
    fill = draw(st.sampled_from(("zeros", "ones", "noise", "rare zeros")))
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    if fill == "zeros":
        return bytes(size)
    if fill == "ones":
        return b"\1" * size
    if fill == "noise":
        return rng.randbytes(size)
    return bytes(rng.randrange(250) and 7 for _ in range(size))


def packets() -> st.SearchStrategy[Packet]:
    return st.builds(Packet, st.integers(0, 255), st.integers(0, 65535), payloads())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A packet on the link, after something has happened to it."""
    wire = draw(packets().map(encode))
    at = draw(st.integers(0, len(wire) - 1))
    kind = draw(st.sampled_from(("cut", "beheaded", "flipped", "dropped", "doubled", "inserted")))
    if kind == "cut":
        return wire[:at]
    if kind == "beheaded":
        return wire[at:]
    if kind == "flipped":
        return wire[:at] + bytes([wire[at] ^ 1 << draw(st.integers(0, 7))]) + wire[at + 1 :]
    if kind == "dropped":
        return wire[:at] + wire[at + 1 :]
    if kind == "doubled":
        return wire * 2
    return wire[:at] + bytes([draw(st.integers(0, 255))]) + wire[at:]


def full_blocks(count: int) -> Packet:
    """A packet of bytes without a 0 that fills so many blocks of stuffing exactly."""
    for fill in range(1, 256):
        packet = Packet(fill, 0x0101 * fill, bytes([fill]) * (254 * count - 7))
        if len(encode(packet)) == 255 * count + 1:
            return packet
    raise AssertionError("there is none")


def spelled_out(packet: Packet) -> bytes:
    """The one other way to stuff it: with an empty block behind the last full one."""
    return encode(packet)[:-1] + b"\1\0"


def streams() -> st.SearchStrategy[bytes]:
    parts = st.one_of(
        packets().map(encode),
        damaged(),
        st.integers(1, 3).map(full_blocks).map(spelled_out),
        st.binary(max_size=60),
        st.integers(0, 4).map(bytes),
    )
    return st.lists(parts, max_size=8).map(b"".join)


@settings(max_examples=500, deadline=None)
@given(packet=packets())
def test_both_encode_to_the_same_bytes(board_codec: BoardCodec, packet: Packet) -> None:
    wire = encode(packet)
    assert wire == board_codec.encode(packet)
    assert wire.count(0) == 1
    assert wire.endswith(b"\0")
    assert len(wire) <= packet_bytes(len(packet.payload))


@settings(max_examples=500, deadline=None)
@given(sent=st.lists(packets(), max_size=4))
def test_what_one_sends_the_other_receives(board_codec: BoardCodec, sent: list[Packet]) -> None:
    kept = [packet for packet in sent if len(packet.payload) <= CAPACITY - 7]
    dropped = len(sent) - len(kept)
    assert board_codec.decode(b"".join(encode(p) for p in sent)) == (kept, dropped)
    assert decode(b"".join(board_codec.encode(p) for p in sent)) == (kept, dropped)


@settings(max_examples=1000, deadline=None)
@given(stream=streams(), capacity=st.sampled_from(CAPACITIES))
def test_both_receive_the_same_from_any_bytes(
    board_codec: BoardCodec, stream: bytes, capacity: int
) -> None:
    assert decode(stream, capacity) == board_codec.decode(stream, capacity)


@settings(max_examples=300, deadline=None)
@given(stream=streams(), capacity=st.sampled_from(CAPACITIES), seed=st.integers(0, 2**32 - 1))
def test_it_does_not_matter_in_which_pieces_bytes_arrive(
    stream: bytes, capacity: int, seed: int
) -> None:
    rng = random.Random(seed)
    decoder = Decoder(capacity)
    received = []
    at = 0
    while at < len(stream):
        size = rng.choice((1, 2, 7, 300))
        received += decoder.feed(stream[at : at + size])
        at += size
    assert (received, decoder.bad) == decode(stream, capacity)


@settings(max_examples=300, deadline=None)
@given(noise=streams() | st.binary(max_size=9000), packet=packets())
def test_a_packet_behind_a_delimiter_is_received_whatever_came_before(
    board_codec: BoardCodec, noise: bytes, packet: Packet
) -> None:
    stream = noise + b"\0" + encode(packet)
    if len(packet.payload) > CAPACITY - 7:
        return
    assert decode(stream)[0][-1] == packet
    assert board_codec.decode(stream)[0][-1] == packet


@settings(max_examples=300, deadline=None)
@given(packet=packets(), at=st.integers(0, 2**16), bit=st.integers(0, 7))
def test_no_packet_with_a_flipped_bit_is_received(
    board_codec: BoardCodec, packet: Packet, at: int, bit: int
) -> None:
    wire = bytearray(encode(packet))
    wire[at % (len(wire) - 1)] ^= 1 << bit
    assert decode(bytes(wire))[0] == board_codec.decode(bytes(wire))[0] == []


@pytest.mark.parametrize("size", [CAPACITY - 8, CAPACITY - 7, CAPACITY - 6, CAPACITY, 70000])
@pytest.mark.parametrize("fill", [b"\0", b"\1"])
def test_an_oversized_packet_is_dropped_and_counted(
    board_codec: BoardCodec, size: int, fill: bytes
) -> None:
    long, short = Packet(6, 1, fill * size), Packet(6, 2, b"ab")
    expected = ([long, short], 0) if size <= CAPACITY - 7 else ([short], 1)
    assert decode(encode(long) + encode(short)) == expected
    assert board_codec.decode(encode(long) + encode(short)) == expected


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_an_empty_block_behind_a_full_one_says_nothing(
    board_codec: BoardCodec, blocks: int
) -> None:
    packet = full_blocks(blocks)
    assert decode(spelled_out(packet)) == ([packet], 0)
    assert board_codec.decode(spelled_out(packet)) == ([packet], 0)


def test_idle_line_is_not_a_bad_packet(board_codec: BoardCodec) -> None:
    assert decode(bytes(9)) == board_codec.decode(bytes(9)) == ([], 0)


def test_the_crc_is_the_usual_one(board_codec: BoardCodec) -> None:
    assert board_codec.lib.esnn_crc32(0, b"123456789", 9) == zlib.crc32(b"123456789") == 0xCBF43926


@pytest.mark.parametrize(
    ("data", "stuffed"),
    [
        (b"", b"\1"),
        (b"\0", b"\1\1"),
        (b"\0\0", b"\1\1\1"),
        (b"ab\0c", b"\3ab\2c"),
        (b"a\0", b"\2a\1"),
        (b"x" * 253, b"\xfe" + b"x" * 253),
        (b"x" * 254, b"\xff" + b"x" * 254),
        (b"x" * 255, b"\xff" + b"x" * 254 + b"\2x"),
        (b"x" * 254 + b"\0", b"\xff" + b"x" * 254 + b"\1\1"),
    ],
)
def test_stuffing_by_example(data: bytes, stuffed: bytes) -> None:
    assert stuff(data) == stuffed
    assert unstuff(stuffed) == data


@pytest.fixture(scope="module")
def filter_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("sanitized") / "packet"
    command = [
        tool("cc"),
        *STRICT,
        *SANITIZERS,
        *INCLUDE,
        TESTS / "packet.c",
        *CODEC,
        "-o",
        program,
    ]
    call(command)
    return program


def hostile_stream(seed: int, size: int) -> bytes:
    rng = random.Random(seed)
    out = bytearray()
    while len(out) < size:
        length = rng.choice((0, 1, 5, rng.randrange(40), rng.choice(EDGES) - rng.randrange(10)))
        fill = rng.choice((rng.randbytes, bytes, lambda n: b"\1" * n))
        wire = bytearray(
            encode(Packet(rng.randrange(256), rng.randrange(65536), fill(max(0, length))))
        )
        for _ in range(rng.choice((0, 0, 1, 3))):
            wire[rng.randrange(len(wire))] ^= 1 << rng.randrange(8)
        out += wire[: rng.choice((len(wire), len(wire), rng.randrange(len(wire)))) or None]
        out += rng.randbytes(rng.choice((0, 0, 0, rng.randrange(300))))
    return bytes(out)


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_the_board_codec_stays_in_bounds(filter_program: Path, capacity: int) -> None:
    stream = hostile_stream(capacity, 400_000)
    done = subprocess.run([filter_program, str(capacity)], input=stream, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    received, bad = decode(stream, capacity)
    assert done.stdout == b"".join(map(encode, received))
    assert int(done.stderr) == bad
    assert bad > 1000
    assert capacity < 8 or len(received) > 100


def constants(header: Path) -> dict[str, int]:
    text = header.read_text()
    found = re.findall(r"\bESNN_([A-Z_]+) = (0x[0-9a-f]+|-?[0-9]+)", text)
    found += re.findall(r"#define ESNN_([A-Z_]+) ([0-9]+)", text)
    return {name: int(value, 0) for name, value in found}


def test_both_ends_use_the_same_numbers() -> None:
    board = constants(APP / "protocol.h")
    assert board.pop("PROTOCOL_VERSION") == protocol.VERSION
    assert len(board) == 60
    assert board == {name: getattr(protocol, name) for name in board}


def test_every_status_of_core_and_app_has_words() -> None:
    core = constants(FIRMWARE / "core" / "esnn.h")
    assert core.pop("OK") == 0
    assert core.pop("ERR_ARENA") == protocol.ERR_ARENA
    assert {*core.values(), protocol.ERR_ARENA} == set(runtime.STATUS)
    app = {code for name, code in constants(APP / "protocol.h").items() if name.startswith("ERR_")}
    for code in {*runtime.STATUS, *app}:
        words = protocol.Status(protocol.MODEL_END, code, 0, 0).text()
        assert not words.startswith("status"), code


def integrator() -> blob.Model:
    """One neuron that adds up its one channel and spikes above 10; its golden run is 6, 5."""
    one = np.ones(1, np.int32)
    graph = Graph(
        AnalogInput("input", np.zeros(1, np.int8)),
        (LIF("out", np.array([32768], np.uint16), 10 * one, 0 * one),),
        (Dense("input", "out", np.ones((1, 1), np.int8)),),
        SpikeCount("out"),
    )
    return blob.unpack(blob.pack(reference.with_selftest(graph, np.array([[6], [5]], np.int16))))


def in_words(packet: Packet) -> str:
    """A packet of the worked example as the specification words it."""
    payload = packet.payload
    names = {
        getattr(protocol, name): name
        for name in ("HELLO", "MODEL_BEGIN", "MODEL_DATA", "MODEL_END", "RESET", "FRAME")
    }
    if packet.type == protocol.INFO:
        info = protocol.Info.unpack(payload)
        return (
            f"INFO {packet.sequence}: version {info.version}, model {int(info.model_loaded)}, "
            f"payload {info.payload_limit}, window {info.window}, memory {info.model_bytes}, "
            f"arena {info.arena_bytes}, last {info.last}, slots {info.slots}, "
            f"steps {info.steps}, {info.name} {info.firmware}"
        )
    if packet.type == protocol.STATUS:
        status = protocol.Status.unpack(payload)
        return (
            f"STATUS {packet.sequence}: of {names[status.request]}, status {status.code}, "
            f"needed {status.needed}, there {status.there}"
        )
    if packet.type == protocol.RESULT:
        result = protocol.Result.unpack(payload)
        return (
            f"RESULT {packet.sequence}: label {result.label}, step {result.step}, "
            f"spikes {result.spikes}, synops {result.synops}, macs {result.macs}, "
            f"digest {result.digest:08x}, {result.micros} us, of {result.stamp} us, "
            f"scores {result.scores.tolist()}"
        )
    told = {
        protocol.HELLO: lambda: ": version {}, token {:08x}".format(
            *struct.unpack("<BxxxI", payload)
        ),
        protocol.MODEL_BEGIN: lambda: ": {} bytes, slot {}".format(*struct.unpack("<IB", payload)),
        protocol.MODEL_DATA: lambda: (
            f": offset {struct.unpack_from('<I', payload)[0]}, {len(payload) - 4} bytes"
        ),
        protocol.FRAME: lambda: ": at {} us, {}".format(*struct.unpack("<Ih", payload)),
    }.get(packet.type, lambda: "")
    return f"{names[packet.type]} {packet.sequence}{told()}"


def worked_example() -> str:
    """A whole session with a virtual board, whose clock is taken away."""
    link = WatchedLink(open_transport("virtual://"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.randbits", lambda bits: 0x1D5E if bits > 16 else 0)
        board = Board(link)
    with board:
        board.put_model(integrator())
        board.reset()
        for n, value in enumerate((6, 5)):
            frame = Frame(np.array([value], np.int16), 100_000 * n)
            assert len(list(board.stream([frame]))) == 1
    lines = []
    for request, answer in zip(link.asked, link.answered, strict=True):
        if answer.type == protocol.RESULT:
            payload = answer.payload[:24] + bytes(4) + answer.payload[28:]
            answer = Packet(answer.type, answer.sequence, payload)
        for mark, packet in ((">", request), ("<", answer)):
            lines.append(f"{mark} {in_words(packet)}")
            lines += textwrap.wrap(
                encode(packet).hex(" "), 24 * 3, initial_indent="    ", subsequent_indent="    "
            )
    return "\n".join(lines)


def test_the_worked_example_is_what_really_goes_over_the_link() -> None:
    text = SPECIFICATION.read_text()
    (example,) = re.findall(r"```hex\n(.*?)\n```", text, re.DOTALL)
    assert example == worked_example(), "put in what `python tests/test_packet.py` prints"


def test_the_specification_has_every_type_and_status() -> None:
    text = SPECIFICATION.read_text()
    header = (APP / "protocol.h").read_text()
    (types,) = re.findall(r"enum esnn_packet_type \{(.*?)\};", header, re.DOTALL)
    for name, value in re.findall(r"ESNN_([A-Z_]+) = (0x[0-9a-f]+)", types):
        row = f"| {value} | {name} | " if int(value, 16) < protocol.STATUS else f"{name}, {value}"
        assert f"\n{row}" in text, name
    for name, code in constants(APP / "protocol.h").items():
        assert not name.startswith("ERR_") or f"\n| {code} | " in text, name


if __name__ == "__main__":
    print(worked_example())
