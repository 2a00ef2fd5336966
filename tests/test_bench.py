"""The marks of a link: what it carries is used, and nothing waits for nothing."""

from __future__ import annotations

import json

from click.testing import CliRunner

from edgesnn.devices.bench import Figures, main, measure


def test_a_serial_line_is_full() -> None:
    figures = measure("virtual", 300, 1, 115200)
    assert figures.line_use is not None
    assert 0.9 <= figures.line_use <= 1.01


def test_the_virtual_board_takes_thousands_of_frames_a_second() -> None:
    assert measure("virtual", 20_000, 1).frames_per_s >= 5_000


def test_the_figures_are_printed_for_people_and_for_programs() -> None:
    shown = json.loads(CliRunner().invoke(main, ["--board", "virtual", "--json"]).stdout)
    assert [figure["line_use"] is None for figure in shown] == [True, False]
    line = str(Figures("a board", 1234.5, 67.8, 90.1, 0.987))
    assert "1,234 frames/s, round trip 68 us p50, 90 us p99, 98.7 % of the line" in line
