"""The stream app, virtual and emulated, over real pseudo-terminals: what a host can rely on."""

from __future__ import annotations

import copy
import errno
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serial
from graphs import graphs_and_frames
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from links import (
    CLEAN,
    Faults,
    HungryLink,
    NoisyLink,
    Probe,
    RepeatingLink,
    SilentLink,
    WatchedLink,
)

from edgesnn import blob, reference
from edgesnn.devices import (
    Answer,
    Board,
    Fate,
    Frame,
    Session,
    StateLostError,
    Stream,
    Transport,
    open_board,
    open_transport,
)
from edgesnn.devices import protocol as p
from edgesnn.devices.backend import board_backend, board_url
from edgesnn.devices.packet import Decoder, Packet, encode, packet_bytes
from edgesnn.errors import DeviceError, EdgesnnError, MissingError, ModelError
from edgesnn.graph import (
    LIF,
    AnalogInput,
    Dense,
    Graph,
    Int16Array,
    Potential,
    PotentialMode,
    SpikeCount,
    SpikeInput,
)

EMULATED = pytest.param("mps2-an386", marks=pytest.mark.board)
BOARDS = ("virtual", EMULATED)
OUTPUTS = ("labels", "scores", "step_labels", "synops", "macs", "spikes", "digests")
CHANNELS = 3
STAMP = bytes(4)  # a time stamp for frames whose time says nothing


def opened(name: str) -> Transport:
    """The link to a board; firmware that is not built fails the test in the product's words."""
    try:
        return open_transport(board_url(name))
    except MissingError as error:
        pytest.fail(str(error), pytrace=False)


@dataclass
class Rig:
    """A board, and what watches its link."""

    board: Board
    link: WatchedLink

    def window_was_kept(self) -> bool:
        model = self.board.model
        assert model is not None
        scores = model.graph.size(model.graph.readout.population)
        answers = self.link.most_unanswered * packet_bytes(p.result_bytes(scores))
        window = self.board.info.window
        return self.link.most_under_way <= window and answers <= window


@pytest.fixture(scope="module", params=BOARDS)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with board_rig(request.param) as found:
        yield found


@contextmanager
def board_rig(name: str) -> Iterator[Rig]:
    link = WatchedLink(opened(name))
    try:
        yield Rig(Board(link), link)
    finally:
        link.close()


@pytest.fixture(scope="module", params=BOARDS)
def probe(request: pytest.FixtureRequest) -> Iterator[Probe]:
    link = opened(request.param)
    try:
        yield Probe(link)
    finally:
        link.close()


def neurons(name: str, size: int) -> LIF:
    rng = np.random.default_rng(size)
    return LIF(
        name,
        decay=np.array([30000], np.uint16),
        threshold=rng.integers(100, 900, size).astype(np.int32),
        bias=np.zeros(size, np.int32),
    )


def summing() -> Graph:
    """Three channels into five neurons whose sums of potentials remember every frame."""
    weights = np.random.default_rng(1).integers(-9, 9, (5, CHANNELS)).astype(np.int8)
    return Graph(
        AnalogInput("input", np.zeros(CHANNELS, np.int8)),
        (neurons("out", 5),),
        (Dense("input", "out", weights),),
        Potential("out", PotentialMode.SUM),
    )


def frames_of(steps: int, seed: int = 0) -> Int16Array:
    """(1, steps, CHANNELS), every frame another."""
    frames = np.random.default_rng(seed).integers(-300, 300, (1, steps, CHANNELS))
    frames[0, :, 0] = np.arange(steps) - steps // 2
    return frames.astype(np.int16)


def model_of(graph: Graph, frames: Int16Array | None = None) -> blob.Model:
    if frames is None:
        frames = np.zeros((2, graph.input.size), np.int16)
    return blob.unpack(blob.pack(reference.with_selftest(graph, frames)))


SUMMING = model_of(summing(), frames_of(4)[0])


def begin(size: int, slot: int = 0) -> bytes:
    """The payload of MODEL_BEGIN."""
    return struct.pack("<IB", size, slot)


def put(probe: Probe, image: bytes) -> Packet:
    """Send an image whole; the answer to its end."""
    probe.ask(p.MODEL_BEGIN, begin(len(image)))
    for at in range(0, len(image), 512):
        probe.ask(p.MODEL_DATA, struct.pack("<I", at) + image[at : at + 512])
    return probe.ask(p.MODEL_END)


def status(packet: Packet) -> tuple[int, int, int]:
    """(code, needed, there) of an answer that is a STATUS."""
    assert packet.type == p.STATUS
    found = p.Status.unpack(packet.payload)
    return found.code, found.needed, found.there


def step_of(packet: Packet) -> int:
    assert packet.type == p.RESULT
    return p.Result.unpack(packet.payload).step


def expect_reference(rig: Rig, graph: Graph, frames: Int16Array) -> None:
    expected = reference.run(graph, frames)
    rig.link.forget()
    rig.board.put_model(model_of(graph, frames[0]))
    session = Stream(rig.board, frames).run()
    for name in OUTPUTS:
        np.testing.assert_array_equal(getattr(session.outputs, name), getattr(expected, name), name)
    assert (session.fates == Fate.ANSWERED).all()
    assert session.agreement(expected) == 1
    assert not session.missed.any()
    assert [answer.sequence for answer in rig.link.answered] == [
        packet.sequence for packet in rig.link.asked
    ]
    assert rig.window_was_kept()


@settings(max_examples=300, deadline=None)
@given(case=graphs_and_frames(samples=1, steps=6))
def check_on_virtual(rig: Rig, case: tuple[Graph, Int16Array]) -> None:
    expect_reference(rig, *case)


@settings(max_examples=200, deadline=None)
@given(case=graphs_and_frames(samples=1, steps=6))
def check_on_emulated(rig: Rig, case: tuple[Graph, Int16Array]) -> None:
    model, board = model_of(case[0], case[1][0]), rig.board.info
    assume(len(model.image) <= board.model_bytes and model.arena_bytes <= board.arena_bytes)
    expect_reference(rig, *case)


def test_any_graph_gives_the_references_bits_on_the_board(rig: Rig) -> None:
    check = check_on_virtual if rig.board.info.name == "virtual" else check_on_emulated
    check(rig)


def test_a_long_stream_fills_the_window_and_never_passes_it(rig: Rig) -> None:
    frames = frames_of(1500)
    rig.board.put_model(SUMMING)
    rig.link.forget()
    session = Stream(rig.board, frames).run()
    assert session.agreement(reference.run(SUMMING.graph, frames)) == 1
    assert rig.window_was_kept()
    answer = packet_bytes(p.result_bytes(5))
    assert rig.link.most_unanswered * answer > rig.board.info.window - 2 * answer


def test_frames_come_at_the_pace_that_is_asked_for(rig: Rig) -> None:
    rig.board.put_model(SUMMING)
    rig.board.reset()
    rig.link.forget()
    start = time.monotonic()
    answers = list(rig.board.stream(frames_of(10)[0], period=0.02))
    assert time.monotonic() - start >= 9 * 0.02
    assert all(answer.result is not None for answer in answers)


def test_several_recordings_each_start_from_a_reset(rig: Rig) -> None:
    frames = np.concatenate([frames_of(7, seed) for seed in range(3)])
    rig.board.put_model(SUMMING)
    expected = reference.run(SUMMING.graph, frames)
    assert Stream(rig.board, frames).run().agreement(expected) == 1


def test_spikes_may_be_sent_as_events_or_as_whole_frames(probe: Probe) -> None:
    graph = Graph(
        SpikeInput("input", 4),
        (neurons("out", 2),),
        (Dense("input", "out", np.full((2, 4), 90, np.int8)),),
        Potential("out"),
    )
    frame = np.array([[[0, 1, 0, -7]]], np.int16)
    expected = int(reference.run(graph, (frame != 0).astype(np.int16)).digests[0, 0])
    assert status(put(probe, model_of(graph).image))[0] == 0
    dense = p.Result.unpack(probe.ask(p.FRAME, STAMP + frame.tobytes()).payload)
    assert status(probe.ask(p.RESET))[0] == 0
    events = p.Result.unpack(probe.ask(p.EVENTS, STAMP + struct.pack("<2H", 1, 3)).payload)
    assert dense.digest == events.digest == expected


def test_a_model_larger_than_the_memory_for_it_is_refused(rig: Rig) -> None:
    room = rig.board.info.model_bytes
    size = int(room**0.5) + 1
    weights = np.zeros((size, size), np.int8)
    dense = Dense("input", "out", weights)
    graph = Graph(SpikeInput("input", size), (neurons("out", size),), (dense,), SpikeCount("out"))
    model = blob.unpack(blob.pack(graph))
    words = rf"refuses the model: it does not fit.*\({len(model.image)} bytes needed, {room} there"
    with pytest.raises(ModelError, match=words):
        rig.board.put_model(model)
    rig.board.put_model(SUMMING)


def test_a_model_whose_state_does_not_fit_the_arena_is_refused(rig: Rig) -> None:
    room = rig.board.info.arena_bytes
    size = min(room // 14 + 1, 65535)
    graph = Graph(SpikeInput("input", 1), (neurons("out", size),), (), SpikeCount("out"))
    needed = blob.arena_bytes(graph)
    if needed <= room:
        populations = tuple(neurons(f"p{k}", 65535) for k in range(3))
        graph = replace(graph, populations=populations, readout=SpikeCount("p0"))
        needed = blob.arena_bytes(graph)
    words = rf"refuses the model: .*arena \({needed} bytes needed, {room} there\)"
    with pytest.raises(ModelError, match=words):
        rig.board.put_model(blob.unpack(blob.pack(graph)))
    rig.board.put_model(SUMMING)


def test_a_model_whose_answers_do_not_fit_a_packet_is_refused(rig: Rig) -> None:
    limit = rig.board.info.payload_limit
    most = (limit - p.RESULT_BYTES) // 4

    def graph(classes: int) -> Graph:
        return Graph(SpikeInput("in", 1), (neurons("out", classes),), (), SpikeCount("out"))

    frames = np.zeros((1, 3, 1), np.int16)
    expect_reference(rig, graph(most), frames)
    needed = p.result_bytes(most + 1)
    words = rf"refuses the model: .*fit into a packet \({needed} bytes needed, {limit} there\)"
    with pytest.raises(ModelError, match=words):
        rig.board.put_model(model_of(graph(most + 1)))


def test_a_model_whose_frames_do_not_fit_a_packet_is_refused(rig: Rig) -> None:
    channels = (rig.board.info.payload_limit - 4) // 2

    def graph(size: int) -> Graph:
        dense = Dense("input", "out", np.ones((1, size), np.int8))
        return Graph(SpikeInput("input", size), (neurons("out", 1),), (dense,), Potential("out"))

    frames = np.ones((1, 12, channels), np.int16)
    expect_reference(rig, graph(channels), frames)
    with pytest.raises(ModelError, match=rf"fit into a packet \({2 * channels + 6} bytes needed"):
        rig.board.put_model(model_of(graph(channels + 1)))


def test_a_board_with_little_memory_says_what_it_has_and_what_it_lacks() -> None:
    image, arena = len(SUMMING.image), SUMMING.arena_bytes
    with open_board(f"virtual://?model={image}&arena={arena}") as board:
        assert (board.info.model_bytes, board.info.arena_bytes) == (image, arena)
        board.put_model(SUMMING)
    with (
        open_board(f"virtual://?model={image - 1}") as board,
        pytest.raises(ModelError, match=rf"\({image} bytes needed, {image - 1} there\)"),
    ):
        board.put_model(SUMMING)
    with (
        open_board(f"virtual://?arena={arena - 4}") as board,
        pytest.raises(ModelError, match=rf"\({arena} bytes needed, {arena - 4} there\)"),
    ):
        board.put_model(SUMMING)


def test_a_damaged_model_is_refused_and_the_next_one_taken(rig: Rig) -> None:
    image = bytearray(SUMMING.image)
    image[len(image) // 2] ^= 4
    with pytest.raises(ModelError, match="refuses the model: it is damaged"):
        rig.board.put_model(replace(SUMMING, image=bytes(image)))
    assert rig.board.model is None
    with pytest.raises(ModelError, match="no model on the board"):
        next(rig.board.stream(frames_of(1)[0]))
    expect_reference(rig, summing(), frames_of(5))


def test_a_model_whose_self_test_gives_other_bits_is_refused(rig: Rig) -> None:
    wrong = summing().with_selftest(frames_of(4)[0], 12345)
    with pytest.raises(ModelError, match="refuses the model: its self-test gave other bits"):
        rig.board.put_model(blob.unpack(blob.pack(wrong)))
    with pytest.raises(ModelError, match="it holds no model"):
        rig.board.reset()
    rig.board.put_model(SUMMING)
    rig.board.selftest()


def test_frames_of_another_width_are_refused_before_they_are_sent(rig: Rig) -> None:
    rig.board.put_model(SUMMING)
    rig.link.forget()
    with pytest.raises(ModelError, match=r"shape \(5, 2\), the model takes \(steps, 3\)"):
        next(rig.board.stream(np.zeros((5, 2), np.int16)))
    assert rig.link.asked == []


def test_a_stream_that_is_left_early_disturbs_nothing_after_it(rig: Rig) -> None:
    rig.board.put_model(SUMMING)
    rig.link.forget()
    frames = frames_of(800)
    for _ in range(3):
        stream = rig.board.stream(frames[0])
        assert next(stream).number == 0
        stream.close()
    answers = list(rig.board.stream(frames[0, :4]))
    assert [answer.result is not None for answer in answers] == [True] * 4
    assert rig.window_was_kept()
    expect_reference(rig, summing(), frames[:, :50])


def test_a_board_holds_several_models_and_runs_the_one_that_is_selected(rig: Rig) -> None:
    board = rig.board
    other = model_of(replace(summing(), readout=SpikeCount("out")), frames_of(3)[0])
    board.put_model(SUMMING)
    board.put_model(other, slot=1)
    held = board.models()
    assert held.selected == 1
    assert [slot.image_bytes for slot in held.slots] == [len(SUMMING.image), len(other.image)]
    frames = frames_of(20)
    for slot, model in ((0, SUMMING), (1, other), (0, SUMMING)):
        board.select(slot, model)
        assert board.models().selected == slot
        session = Stream(board, frames).run()
        assert session.agreement(reference.run(model.graph, frames)) == 1
    with pytest.raises(ModelError, match=r"^slot 0 of board \S+ holds another model: put the"):
        board.select(0, other)
    with pytest.raises(ModelError, match=r"^slot 2 of board \S+ is empty: put the model on it"):
        board.select(2, other)
    with pytest.raises(ModelError, match=r"refuses the model: it has no such slot"):
        board.put_model(other, slot=3)
    board.put_model(other)
    assert len(board.models().slots) == 1


def test_spikes_and_potentials_come_with_the_answers_to_who_subscribes(rig: Rig) -> None:
    board, frames = rig.board, frames_of(60)
    board.put_model(SUMMING)
    states = list(zip(*trace(summing(), frames), strict=True))
    for what, dtype in (("spikes", "<u2"), ("potentials", "<i4")):
        board.subscribe(what, "out")
        board.reset()
        rig.link.forget()
        for answer, (spikes, potentials) in zip(board.stream(frames[0]), states, strict=True):
            assert answer.result is not None
            got = np.frombuffer(answer.result.subscribed, dtype)
            np.testing.assert_array_equal(got, spikes if what == "spikes" else potentials)
        assert rig.window_was_kept()
    assert any(len(spikes) for spikes, _ in states)
    board.subscribe("nothing")
    board.reset()
    (answer,) = board.stream(frames[0, :1])
    assert answer.result is not None
    assert answer.result.subscribed == b""
    with pytest.raises(ModelError, match="no population 'input': there is out"):
        board.subscribe("spikes", "input")
    with pytest.raises(ModelError, match="'moods' cannot be subscribed to: nothing, spikes, "):
        board.subscribe("moods", "out")


@settings(max_examples=60, deadline=None)
@given(case=graphs_and_frames(samples=1, steps=5), which=st.integers(0, 9), raw=st.booleans())
def check_subscription(board: Board, case: tuple[Graph, Int16Array], which: int, raw: bool) -> None:
    graph, frames = case
    population = graph.populations[which % len(graph.populations)]
    name = population.name
    board.put_model(model_of(graph, frames[0]))
    states = list(reference_states(graph, frames))
    what = "potentials" if raw else "spikes"
    there = name in states[0].membrane if raw else not population.emits_values
    if not there:
        with pytest.raises(ModelError, match="has no spikes, or no potentials, to give"):
            board.subscribe(what, name)
        return
    board.subscribe(what, name)
    board.reset()
    for answer, state in zip(board.stream(frames[0]), states, strict=True):
        assert answer.result is not None
        got = np.frombuffer(answer.result.subscribed, "<i4" if raw else "<u2")
        spikes = np.flatnonzero(state.emitted[name][0])
        np.testing.assert_array_equal(got, state.membrane[name][0] if raw else spikes)


def reference_states(graph: Graph, frames: Int16Array) -> Iterator[Any]:
    return (copy.deepcopy(state) for state in reference.steps(graph, frames))


def test_any_population_may_be_subscribed_to() -> None:
    with open_board("virtual") as board:
        check_subscription(board)


def trace(graph: Graph, frames: Int16Array) -> tuple[list[Any], list[Any]]:
    """Spikes and potentials of its last population after each step, from the reference."""
    name = graph.populations[-1].name
    spikes, potentials = [], []
    for state in reference.steps(graph, frames):
        spikes.append(np.flatnonzero(state.emitted[name][0]))
        potentials.append(state.membrane[name][0].copy())
    return spikes, potentials


def test_a_board_counts_what_it_does(rig: Rig) -> None:
    rig.board.put_model(SUMMING)
    before = rig.board.counters()
    list(rig.board.stream(frames_of(10)[0]))
    rig.link.write(b"noise" + bytes(1))
    after = rig.board.counters()
    assert after.steps - before.steps == 10
    assert after.taken - before.taken == 11
    assert after.bad - before.bad == 1
    assert after.clock_us != before.clock_us
    assert (after.copies, after.overruns) == (before.copies, 0)


def test_a_time_stamp_comes_back_with_the_answer(rig: Rig) -> None:
    rig.board.put_model(SUMMING)
    times = (0, 1, 2**31, 2**32 - 1, 2**32 + 5)
    source = [Frame(np.zeros(CHANNELS, np.int16), time_us) for time_us in times]
    answers = list(rig.board.stream(source))
    assert [a.result.stamp for a in answers if a.result] == [t % 2**32 for t in times]


def test_a_source_may_have_nothing_ready(rig: Rig) -> None:
    rig.board.put_model(SUMMING)

    def source() -> Iterator[Frame | None]:
        for number in range(5):
            yield from [None] * 3
            yield Frame(np.full(CHANNELS, number, np.int16))

    assert [a.number for a in rig.board.stream(source()) if a.result] == list(range(5))


@contextmanager
def board_behind_two_lines() -> Iterator[tuple[Callable[[], Transport], Callable[[], None]]]:
    """A board that keeps its state while the host's line to it comes and goes.

    Yields what opens a line to it, and what cuts the line that is open.
    """
    board = opened("virtual")
    server = socket.create_server(("127.0.0.1", 0))
    lines: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                line, _ = server.accept()
            except OSError:
                return
            line.settimeout(0.001)
            lines.append(line)
            with line:
                while True:
                    try:
                        heard = line.recv(4096)
                        if not heard:
                            break
                        board.write(heard)
                    except TimeoutError:
                        pass
                    except OSError:
                        break
                    with suppress(OSError):
                        line.sendall(board.read(0))

    thread = threading.Thread(target=serve)
    thread.start()

    def cut() -> None:
        with suppress(OSError):
            lines[-1].shutdown(socket.SHUT_RDWR)

    try:
        yield lambda: open_transport(f"socket://127.0.0.1:{server.getsockname()[1]}"), cut
    finally:
        server.shutdown(socket.SHUT_RDWR)
        cut()
        server.close()
        thread.join()
        board.close()


def test_a_stream_goes_on_over_a_new_link_to_a_board_that_kept_its_state() -> None:
    frames = frames_of(3000)
    with board_behind_two_lines() as (reopen, cut), Board(reopen(), reopen) as board:
        board.put_model(SUMMING)
        board.reset()
        fates = []
        digests = []
        for answer in board.stream(frames[0], timeout=0.3):
            fates.append(answer.fate)
            digests.append(answer.result.digest if answer.result else None)
            if answer.number in (700, 1900):
                cut()
        assert board.counters().steps >= 3000
    expected = reference.run(SUMMING.graph, frames).digests[0]
    assert set(fates) <= {Fate.ANSWERED, Fate.LOST}
    assert fates.count(Fate.ANSWERED) > 1000
    assert all(digest in (None, expected[n]) for n, digest in enumerate(digests))


def test_a_board_that_was_started_anew_is_not_taken_for_the_same() -> None:
    with Board(opened("virtual")) as board:
        board.put_model(SUMMING)
        words = "^board virtual was started anew, or another program used it, and what it held is"
        with pytest.raises(StateLostError, match=words):
            board.resume(opened("virtual"))


def test_what_a_board_says_of_itself(probe: Probe) -> None:
    info = p.Info.unpack(probe.hello().payload)
    assert info.version == 2
    assert info.firmware == version("edgesnn")
    assert info.name in ("virtual", "mps2-an386")
    assert packet_bytes(info.payload_limit) <= info.window


def test_without_a_model_there_is_nothing_to_run(probe: Probe) -> None:
    probe.ask(p.MODEL_BEGIN, begin(64))
    assert not p.Info.unpack(probe.hello().payload).model_loaded
    for kind in (p.FRAME, p.EVENTS, p.RESET, p.SELFTEST):
        assert status(probe.ask(kind, bytes(6))) == (p.ERR_NO_MODEL, 0, 0)


def test_an_unknown_packet_is_answered_with_a_status(probe: Probe) -> None:
    for kind in (0x00, 0x1F, 0x42, 0x7F):
        answer = probe.ask(kind, b"hello")
        assert status(answer) == (p.ERR_PACKET, 0, 0)
        assert answer.payload[0] == kind


def test_answers_are_not_answered(probe: Probe) -> None:
    for kind in (p.STATUS, p.INFO, p.RESULT, 0xFF):
        probe.send(kind, bytes(12))
    assert probe.answers_until_hello() == []


def test_frames_and_events_that_the_model_does_not_take_are_refused(probe: Probe) -> None:
    assert status(put(probe, SUMMING.image))[0] == 0
    for size in (0, 3, 4, 8, 12):
        assert status(probe.ask(p.FRAME, bytes(size))) == (p.ERR_PACKET, 10, size)
    assert status(probe.ask(p.EVENTS, bytes(6))) == (-10, 10, 6)
    assert step_of(probe.ask(p.FRAME, bytes(10))) == 1

    spikes = Graph(SpikeInput("input", 3), (neurons("out", 2),), (), SpikeCount("out"))
    assert status(put(probe, model_of(spikes).image))[0] == 0
    for size in (0, 3, 7):
        assert status(probe.ask(p.EVENTS, bytes(size))) == (p.ERR_PACKET, 10, size)
    for events in ((3,), (1, 1), (2, 1), (0, 1, 2, 3)):
        payload = STAMP + struct.pack(f"<{len(events)}H", *events)
        assert status(probe.ask(p.EVENTS, payload)) == (-10, 10, len(payload))
    assert step_of(probe.ask(p.EVENTS, STAMP)) == 1


def test_pieces_of_a_model_out_of_order_are_refused(probe: Probe) -> None:
    image = SUMMING.image
    assert status(probe.ask(p.MODEL_BEGIN, b"abc")) == (p.ERR_PACKET, 5, 3)
    assert status(probe.ask(p.MODEL_BEGIN, begin(len(image))))[0] == 0
    assert status(probe.ask(p.MODEL_DATA, b"abc")) == (p.ERR_PACKET, 4, 3)
    assert status(probe.ask(p.MODEL_DATA, struct.pack("<I", 4) + image[4:8])) == (
        p.ERR_ORDER, 0, 4,
    )  # fmt: skip
    assert status(probe.ask(p.MODEL_DATA, struct.pack("<I", 0) + image[:8])) == (0, len(image), 8)
    assert status(probe.ask(p.MODEL_END)) == (p.ERR_ORDER, len(image), 8)
    assert status(probe.ask(p.MODEL_DATA, struct.pack("<I", 8) + image[8:] + b"x")) == (
        p.ERR_ORDER, 8, 8,
    )  # fmt: skip
    rest = probe.ask(p.MODEL_DATA, struct.pack("<I", 8) + image[8:])
    assert status(rest) == (0, len(image), len(image))
    assert status(probe.ask(p.MODEL_END))[0] == 0


def test_a_model_that_is_refused_for_its_size_leaves_the_one_before(probe: Probe) -> None:
    assert status(put(probe, SUMMING.image))[0] == 0
    room = p.Info.unpack(probe.hello().payload).model_bytes
    refused = probe.ask(p.MODEL_BEGIN, begin(0xFFFFFFFF))
    assert status(refused) == (p.ERR_TOO_LARGE, 0xFFFFFFFF, room)
    assert status(probe.ask(p.MODEL_END)) == (p.ERR_ORDER, 0, 0)
    assert step_of(probe.ask(p.FRAME, bytes(10))) == 1


def test_the_largest_packet_is_taken_and_one_too_large_dropped(probe: Probe) -> None:
    limit = p.Info.unpack(probe.hello().payload).payload_limit
    assert status(put(probe, SUMMING.image))[0] == 0
    assert status(probe.ask(p.FRAME, b"\1" * limit)) == (p.ERR_PACKET, 10, limit)
    probe.send(p.FRAME, b"\1" * (limit + 200))
    assert probe.answers_until_hello() == []
    assert step_of(probe.ask(p.FRAME, bytes(10))) == 1


def test_noise_is_dropped_and_the_next_packet_taken(probe: Probe) -> None:
    put(probe, SUMMING.image)
    noise = np.random.default_rng(3).bytes(20_000)
    for at in range(0, len(noise), 1000):
        probe.link.write(noise[at : at + 1000] + b"\0")
        assert probe.answers_until_hello() == []
    probe.link.write(encode(Packet(p.FRAME, probe.sequence + 1, bytes(10)))[:-3] + b"\0")
    assert probe.answers_until_hello() == []
    assert step_of(probe.ask(p.FRAME, bytes(10))) == 1


def test_a_frame_that_comes_twice_is_stepped_and_answered_once(probe: Probe) -> None:
    put(probe, SUMMING.image)
    assert step_of(probe.ask(p.FRAME, bytes(10))) == 1
    copies = p.Counters.unpack(probe.ask(p.COUNT).payload).copies
    for wire in (
        encode(Packet(p.FRAME, probe.sequence, bytes(10))),
        encode(Packet(p.FRAME, probe.sequence - 1, bytes(10))),
        encode(Packet(p.RESET, probe.sequence)),
        encode(Packet(p.MODEL_END, probe.sequence - 2)),
    ):
        probe.link.write(wire)
    assert step_of(probe.ask(p.FRAME, bytes(10))) == 2
    assert probe.answers_until_hello() == []
    assert p.Counters.unpack(probe.ask(p.COUNT).payload).copies == copies + 4


def test_a_packet_behind_a_gap_is_refused_and_the_missing_one_still_taken(probe: Probe) -> None:
    put(probe, SUMMING.image)
    expected = probe.sequence + 1 & 0xFFFF
    for ahead in (1, 2, 0x7FFE):
        number = expected + ahead & 0xFFFF
        probe.link.write(encode(Packet(p.FRAME, number, bytes(10))))
        answer = probe.answer()
        assert answer is not None
        assert answer.sequence == number
        assert status(answer) == (p.ERR_GAP, expected, number)
    assert step_of(probe.ask(p.FRAME, bytes(10))) == 1


def test_sequence_numbers_wrap(probe: Probe) -> None:
    put(probe, SUMMING.image)
    for token, number in ((1, 0xFFFE), (2, 0xFFFF)):
        probe.token, probe.greetings = token, number - 1
        probe.hello()
        assert probe.sequence == number
        assert [step_of(probe.ask(p.FRAME, bytes(10))) for _ in range(3)] == [1, 2, 3]
        assert status(probe.ask(p.RESET))[0] == 0


def test_a_host_that_a_board_knows_goes_on_and_another_starts_anew(probe: Probe) -> None:
    put(probe, SUMMING.image)
    assert step_of(probe.ask(p.FRAME, bytes(10))) == 1
    last = probe.sequence
    info = p.Info.unpack(probe.hello().payload)
    assert (info.resumed, info.last, info.steps, info.model_loaded) == (True, last, 1, True)
    probe.token += 1
    info = p.Info.unpack(probe.hello().payload)
    assert (info.resumed, info.last, info.steps) == (False, probe.greetings, 1)
    assert step_of(probe.ask(p.FRAME, bytes(10))) == 2


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_takes_nothing_from_a_host_that_speaks_another_version(name: str) -> None:
    link = opened(name)
    try:
        for greeting in (b"", bytes([1]), bytes([1, 0, 0, 0, 7, 0, 0, 0]), bytes([2, 0, 0, 0])):
            link.write(b"\0" + encode(Packet(p.HELLO, 5, greeting)))
            link.write(encode(Packet(p.RESET, 6)))
            decoder = Decoder()
            answers: list[Packet] = []
            while len(answers) < 2:
                answers += decoder.feed(link.read(5.0))
            assert p.Info.unpack(answers[0].payload).version == 2
            assert status(answers[1]) == (p.ERR_GREETING, 2, 0)
    finally:
        link.close()


def run_through(link: Transport, frames: Int16Array, timeout: float = 5.0) -> Session:
    board = Board(link)
    board.put_model(SUMMING)
    return Stream(board, frames, timeout=timeout).run()


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("seed", range(4))
def test_packets_that_a_link_repeats_change_nothing(name: str, seed: int) -> None:
    frames = np.concatenate([frames_of(30, k) for k in range(3)])
    link = RepeatingLink(opened(name), seed)
    try:
        session = run_through(link, frames)
    finally:
        link.close()
    assert link.repeated > 5
    assert session.agreement(reference.run(SUMMING.graph, frames)) == 1
    assert not session.missed.any()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesnn.devices.board.HELLO_TIMEOUT", 0.1)
    monkeypatch.setattr("edgesnn.devices.board.RETRY_AFTER", 0.1)


RATES = st.sampled_from((0.0, 0.0, 0.001, 0.005, 0.02))
FAULTS = st.builds(Faults, flip=RATES, drop=RATES, duplicate=RATES, insert=RATES)
LOSSY_FRAMES = frames_of(120)
LOSSY_EXPECTED = reference.run(SUMMING.graph, LOSSY_FRAMES)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), to_board=FAULTS, to_host=FAULTS, resend=st.booleans())
def check_lossy_link(
    line: Transport, seed: int, to_board: Faults, to_host: Faults, resend: bool
) -> None:
    reached = WatchedLink(line)
    noise = NoisyLink(reached, seed)
    sent = WatchedLink(noise)
    board = Board(sent)
    board.put_model(SUMMING)
    board.reset()
    sent.forget()
    reached.forget()
    noise.to_board, noise.to_host = to_board, to_host
    answers: list[Answer] = []
    given_up = ""
    try:
        for answer in board.stream(LOSSY_FRAMES[0], timeout=0.1, resend=resend):
            answers.append(answer)
        assert [answer.number for answer in answers] == list(range(120))
        assert sent.most_under_way <= board.info.window
    except DeviceError as error:
        given_up = str(error)
    assert re.fullmatch(
        "(board .* does not answer any more: check the link and start over)?", given_up
    )
    noise.to_board = noise.to_host = CLEAN

    fates = [answer.fate for answer in answers]
    if resend and not given_up:
        assert Fate.MISSED not in fates
    # what the board ran is known of every frame, and every answer is the right one for that
    stepped = [n for n, fate in enumerate(fates) if fate in (Fate.ANSWERED, Fate.LOST)]
    computed = reference.run(SUMMING.graph, LOSSY_FRAMES[:, stepped])
    for step, number in enumerate(stepped):
        result = answers[number].result
        assert (result is None) == (fates[number] == Fate.LOST)
        if result is not None:
            assert result.step == step + 1
            assert result.digest == computed.digests[0, step]
            assert result.label == computed.step_labels[0, step]
    if not given_up:
        assert board.counters().steps >= len(stepped)

    again = Board(line)
    again.put_model(SUMMING)
    assert Stream(again, LOSSY_FRAMES).run().agreement(LOSSY_EXPECTED) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", BOARDS)
def test_on_a_lossy_link_each_frame_is_answered_rightly_or_lost(name: str) -> None:
    line = opened(name)
    try:
        check_lossy_link(line)
    finally:
        line.close()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", BOARDS)
def test_a_model_gets_to_a_board_over_a_bad_link(name: str) -> None:
    faults = Faults(flip=0.002, drop=0.001, duplicate=0.001, insert=0.001)
    noise = NoisyLink(opened(name), seed=4)
    with Board(noise) as board:
        noise.to_board = noise.to_host = faults
        board.put_model(SUMMING)
        board.selftest()
        board.reset()
        noise.to_board = noise.to_host = CLEAN
        assert Stream(board, LOSSY_FRAMES).run().agreement(LOSSY_EXPECTED) == 1
    assert noise.damaged > 0


def test_after_a_silence_frames_are_sent_again_and_none_is_lost() -> None:
    silent = SilentLink(opened("virtual"))
    with Board(silent) as board:
        board.put_model(SUMMING)
        board.reset()
        silent.deaf = True
        frames = frames_of(1000)
        timer = threading.Timer(0.5, setattr, (silent, "deaf", False))
        timer.start()
        answers = list(board.stream(frames[0], timeout=0.2))
        timer.join()
    assert [answer.fate for answer in answers] == [Fate.ANSWERED] * 1000
    expected = reference.run(SUMMING.graph, frames)
    digests = [answer.result.digest for answer in answers if answer.result is not None]
    np.testing.assert_array_equal(digests, expected.digests[0])


def test_frames_that_are_not_to_be_sent_again_are_missed_and_the_next_ones_taken() -> None:
    silent = SilentLink(opened("virtual"))
    with Board(silent) as board:
        board.put_model(SUMMING)
        board.reset()
        silent.deaf = True
        timer = threading.Timer(0.5, setattr, (silent, "deaf", False))
        timer.start()
        fates = [
            answer.fate for answer in board.stream(frames_of(1000)[0], timeout=0.2, resend=False)
        ]
        timer.join()
        assert board.counters().steps == fates.count(Fate.ANSWERED)
    missed = fates.count(Fate.MISSED)
    assert 0 < missed < 1000
    assert fates == [Fate.MISSED] * missed + [Fate.ANSWERED] * (1000 - missed)


def test_answers_that_are_lost_belong_to_frames_that_the_board_ran() -> None:
    silent = SilentLink(opened("virtual"))
    with Board(silent) as board:
        board.put_model(SUMMING)
        board.reset()
        silent.mute = True
        timer = threading.Timer(0.5, setattr, (silent, "mute", False))
        timer.start()
        answers = list(board.stream(frames_of(1000)[0], timeout=0.2))
        timer.join()
    fates = [answer.fate for answer in answers]
    lost = fates.count(Fate.LOST)
    assert 0 < lost < 1000
    assert fates == [Fate.LOST] * lost + [Fate.ANSWERED] * (1000 - lost)
    assert all(a.result is None or a.result.step == a.number + 1 for a in answers)


@pytest.mark.usefixtures("impatient")
def test_a_frame_that_never_gets_through_ends_the_stream() -> None:
    with Board(HungryLink(opened("virtual"), b"\x11\x11")) as board:
        board.put_model(SUMMING)
        board.reset()
        frames = np.full((40, CHANNELS), 0x2222, np.int16)
        frames[30] = 0x1111
        stream = board.stream(frames, timeout=0.1)
        fates = [answer.fate for answer in islice(stream, 30)]
        assert fates == [Fate.ANSWERED] * 30
        assert next(stream).fate == Fate.MISSED
        with pytest.raises(DeviceError, match=r"^board virtual answers, but the next frame does n"):
            list(stream)


@pytest.mark.usefixtures("impatient")
def test_a_full_window_has_room_for_asking_whether_the_board_is_there() -> None:
    silent = SilentLink(opened("virtual"))
    link = WatchedLink(silent)
    entry = AnalogInput("input", np.zeros(251, np.int8))
    wide = Graph(entry, (neurons("out", 1),), (), SpikeCount("out"))
    frame = len(encode(Packet(p.FRAME, 1, b"\1\0" * 251)))
    with Board(link) as board:
        assert board.info.window % frame < 50
        board.put_model(model_of(wide))
        silent.deaf = True
        with pytest.raises(DeviceError, match="does not answer any more"):
            list(board.stream(np.ones((90, 251), np.int16), timeout=0.2))
        assert board.info.window - frame < link.most_under_way <= board.info.window


def test_a_silence_is_noticed_while_frames_keep_coming() -> None:
    link = SilentLink(opened("virtual"))
    with Board(link) as board:
        board.put_model(SUMMING)
        link.mute = True
        start = time.monotonic()
        stream = board.stream(frames_of(1000)[0], period=0.01, timeout=0.3)
        timer = threading.Timer(0.5, setattr, (link, "mute", False))
        timer.start()
        assert next(stream).fate == Fate.LOST
        assert time.monotonic() - start < 3
        timer.join()


@pytest.mark.usefixtures("impatient")
def test_a_board_that_falls_silent_for_good_is_given_up() -> None:
    link = SilentLink(opened("virtual"))
    with Board(link) as board:
        board.put_model(SUMMING)
        stream = Stream(board, frames_of(1000), timeout=0.3)

        def fall_silent(_: int) -> None:
            link.mute = stream.session.answered > 20

        with pytest.raises(DeviceError, match=r"^board virtual does not answer any more: check"):
            stream.run(fall_silent)
        assert (stream.session.fates[0, :21] == Fate.ANSWERED).all()
        assert phases(stream.session) == [Fate.ANSWERED, Fate.UNKNOWN, Fate.WAITING]


def phases(session: Session) -> list[int]:
    """The fates of one recording in order, each run of equal ones once."""
    fates = session.fates[0]
    return [int(fate) for k, fate in enumerate(fates) if k == 0 or fates[k - 1] != fate]


def running() -> dict[int, int]:
    """Every process that has not ended, and its parent."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            found[int(folder.name)] = int(fields[1])
    return found


def children(parent: int) -> set[int]:
    return {child for child, of in running().items() if of == parent}


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_that_is_unplugged_in_the_middle(name: str) -> None:
    before = children(os.getpid())
    link = opened(name)
    (child,) = children(os.getpid()) - before
    words = rf"^the (virtual board|emulated {name}) has stopped: start over$"
    frames = frames_of(3000)
    with Board(link) as board:
        board.put_model(SUMMING)
        stream = Stream(board, frames)

        def unplug(_: int) -> None:
            if stream.session.answered == 400:
                os.kill(child, signal.SIGKILL)

        with pytest.raises(DeviceError, match=words):
            stream.run(unplug)
        with pytest.raises(DeviceError, match=words):
            board.reset()
    session = stream.session
    assert phases(session) == [Fate.ANSWERED, Fate.UNKNOWN, Fate.WAITING]
    assert session.sent == session.answered + len(session.lost)
    expected = reference.run(SUMMING.graph, frames)
    assert session.answered >= 400
    assert session.agreement(expected) == session.answered / 3000


@pytest.mark.parametrize("name", BOARDS)
def test_closing_a_board_ends_its_process(name: str) -> None:
    before = children(os.getpid())
    board = Board(opened(name))
    assert len(children(os.getpid()) - before) == 1
    board.close()
    board.close()
    assert children(os.getpid()) == before


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_whose_port_cannot_be_opened_leaves_no_process(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(name).close()
    before = children(os.getpid())

    def refuse(port: str, **_: object) -> None:
        raise serial.SerialException(errno.EBUSY, port)

    monkeypatch.setattr(serial, "serial_for_url", refuse)
    with pytest.raises(DeviceError, match=r"^port /dev/pts/\d+ is in use: close the other program"):
        open_board(name)
    assert children(os.getpid()) == before


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_outlives_the_thread_that_opened_it(name: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        link = pool.submit(opened, name).result()
    time.sleep(0.1)
    with Board(link) as board:
        board.put_model(SUMMING)


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_ends_with_the_program_that_opened_it(name: str) -> None:
    opened(name).close()
    code = (
        "import sys, time; from edgesnn.devices import open_board; "
        "board = open_board(sys.argv[1]); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        boards = children(program.pid)
        assert len(boards) == 1
        program.kill()
    assert wait_until(lambda: not boards & running().keys())


def test_programs_use_a_board_one_after_the_other() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "edgesnn.devices.virtual"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = process.stdout.readline().decode().strip()
        for turn in range(3):
            with open_board(port) as board:
                assert board.info.model_loaded == (turn > 0)
                board.put_model(SUMMING)
                (answer,) = board.stream(frames_of(1, turn)[0])
                assert answer.result is not None
                assert answer.result.step == 1
        process.stdin.close()
        assert process.wait(5) == 0


def test_a_program_that_ends_in_the_middle_leaves_the_board_usable() -> None:
    link = opened("virtual")
    board = Board(link)
    board.put_model(SUMMING)
    stream = board.stream(frames_of(500)[0])
    next(stream)
    stream.close()
    link.write(encode(Packet(p.FRAME, 7, bytes(10)))[:5])
    with Board(link) as next_board:
        next_board.put_model(SUMMING)
        session = Stream(next_board, LOSSY_FRAMES).run()
    assert session.agreement(LOSSY_EXPECTED) == 1


def test_a_board_is_a_backend() -> None:
    outputs = board_backend("virtual", SUMMING, LOSSY_FRAMES)
    np.testing.assert_array_equal(outputs.digests, LOSSY_EXPECTED.digests)


def test_firmware_that_is_not_built_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGESNN_FIRMWARE", str(tmp_path))
    with pytest.raises(MissingError, match=r"build it with `make firmware BOARD=mps2-an386`$"):
        open_board("mps2-an386")


@pytest.mark.board
@pytest.mark.usefixtures("impatient")
def test_firmware_that_is_none_is_an_error_and_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = children(os.getpid())
    (tmp_path / "mps2-an386").mkdir()
    (tmp_path / "mps2-an386" / "edgesnn.elf").write_bytes(b"\x7fELF nonsense")
    monkeypatch.setenv("EDGESNN_FIRMWARE", str(tmp_path))
    with pytest.raises(DeviceError, match=r"did not start|has stopped|nothing that speaks"):
        open_board("mps2-an386")
    assert children(os.getpid()) == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("virtual://x", r"^virtual:// cannot take 'x': write virtual:// or"),
        ("virtual://?model=big", r"^virtual:// cannot take '\?model=big'"),
        ("virtual://?disk=1", r"^virtual:// cannot take"),
        ("virtual://model=1", r"^virtual:// cannot take"),
        ("qemu://abacus", r"^no emulated board is called 'abacus': there is .*mps2-an386"),
        ("abacus", r"^no board is called 'abacus': there is virtual, .*, or give a port or URL$"),
    ],
)
def test_boards_that_there_are_not(name: str, words: str) -> None:
    with pytest.raises(EdgesnnError, match=words):
        open_board(name)
