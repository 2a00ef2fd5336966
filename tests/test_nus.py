"""The firmware's side of Bluetooth: the stream app behind the Nordic UART Service, sanitized.

The test is the stack and the central. All goes in lock step: an event, then what comes of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from graphs import graphs_and_frames
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from nus import Program
from test_board import SUMMING, frames_of

from edgesnn import blob, reference
from edgesnn.devices import Board, Fate, Stream
from edgesnn.errors import ModelError
from edgesnn.graph import Graph, Int16Array

RING = 2048
LONGEST = 244


class Central:
    """A link through a stack that takes notifications when it likes."""

    def __init__(self, program: Path, size: int, seed: int | None = None) -> None:
        self.notified: list[int] = []
        self.ends: list[int] = []  # how many there were behind each event
        self.heard = b""
        self._size = size
        self._refuses = None if seed is None else random.Random(seed)
        self._program = Program(program, self._hear)
        self.listen(size)

    def event(self, kind: bytes, number: int, data: bytes = b"") -> None:
        self._program.event(kind, number, data)
        self.ends.append(len(self.notified))

    def listen(self, size: int) -> None:
        self.event(b"l", size)

    def read(self, timeout: float) -> bytes:
        data, self.heard = self.heard, b""
        return data

    def write(self, data: bytes) -> None:
        for at in range(0, len(data), self._size):
            if self._refuses is not None:
                self.event(b"r", self._refuses.randrange(4))
            chunk = data[at : at + self._size]
            self.event(b"w", len(chunk), chunk)

    def close(self) -> None:
        self._program.close()

    def _hear(self, data: bytes) -> None:
        self.notified.append(len(data))
        self.heard += data


@pytest.fixture
def program(nus_programs: dict[str, Path]) -> Path:
    return nus_programs["zephyr"]


@pytest.fixture
def central(program: Path) -> Iterator[Central]:
    link = Central(program, LONGEST)
    yield link
    link.close()


@pytest.mark.parametrize("size", [1, 20, 182, 244, 514])
@pytest.mark.parametrize("seed", [None, 1])
def test_a_recording_streams_at_any_size_of_notification(
    program: Path, size: int, seed: int | None
) -> None:
    frames = frames_of(150)
    link = Central(program, size, seed)
    with Board(link) as board:
        assert (board.info.name, board.info.window) == ("nus", RING)
        board.put_model(SUMMING)
        session = Stream(board, frames).run()
    assert session.agreement(reference.run(SUMMING.graph, frames)) == 1
    assert max(link.notified) == min(size, LONGEST)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    case=graphs_and_frames(samples=1, steps=6), size=st.integers(1, 600), seed=st.integers(0, 99)
)
def test_any_graph_gives_the_references_bits(
    program: Path, case: tuple[Graph, Int16Array], size: int, seed: int
) -> None:
    graph, frames = case
    model = blob.unpack(blob.pack(reference.with_selftest(graph, frames[0])))
    link = Central(program, size, seed)
    try:
        board = Board(link)
        try:
            board.put_model(model)
        except ModelError as error:
            assume("bytes needed" not in str(error))  # there is little room
            raise
        session = Stream(board, frames).run()
    finally:
        link.close()
    assert session.agreement(reference.run(graph, frames)) == 1


def test_notifications_are_filled(central: Central) -> None:
    """All answers to what came in one write leave together, full but for the last."""
    board = Board(central)
    board.put_model(SUMMING)
    central.notified.clear()
    central.ends.clear()
    Stream(board, frames_of(60)).run()
    ends = {end - 1 for end in central.ends}
    assert all(size == LONGEST for k, size in enumerate(central.notified) if k not in ends)
    assert central.notified.count(LONGEST) > len(central.ends)


def test_what_nobody_heard_is_not_for_the_next(central: Central) -> None:
    """The link is lost while answers wait: the app does not stop, and the next central starts."""
    board = Board(central)
    board.put_model(SUMMING)
    frames = frames_of(120)
    expected = reference.run(SUMMING.graph, frames)
    stream = Stream(board, frames)
    for _, answer in stream:
        if answer.number == 40:
            central.listen(0)
            central.listen(100)
            central.heard = b""
    session = stream.session
    answered = session.fates == Fate.ANSWERED
    assert session.fates[0, -1] == Fate.ANSWERED
    np.testing.assert_array_equal(session.outputs.digests[answered], expected.digests[answered])


def test_a_full_ring_of_answers_waits_for_the_stack(program: Path) -> None:
    link = Central(program, LONGEST)
    board = Board(link)
    board.put_model(SUMMING)
    link.event(b"r", 500)
    frames = frames_of(40)
    assert Stream(board, frames).run().agreement(reference.run(SUMMING.graph, frames)) == 1
    link.close()


def test_what_finds_no_room_is_counted(central: Central) -> None:
    board = Board(central)
    before = board.counters().overruns
    central.event(b"w", 3000, bytes([1]) * 3000)
    assert board.counters().overruns - before == 3000 - RING
