"""The marks of a link: what it carries is used, and nothing waits for nothing."""

from __future__ import annotations

import json

from click.testing import CliRunner

from edgesnn.devices.bench import main, measure


def test_a_serial_line_is_full() -> None:
    figures = measure("virtual", 300, 1, 115200)
    assert figures.line_use is not None
    assert 0.9 <= figures.line_use <= 1.01


def test_the_virtual_board_takes_thousands_of_frames_a_second() -> None:
    assert measure("virtual", 20_000, 1).frames_per_s >= 5_000


def test_the_figures_are_printed_for_people_and_for_programs() -> None:
    arguments = ["--board", "virtual"]
    lines = CliRunner().invoke(main, arguments).stdout.splitlines()
    assert "frames/s, round trip" in lines[0]
    assert "of the line" in lines[1]
    shown = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert [figure["line_use"] is None for figure in shown] == [True, False]
