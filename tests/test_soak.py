"""The long runs of `make soak`, short."""

from __future__ import annotations

from pathlib import Path

import pytest
from soak import BAD, kills, resynchronise, stream

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


def test_noise_costs_what_it_harms_and_at_most_one_good_packet_behind_it() -> None:
    resynchronise(20_000)


def test_a_host_that_is_killed_loses_nothing_that_it_has_seen(tmp_path: Path) -> None:
    kills(60, tmp_path)
