"""The long runs of `make soak`, short."""

from __future__ import annotations

import os
import subprocess
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from native import APP, CORE, FIRMWARE, TESTS, call, tool
from soak import BAD, CHANNELS, MODEL, frames_of, kills, resynchronise, stream, watch, wear

from edgesnn import reference
from edgesnn.devices import Board, open_transport
from edgesnn.devices.backend import board_url
from edgesnn.devices.serial import SerialTransport

EMULATED = pytest.param("mps2-an386", marks=pytest.mark.board)


@pytest.mark.parametrize("name", ["virtual", EMULATED])
def test_every_frame_is_answered(name: str) -> None:
    tally = stream(name, 3000)
    assert (tally.frames, tally.answered, tally.lost) == (3000, 3000, [])


@pytest.mark.parametrize(
    ("name", "count"),
    [("virtual", 4000), pytest.param(*EMULATED.values, 300, marks=EMULATED.marks)],
)
def test_over_a_bad_link_no_wrong_answer_is_taken_and_every_loss_has_its_number(
    name: str, count: int
) -> None:
    tally = stream(name, count, BAD)
    assert tally.frames == count == tally.answered + len(tally.lost)
    assert tally.damaged > count / 50
    assert len(tally.lost) < count / 5


@pytest.mark.parametrize(
    ("name", "count"),
    [("virtual", 20_000), pytest.param(*EMULATED.values, 1000, marks=EMULATED.marks)],
)
def test_a_watch_is_answered_without_any_reset(name: str, count: int) -> None:
    said = wear(name, count)
    assert said.startswith(f"{count:,} frames")


def test_the_watch_moves_the_network() -> None:
    """It spikes, not always, and in other ways hour by hour."""
    hours = [watch(hour)[:4000] for hour in range(2)]
    for frames in hours:
        assert frames.shape == (4000, CHANNELS)
        ran = reference.run(MODEL.graph, frames[None])
        assert 0.01 < ran.spikes[0] / (4000 * 5) < 0.9
    assert (hours[0] != hours[1]).any()


COUNT_FROM = 2**32 - 20


@pytest.fixture
def late_board(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """A board whose counters, and the steps of a model that is selected, begin at COUNT_FROM."""
    if name != "virtual":
        call([
            "make", "-C", FIRMWARE, f"BOARD={name}", f"SIZES=-DCOUNT_FROM={COUNT_FROM}u",
            f"OUT={tmp_path / name}",
        ])  # fmt: skip
        monkeypatch.setenv("EDGESNN_FIRMWARE", str(tmp_path))
        with Board(open_transport(board_url(name))) as board:
            yield board
        return
    monocypher = TESTS.parent / "build" / "monocypher"
    folders = [
        FIRMWARE / f for f in ("app", "core", "signature", "boards/signal", "boards/virtual")
    ]
    call([
        tool("gcc"), "-std=c99", "-O1", f"-DCOUNT_FROM={COUNT_FROM}u", f"-I{monocypher}",
        *(f"-I{folder}" for folder in folders), TESTS / "counting.c", *CORE, *APP,
        FIRMWARE / "signature" / "signature.c", FIRMWARE / "boards" / "virtual" / "board.c",
        *sorted((FIRMWARE / "boards" / "signal").glob("*.c")), monocypher / "monocypher.c",
        "-o", tmp_path / "board",
    ])  # fmt: skip
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    with (
        subprocess.Popen([tmp_path / "board"], stdin=ours) as process,
        Board(SerialTransport(os.ttyname(theirs))) as board,
    ):
        yield board
        process.kill()
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("name", ["virtual", EMULATED])
def test_counters_pass_2_to_the_32_and_steps_stay_below(late_board: Board) -> None:
    late_board.put_model(MODEL)
    late_board.select(0, MODEL)
    first = late_board.counters()
    assert COUNT_FROM < first.taken < 2**32
    assert first.steps == COUNT_FROM
    frames = frames_of(0, 50)
    answers = [answer.result for answer in late_board.stream(frames)]
    expected = reference.steps(MODEL.graph, frames[None])
    for number, (result, state) in enumerate(zip(answers, expected, strict=True), 1):
        assert result is not None
        assert result.digest == state.digest(0)
        assert result.step == min(COUNT_FROM + number, 2**32 - 1)
    last = late_board.counters()
    assert last.steps == COUNT_FROM + len(frames) - 2**32
    assert last.taken == first.taken + len(frames) + 1 - 2**32
    assert (last.copies, last.gaps, last.bad) == (COUNT_FROM, COUNT_FROM, 0)


def test_noise_costs_what_it_harms_and_at_most_one_good_packet_behind_it() -> None:
    resynchronise(20_000)


def test_a_host_that_is_killed_loses_nothing_that_it_has_seen(tmp_path: Path) -> None:
    kills(60, tmp_path)
